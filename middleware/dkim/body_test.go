package dkim_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/transport"
)

// changing is a body that yields something else each time.
type changing struct {
	contents []string
	size     int64
	opened   int
	closed   int
}

func (c *changing) Open(context.Context) (io.ReadCloser, error) {
	c.opened++
	return &counted{strings.NewReader(c.contents[min(c.opened, len(c.contents))-1]), c}, nil
}

func (c *changing) Size() int64 { return c.size }

type counted struct {
	io.Reader
	c *changing
}

func (c *counted) Close() error { c.c.closed++; return nil }

func TestBodiesThatCannotBeSigned(t *testing.T) {
	good := header + "\r\nHello.\r\n"
	for _, tt := range []struct {
		rule string
		body core.Body
		is   error
		says string
	}{
		{"one that can be read only once", core.Reader(strings.NewReader(good)), core.ErrOneShot, "core.File"},
		{"one that yields fewer octets than it declared", &changing{contents: []string{good}, size: 1000}, nil, "Size declared 1000"},
		{"one that yields more", &changing{contents: []string{good}, size: 10}, nil, "Size declared 10"},
		{"one that yields something else when it is sent", &changing{contents: []string{good, header + "\r\nHullo.\r\n"}, size: -1}, nil, "than when it was signed"},
		{"one that is shorter when it is sent", &changing{contents: []string{good, header + "\r\n"}, size: -1}, nil, "than when it was signed"},
		{"one that is longer when it is sent", &changing{contents: []string{good, good + "Bye.\r\n"}, size: -1}, nil, "more than"},
		{"a file that does not exist", core.File("/does/not/exist"), os.ErrNotExist, "opening the body"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := &server{}
			client := newClient(t, s.listen(t), mustNew(t, dkim.Config{Signatures: []dkim.Signature{rsaSignature()}}))
			receipt, err := client.Send(t.Context(), message(tt.body))
			if o := receipt.Recipients[0].Outcome; o != core.Refused {
				t.Errorf("the recipient is %v, want refused", o)
			}
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Class != core.Local || !strings.Contains(e.Error(), tt.says) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("got %v, want a local error that says %q", err, tt.says)
			}
			if len(s.received) != 0 {
				t.Errorf("something was delivered: %q", s.received[0])
			}
			if c, ok := tt.body.(*changing); ok && c.opened != c.closed {
				t.Errorf("opened %d times, closed %d times", c.opened, c.closed)
			}
		})
	}
}

func TestABodyThatCanBeReadOnlyOnceBeginsNoTransaction(t *testing.T) {
	s := &server{}
	client := newClient(t, s.listen(t), mustNew(t, dkim.Config{Signatures: []dkim.Signature{rsaSignature()}}))
	for range 2 {
		_, err := client.Send(t.Context(), message(core.Reader(strings.NewReader(header+"\r\nHello.\r\n"))))
		if !errors.Is(err, core.ErrOneShot) {
			t.Error(err)
		}
	}
	if sessions, mails := s.counts(); sessions != 1 || mails != 0 {
		t.Errorf("there were %d sessions and %d transactions, want 1 and 0", sessions, mails)
	}
}

// opener is a body that is read through a reader of the test's own.
type opener func() io.Reader

func (o opener) Open(context.Context) (io.ReadCloser, error) { return io.NopCloser(o()), nil }
func (o opener) Size() int64                                 { return -1 }

// hesitant yields nothing now and then.
type hesitant struct {
	io.Reader
	n int
}

func (h *hesitant) Read(p []byte) (int, error) {
	if h.n++; h.n%2 == 0 {
		return 0, nil
	}
	return h.Reader.Read(p)
}

