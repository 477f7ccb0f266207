package transport_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/transport"
)

// answers is an http proxy that answers every request in the same way.
func answers(t *testing.T, answer string) string {
	return serve(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for line := "CONNECT"; line != "\r\n"; {
			var err error
			if line, err = in.ReadString('\n'); err != nil {
				return
			}
		}
		_, _ = io.WriteString(conn, answer)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		_, _ = io.Copy(io.Discard, conn)
	})
}

func TestConnect(t *testing.T) {
	for _, tt := range []struct{ rule, answer, stream string }{
		{"a 200 without anything", "HTTP/1.1 200 OK\r\n\r\n", ""},
		{"what comes in the same segment belongs to the stream", "HTTP/1.1 200 OK\r\n\r\n220 hi\r\n", "220 hi\r\n"},
		{"and an empty line does too", "HTTP/1.1 200 OK\r\n\r\n\r\n", "\r\n"},
		{"any 2xx will do (RFC 9110 §9.3.6)", "HTTP/1.1 204 x\r\n\r\n220 hi", "220 hi"},
		{"a success has no content, whatever it says (RFC 9110 §9.3.6)", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n220 hi", "220 hi"},
		{"no reason", "HTTP/1.1 200\r\n\r\n220 hi", "220 hi"},
		{"HTTP/1.0", "HTTP/1.0 200 Connection established\r\n\r\n220 hi", "220 hi"},
		{"lines that end with LF (RFC 9112 §2.2)", "HTTP/1.1 200 OK\nX: y\n\n220 hi", "220 hi"},
		{"interim responses go by (RFC 9110 §15.2)", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 x\r\nY: z\r\n\r\nHTTP/1.1 200 OK\r\n\r\n220 hi", "220 hi"},
		{"a header that is just short enough", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 16<<10-24) + "\r\n\r\n220 hi", "220 hi"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			conn, err := dial(t.Context(), transport.TCP{Proxy: transport.Proxy{URL: "http://" + answers(t, tt.answer)}}, "smtp://mail.example.com")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got, err := io.ReadAll(conn); string(got) != tt.stream || err != nil {
				t.Errorf("the stream has %q, %v, want %q", got, err, tt.stream)
			}
			if _, ok := conn.(*net.TCPConn); !ok {
				t.Errorf("the connection is a %T", conn)
			}
		})
	}
}

