package transport_test

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/transport"
)

func TestUnix_endpoint(t *testing.T) {
	for _, tt := range []struct {
		rule, endpoint, says string
	}{
		{"a socket is an absolute path", "lmtp+unix:///run/dovecot/lmtp", ""},
		{"so is one that speaks SMTP", "smtp+unix:///run/smtp.sock", ""},
		{"two slashes make the folder a host", "lmtp+unix://run/dovecot/lmtp", "names a host"},
		{"no path", "lmtp+unix://", "names no socket"},
		{"the root is no socket", "smtp+unix:///", "names no socket"},
		{"an option that there is not", "smtp+unix:///a?b", "does not exist: there are servername"},
		{"a fragment", "smtp+unix:///a#b", "more than a path"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			_, err := core.NewClient(smtptest.AtDepth(core.Config{Endpoint: tt.endpoint, Transports: transport.Standard()}))
			if (err != nil) != (tt.says != "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %q", err, tt.says)
			}
		})
	}
}

func TestUnix_deliversOverTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmtp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan []string, 1)
	go func() { heard <- playLMTP(l) }()
	c, err := core.NewClient(smtptest.AtDepth(core.Config{Endpoint: "lmtp+unix://" + path, Transports: transport.Standard(), LocalName: "client.example"}))
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := c.Send(t.Context(), &core.Message{To: core.Recipients("alice@example.com"), Body: core.String("hi\r\n")})
	if err != nil || !receipt.Peer.Local {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	want := "LHLO client.example|MAIL FROM:<>|RCPT TO:<alice@example.com>|DATA|hi|.|QUIT"
	if got := strings.Join(<-heard, "|"); got != want {
		t.Errorf("the server heard %q, want %q", got, want)
	}
}

// playLMTP serves one connection and returns what the client said.
func playLMTP(l net.Listener) (lines []string) {
	conn, err := l.Accept()
	if err != nil {
		return nil
	}
	defer conn.Close()
	in := bufio.NewScanner(conn)
	content := false
	for fmt.Fprint(conn, "220 hi\r\n"); in.Scan(); {
		line := in.Text()
		lines = append(lines, line)
		content = (content || line == "DATA") && line != "."
		switch {
		case line == "DATA":
			fmt.Fprint(conn, "354 go on\r\n")
		case !content:
			fmt.Fprint(conn, "250 ok\r\n")
		}
	}
	return lines
}
