package headers_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/headers"
)

// source is a body of the caller's own.
type source struct {
	read           func(string) io.Reader
	content        string
	size           int64
	mu             sync.Mutex
	opened, closed int
}

func (s *source) Open(context.Context) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	return &counted{s.read(s.content), s}, nil
}

func (s *source) Size() int64 { return s.size }

type counted struct {
	io.Reader
	s *source
}

func (c *counted) Close() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.closed++
	return nil
}

func TestContentThatNeedsNoChangeIsPassedOnAsItIs(t *testing.T) {
	original := core.String("Date: x\r\nMessage-ID: <x@y>\r\n\r\nHello.\r\n")
	if b, err := edit(t, mustNew(t, headers.Config{}), original); err != nil || b != original {
		t.Errorf("got another body, %v", err)
	}
}

func TestABodyThatOpensAgainStillDoes(t *testing.T) {
	for _, size := range []int64{-1, 18} {
		s := &source{read: func(s string) io.Reader { return strings.NewReader(s) }, content: "A: b\r\n\r\nGoodbye.\r\n", size: size}
		b, err := edit(t, mustNew(t, headers.Config{}), s)
		if err != nil || core.OneShot(b) {
			t.Fatal(err)
		}
		first, second := read(t, b), read(t, b)
		if want := "A: b\r\n" + dateLine; !strings.HasPrefix(first, want) || first != second {
			t.Errorf("read %q, then %q", first, second)
		}
		if n := b.Size(); size < 0 && n != -1 || size >= 0 && n != int64(len(first)) {
			t.Errorf("Size is %d, the original's %d, and %d octets were read", n, size, len(first))
		}
		if s.opened != 3 || s.closed != 3 {
			t.Errorf("opened %d times, closed %d times", s.opened, s.closed)
		}
	}
}

func TestHoweverABodyIsRead(t *testing.T) {
	long := "E: " + strings.Repeat("f", 300) + "\r\n"
	content := long + "A: b\nBcc: c@d.example\n\te\r\nC: d\r\n\r\nHello.\r\n\r\nWorld.\r\n"
	want := long + "A: b\nC: d\r\n" + dateLine + "\r\nHello.\r\n\r\nWorld.\r\n"
	for name, f := range map[string]func(io.Reader) io.Reader{
		"an octet at a time":  iotest.OneByteReader,
		"by halves":           iotest.HalfReader,
		"with EOF at once":    iotest.DataErrReader,
		"with empty reads":    func(r io.Reader) io.Reader { return &stuttering{r: r} },
		"as much as is asked": func(r io.Reader) io.Reader { return r },
	} {
		s := &source{read: func(s string) io.Reader { return f(strings.NewReader(s)) }, content: content, size: int64(len(content))}
		b, err := edit(t, mustNew(t, headers.Config{LeaveMessageID: true}), s)
		if err != nil {
			t.Fatal(name, err)
		}
		src, err := b.Open(t.Context())
		if err != nil {
			t.Fatal(name, err)
		}
		// One octet at a time on this side too.
		got, err := io.ReadAll(iotest.OneByteReader(src))
		if err != nil || string(got) != want {
			t.Errorf("%s: read %q, %v", name, got, err)
		}
		if err := src.Close(); err != nil {
			t.Error(name, err)
		}
	}
}

// stuttering returns nothing every other time.
type stuttering struct {
	r     io.Reader
	empty bool
}

func (s *stuttering) Read(p []byte) (int, error) {
	if s.empty = !s.empty; s.empty {
		return 0, nil
	}
	return s.r.Read(p[:min(len(p), 1)])
}

func TestBodiesThatCannotBeRead(t *testing.T) {
	broken := errors.New("the disk is broken")
	for _, tt := range []struct {
		rule string
		body core.Body
		is   error
	}{
		{"one that breaks off", &source{read: func(string) io.Reader { return iotest.ErrReader(broken) }, size: 9}, broken},
		{"one that breaks off with its last octets, and then says that this was all",
			&source{read: func(string) io.Reader { return &breaking{"A: b\r\n\r\nHel", broken} }, size: -1}, broken},
		{"one that yields nothing for ever", &source{read: func(string) io.Reader { return nothing{} }, size: 9}, io.ErrNoProgress},
		{"a file that does not exist", core.File("/does/not/exist"), os.ErrNotExist},
		{"one that is spent", spent(t), core.ErrOneShot},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got, err := deliver(t, headers.Config{}, tt.body)
			if got != "" || !errors.Is(err, tt.is) || core.ClassOf(err) != core.Local {
				t.Errorf("delivered %q, %v, want a local error that is %v", got, err, tt.is)
			}
			if s, ok := tt.body.(*source); ok && (s.opened == 0 || s.opened != s.closed) {
				t.Errorf("opened %d times, closed %d times", s.opened, s.closed)
			}
		})
	}
}

