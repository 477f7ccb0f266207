package core_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
)

// bdatServer takes content in chunks and keeps it.
type bdatServer struct {
	mu      sync.Mutex
	octets  []byte
	chunks  []int
	lastly  bool
	running sync.WaitGroup
}

func newBdatServer(t *testing.T) *bdatServer {
	s := &bdatServer{}
	t.Cleanup(s.running.Wait)
	return s
}

func (s *bdatServer) config() core.Config {
	return core.Config{Endpoint: "bdat://x", Transports: []core.Transport{s}, LocalName: "client.example"}
}

func (*bdatServer) Scheme() string { return "bdat" }

func (*bdatServer) Endpoint(*url.URL) (core.Endpoint, error) { return core.Endpoint{Local: true}, nil }

func (s *bdatServer) Dial(context.Context, core.Endpoint) (net.Conn, error) {
	client, server := net.Pipe()
	s.running.Go(func() { s.serve(server) })
	return client, nil
}

// last reports whether a LAST chunk arrived.
func (s *bdatServer) last() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastly
}

// content returns what arrived, and the sizes of its chunks.
func (s *bdatServer) content() ([]byte, []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.octets, s.chunks
}

func (s *bdatServer) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	fmt.Fprint(conn, "220 hi\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch line[:4] {
		case "EHLO":
			fmt.Fprint(conn, "250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
			continue
		case "BDAT":
			var n int
			if _, err := fmt.Sscanf(line, "BDAT %d", &n); err != nil {
				return
			}
			p := make([]byte, n)
			if _, err := io.ReadFull(in, p); err != nil {
				return
			}
			s.mu.Lock()
			s.octets, s.chunks = append(s.octets, p...), append(s.chunks, n)
			s.lastly = s.lastly || strings.Contains(line, "LAST")
			s.mu.Unlock()
		}
		fmt.Fprint(conn, "250 ok\r\n")
	}
}

// failingReader yields content and then an error.
type failingReader struct {
	rest []byte
	err  error
}

func (r *failingReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
