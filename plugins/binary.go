package plugins

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// ErrChecksum is that the binary is not the one that was declared.
var ErrChecksum = errors.New("the binary does not have the checksum that was declared")

// ErrUnsafe is that others than root and the user of the host can replace the binary,
// or the copy of it that runs.
var ErrUnsafe = errors.New("others can change what is run")

// copyBinary copies the binary to a file that nobody else can write, and compares
// what it copied with the checksum, if there is one. So it does not matter what
// becomes of the original between the check and the start.
func copyBinary(ctx context.Context, config *Config, to string) error {
	path, err := filepath.EvalSymlinks(config.Path)
	if err != nil {
		return err
	}
	checked, err := checkPath(path)
	if err != nil {
		return err
	}
	if !checked.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", path) // to open a pipe would wait for a writer
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // it was only read
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(checked, info) {
		return fmt.Errorf("%s was replaced while it was checked", path)
	}
	if info.Size() > maxBinary {
		return fmt.Errorf("%s has %d octets, and %d are the most", path, info.Size(), maxBinary)
	}
	sum, err := writeBinary(&interruptible{ctx, io.LimitReader(from, maxBinary)}, to)
	if err != nil {
		return fmt.Errorf("copying the binary: %w", err)
	}
	want, err := hex.DecodeString(config.SHA256)
	if err != nil {
		return err
	}
	if len(want) > 0 && subtle.ConstantTimeCompare(sum, want) != 1 {
		return fmt.Errorf("%w: %s has %x", ErrChecksum, path, sum)
	}
	return nil
}

// maxBinary is how large a binary may be, in octets.
const maxBinary = 1 << 30

// interruptible is a reader that a context ends.
type interruptible struct {
	ctx context.Context
	io.Reader
}

func (r *interruptible) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

// writeBinary copies what from has, and returns its checksum.
func writeBinary(from io.Reader, to string) (sum []byte, err error) {
	// A process that another goroutine starts meanwhile would inherit the
	// descriptor until it runs its program, and a file that is open for writing
	// cannot be run.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o500)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), from)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// checkPath checks a path without symbolic links: each folder from the root on, and
// the file, which it returns. Behind a folder that others may not enter it does not
// matter what they may do.
func checkPath(path string) (fs.FileInfo, error) {
	var way []string
	for at := path; ; at = filepath.Dir(at) {
		way = append(way, at)
		if at == filepath.Dir(at) {
			break
		}
	}
	for _, at := range slices.Backward(way) {
		info, err := os.Lstat(at)
		if err != nil {
			return nil, err
		}
		if err := checkOwner(at, info); err != nil {
			return nil, err
		}
		if info.IsDir() && closed(info) {
			break
		}
	}
	return os.Lstat(path)
}

// checkOwner refuses what others may write. In a folder with the sticky bit, such
// as /tmp, they may not touch what is not theirs.
func checkOwner(path string, info fs.FileInfo) error {
	sticky := info.IsDir() && info.Mode()&fs.ModeSticky != 0
	if writable(info) && !sticky {
		return fmt.Errorf("%w: %s has the mode %v", ErrUnsafe, path, info.Mode())
	}
	return owned(path, info)
}
