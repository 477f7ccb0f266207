package main

import (
	"net"
	"net/textproto"
	"strings"
	"testing"

	"github.com/postrider/postrider/core/smtptest"
)

func TestSend_timeout(t *testing.T) {
	for rule, dialogue := range map[string]string{
		"a reply that does not come": "S: 220 hi\nC: EHLO client.example\nHANG",
		"a reply that drips":         "S: 220 hi\nC: EHLO client.example\nDRIP 20ms 2",
	} {
		t.Run(rule, func(t *testing.T) {
			mailer(t, to("smtp://"+script(t, dialogue, smtptest.Options{}), "-timeout", "300ms", file(t, mail))...).ends(t, 75, "hello")
		})
	}
}

// A body that the server does not read: the write makes no progress.
func TestSend_timeoutOfABody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	release := make(chan struct{})
	defer close(release)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		text := textproto.NewConn(conn)
		for _, reply := range []string{"220 hi", "250 mx", "250 ok", "250 ok", "354 go on"} {
			if text.PrintfLine("%s", reply) != nil {
				return
			}
			if reply != "354 go on" {
				_, _ = text.ReadLine() // what comes is the client's matter
			}
		}
		<-release
	}()
	r := mailer(t, to("smtp://"+l.Addr().String(), "-timeout", "500ms", file(t, strings.Repeat(strings.Repeat("x", 78)+"\r\n", 400_000)))...)
	r.ends(t, 75, "content", "timeout")
	if got := r.one(t); got.Recipients[0].Outcome != "deferred" {
		t.Errorf("got %s", r.stdout)
	}
}

func TestSend_deadline(t *testing.T) {
	address := script(t, "S: 220 hi\nC: EHLO client.example\nHANG", smtptest.Options{})
	r := mailer(t, to("smtp://"+address, "-deadline", "300ms", file(t, mail), file(t, mail))...)
	r.ends(t, 75, "-deadline 300ms is over")
	if len(r.results) != 2 || r.results[0].Error.Stage != "hello" || r.results[1].Recipients[0].Outcome != "deferred" {
		t.Errorf("got %s", r.stdout)
	}
}