func TestContentMayComeInAnyPortions(t *testing.T) {
	for _, content := range []string{header + "\r\nHello.\r\n.\r\n", header, strings.TrimSuffix(header, "\r\n")} {
		for name, body := range map[string]core.Body{
			"one octet at a time":        opener(func() io.Reader { return iotest.OneByteReader(strings.NewReader(content)) }),
			"the end with the last part": opener(func() io.Reader { return iotest.DataErrReader(strings.NewReader(content)) }),
			"nothing at times":           opener(func() io.Reader { return &hesitant{Reader: iotest.HalfReader(strings.NewReader(content))} }),
			"segments":                   core.Segments(core.String(content[:20]), core.String(content[20:])),
		} {
			got := send(t, dkim.Config{Signatures: []dkim.Signature{rsaSignature()}}, body)
			if v := verify(t, got); v[0].Err != nil {
				t.Errorf("%s: %v", name, v[0].Err)
			}
		}
	}
}

func TestABodyThatNeverYieldsAnythingIsAnError(t *testing.T) {
	i := mustNew(t, dkim.Config{Signatures: []dkim.Signature{rsaSignature()}})
	for _, start := range []string{"", header + "\r\n"} {
		never := opener(func() io.Reader { return io.MultiReader(strings.NewReader(start), failing{nil}) })
		if _, err := signAlone(t, t.Context(), i, never); !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("got %v", err)
		}
	}
}

func TestTheClientStillDecidesAboutBareLineEnds(t *testing.T) {
	s := &server{}
	client, err := core.NewClient(smtptest.AtDepth(core.Config{Endpoint: s.listen(t), Transports: transport.Standard(), LineEnds: core.RefuseLineEnds,
		Interceptors: []core.Interceptor{mustNew(t, dkim.Config{Signatures: []dkim.Signature{rsaSignature()}})}}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := client.Send(t.Context(), message(core.String(header+"\r\nHello.\nBye.\r\n"))); err == nil {
		t.Error("a bare LF was sent")
	}
	if _, err := client.Send(t.Context(), message(core.String(header+"\r\nHello.\r\nBye.\r\n"))); err != nil {
		t.Error(err)
	}
}

func TestTheSignedBodyKnowsItsForm(t *testing.T) {
	i := mustNew(t, dkim.Config{Signatures: []dkim.Signature{rsaSignature(), edSignature()}})
	for _, content := range []string{
		header + "\r\nHello.\r\n",
		header + "\r\nHello.\nBye.",
		header + "\r\nGrüße.\r\n",
		header,
		strings.TrimSuffix(header, "\r\n"),
	} {
		path := filepath.Join(t.TempDir(), "message")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		signed, err := signAlone(t, t.Context(), i, core.File(path))
		if err != nil {
			t.Fatal(err)
		}
		r, err := signed.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		octets, err := io.ReadAll(r)
		_ = r.Close()
		if err != nil || int64(len(octets)) != signed.Size() {
			t.Errorf("read %d octets and %v, Size says %d", len(octets), err, signed.Size())
		}
		form, known := signed.(core.Former).Form()
		want, _ := core.Bytes(octets).(core.Former).Form()
		if strings.HasSuffix(content, "0000") {
			want.Canonical = false // it is not known to be
		}
		if !known || form != want {
			t.Errorf("%q: the form is %+v, want %+v", content, form, want)
		}
	}
}

// blocked is a body that hangs until it is closed.
type blocked struct{ closed chan struct{} }

func (b blocked) Open(context.Context) (io.ReadCloser, error) { return b, nil }
func (b blocked) Size() int64                                 { return -1 }
func (b blocked) Read([]byte) (int, error)                    { <-b.closed; return 0, os.ErrClosed }
func (b blocked) Close() error                                { close(b.closed); return nil }

func TestAContextThatEndsWakesABodyThatBlocks(t *testing.T) {
	i := mustNew(t, dkim.Config{Signatures: []dkim.Signature{rsaSignature()}})
	reason := errors.New("the service is stopping")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	_, err := signAlone(t, ctx, i, blocked{make(chan struct{})})
	if e, ok := errors.AsType[*core.Error](err); !ok || e.Class != core.Temporary || !errors.Is(err, context.Canceled) || !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
}
