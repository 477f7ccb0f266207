package smtptest

import (
	"errors"
	"net"
	"os"
	"time"
)

// ahead is a connection that takes what comes before anybody asks for it, until
// it is stopped.
type ahead struct {
	net.Conn
	chunks chan []byte
	rest   []byte // of the last chunk
	err    error  // why nothing more comes; set when chunks is closed
	ended  chan struct{}
}

func readAhead(conn net.Conn) *ahead {
	// No handshake has as many writes as chunks holds.
	a := &ahead{Conn: conn, chunks: make(chan []byte, 1000), ended: make(chan struct{})}
	go func() {
		defer close(a.ended)
		defer close(a.chunks)
		for a.err == nil {
			buf := make([]byte, 32<<10)
			var n int
			if n, a.err = conn.Read(buf); n > 0 {
				a.chunks <- buf[:n]
			}
		}
	}()
	return a
}

// stop makes the connection an ordinary one again. What was read stays.
func (a *ahead) stop() {
	_ = a.SetReadDeadline(time.Unix(1, 0))
	<-a.ended
	_ = a.SetReadDeadline(time.Time{})
}

func (a *ahead) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		chunk, ok := <-a.chunks
		if !ok {
			if errors.Is(a.err, os.ErrDeadlineExceeded) {
				return a.Conn.Read(p)
			}
			return 0, a.err
		}
		a.rest = chunk
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}