// breaking yields all that it has, with an error, and then io.EOF.
type breaking struct {
	content string
	err     error
}

func (b *breaking) Read(p []byte) (int, error) {
	n, err := copy(p, b.content), b.err
	b.content, b.err = b.content[n:], io.EOF
	return n, err
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }

func spent(t *testing.T) core.Body {
	b := core.Reader(strings.NewReader("A: b\r\n\r\n"))
	read(t, b)
	return b
}

func TestABodyThatBlocksIsLeftWhenTheContextEnds(t *testing.T) {
	for name, body := range map[string]func(io.Reader) core.Body{
		"one that opens again": func(r io.Reader) core.Body {
			return &piped{r.(io.ReadCloser)}
		},
		"one that can be read once": core.Reader,
	} {
		r, w := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		written := make(chan struct{})
		go func() {
			defer close(written)
			_, _ = w.Write([]byte("A: b\r\n")) // returns when it is read
			cancel()
		}()
		server := smtptest.NewServer(t, smtptest.ServerOptions{})
		_, err := newClient(t, server.Config(), mustNew(t, headers.Config{})).Send(ctx, message(body(r)))
		if !errors.Is(err, context.Canceled) || core.ClassOf(err) != core.Temporary {
			t.Errorf("%s: got %v", name, err)
		}
		<-written
		if _, err := w.Write([]byte("x")); err != io.ErrClosedPipe {
			t.Errorf("%s: the body was not closed: %v", name, err)
		}
	}
}

// piped is a body that is a pipe.
type piped struct{ r io.ReadCloser }

func (p *piped) Open(context.Context) (io.ReadCloser, error) { return p.r, nil }
func (p *piped) Size() int64                                 { return -1 }

func TestABodyThatCanBeReadOnceIsUsableOnce(t *testing.T) {
	for _, s := range sessions {
		t.Run(s.name, func(t *testing.T) {
			refusals := 1
			server := smtptest.NewServer(t, smtptest.ServerOptions{Mail: func(smtptest.Envelope) *core.Reply {
				if refusals--; refusals >= 0 {
					return smtptest.Reply("451 4.7.1 not yet")
				}
				return nil
			}})
			config := server.Config()
			s.change(&config)
			client := newClient(t, config, again(), mustNew(t, headers.Config{}))
			body := core.Reader(strings.NewReader("A: b\r\nBcc: c@d.example\r\n\r\nHello.\r\n"))
			// An envelope that is refused does not spend it.
			if _, err := client.Send(t.Context(), message(body)); err != nil {
				t.Fatal(err)
			}
			if got := hideIDs(string(server.Messages()[0].Content)); got != "A: b\r\n"+both+"\r\nHello.\r\n" {
				t.Errorf("delivered %q", got)
			}
			if _, err := client.Send(t.Context(), message(body)); !errors.Is(err, core.ErrOneShot) {
				t.Errorf("the second time: %v", err)
			}
		})
	}
}

func TestABodyThatCanBeReadOnceIsLookedAtWhenItIsSent(t *testing.T) {
	body := core.Reader(strings.NewReader("Hello, world.\r\n\r\n"))
	got, err := deliver(t, headers.Config{}, body)
	if got != "" {
		t.Errorf("delivered %q", got)
	}
	wantLocal(t, err, "line 1 of the header is no field")
}

// again is the simplest retry: one more try if the first was not all.
func again() core.Interceptor {
	return core.Interceptor{Name: "again", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			if next(ctx, d) == nil {
				return nil
			}
			return next(ctx, d)
		}
	}}
}

