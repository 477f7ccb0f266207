package dkim_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/dkim"
)

// watched is a file whose reading is watched: it notes how much memory is in
// use at times.
type watched struct {
	core.Body
	most *uint64
}

func (w watched) Open(ctx context.Context) (io.ReadCloser, error) {
	r, err := w.Body.Open(ctx)
	return &watchedReader{ReadCloser: r, most: w.most}, err
}

type watchedReader struct {
	io.ReadCloser
	n, next int
	most    *uint64
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if w.n += n; w.n > w.next {
		w.next += 2 << 20
		*w.most = max(*w.most, inUse())
	}
	return n, err
}

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestALargeFileIsNeverHeldInMemory(t *testing.T) {
	size := 50 << 20
	if raceEnabled {
		size = 8 << 20
	}
	path := filepath.Join(t.TempDir(), "message")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(file)
	_, _ = w.WriteString(header + "\r\n")
	line := bytes.Repeat([]byte("0123456789abcdef"), 4)
	for n := 0; n < size; n += len(line) + 2 {
		_, _ = w.Write(line)
		_, _ = w.WriteString("\r\n")
	}
	if err := errors.Join(w.Flush(), file.Close()); err != nil {
		t.Fatal(err)
	}

	var verdicts []*msgauth.Verification
	s := &server{data: func(r io.Reader) (err error) {
		verdicts, err = msgauth.VerifyWithOptions(r, &msgauth.VerifyOptions{LookupTXT: lookup})
		return err
	}}
	client := newClient(t, s.listen(t), mustNew(t, dkim.Config{Signatures: []dkim.Signature{rsaSignature()}}))
	var most uint64
	before := inUse()
	if _, err := client.Send(t.Context(), message(watched{core.File(path), &most})); err != nil {
		t.Fatal(err)
	}
	if len(verdicts) != 1 || verdicts[0].Err != nil {
		t.Errorf("the verdicts are %+v", verdicts)
	}
	used := int64(most) - int64(before)
	t.Logf("at most %d KiB more were in use, for a message of %d KiB", used>>10, size>>10)
	if used > 8<<20 {
		t.Errorf("%d octets of memory were in use, for a message of %d", used, size)
	}
}
