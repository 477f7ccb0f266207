package plugins

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	folderPrefix = "postrider-"
	lockName     = "plugin.lock"
	binaryName   = "plugin"
)

// settled is how old a folder is before it is swept: one that is younger may be on
// its way to be locked.
const settled = time.Minute

// folder is the private folder of a plugin: the copy of its binary, a folder for the
// sockets of each process, and a file that is locked as long as the host lives.
type folder struct {
	path string
	lock *os.File
}

// newFolder makes a folder, and removes those whose hosts are gone. Who can rename
// what is in the folder that it is made in could put another binary in place of the
// copy.
func newFolder(in string) (*folder, error) {
	resolved, err := filepath.EvalSymlinks(in)
	if err != nil {
		return nil, err
	}
	info, err := checkPath(resolved)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is no folder", in)
	}
	sweep(in)
	path, err := os.MkdirTemp(in, folderPrefix) // 0700
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = tryLock(lock)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return &folder{path, lock}, nil
}

func (f *folder) binary() string { return filepath.Join(f.path, binaryName+executableSuffix) }

// process makes the folder of one process.
func (f *folder) process(generation int) (string, error) {
	path := filepath.Join(f.path, strconv.Itoa(generation))
	return path, os.Mkdir(path, 0o700)
}

func (f *folder) remove() error {
	return errors.Join(f.lock.Close(), os.RemoveAll(f.path))
}

// sweep removes what hosts left behind that were killed. It does what it can: a
// folder of another user stays.
func sweep(in string) {
	entries, err := os.ReadDir(in)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), folderPrefix) {
			continue
		}
		info, err := e.Info()
		if err != nil || owned(e.Name(), info) != nil || time.Since(info.ModTime()) < settled {
			continue
		}
		sweepFolder(filepath.Join(in, e.Name()))
	}
}

// sweepFolder removes a folder whose lock nobody holds. One without a lock is none
// of a plugin's.
func sweepFolder(path string) {
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer func() { _ = lock.Close() }()
	if free, err := tryLock(lock); free && err == nil {
		_ = os.RemoveAll(path)
	}
}