func TestTheFormOfContentIsStillKnown(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for _, tt := range []struct {
		rule, content string
		known         bool
	}{
		{"canonical", "A: b\r\n\r\nHello.\r\n", true},
		{"8-bit text", "A: b\r\n\r\nGr\xc3\xbc\xc3\x9fe.\r\n", true},
		{"an 8-bit header", "A: \xc3\xbc\r\n\r\nHello.\r\n", true},
		{"an 8-bit Bcc, so that nobody knows about the text", "Bcc: \xc3\xbc\r\n\r\nHello.\r\n", false},
		{"an 8-bit Bcc and another field", "Bcc: \xc3\xbc\r\nA: \xc3\xbc\r\n\r\nHello.\r\n", true},
		{"a long line in the text", "A: b\r\nBcc: " + long[:9] + "\r\n\r\n" + long + "\r\n", true},
		{"a long field", "A: " + long + "\r\n\r\nHello.\r\n", true},
		{"a long Bcc, so that nobody knows about the text", "Bcc: " + long + "\r\n\r\nHello.\r\n", false},
		{"bare LF in the text", "A: b\r\n\r\nHello.\n", true},
		{"bare CR in the text", "A: b\r\n\r\nHel\rlo.\r\n", true},
		{"bare LF in the header", "A: b\nBcc: c\n d\nC: d\r\n\nHello.\r\n", true},
		{"a text that is not ended", "A: b\r\n\r\nHello.", true},
		{"a header that is not ended", "A: b", true},
		{"a Bcc that is not ended", "Bcc: b", true},
		{"nothing", "", true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			b, err := edit(t, mustNew(t, headers.Config{}), core.String(tt.content))
			if err != nil {
				t.Fatal(err)
			}
			checkForm(t, b, tt.known)
		})
	}
	t.Run("a file's is not known", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "message")
		if err := os.WriteFile(name, []byte("A: b\r\n\r\nHello.\r\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := edit(t, mustNew(t, headers.Config{}), core.File(name))
		if err != nil {
			t.Fatal(err)
		}
		checkForm(t, b, false)
	})
}

// checkForm compares what a body says of itself with what it yields.
func checkForm(t *testing.T, b core.Body, known bool) {
	t.Helper()
	content := read(t, b)
	if b.Size() != int64(len(content)) {
		t.Errorf("Size is %d, and there are %d octets", b.Size(), len(content))
	}
	want, _ := core.String(content).(core.Former).Form()
	f, ok := b.(core.Former)
	if !ok {
		t.Fatal("it is no core.Former")
	}
	form, ok := f.Form()
	if ok != known {
		t.Fatalf("the form is known: %t, want %t", ok, known)
	}
	if !form.Canonical {
		want.Canonical = false // it is allowed not to know
	}
	if ok && form != want {
		t.Errorf("of %.100q the form is %+v, want %+v", content, form, want)
	}
}

func TestTheTextIsNeverHeldInMemory(t *testing.T) {
	const size = 64 << 20
	body := &source{size: size, read: func(string) io.Reader {
		return io.MultiReader(strings.NewReader("A: b\r\n\r\n"), io.LimitReader(endless{}, size-8))
	}}
	i := mustNew(t, headers.Config{})
	buffer := make([]byte, 32<<10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b, err := edit(t, i, body)
	if err != nil {
		t.Fatal(err)
	}
	src, err := b.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, src, buffer)
	runtime.ReadMemStats(&after)
	if err != nil || n != b.Size() {
		t.Fatalf("read %d octets, %v", n, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d octets of memory were allocated", used)
	}
}

// endless is text without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// FuzzContent holds an edited body to what it says of itself.
func FuzzContent(f *testing.F) {
	for _, s := range []string{"", "\n", "A: b\r\n\r\nx", "Bcc: a\r\n b\nDate: x\r\n\r\n", "A: b\nbcc:\xff\n\n\xff", "A: b\r", "X-Set: a\n", "A", " A: b"} {
		f.Add(s)
	}
	i := mustNew(f, headers.Config{Set: []headers.Field{{Name: "X-Set", Value: "y"}}, Remove: []string{"X-Remove"}})
	f.Fuzz(func(t *testing.T, content string) {
		b, err := edit(t, i, core.String(content))
		if err != nil {
			return
		}
		if former, ok := b.(core.Former); ok {
			_, known := former.Form()
			checkForm(t, b, known)
		}
		out := read(t, b)
		once, err := edit(t, i, core.Reader(strings.NewReader(content)))
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, once); hideIDs(got) != hideIDs(out) {
			t.Errorf("a body that can be read once yields %q, another one %q", got, out)
		}
		have := make(map[string]int) // fields of what servers read
		for line := range strings.SplitSeq(read(t, core.Canonical(b)), "\r\n") {
			if line == "" {
				break
			}
			if name, _, ok := strings.Cut(line, ":"); ok && line[0] != ' ' && line[0] != '\t' {
				have[strings.ToLower(strings.TrimRight(name, " \t"))]++
			}
		}
		if have["bcc"] > 0 || have["resent-bcc"] > 0 || have["x-remove"] > 0 || have["x-set"] != 1 || have["date"] == 0 || have["message-id"] == 0 {
			t.Errorf("of %q came %q", content, out)
		}
	})
}
