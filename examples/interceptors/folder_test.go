package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

var errBroken = errors.New("the source is broken")

// breaksOff returns a source that fails behind 100,000 octets.
func breaksOff() io.Reader {
	return io.MultiReader(strings.NewReader(strings.Repeat("x", 100_000)), iotest.ErrReader(errBroken))
}

func TestFolder_whatIsNotWholeIsRemoved(t *testing.T) {
	f := folder(t.TempDir())
	if name, err := f.keep(envelope{}, breaksOff()); name != "" || !errors.Is(err, errBroken) {
		t.Errorf("got %q, %v", name, err)
	}
	wantFiles(t, f, 0)
}

func TestFolder_isForThisUserAlone(t *testing.T) {
	f := folder(t.TempDir())
	name, err := f.keep(envelope{}, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{".eml", ".json"} {
		if info, err := os.Stat(name + end); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v, %v", end, info, err)
		}
	}
	if err := f.remove(name); err != nil {
		t.Error(err)
	}
	wantFiles(t, f, 0)
}
