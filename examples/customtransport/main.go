// Customtransport sends a message through a transport of its own: a pipe in
// memory, at whose other end an SMTP server listens in the same process.
//
// The transport is in pipe.go. TLS, SMTP, time limits and interceptors are the
// session's, the same as with TCP.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sync"

	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/core"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run sends a message and prints its outcome and what arrived.
func run(ctx context.Context, stdout io.Writer) error {
	p := pipe{make(chan net.Conn)}
	listener := newEnd(p)
	arrived := make(chan string, 1)
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return mailbox(arrived), nil }))
	server.Domain = "memory.example"
	server.ErrorLog = log.New(io.Discard, "", 0) // the client says what went wrong
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // it ends with an error, since the listener is closed
	}()
	defer func() {
		_ = listener.Close()
		<-served
		_ = server.Close()
	}()

	client, err := core.NewClient(core.Config{Endpoint: "pipe://memory.example", Transports: []core.Transport{p}})
	if err != nil {
		return err
	}
	receipt, err := client.Send(ctx, &core.Message{
		From: "me@example.com",
		To:   core.Recipients("you@example.net"),
		Body: core.String("Subject: hello\r\n\r\nIt came through a pipe.\r\n"),
	})
	if err := errors.Join(err, client.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %s, %s\n\n%s", receipt.Recipients[0].Address, receipt.Recipients[0].Outcome, receipt.Recipients[0].Reply, <-arrived)
	return err
}

// end is the server's end of a pipe.
type end struct {
	pipe
	closed chan struct{}
	close  func()
}

func newEnd(p pipe) *end {
	closed := make(chan struct{})
	return &end{p, closed, sync.OnceFunc(func() { close(closed) })}
}

func (e *end) Accept() (net.Conn, error) {
	select {
	case conn := <-e.conns:
		return conn, nil
	case <-e.closed:
		return nil, net.ErrClosed
	}
}

func (e *end) Close() error {
	e.close()
	return nil
}

func (e *end) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// mailbox is a session of the server that takes everything.
type mailbox chan<- string

func (mailbox) Mail(string, *smtp.MailOptions) error { return nil }
func (mailbox) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (mailbox) Reset()                               {}
func (mailbox) Logout() error                        { return nil }

func (m mailbox) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err == nil {
		m <- string(content)
	}
	return err
}
