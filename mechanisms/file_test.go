package mechanisms_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
)

// secretFile writes a file that only its owner can read.
func secretFile(t *testing.T, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "smtp")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFile_content(t *testing.T) {
	const limit = 64 << 10
	for _, tt := range []struct {
		rule, content, want string
		class               core.Class // zero: no error
		err                 string
	}{
		{"the content is the secret", "open-sesame", "open-sesame", 0, ""},
		{"a line end is taken off", "open-sesame\n", "open-sesame", 0, ""},
		{"one of Windows is, too", "open-sesame\r\n", "open-sesame", 0, ""},
		{"only one is", "open-sesame\n\n", "open-sesame\n", 0, ""},
		{"a carriage return alone is no line end", "open-sesame\r", "open-sesame\r", 0, ""},
		{"nor is other white space", " open sesame\t\n", " open sesame\t", 0, ""},
		{"64 KiB are allowed", strings.Repeat("x", limit), strings.Repeat("x", limit), 0, ""},
		{"and no more", strings.Repeat("open-sesame ", limit/12+1), "", core.Local, "larger than 64 KiB"},
		{"a NUL is refused", "open-sesame\x00", "", core.Local, "holds a NUL"},
		{"an empty file may be one that is being written", "", "", core.Temporary, "is empty"},
		{"so may one that is empty but for its line end", "\r\n", "", core.Temporary, "is empty"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			file := mechanisms.File{User: "ann", Path: secretFile(t, tt.content)}
			user, password, err := file.Credentials(t.Context())
			token, tokenErr := file.Token(t.Context(), "")
			if tt.class == 0 {
				if err != nil || user != "ann" || password != tt.want {
					t.Errorf("%q, %d octets, %v", user, len(password), err)
				}
				if tokenErr != nil || token.AccessToken != tt.want || !token.Expiry.IsZero() {
					t.Error(tokenErr)
				}
				return
			}
			for _, err := range []error{err, tokenErr} {
				fails(t, err, tt.class, tt.err, file.Path)
			}
			if user != "" || password != "" || token != nil {
				t.Error("something was returned with the error")
			}
		})
	}
}

// fails checks an error of a file: it says what is wrong and names the file, and
// it shows nothing of what that holds.
func fails(t *testing.T, err error, class core.Class, texts ...string) {
	t.Helper()
	e, ok := errors.AsType[*core.Error](err)
	if !ok || e.Class != class || e.Stage != core.StageAuth {
		t.Errorf("%T %v of class %v, want %v", err, err, core.ClassOf(err), class)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in %v", text, err)
		}
	}
	showsNoSecret(t, err)
}

func TestFile_path(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		rule  string
		file  mechanisms.File
		class core.Class
		text  string
	}{
		{"without a path", mechanisms.File{User: "ann"}, core.Local, "File.Path is empty"},
		{"a file that is not there may be about to come", mechanisms.File{Path: filepath.Join(dir, "none")}, core.Temporary, filepath.Join(dir, "none")},
		{"a directory", mechanisms.File{Path: dir}, core.Local, "is a directory"},
		{"what is no file", mechanisms.File{Path: os.DevNull}, core.Local, "is not a regular file"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			_, _, err := tt.file.Credentials(t.Context())
			fails(t, err, tt.class, tt.text)
			_, err = tt.file.Token(t.Context(), "refused")
			fails(t, err, tt.class, tt.text)
		})
	}
	t.Run("a missing file is found to be one", func(t *testing.T) {
		if _, _, err := (mechanisms.File{Path: filepath.Join(dir, "none")}).Credentials(t.Context()); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
	t.Run("Check wants a path, and does not look for the file", func(t *testing.T) {
		if err := (mechanisms.File{}).Check(); err == nil {
			t.Error("no error")
		}
		file := mechanisms.File{Path: filepath.Join(dir, "none")}
		if err := errors.Join(file.Check(), mechanisms.From(file.Credentials, mechanisms.Plain).(core.Checker).Check()); err != nil {
			t.Error(err)
		}
	})
	t.Run("nothing is read for a context that has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := (mechanisms.File{Path: secretFile(t, "x")}).Credentials(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// A message that is sent while the secret is away may be tried again.
func TestFile_missingInASession(t *testing.T) {
	file := mechanisms.File{User: "u", Path: filepath.Join(t.TempDir(), "smtp")}
	m := mechanisms.From(file.Credentials, mechanisms.Plain)
	fails(t, auth(t, m, ""), core.Temporary, file.Path)
	if err := os.WriteFile(file.Path, []byte("p\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := auth(t, m, authPlain("p")+"S: 235 ok"); err != nil {
		t.Error(err)
	}
}

func TestFile_isReadEachTime(t *testing.T) {
	file := mechanisms.File{User: "u", Path: secretFile(t, "old")}
	m := mechanisms.From(file.Credentials, mechanisms.Plain)
	if err := auth(t, m, authPlain("old")+"S: 235 ok"); err != nil {
		t.Error(err)
	}
	if err := os.Rename(secretFile(t, "new"), file.Path); err != nil {
		t.Fatal(err)
	}
	if err := auth(t, m, authPlain("new")+"S: 235 ok"); err != nil {
		t.Error(err)
	}
}
