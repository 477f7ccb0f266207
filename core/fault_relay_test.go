package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postrider/postrider/core"
)

// fault says how the first connection breaks.
type fault struct {
	kind  faultKind
	up    bool // the direction is to the server
	limit int  // octets that pass in it before
}

type faultKind string

const (
	faultNone faultKind = "none"
	// faultCut: the server is told that there is no more, and ends when it has
	// answered what it got. What the client writes meanwhile is lost, unseen.
	faultCut faultKind = "cut"
	// faultReset: the connection is gone at once, for both sides, in the middle
	// of the client's write too.
	faultReset faultKind = "reset"
	// faultHalf: one direction has ended, in the middle of the client's write
	// too. The other works.
	faultHalf faultKind = "half"
	// faultSilence: what comes is lost, unseen. The other direction works.
	faultSilence faultKind = "silence"
	// faultJam: nothing more is taken, so that the client's write blocks. The
	// other direction works.
	faultJam faultKind = "jam"
)

func (f fault) String() string {
	direction := "down"
	if f.up {
		direction = "up"
	}
	return fmt.Sprintf("%s %s at %d", f.kind, direction, f.limit)
}

// answered reports whether the client can hear the replies to everything that
// the server got.
func (f fault) answered() bool { return f.up && f.kind != faultReset }

// patience is for how long a client waits at most, by its default timeouts: of
// one write, or for one reply. Two seconds are for last words and the like.
func (f fault) patience() time.Duration {
	switch f.kind {
	case faultJam:
		return 3*time.Minute + 2*time.Second
	case faultSilence:
		return 10*time.Minute + 2*time.Second
	}
	return 2 * time.Second
}

// relay is a transport that stands between a client and the server. Its first
// connection breaks.
type relay struct {
	server *faultServer
	fault  fault
	quiet  syscall.RawConn // what a socket shows of itself, or nil if its connections are none

	mu      sync.Mutex
	taps    []*faultTap // one for each connection
	running sync.WaitGroup
}

func (*relay) Scheme() string { return "relay" }

func (r *relay) Endpoint(*url.URL) (core.Endpoint, error) {
	return core.Endpoint{Local: true, Protocol: r.server.protocol}, nil
}

func (r *relay) Dial(context.Context, core.Endpoint) (net.Conn, error) {
	there, in := net.Pipe()
	back, out := net.Pipe()
	t := &faultTap{Conn: there, back: back, up: newFaultStream(), down: newFaultStream(), closed: make(chan struct{})}
	l := &faultLink{faultTap: t, in: in, out: out, fault: fault{kind: faultNone}}
	r.mu.Lock()
	if len(r.taps) == 0 {
		l.fault = r.fault
	}
	r.taps = append(r.taps, t)
	r.mu.Unlock()
	r.running.Go(func() { r.server.serve(t.up, t.down) })
	r.running.Go(l.carryUp)
	r.running.Go(l.carryDown)
	if r.quiet != nil {
		return faultSocket{t, faultRaw{t, r.quiet}}, nil
	}
	return t, nil
}

// carried returns what has passed in the direction that breaks.
func (r *relay) carried() []byte { return r.taps[0].octets(r.fault.up) }

// faultLink is one connection through a relay. Behind it are buffers, as between
// any two hosts: what has passed reaches the server, and neither waits for the
// other.
type faultLink struct {
	*faultTap
	in, out net.Conn // from the client, and to it
	fault   fault
}

// left is how many octets may pass in a direction.
func (l *faultLink) left(up bool) int {
	if l.fault.kind == faultNone || l.fault.up != up {
		return 1 << 40
	}
	return l.fault.limit
}

