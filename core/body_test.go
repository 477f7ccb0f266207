package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
)

// content opens a body and reads it to its end.
func content(t *testing.T, b Body) (string, error) {
	t.Helper()
	r, err := b.Open(t.Context())
	if err != nil {
		return "", err
	}
	p, err := io.ReadAll(r)
	if err := r.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	return string(p), err
}

// file returns a body that is a file with this content.
func file(t *testing.T, content string) Body {
	t.Helper()
	name := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return File(name)
}

// writer is an io.WriterTo, as messages of MIME libraries are.
type writer func(io.Writer) error

func (w writer) WriteTo(to io.Writer) (int64, error) { return 0, w(to) }

func says(s string) io.WriterTo {
	return writer(func(w io.Writer) error { _, err := w.Write([]byte(s)); return err })
}

// fails is a body whose reader fails in the middle.
type fails struct {
	after string
	err   error
}

func (b fails) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader(b.after), iotest.ErrReader(b.err))), nil
}
func (b fails) Size() int64 { return -1 }

var errSource = errors.New("the source failed")

func TestBody_opensMoreThanOnce(t *testing.T) {
	const text = "a\r\nb\n"
	for name, tt := range map[string]struct {
		body Body
		want string
		size int64
	}{
		"Bytes":            {Bytes([]byte(text)), text, 5},
		"String":           {String(text), text, 5},
		"empty String":     {String(""), "", 0},
		"File":             {file(t, text), text, 5},
		"empty File":       {file(t, ""), "", 0},
		"Render":           {Render(says(text), 0), text, 5},
		"Segments":         {Segments(String("h\r\n"), file(t, text)), "h\r\n" + text, 8},
		"no Segments":      {Segments(), "", 0},
		"nested Segments":  {Segments(Segments(), Segments(String("a"), String("")), String("b")), "ab", 2},
		"Canonical String": {Canonical(String(text)), naive(text), 6},
		"Canonical File":   {Canonical(file(t, text)), naive(text), -1},
	} {
		t.Run(name, func(t *testing.T) {
			for n := range 3 {
				if got, err := content(t, tt.body); got != tt.want || err != nil {
					t.Errorf("opened %d times before: got %q, %v, want %q", n, got, err, tt.want)
				}
				if got := tt.body.Size(); got != tt.size {
					t.Errorf("Size is %d, want %d", got, tt.size)
				}
			}
			first, err := tt.body.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got, err := content(t, tt.body); got != tt.want || err != nil {
				t.Errorf("while another one is open: got %q, %v", got, err)
			}
			if err := iotest.TestReader(first, []byte(tt.want)); err != nil {
				t.Error(err)
			}
		})
	}
}

// longest is the length of the longest line; only an LF, or the CRLF that it is
// part of, ends one.
func longest(text string) (n int) {
	for _, line := range strings.Split(text, "\n") {
		n = max(n, len(strings.TrimSuffix(line, "\r")))
	}
	return n
}

// RFC 1870 §3 counts the octets that are sent, with each line end as CRLF.
func TestBody_form(t *testing.T) {
	for _, text := range append(texts(5), strings.Repeat("x", 5000)+"\n", strings.Repeat("\n", 5000), strings.Repeat("7bit\r\n", 10)+"\x80", strings.Repeat("x", 7)+"\xff\r\n") {
		want := Form{Canonical: text == naive(text), EightBit: !isASCII(text), Size: int64(len(naive(text))), LongestLine: longest(text)}
		for name, b := range map[string]Body{"String": String(text), "Bytes": Bytes([]byte(text)), "Render": Render(says(text), 0), "Segments": Segments(String(text))} {
			if got, ok := formOf(b); got != want || !ok {
				t.Fatalf("%s of %q has the form %+v, %t, want %+v", name, text, got, ok, want)
			}
		}
		want.Canonical = true
		if got, ok := formOf(Canonical(String(text))); got != want || !ok {
			t.Fatalf("Canonical of %q has the form %+v, %t, want %+v", text, got, ok, want)
		}
	}
}

