//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package plugins

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const executableSuffix = ""

// tryLock locks a file for as long as it is open, and reports whether that could be
// done: nobody else has it.
func tryLock(f *os.File) (free bool, err error) {
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
