package core

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// benchServer answers everything positively from within Read and Write: no
// goroutine, no socket, so that what is measured is this side.
type benchServer struct {
	replies      bytes.Buffer
	data         bool
	*net.UDPConn // a socket to be looked at, on which nothing arrives
}

func (s *benchServer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if s.data {
			_, behind, ended := bytes.Cut(p, []byte("\r\n.\r\n"))
			if !ended {
				return n, nil
			}
			s.data, p = false, behind
			s.replies.WriteString("250 2.0.0 Ok: queued as 4jY6kN290dz1SF6S\r\n")
			continue
		}
		i := bytes.IndexByte(p, '\n')
		switch line := p[:i+1]; {
		case bytes.HasPrefix(line, []byte("EHLO")):
			s.replies.WriteString("250-mx.example\r\n250-PIPELINING\r\n250-SIZE 100000000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n")
		case bytes.HasPrefix(line, []byte("DATA")):
			s.data = true
			s.replies.WriteString("354 End data with <CR><LF>.<CR><LF>\r\n")
		default:
			s.replies.WriteString("250 2.1.0 Ok\r\n")
		}
		p = p[i+1:]
	}
	return n, nil
}

func (s *benchServer) Read(p []byte) (int, error)       { return s.replies.Read(p) }
func (s *benchServer) Close() error                     { return s.UDPConn.Close() }
func (s *benchServer) LocalAddr() net.Addr              { return nil }
func (s *benchServer) RemoteAddr() net.Addr             { return nil }
func (s *benchServer) SetDeadline(time.Time) error      { return nil }
func (s *benchServer) SetReadDeadline(time.Time) error  { return nil }
func (s *benchServer) SetWriteDeadline(time.Time) error { return nil }

type benchTransport struct{}

func (benchTransport) Scheme() string                      { return "bench" }
func (benchTransport) Endpoint(*url.URL) (Endpoint, error) { return Endpoint{Local: true}, nil }
func (benchTransport) Dial(context.Context, Endpoint) (net.Conn, error) {
	idle, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	s := &benchServer{UDPConn: idle}
	s.replies.WriteString("220 hi\r\n")
	return s, nil
}

var benchConfig = Config{Endpoint: "bench://", Transports: []Transport{benchTransport{}}, LocalName: "client.example"}

// BenchmarkExchange is "MAIL RCPT DATA" and its replies, as every message has it,
// without interceptors.
func BenchmarkExchange(b *testing.B) {
	s := benchSession(b)
	b.ReportAllocs()
	for b.Loop() {
		benchExchange(b, s)
	}
}

func benchSession(tb testing.TB) *Session {
	s, err := Dial(context.Background(), benchConfig)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Hello(context.Background()); err != nil {
		tb.Fatal(err)
	}
	s.own.params = []Param{numberParam("SIZE", "SIZE", 1024)}
	return s
}

func benchExchange(tb testing.TB, s *Session) {
	w := &s.own
	w.commands = append(w.commands[:0], s.mail("sender@example.com", w.params), s.rcpt("recipient@example.net", nil), s.data())
	replies, err := s.exchange(context.Background(), w, nil)
	if err != nil || len(replies) != 3 {
		tb.Fatal(replies, err)
	}
	s.conn.raw.(*benchServer).data = false
}

// BenchmarkSend is a message of 1 KiB on a kept session, with a context that can
// be cancelled and has a deadline.
func BenchmarkSend(b *testing.B) {
	m := &Message{From: "sender@example.com", To: Recipients("recipient@example.net"), Body: String(strings.Repeat(strings.Repeat("x", 62)+"\r\n", 16))}
	b.Run("memory", func(b *testing.B) { benchmarkSend(b, benchConfig, m) })
	b.Run("memory, 50 recipients", func(b *testing.B) {
		many := *m
		for i := range 49 {
			many.To = append(many.To, Recipients(fmt.Sprintf("recipient%d@example.net", i))...)
		}
		benchmarkSend(b, benchConfig, &many)
	})
	b.Run("loopback", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		go serveBench(l)
		config := benchConfig
		config.Transports = []Transport{benchTCP{addr: l.Addr().String()}}
		benchmarkSend(b, config, m)
	})
}

// BenchmarkPool is messages of 1 KiB from several goroutines on eight sessions.
func BenchmarkPool(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go serveBench(l)
	m := &Message{From: "sender@example.com", To: Recipients("recipient@example.net"), Body: String(strings.Repeat(strings.Repeat("x", 62)+"\r\n", 16))}
	for _, senders := range []int{1, 8, 64} {
		for _, depth := range []int{1, 16} {
			b.Run(fmt.Sprintf("%d goroutines, depth %d", senders, depth), func(b *testing.B) {
				config := benchConfig
				config.Transports = []Transport{benchTCP{addr: l.Addr().String()}}
				config.MaxSessions, config.PipelineDepth = 8, depth
				c, err := NewClient(config)
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				b.ReportAllocs()
				var next atomic.Int64
				var running sync.WaitGroup
				for range senders {
					running.Go(func() {
						for next.Add(1) <= int64(b.N) {
							if _, err := c.Send(b.Context(), m); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				running.Wait()
			})
		}
	}
}

func benchmarkSend(b *testing.B, config Config, m *Message) {
	c, err := NewClient(config)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Send(ctx, m); err != nil {
			b.Fatal(err)
		}
	}
}

type benchTCP struct {
	benchTransport
	addr string
}

func (t benchTCP) Dial(ctx context.Context, _ Endpoint) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", t.addr)
}

// serveBench answers each connection as benchServer does.
func serveBench(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			s := &benchServer{}
			s.replies.WriteString("220 hi\r\n")
			buf := make([]byte, 64<<10)
			for {
				if _, err := io.Copy(conn, &s.replies); err != nil {
					return
				}
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				if _, err := s.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
	}
}
