package core_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/core"
)

// shared has depth messages share each of the sessions.
func shared(depth, sessions int) func(*core.Config) {
	return func(c *core.Config) { c.PipelineDepth, c.MaxSessions = depth, sessions }
}

// numbered is a message to r0@example.com, r1@..., so that it is known on the
// wire.
func numbered(i int) *core.Message { return message(fmt.Sprintf("r%d@example.com", i)) }

// oneWrite is lines that the client sends in one write.
func oneWrite(parts ...string) string {
	lines := strings.Split(strings.TrimSuffix(strings.Join(parts, ""), "\n"), "\n")
	return "C: " + strings.Join(lines, "\nC| ") + "\n"
}

const (
	resetFirst = "RSET\n"
	theEnd     = "hi\n.\n"                // content under DATA
	okRSET     = "S: 250 reset\n"         //
	okBDAT     = twoOK + "S: 250 taken\n" // MAIL, RCPT, BDAT
	stillness  = "PAUSE 1s\n"             // nothing moves meanwhile, so a test can act
)

// mailRcpt is what the numbered message's envelope begins with.
func mailRcpt(i int) string {
	return fmt.Sprintf("MAIL FROM:<a@example.com>\nRCPT TO:<r%d@example.com>\n", i)
}

// bdat is a whole numbered transaction with CHUNKING.
func bdat(i int) string { return mailRcpt(i) + "BDAT 4 LAST\nhi\n" }

// data is the envelope of a numbered message without CHUNKING.
func data(i int) string { return mailRcpt(i) + "DATA\n" }

// sending is a Send in a goroutine of its own.
type sending struct {
	cancel  context.CancelFunc
	done    chan struct{}
	receipt *core.Receipt
	err     error
}

// begin starts a Send and waits until nothing moves any more, so that those that
// are begun one after the other stand on the wire in this order. It is for a
// bubble of synctest.
func begin(t *testing.T, c *core.Client, m *core.Message) *sending {
	ctx, cancel := context.WithCancel(t.Context())
	s := &sending{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		defer cancel()
		s.receipt, s.err = c.Send(ctx, m)
	}()
	synctest.Wait()
	return s
}

// ended reports whether the Send has returned.
func (s *sending) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// is checks the outcome, and that the message was charged with one attempt.
func (s *sending) is(t *testing.T, name any, want string) {
	t.Helper()
	<-s.done
	if got := outcomes(s.receipt); got != want || s.receipt.Attempts != 1 {
		t.Errorf("%v: %s after %d attempts, want %s after one: %v", name, got, s.receipt.Attempts, want, s.err)
	}
}

// served is a transport whose connections are unbuffered pipes to a function.
type served struct {
	serve func(number int, conn net.Conn)

	mu      sync.Mutex
	dialled int
	running sync.WaitGroup
}

// newServed returns a client of a server that is a function, called with the
// number of each connection, from 1. It is closed when the test ends.
func newServed(t *testing.T, serve func(number int, conn net.Conn), change ...func(*core.Config)) *core.Client {
	t.Helper()
	s := &served{serve: serve}
	c := newClientOver(t, s, change...)
	t.Cleanup(func() {
		_ = c.Close()
		s.running.Wait()
	})
	return c
}

// newClientOver returns a client that has only the one transport.
func newClientOver(t *testing.T, over core.Transport, change ...func(*core.Config)) *core.Client {
	t.Helper()
	config := core.Config{Endpoint: over.Scheme() + "://x", Transports: []core.Transport{over}, LocalName: "client.example"}
	for _, f := range change {
		f(&config)
	}
	c, err := core.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (*served) Scheme() string { return "served" }

func (*served) Endpoint(*url.URL) (core.Endpoint, error) { return core.Endpoint{Local: true}, nil }

func (s *served) Dial(context.Context, core.Endpoint) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialled++
	number := s.dialled
	client, server := net.Pipe()
	s.running.Go(func() {
		defer server.Close()
		s.serve(number, server)
	})
	return client, nil
}
