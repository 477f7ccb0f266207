package mechanisms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"golang.org/x/oauth2"

	"github.com/postrider/postrider/core"
)

// maxSecret is how large a file with a secret may be, in octets.
const maxSecret = 64 << 10

// File is a file that holds a password or an access token and nothing else, such
// as Kubernetes, Docker and systemd make. Its method Credentials is a [Source],
// and its method Token is a [TokenSource]. It is read each time, so a secret
// that is changed is seen: the new file is to replace the old one in a single
// step, by a rename or as Kubernetes does it by a symbolic link.
//
// One line end, if there is one, is taken off the end of the file. A file that
// is not there, or is empty, is a temporary error, since it may be about to be
// replaced: a message is then tried again and not returned to its sender. The
// other errors are this side's: a file that others can read or write, one that
// may not be opened, one larger than 64 KiB or with a NUL in it, and what is not
// a file. An error names the file, and never what it holds.
type File struct {
	// User is the user name that the password belongs to. Token needs none.
	User string
	// Path is the file.
	Path string
	// AllowWorldReadable accepts a file that all users of the machine can read.
	// Kubernetes mounts secrets so unless the volume says defaultMode: 0440.
	// Files that all can write are never accepted. Windows has no such modes,
	// and nothing is checked there.
	AllowWorldReadable bool
}

// Check returns what is missing in f itself. The file is not opened: it may come
// later than the client. A function tells nothing of where it is from, so what
// [From] makes does not check this when a client is made: call it before.
func (f File) Check() error {
	if f.Path == "" {
		return localError("mechanisms.File.Path is empty", "name the file that holds the secret")
	}
	return nil
}

// Credentials returns User, and the password that the file holds now.
func (f File) Credentials(ctx context.Context) (user, password string, err error) {
	password, err = f.read(ctx)
	if err != nil {
		return "", "", err
	}
	return f.User, password, nil
}

// Token returns the access token that the file holds now, of which nothing more
// is known. Whatever keeps the file is to replace it before the token expires.
func (f File) Token(ctx context.Context, _ string) (*oauth2.Token, error) {
	token, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: token}, nil
}

// read returns the secret.
func (f File) read(ctx context.Context) (string, error) {
	if err := f.Check(); err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	// To open a FIFO is to wait for who writes it.
	if info, err := os.Stat(f.Path); err != nil {
		return "", f.unreadable(err)
	} else if err := f.checkType(info); err != nil {
		return "", err
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return "", f.unreadable(err)
	}
	defer file.Close()
	// What counts is what was opened: the path may lead elsewhere by now.
	info, err := file.Stat()
	if err != nil {
		return "", f.unreadable(err)
	}
	if err := f.checkType(info); err != nil {
		return "", err
	}
	if err := f.checkMode(info); err != nil {
		return "", err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return "", f.unreadable(err)
	}
	secret, ended := strings.CutSuffix(string(content), "\n")
	if ended {
		secret = strings.TrimSuffix(secret, "\r")
	}
	switch {
	case len(content) > maxSecret:
		return "", f.unfit("is larger than 64 KiB", "let it hold the secret and nothing else")
	case strings.ContainsRune(secret, 0):
		return "", f.unfit("holds a NUL", "write the secret as plain text in UTF-8")
	case secret == "":
		return "", &core.Error{Stage: core.StageAuth, Class: core.Temporary, Err: fmt.Errorf("the file %q, which is to hold the secret, is empty", f.Path), Hint: "replace it in a single step, by a rename"}
	}
	return secret, nil
}

func (f File) checkType(info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		return f.unfit("is a directory", "name the file in it")
	}
	return f.unfit("is not a regular file", "it is read for each connection: write the secret to a file")
}

func (f File) checkMode(info fs.FileInfo) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	// The group may read it: that is how a service gets a secret that root owns.
	switch others := info.Mode().Perm() & 0o007; {
	case others&0o002 != 0:
		return f.unfit("can be written by all users", "chmod o= it")
	case others&0o004 != 0 && !f.AllowWorldReadable:
		return f.unfit("can be read by all users", "chmod o= it, give the Kubernetes volume defaultMode: 0440 and the pod an fsGroup, or set AllowWorldReadable")
	}
	return nil
}

// unfit is the error of a file that must be changed.
func (f File) unfit(what, hint string) error {
	return localError(fmt.Sprintf("the file %q, which is to hold the secret, %s", f.Path, what), hint)
}

// unreadable is an error of the operating system. It may go by itself, unless it
// is about permission.
func (f File) unreadable(err error) error {
	e := &core.Error{Stage: core.StageAuth, Class: core.Temporary, Err: fmt.Errorf("reading the secret: %w", err)}
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.Class, e.Hint = core.Local, "let the user that this process runs as read it"
	case errors.Is(err, fs.ErrNotExist):
		e.Hint = "check the path, if this lasts"
	}
	return e
}
