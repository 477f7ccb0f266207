package core_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/transport"
)

// J14: memory does not grow with the message.
func TestSend_aLargeFileIsStreamed_J14(t *testing.T) {
	const size, most = 100 << 20, 8 << 20
	name := filepath.Join(t.TempDir(), "large")
	writeLines(t, name, size)
	for _, chunking := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunking %t", chunking), func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			got := make(chan int64, 1)
			var running sync.WaitGroup
			defer running.Wait()
			running.Go(func() { got <- countContent(l, chunking) })
			c, err := core.NewClient(smtptest.AtDepth(core.Config{Endpoint: "smtp://" + l.Addr().String(), Transports: transport.Standard()}))
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err = c.Send(t.Context(), &core.Message{To: core.Recipients("b@example.com"), Body: core.File(name)})
			runtime.ReadMemStats(&after)
			_ = c.Close()
			if n := <-got; err != nil || n != size {
				t.Fatalf("%d octets arrived, want %d: %v", n, size, err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > most {
				t.Errorf("%d octets were allocated for a message of %d, want %d at most", n, size, most)
			}
		})
	}
}

// writeLines writes a file of that many octets, in lines of 64.
func writeLines(t *testing.T, name string, size int) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	block := []byte(strings.Repeat(strings.Repeat("x", 62)+"\r\n", 1<<14))
	for range size / len(block) {
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// countContent serves one connection and returns how much content came.
func countContent(l net.Listener, chunking bool) (n int64) {
	conn, err := l.Accept()
	if err != nil {
		return -1
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for reply := "220 hi\r\n"; ; {
		if _, err := io.WriteString(conn, reply); err != nil {
			return n
		}
		line, err := in.ReadSlice('\n')
		if err != nil {
			return n
		}
		reply = "250 ok\r\n"
		switch string(line[:4]) {
		case "EHLO":
			reply = "250-mx\r\n250 8BITMIME\r\n"
			if chunking {
				reply = "250-mx\r\n250-8BITMIME\r\n250 CHUNKING\r\n"
			}
		case "BDAT":
			var k int64
			if _, err := fmt.Sscanf(string(line), "BDAT %d", &k); err != nil {
				return -1
			}
			k, _ = io.CopyN(io.Discard, in, k)
			n += k
		case "DATA":
			_, _ = io.WriteString(conn, "354 go on\r\n")
			for {
				line, err := in.ReadSlice('\n')
				if err != nil {
					return n
				}
				if string(line) == ".\r\n" {
					break
				}
				n += int64(len(line))
			}
		}
	}
}
