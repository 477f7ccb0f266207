package core_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/internal/realserver"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/transport"
)

// awkward is content that has what clients get wrong: lines that begin with
// dots, 8-bit text, a line of 900 octets, and an attachment of 5 MiB.
func awkward(subject string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: a@example.test\r\nSubject: %s\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", subject)
	b.WriteString(".\r\n..\r\n.dot\r\nmid.dot\r\n\r\n.\r\nn\xc3\xa4ive caf\xc3\xa9 \xff\r\n" + strings.Repeat("x", 900) + "\r\n")
	random := rand.New(rand.NewPCG(1, 2))
	for line := make([]byte, 76); b.Len() < 5<<20; {
		for i := range line {
			line[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[random.IntN(64)]
		}
		b.Write(line)
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

// toPostfix returns a client of a real Postfix.
func toPostfix(t *testing.T, p *realserver.Postfix, endpoint string, change ...func(*core.Config)) *core.Client {
	t.Helper()
	config := core.Config{
		Endpoint:   endpoint,
		Transports: transport.Standard(),
		TLS:        &tls.Config{RootCAs: p.RootCAs},
		Auth:       mechanisms.Password(p.User, p.Password),
		LocalName:  "client.example.test",
	}
	for _, f := range change {
		f(&config)
	}
	c, err := core.NewClient(smtptest.AtDepth(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestPostfix_arrivesByteForByte(t *testing.T) {
	p := realserver.StartPostfix(t)
	dir := t.TempDir()
	for name, endpoint := range map[string]string{
		"plain": "smtp://" + p.PlainAddr, "starttls": "smtp://" + p.Addr, "implicit": "smtps://" + p.TLSAddr,
		"plain-data": "smtp://" + p.PlainAddr, "starttls-data": "smtp://" + p.Addr, // else BDAT is used
	} {
		plain := strings.HasPrefix(name, "plain")
		t.Run(name, func(t *testing.T) {
			content := awkward(name)
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			c := toPostfix(t, p, endpoint, func(c *core.Config) {
				if !plain {
					c.TLSPolicy = core.TLSRequired
				}
				if strings.HasSuffix(name, "-data") {
					c.MaskExtensions = []string{"CHUNKING"}
				}
			})
			for kind, body := range map[string]core.Body{
				"bytes":    core.Bytes(content),
				"file":     core.File(file),
				"rendered": core.Render(bytes.NewReader(content), 0),
				"one-shot": core.Reader(iotest.HalfReader(bytes.NewReader(content))),
				"segments": core.Segments(core.Bytes(content[:101]), core.File(writeFile(t, content[101:]))),
			} {
				t.Run(kind, func(t *testing.T) {
					to := name + "-" + kind + "@" + p.Domain
					receipt, err := c.Send(t.Context(), &core.Message{From: "a@example.test", To: core.Recipients(to), Body: body})
					if err != nil {
						t.Fatal(err)
					}
					if receipt.QueueID() == "" || receipt.Peer.Mechanism != "SCRAM-SHA-256" || (receipt.Peer.TLS == nil) != plain || receipt.Peer.TLSError != nil {
						t.Errorf("receipt %+v, peer %+v", receipt, receipt.Peer)
					}
					got, err := realserver.Content(p.WaitMessages(t, to, 1)[0])
					if err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(got, content) {
						t.Errorf("%d octets arrived that are not the %d that were sent", len(got), len(content))
					}
				})
			}
		})
	}
}

func writeFile(t *testing.T, content []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPostfix_outcomes(t *testing.T) {
	p := realserver.StartPostfix(t)
	c := toPostfix(t, p, "smtp://"+p.Addr, func(c *core.Config) { c.MaxSessions = 1 })
	send := func(from string, to ...string) (*core.Receipt, error) {
		return c.Send(t.Context(), &core.Message{From: from, To: core.Recipients(to...), Body: core.String("Subject: x\r\n\r\nhi\r\n")})
	}
	good := "outcomes@" + p.Domain
	receipt, err := send("a@example.test", good, realserver.RefusedRecipient, realserver.DeferredRecipient)
	if got := outcomes(receipt); got != "accepted 250 2.0.0; refused 550 5.1.1; deferred 450 4.2.0" {
		t.Error(got, err)
	}
	receipt, err = send(realserver.RefusedSender, good)
	if got := outcomes(receipt); got != "refused 550 5.7.1" || !errors.Is(err, core.ErrSenderRefused) {
		t.Error(got, err)
	}
	// R3: the same session goes on.
	session := receipt.Peer
	if receipt, err = send("", good); err != nil || receipt.Peer != session {
		t.Errorf("not on the session of the refused one: %v", err)
	}
	p.WaitMessages(t, good, 2)
}

func TestPostfix_wrongPassword(t *testing.T) {
	p := realserver.StartPostfix(t)
	c := toPostfix(t, p, "smtp://"+p.Addr, func(c *core.Config) { c.Auth = mechanisms.Password(p.User, "wröng-password") })
	receipt, err := c.Send(t.Context(), &core.Message{From: "a@example.test", To: core.Recipients("x@" + p.Domain), Body: core.String("hi\r\n")})
	if got := outcomes(receipt); got != "refused 535 5.7.8" {
		t.Error(got)
	}
	hasError(t, err, core.StageAuth, core.Permanent, core.ErrAuthentication)
	if strings.Contains(fmt.Sprintf("%v %+v", err, receipt), "wröng-password") {
		t.Error("the password was printed")
	}
}

func TestPostfix_certificateDoesNotVerify_D6(t *testing.T) {
	p := realserver.StartPostfix(t)
	for _, endpoint := range []string{"smtp://" + p.Addr, "smtps://" + p.TLSAddr} {
		c := toPostfix(t, p, endpoint, func(c *core.Config) { c.TLS, c.TLSPolicy = nil, core.TLSRequired })
		_, err := c.Send(t.Context(), &core.Message{From: "a@example.test", To: core.Recipients("x@" + p.Domain), Body: core.String("hi\r\n")})
		hasError(t, err, core.StageTLS, core.Permanent, nil)
	}
}

// Trap 1: three well-known clients deliver a truncated message here.
func TestPostfix_aBodyThatFailsIsNeverDelivered(t *testing.T) {
	p := realserver.StartPostfix(t)
	broken := errors.New("disk on fire")
	for _, size := range []int{0, 10, 1000, 100_000, 3 << 20} {
		c := toPostfix(t, p, "smtp://"+p.Addr)
		to := fmt.Sprintf("truncated-%d@%s", size, p.Domain)
		body := core.Reader(io.MultiReader(strings.NewReader("Subject: x\r\n\r\n"+strings.Repeat("0123456\r\n", size/9)), iotest.ErrReader(broken)))
		receipt, err := c.Send(t.Context(), &core.Message{From: "a@example.test", To: core.Recipients(to), Body: body})
		if !errors.Is(err, broken) || receipt.Count(core.Refused) != 1 {
			t.Errorf("%d: %s: %v", size, outcomes(receipt), err)
		}
		_ = c.Close()
		p.Settle(t)
		if got, err := p.Messages(to); err != nil || len(got) != 0 {
			t.Errorf("%d: %d messages arrived (%v)", size, len(got), err)
		}
	}
}

func TestPostfix_cancelInMidBodyDeliversNothing(t *testing.T) {
	p := realserver.StartPostfix(t)
	c := toPostfix(t, p, "smtp://"+p.Addr)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error)
	to := "cancelled@" + p.Domain
	go func() {
		_, err := c.Send(ctx, &core.Message{From: "a@example.test", To: core.Recipients(to), Body: core.Reader(r)})
		done <- err
	}()
	if _, err := io.WriteString(w, "Subject: x\r\n\r\n"+strings.Repeat("half a message\r\n", 10_000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	start := time.Now()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if took := time.Since(start); took > 10*time.Second { // a watchdog, no measurement
		t.Errorf("returned after %v", took)
	}
	_ = c.Close()
	p.Settle(t)
	if got, _ := p.Messages(to); len(got) != 0 {
		t.Errorf("%d messages arrived", len(got))
	}
}
