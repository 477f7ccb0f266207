//go:build unix

package plugins_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/plugins"
)

// through returns a client's configuration for a server behind the plugin.
func through(t *testing.T, p *plugins.Plugin, server *smtptest.Server) core.Config {
	t.Helper()
	config := server.Config()
	config.Transports = []core.Transport{tunnelOf(t, p)}
	config.Endpoint = "test+tunnel://" + strings.TrimPrefix(server.URL(), "smtp://")
	return config
}

func tunnelOf(t *testing.T, p *plugins.Plugin) core.Transport {
	t.Helper()
	tunnel, err := p.Transport("test+tunnel")
	if err != nil {
		t.Fatal(err)
	}
	return tunnel
}

// TLS is between the host and the server: the plugin carries it.
func TestTransport_carriesSessions(t *testing.T) {
	for name, options := range map[string]smtptest.ServerOptions{"in clear text": {}, "with STARTTLS": {StartTLS: true}} {
		t.Run(name, func(t *testing.T) {
			server := smtptest.NewServer(t, options)
			client, err := core.NewClient(through(t, newFixture(t, "well").start(t), server))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			large, content := message(), "Subject: large\r\n\r\n"+strings.Repeat("A line of some length, as mail has.\r\n", 100_000)
			large.Body = core.String(content)
			for _, m := range []*core.Message{message(), large} {
				receipt, err := client.Send(t.Context(), m)
				if err != nil {
					t.Fatal(err)
				}
				if p := receipt.Peer; (p.TLS != nil) != options.StartTLS || !p.Local || p.Addr.Network() != "tcp" || !strings.HasSuffix(server.URL(), p.Addr.String()) {
					t.Errorf("%+v", p)
				}
			}
			if got := server.Messages(); len(got) != 2 || string(got[1].Content) != content {
				t.Errorf("%d messages arrived", len(got))
			}
		})
	}
}

// What becomes of a connection that cannot be opened.
func TestTransport_dialFails(t *testing.T) {
	for _, tt := range []struct {
		what     string
		kind     error
		restarts bool
	}{
		{"crash", plugins.ErrEnded, true},
		{"hang", plugins.ErrLate, false},
		{"late", plugins.ErrLate, false},
		{"stop", plugins.ErrLate, true},
	} {
		t.Run(tt.what, func(t *testing.T) {
			f := newFixture(t, "well")
			f.config.CallTimeout = 500 * time.Millisecond
			f.config.HealthTimeout = 500 * time.Millisecond
			f.config.StopTimeout = 200 * time.Millisecond
			p, err := plugins.Start(t.Context(), f.config)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.Close(context.Background()) }() // one that hangs is killed
			f.await(t, plugins.Ready)
			pid, listener := p.Status().PID, listen(t)
			conn, err := tunnelOf(t, p).Dial(t.Context(), endpoint(listener, "?do="+tt.what))
			if conn != nil {
				t.Error("there is a connection")
			}
			temporaryAt(t, core.StageConnect, err, tt.kind)
			if tt.restarts {
				f.await(t, plugins.BackingOff)
				f.await(t, plugins.Ready)
			}
			if now := p.Status().PID; (now != pid) != tt.restarts {
				t.Errorf("process %d, and then %d", pid, now)
			}
			echoes(t, tunnelOf(t, p), listener)
		})
	}
}

