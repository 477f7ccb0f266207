//go:build unix

package plugins

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// writable reports whether the mode lets others than the owner write.
func writable(info fs.FileInfo) bool { return info.Mode().Perm()&0o022 != 0 }

// closed reports whether others than the owner may not enter a folder.
func closed(info fs.FileInfo) bool { return info.Mode().Perm()&0o011 == 0 }

// owned refuses what belongs to others than root and the user of the host.
func owned(path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: %s belongs to the user %d", ErrUnsafe, path, stat.Uid)
	}
	return nil
}