func TestBody_formIsUnknownUntilRead(t *testing.T) {
	for name, b := range map[string]Body{
		"File":                     file(t, "a"),
		"Reader":                   Reader(strings.NewReader("a")),
		"Canonical File":           Canonical(file(t, "a")),
		"Segments with a File":     Segments(String("a\r\n"), file(t, "a")),
		"Render that fails":        Render(writer(func(io.Writer) error { return errSource }), 0),
		"a Body without Form":      fails{},
		"a line end cut in two":    Segments(String("a\r"), String("\nb")),
		"a line across a boundary": Segments(String("a"), String("b\r\n")),
	} {
		if form, ok := formOf(b); ok {
			t.Errorf("%s: form %+v is taken for known", name, form)
		}
	}
}

func TestReader_OneShot(t *testing.T) {
	for name, body := range map[string]Body{
		"Reader":                      Reader(strings.NewReader("a\r\n")),
		"Canonical Reader":            Canonical(Reader(strings.NewReader("a\n"))),
		"Segments with a Reader last": Segments(String("a"), Reader(strings.NewReader("\r\n"))),
	} {
		t.Run(name, func(t *testing.T) {
			if !OneShot(body) || body.Size() != -1 {
				t.Errorf("one-shot is %t, Size %d", OneShot(body), body.Size())
			}
			if got, err := content(t, body); got != "a\r\n" || err != nil {
				t.Errorf("the first look got %q, %v", got, err)
			}
			_, err := content(t, body)
			if !errors.Is(err, ErrOneShot) || ClassOf(err) != Local || !strings.Contains(err.Error(), "core.File") {
				t.Errorf("the second look got %v, want ErrOneShot, of this side, with a hint", err)
			}
		})
	}
	for name, body := range map[string]Body{"String": String(""), "Segments": Segments(String("")), "File": File("x"), "Render": Render(says(""), 0), "Canonical": Canonical(String("\n"))} {
		if OneShot(body) {
			t.Errorf("%s is one-shot", name)
		}
	}
}

func TestFile_thatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		body Body
		want error
	}{
		"missing":             {File(filepath.Join(dir, "none")), os.ErrNotExist},
		"missing in Segments": {Segments(String("a"), File(filepath.Join(dir, "none"))), os.ErrNotExist},
		"missing, Canonical":  {Canonical(File(filepath.Join(dir, "none"))), os.ErrNotExist},
		"folder":              {File(dir), nil},
	} {
		_, err := content(t, tt.body)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
		if got := ClassOf(err); got != Local {
			t.Errorf("%s: %q is %s: trying again would be of no use", name, err, got)
		}
		if got := tt.body.Size(); got != -1 {
			t.Errorf("%s: Size is %d, want -1", name, got)
		}
	}
}

func TestRender_rendersOnce(t *testing.T) {
	var calls atomic.Int32
	body := Render(writer(func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "boundary %d", calls.Add(1))
		return err
	}), 0)
	if calls.Load() != 0 {
		t.Error("rendered before it was needed")
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			form, known := formOf(body)
			got, err := content(t, body)
			if got != "boundary 1" || err != nil || body.Size() != 10 || !known || form.Size != 12 {
				t.Errorf("got %q, %v, Size %d, form %+v", got, err, body.Size(), form)
			}
		})
	}
	wg.Wait()
	if n := calls.Load(); n != 1 {
		t.Errorf("rendered %d times", n)
	}
}

func TestRender_limit(t *testing.T) {
	if got := Render(says(""), 0).(*renderedBody).limit; got != DefaultRenderLimit {
		t.Errorf("zero means %d, want %d", got, DefaultRenderLimit)
	}
	const limit = 1000
	for name, write := range map[string]func(text string) io.WriterTo{
		"by Write":          says,
		"by io.WriteString": func(s string) io.WriterTo { return strings.NewReader(s) },
		"by bytes.Reader":   func(s string) io.WriterTo { return bytes.NewReader([]byte(s)) },
		"by io.Copy": func(s string) io.WriterTo {
			return writer(func(w io.Writer) error {
				_, err := io.Copy(w, io.LimitReader(strings.NewReader(s), limit+1))
				return err
			})
		},
		"and the error is dropped": func(s string) io.WriterTo {
			return writer(func(w io.Writer) error { _, _ = io.WriteString(w, s); return nil })
		},
	} {
		if got, err := content(t, Render(write(strings.Repeat("x", limit)), limit)); len(got) != limit || err != nil {
			t.Errorf("%s: the limit itself: got %d octets, %v", name, len(got), err)
		}
		body := Render(write(strings.Repeat("x", limit+1)), limit)
		for range 2 {
			_, err := content(t, body)
			if err == nil || !strings.Contains(err.Error(), "limit") || ClassOf(err) != Local || body.Size() != -1 {
				t.Errorf("%s: one octet more: got %v, Size %d", name, err, body.Size())
			}
		}
	}
}