// A proxy's answers say nothing of the recipients: each is temporary.
func TestConnect_refusals(t *testing.T) {
	const with, without = "check user and password", "put user:password@"
	for _, tt := range []struct {
		rule, answer string
		says         string
		hint         string
	}{
		{"407", "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "answers 407 Proxy Authentication Required", with},
		{"403", "HTTP/1.1 403 Filtered\r\nContent-Length: 4\r\n\r\nnope", "answers 403 Filtered", "port 443"},
		{"400", "HTTP/1.1 400 Bad Request\r\n\r\n", "answers 400", "no proxy"},
		{"502", "HTTP/1.1 502 Bad Gateway\r\n\r\n", "answers 502", ""},
		{"a redirect is not followed", "HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", "answers 302 Found", ""},
		{"what the proxy repeats of the credentials is left out", "HTTP/1.1 403 not with bWFpbGVyOnMzY3JldDovQHg=\r\n\r\n", "answers 403", "port 443"},
		{"and of the password", "HTTP/1.1 403 not with s3cret:/@x\r\n\r\n", "answers 403", "port 443"},
		{"an SMTP server", "220 mail.example.com ESMTP\r\n", "is not HTTP", "no http proxy"},
		{"a SOCKS proxy", "\x05\xff\n", "is not HTTP", "no http proxy"},
		{"HTTP/2", "HTTP/2 200\r\n\r\n", "is not HTTP", "no http proxy"},
		{"a status that is none", "HTTP/1.1 OK\r\n\r\n", "is not HTTP", ""},
		{"a status with a sign", "HTTP/1.1 +20 OK\r\n\r\n", "is not HTTP", ""},
		{"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", "is not HTTP", ""},
		{"nothing", "", "closed the connection", "lets this machine in"},
		{"half a header", "HTTP/1.1 200 OK\r\nX: y", "closed the connection", ""},
		{"a header that is too long", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 16<<10-23) + "\r\n\r\n", "more than 16384", ""},
		{"a line without an end", strings.Repeat("x", 17<<10), "more than 16384", ""},
		{"interim responses without an end", strings.Repeat("HTTP/1.1 100 x\r\n\r\n", 1000), "more than 16384", ""},
		{"controls in the reason", "HTTP/1.1 403 \x1b[31mred\r\n\r\n", `answers 403 \x1b[31mred`, ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			proxy := transport.Proxy{URL: withCredentials("http", answers(t, tt.answer))}
			receipt, err := send(t, client(t, "smtp://mail.example.com", transport.TCP{Proxy: proxy}))
			if err == nil {
				t.Fatal("no error")
			}
			if text := err.Error(); !strings.Contains(text, tt.says) || !strings.Contains(text, tt.hint) || !strings.Contains(text, "mail.example.com:25") {
				t.Errorf("error %q, want %q and %q", text, tt.says, tt.hint)
			}
			if core.ClassOf(err) != core.Temporary || receipt.Count(core.Deferred) != 1 {
				t.Errorf("error of class %v", core.ClassOf(err))
			}
			keepsSecret(t, err.Error())
		})
	}
	t.Run("407 without credentials", func(t *testing.T) {
		_, err := send(t, client(t, "smtp://mail.example.com", transport.TCP{Proxy: transport.Proxy{URL: "http://" + answers(t, "HTTP/1.1 407 x\r\n\r\n")}}))
		if err == nil || !strings.Contains(err.Error(), without) {
			t.Errorf("error %v", err)
		}
	})
}

// A header that never ends is ended by its bound, and one that drips by the
// context, which bounds the whole.
func TestConnect_endlessHeader(t *testing.T) {
	address := serve(t, func(conn net.Conn) {
		for line := "HTTP/1.1 200 OK\r\n"; ; line = "X: y\r\n" {
			if _, err := io.WriteString(conn, line); err != nil {
				return
			}
		}
	})
	_, err := dial(t.Context(), transport.TCP{Proxy: transport.Proxy{URL: "http://" + address}}, "smtp://mail.example.com")
	if err == nil || !strings.Contains(err.Error(), "more than 16384") {
		t.Errorf("error %v", err)
	}
}

func TestConnect_certificateOfTheProxy(t *testing.T) {
	stranger, _ := smtptest.NewCertificate(t, "127.0.0.1")
	other, trust := smtptest.NewCertificate(t, "other.example")
	for name, tt := range map[string]struct {
		certificate, trust *tls.Config
		says               string
	}{
		"an unknown authority": {stranger, nil, "unknown authority"},
		"another name":         {other, trust, "127.0.0.1"},
	} {
		proxy := transport.Proxy{TLS: tt.trust, URL: withCredentials("https", serveTLS(t, tt.certificate))}
		_, err := dial(t.Context(), transport.TCP{Proxy: proxy}, "smtp://mail.example.com")
		if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "TLS handshake with the proxy") {
			t.Errorf("%s: error %v", name, err)
		}
		keepsSecret(t, fmt.Sprint(err))
	}
}

// What a program that calls Dial itself puts into the address does not get into
// the request.
func TestConnect_address(t *testing.T) {
	tr := transport.SMTP(transport.TCP{Proxy: transport.Proxy{URL: "http://" + answers(t, "HTTP/1.1 200 OK\r\n\r\n")}})
	_, err := tr.Dial(t.Context(), core.Endpoint{Network: "tcp", Address: "x HTTP/1.1\r\nX: y\r\n:25"})
	if err == nil || !strings.Contains(err.Error(), "does not fit") {
		t.Errorf("error %v", err)
	}
}