func TestTransport_whatTheTransportSaysIsKept(t *testing.T) {
	p, listener := newFixture(t, "well").start(t), listen(t)
	for _, tt := range []struct {
		what  string
		class core.Class
		says  string
	}{
		{"refuse", core.Permanent, "plugin plugins.test: " + listener.Addr().String() + " is not allowed (ask for a tunnel)"},
		{"panic", core.Temporary, "it panicked"},
		{"nothing", core.Temporary, "it opened nothing"},
		{"fail", core.Temporary, "the gateway does not answer"},
	} {
		_, err := tunnelOf(t, p).Dial(t.Context(), endpoint(listener, "?do="+tt.what))
		if e, ok := err.(*core.Error); !ok || e.Class != tt.class || e.Stage != core.StageConnect || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
	echoes(t, tunnelOf(t, p), listener)
}

// A connection of the transport that does not keep the rules of package net breaks
// off, and nothing of it is left behind.
func TestTransport_aConnectionThatMisbehaves(t *testing.T) {
	for what, says := range map[string]string{
		"panic":  "it panicked",
		"short":  "short write",
		"idle":   "no data or error",
		"beyond": "no data or error",
	} {
		t.Run(what, func(t *testing.T) {
			p, listener := newFixture(t, "well").start(t), listen(t)
			conn, err := tunnelOf(t, p).Dial(t.Context(), endpoint(listener, "?conn="+what))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("EHLO client.example\r\n")); err != nil {
				t.Error(err)
			}
			_, err = io.Copy(io.Discard, conn)
			if e, ok := errors.AsType[*plugins.Error](err); !ok || !strings.Contains(e.Error(), says) {
				t.Errorf("reading: %v", err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			echoes(t, tunnelOf(t, p), listener)
		})
	}
}

// A URL is read when the client is made, and an error says what is wrong with it or
// with the plugin.
func TestTransport_endpoint(t *testing.T) {
	f := newFixture(t, "well")
	f.config.CallTimeout = 500 * time.Millisecond
	f.config.StopTimeout = 200 * time.Millisecond
	p, err := plugins.Start(t.Context(), f.config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close(context.Background()) }() // one that hangs is killed
	f.await(t, plugins.Ready)
	for _, tt := range []struct {
		option string
		kind   error
		class  core.Class
	}{
		{"refuse", core.ErrNotSupported, core.Local},
		{"hang", plugins.ErrLate, core.Temporary},
		{"crash", plugins.ErrEnded, core.Temporary},
	} {
		_, err := core.NewClient(core.Config{Endpoint: "test+tunnel://mail.example?resolve=" + tt.option, Transports: []core.Transport{tunnelOf(t, p)}})
		if !errors.Is(err, tt.kind) || core.ClassOf(err) != tt.class || !strings.Contains(err.Error(), "plugin plugins.test: ") {
			t.Errorf("%s: %v, %v", tt.option, core.ClassOf(err), err)
		}
	}
	if _, err := p.Transport("smtp"); err == nil || !strings.Contains(err.Error(), "test+tunnel") {
		t.Error(err)
	}
}

func TestTransport_dialEndsWithItsContext(t *testing.T) {
	f := newFixture(t, "well")
	f.config.StopTimeout = 100 * time.Millisecond
	p, err := plugins.Start(t.Context(), f.config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close(context.Background()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	listener := listen(t)
	_, err = tunnelOf(t, p).Dial(ctx, endpoint(listener, "?do=hang"))
	temporaryAt(t, core.StageConnect, err, context.DeadlineExceeded)
	echoes(t, tunnelOf(t, p), listener)
}

// A process that ends, or that is stopped, breaks its connections off with a reason.
func TestTransport_aConnectionBreaksOff(t *testing.T) {
	for signal, kind := range map[syscall.Signal]error{syscall.SIGKILL: plugins.ErrEnded, syscall.SIGSTOP: plugins.ErrLate} {
		t.Run(signal.String(), func(t *testing.T) {
			f := newFixture(t, "well")
			f.config.HealthInterval, f.config.HealthTimeout = 50*time.Millisecond, 200*time.Millisecond
			p, listener := f.start(t), listen(t)
			conn, err := tunnelOf(t, p).Dial(t.Context(), endpoint(listener, ""))
			if err != nil {
				t.Fatal(err)
			}
			kill(t, f.await(t, plugins.Ready).PID, signal)
			_, err = conn.Read(make([]byte, 1))
			if e, ok := errors.AsType[*plugins.Error](err); !ok || !errors.Is(e, kind) {
				t.Errorf("reading: %v", err)
			}
			if _, err := conn.Write([]byte("x")); !errors.Is(err, kind) {
				t.Errorf("writing: %v", err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			f.await(t, plugins.BackingOff)
			f.await(t, plugins.Ready)
			echoes(t, tunnelOf(t, p), listener)
		})
	}
}

// kill -9 while a hundred messages are carried: what the server has is what was
// reported accepted, and some of what is unknown.
func TestTransport_aHundredSendsAreAccountedFor(t *testing.T) {
	const sends = 100
	half := make(chan struct{})
	var arrived, accepted, unknown atomic.Int32
	server := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
		if arrived.Add(1) == sends/2 {
			close(half)
		}
		return nil
	}})
	f := newFixture(t, "well")
	p := f.start(t)
	config := through(t, p, server)
	config.MaxSessions = sends / 10
	client, err := core.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	pid := f.await(t, plugins.Ready).PID
	go func() {
		<-half
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}()
	var sending sync.WaitGroup
	for range sends {
		sending.Go(func() {
			receipt, err := client.Send(t.Context(), message())
			switch receipt.Recipients[0].Outcome {
			case core.Accepted:
				accepted.Add(1)
			case core.Unknown:
				unknown.Add(1)
			case core.Deferred:
				if core.ClassOf(err) != core.Temporary {
					t.Error(err)
				}
			default:
				t.Error(err)
			}
		})
	}
	sending.Wait()
	got := int32(len(server.Messages()))
	t.Logf("%d accepted, %d unknown of %d; the server has %d", accepted.Load(), unknown.Load(), sends, got)
	if got < accepted.Load() || got > accepted.Load()+unknown.Load() {
		t.Error("messages are lost, or nobody knows of them")
	}
	f.await(t, plugins.BackingOff)
	f.await(t, plugins.Ready)
	if _, err := client.Send(t.Context(), message()); err != nil {
		t.Error(err)
	}
}

// listen returns a server that repeats what it is told.
func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				// Not by splice, which keeps its pipes.
				_, _ = io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	return listener
}

func endpoint(listener net.Listener, options string) core.Endpoint {
	u := url.URL{Scheme: "test+tunnel", Host: listener.Addr().String()}
	return core.Endpoint{URL: u.String() + options, Network: "tcp", Address: u.Host}
}

// echoes sees that the plugin carries octets.
func echoes(t *testing.T, tunnel core.Transport, listener net.Listener) {
	t.Helper()
	conn, err := tunnel.Dial(t.Context(), endpoint(listener, ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Error(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}