func TestRender_thatFails(t *testing.T) {
	body := Render(writer(func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return errSource }), 0)
	for range 2 {
		if got, err := content(t, body); got != "" || !errors.Is(err, errSource) || ClassOf(err) != Local || body.Size() != -1 {
			t.Errorf("got %q, %v, Size %d", got, err, body.Size())
		}
	}
	body = Render(writer(func(io.Writer) error { panic("a bug") }), 0)
	func() {
		defer func() { _ = recover() }()
		_, _ = content(t, body)
	}()
	if _, err := content(t, body); err == nil || body.Size() != -1 {
		t.Errorf("after a panic: %v, Size %d", err, body.Size())
	}
}

func TestBody_anErrorInTheMiddleComesThrough_G13(t *testing.T) {
	for name, tt := range map[string]struct {
		body Body
		want string
	}{
		"Reader":           {Reader(io.MultiReader(strings.NewReader("a\n"), iotest.ErrReader(errSource))), "a\n"},
		"Canonical":        {Canonical(fails{"a\nb", errSource}), "a\r\nb"},
		"Canonical Reader": {Canonical(Reader(iotest.DataErrReader(io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(errSource))))), "a\r\nb"},
		"Segments":         {Segments(String("a"), fails{"b", errSource}, String("c")), "ab"},
		"EOF in the middle is no end, in Segments": {Segments(fails{"a", io.ErrUnexpectedEOF}, String("b")), "a"},
	} {
		got, err := content(t, tt.body)
		if got != tt.want || err == nil || !errors.Is(err, errSource) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: got %q, %v, want %q and the source's error", name, got, err, tt.want)
		}
	}
	if _, err := content(t, Canonical(Reader(stuck{}))); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a source that yields nothing: %v", err)
	}
}

// stuck is a reader that never says anything, not even why.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// closed counts how often what it wraps is closed.
type closed struct {
	io.Reader
	n int
}

func (c *closed) Close() error { c.n++; return nil }

func TestBody_closesItsSourceOnce(t *testing.T) {
	for name, wrap := range map[string]func(Body) Body{
		"Reader": func(b Body) Body { return b }, "Canonical": Canonical, "Segments": func(b Body) Body { return Segments(b, String("z")) },
	} {
		for read := range 3 { // nothing, something, all
			src := &closed{Reader: strings.NewReader("a")}
			r, err := wrap(Reader(src)).Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n, _ := io.CopyN(io.Discard, r, int64(read)*10)
			opened := read > 0 || name != "Segments"
			if err := r.Close(); err != nil || (src.n == 1) != opened {
				t.Errorf("%s closed after %d octets: the source was closed %d times, %v", name, n, src.n, err)
			}
			if _, err = r.Read(make([]byte, 1)); name == "Segments" && !errors.Is(err, os.ErrClosed) {
				t.Errorf("Segments read after Close: %v", err)
			}
		}
	}
}

// When the context ends, Close is what makes a blocked Read return.
func TestBody_closeWakesABlockedRead(t *testing.T) {
	for name, wrap := range map[string]func(Body) Body{
		"Reader": func(b Body) Body { return b }, "Canonical": Canonical, "Segments": func(b Body) Body { return Segments(String("a"), b) },
	} {
		synctest.Test(t, func(t *testing.T) {
			src, _ := io.Pipe()
			r, err := wrap(Reader(src)).Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			go func() { _, err := io.ReadAll(r); done <- err }()
			synctest.Wait()
			if err := r.Close(); err != nil {
				t.Errorf("%s: Close: %v", name, err)
			}
			if err := <-done; err == nil {
				t.Errorf("%s: the blocked Read made it look whole", name)
			}
		})
	}
}
