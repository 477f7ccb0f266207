//go:build unix

package mechanisms_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
)

func TestFile_mode(t *testing.T) {
	for _, tt := range []struct {
		mode  os.FileMode
		allow bool   // AllowWorldReadable
		err   string // "" for none
	}{
		{0o400, false, ""},
		{0o600, false, ""},
		{0o440, false, ""}, // a Kubernetes volume with an fsGroup
		{0o660, false, ""},
		{0o601, false, ""},
		{0o644, false, "can be read by all users"}, // Kubernetes unless told
		{0o444, false, "can be read by all users"},
		{0o604, false, "can be read by all users"},
		{0o644, true, ""},
		{0o602, false, "can be written by all users"},
		{0o666, true, "can be written by all users"},
	} {
		t.Run(fmt.Sprintf("%o, allowed %t", tt.mode, tt.allow), func(t *testing.T) {
			file := mechanisms.File{User: "ann", Path: secretFile(t, "open-sesame"), AllowWorldReadable: tt.allow}
			if err := os.Chmod(file.Path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, password, err := file.Credentials(t.Context())
			if tt.err == "" {
				if err != nil || password != "open-sesame" {
					t.Error(err)
				}
				return
			}
			fails(t, err, core.Local, tt.err, file.Path, "chmod o=")
		})
	}
}

// Kubernetes makes a new directory and has the link ..data lead to it.
func TestFile_KubernetesRotation(t *testing.T) {
	volume := t.TempDir()
	at := func(names ...string) string { return filepath.Join(append([]string{volume}, names...)...) }
	rotate := func(version, secret string) {
		t.Helper()
		for _, do := range []func() error{
			func() error { return os.Mkdir(at(version), 0o755) },
			func() error { return os.WriteFile(at(version, "smtp"), []byte(secret), 0o440) },
			func() error { return os.Symlink(version, at("..data_tmp")) },
			func() error { return os.Rename(at("..data_tmp"), at("..data")) },
		} {
			if err := do(); err != nil {
				t.Fatal(err)
			}
		}
	}
	rotate("..2024_1", "old")
	if err := os.Symlink(filepath.Join("..data", "smtp"), at("smtp")); err != nil {
		t.Fatal(err)
	}
	file := mechanisms.File{User: "u", Path: at("smtp")}
	if _, password, err := file.Credentials(t.Context()); err != nil || password != "old" {
		t.Error(password, err)
	}
	rotate("..2024_2", "new")
	if _, password, err := file.Credentials(t.Context()); err != nil || password != "new" {
		t.Error(password, err)
	}
	t.Run("the mode that counts is the file's and not the link's", func(t *testing.T) {
		if err := os.Chmod(at("..2024_2", "smtp"), 0o444); err != nil {
			t.Fatal(err)
		}
		_, _, err := file.Credentials(t.Context())
		fails(t, err, core.Local, "can be read by all users")
	})
}

// Nobody writes to it, so that opening it would never return.
func TestFile_FIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "smtp")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := mechanisms.File{Path: path}.Credentials(t.Context())
	fails(t, err, core.Local, "is not a regular file")
}