func (l *faultLink) carryUp() {
	defer l.up.Close()
	buffer, left := make([]byte, 4<<10), l.left(true)
	for left > 0 {
		p := buffer
		if k := l.fault.kind; left < len(p) && k != faultCut && k != faultSilence {
			p = p[:left] // the write is taken up to here
		}
		n, err := l.in.Read(p)
		if err != nil {
			return
		}
		n = min(n, left)
		left -= n
		_, _ = l.up.Write(p[:n])
	}
	switch l.fault.kind {
	case faultCut:
		_ = l.up.Close()
		_, _ = io.Copy(io.Discard, l.in)
	case faultReset:
		l.breakAll()
	case faultHalf:
		_ = l.in.Close()
	case faultSilence:
		_, _ = io.Copy(io.Discard, l.in)
	case faultJam:
		<-l.closed
	}
}

func (l *faultLink) carryDown() {
	defer l.hangUp()
	buffer, left := make([]byte, 4<<10), l.left(false)
	for left > 0 {
		n, err := l.down.Read(buffer[:min(len(buffer), left)])
		if err != nil {
			return
		}
		if _, err := l.out.Write(buffer[:n]); err != nil {
			return
		}
		left -= n
	}
	switch l.fault.kind {
	case faultReset:
		l.breakAll()
	case faultHalf:
		l.gone.Store(true)
		_ = l.out.Close()
		<-l.closed
	case faultSilence:
		<-l.closed
	}
}

func (l *faultLink) hangUp() {
	l.gone.Store(true)
	_ = l.in.Close()
	_ = l.out.Close()
}

func (l *faultLink) breakAll() {
	l.reset.Store(true)
	l.hangUp()
}

// faultTap is the client's end of a connection. It sees what the client hands
// over, and what it gets.
type faultTap struct {
	net.Conn          // to the relay
	back     net.Conn // from the relay
	closed   chan struct{}
	once     sync.Once
	reset    atomic.Bool
	gone     atomic.Bool  // there is an end to be read
	up, down *faultStream // what reaches the server, and what that says

	mu      sync.Mutex
	offered []byte // in writes that have begun
	writes  []int  // where each of them begins
	heard   []byte
}

// octets returns what has passed in a direction.
func (t *faultTap) octets(up bool) []byte {
	if up {
		return t.up.octets
	}
	return t.heard
}

func (t *faultTap) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.writes = append(t.writes, len(t.offered))
	t.offered = append(t.offered, p...)
	t.mu.Unlock()
	n, err := t.Conn.Write(p)
	return n, t.explain("write", err)
}

func (t *faultTap) Read(p []byte) (int, error) {
	n, err := t.back.Read(p)
	t.mu.Lock()
	t.heard = append(t.heard, p[:n]...)
	t.mu.Unlock()
	return n, t.explain("read", err)
}

// explain makes of the end of a pipe what a socket would say.
func (t *faultTap) explain(doing string, err error) error {
	if t.reset.Load() && (err == io.EOF || errors.Is(err, io.ErrClosedPipe)) {
		return &net.OpError{Op: doing, Net: "tcp", Err: os.NewSyscallError(doing, syscall.ECONNRESET)}
	}
	return err
}

func (t *faultTap) SetReadDeadline(at time.Time) error { return t.back.SetReadDeadline(at) }

func (t *faultTap) SetDeadline(at time.Time) error {
	return errors.Join(t.back.SetReadDeadline(at), t.Conn.SetWriteDeadline(at))
}

func (t *faultTap) Close() error {
	t.once.Do(func() { close(t.closed) })
	return errors.Join(t.Conn.Close(), t.back.Close())
}

// faultStream is octets on their way in one direction, as many as there are. It
// keeps them.
type faultStream struct {
	mu     sync.Mutex
	more   *sync.Cond
	octets []byte
	read   int // of these
	ended  bool
}

func newFaultStream() *faultStream {
	s := &faultStream{}
	s.more = sync.NewCond(&s.mu)
	return s
}

func (s *faultStream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return 0, io.ErrClosedPipe
	}
	s.octets = append(s.octets, p...)
	s.more.Broadcast()
	return len(p), nil
}

func (s *faultStream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.read == len(s.octets) {
		if s.ended {
			return 0, io.EOF
		}
		s.more.Wait()
	}
	n := copy(p, s.octets[s.read:])
	s.read += n
	return n, nil
}

func (s *faultStream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.more.Broadcast()
	return nil
}
