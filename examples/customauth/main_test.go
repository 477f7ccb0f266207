package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms/mechanismtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What the program prints, as regular expressions. A session whose ticket ends
// before its first message, on a machine that is very busy, is replaced.
const (
	chosen   = `(  chosen: X-CORP-TICKET, the first that will do of X-CORP-TICKET PLAIN; not offered: PLAIN\n)+`
	accepted = `  accepted from ann by X-CORP-TICKET, on connection \d+\n`
	refused  = `  refused: .*auth: the server does not accept the credentials: 535 5\.7\.8 `
)

func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	scenes := strings.Split(strings.TrimSpace(out.String()), "\n\n")
	for n, want := range []string{
		"A ticket for an hour: .*\n" + chosen + accepted + accepted,
		"A ticket for a second: .*\n(" + chosen + accepted + "){2}",
		"A ticket that has expired\n" + chosen + refused + `the ticket has expired \(.*\)` + "\n",
		"A ticket that is signed with another key\n" + chosen + refused + `the ticket is forged \(.*\)` + "\n",
	} {
		if !regexp.MustCompile("^" + want + "$").MatchString(scenes[n] + "\n") {
			t.Errorf("scene %d is\n%s\nwant\n%s", n+1, scenes[n], want)
		}
	}
	connections := regexp.MustCompile(`connection (\d+)`).FindAllString(out.String(), -1)
	if connections[0] != connections[1] || connections[1] == connections[2] || connections[2] == connections[3] {
		t.Errorf("an hour, and twice a second: %s", connections)
	}
}

func TestRun_interrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// The rules that every mechanism keeps.
func TestTickets(t *testing.T) {
	key := []byte("a key that client and server share")
	mechanismtest.Run(t, mechanismtest.Config{
		New: func(testing.TB) core.Mechanism { return &tickets{"ann", time.Hour, always(key)} },
		Server: smtptest.ServerOptions{
			StartTLS: true, Remote: true, // the name in the ticket is server.example
			Mechanisms: map[string]smtptest.AuthFunc{"X-CORP-TICKET": admit(key)},
		},
		Secrets: []string{string(key)},
	})
}

// A ticket is octets that are agreed on. The HMAC was made by another program:
//
//	printf 'ann\0server.example\0%s' 1700000000 | openssl dgst -sha256 -hmac 'a key that client and server share'
func TestSign(t *testing.T) {
	const want = "ann\x00server.example\x001700000000\x00bd0e1212ffc6f457b840e4b36c3d6cb28cdd67404866e72a974848ee1c42d8bb"
	if got := sign([]byte("a key that client and server share"), "ann", serverName, 1700000000); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAdmit_refuses(t *testing.T) {
	key := []byte("a key that client and server share")
	soon := time.Now().Add(time.Hour).Unix()
	for says, ticket := range map[string][]byte{
		"535 5.7.8 that is no ticket":                []byte("ann"),
		"535 5.7.8 the ticket is forged":             sign([]byte("another key"), "ann", serverName, soon),
		"535 5.7.8 the ticket is for another server": sign(key, "ann", "other.example", soon),
		"535 5.7.8 the ticket has expired":           sign(key, "ann", serverName, time.Now().Add(-2*leeway).Unix()),
	} {
		step := admit(key)([][]byte{ticket})
		if step.Refusal == nil || step.Refusal.String() != says {
			t.Errorf("%q is answered with %v, want %s", ticket, step.Refusal, says)
		}
	}
}

// A mechanism is a small thing.
func TestTicket_isSmall(t *testing.T) {
	text, err := os.ReadFile("ticket.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n >= 50 {
		t.Errorf("ticket.go has %d lines, and is to have fewer than 50", n)
	}
}
