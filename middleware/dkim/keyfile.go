package dkim

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// maxKeyFile is how long a PEM file may be, in octets.
const maxKeyFile = 1 << 20

// KeyFile returns a source that reads a PEM file (see [ParsePEM]), and reads it
// again when it is another one. The selector is the name of the file without its
// extension. If the path is a symbolic link, that is the name of the file that it
// leads to, so that a new key is taken into use by a new link:
//
//	openssl genpkey -algorithm ed25519 -out 2026b.pem    # and publish its record
//	ln -s 2026b.pem new && mv -T new current.pem         # instead of 2026a.pem
//
// The file is looked at for each message. While it cannot be read the source
// fails, and what was signed with before is not used any more.
func KeyFile(path string) (KeySource, error) {
	var current atomic.Pointer[loadedKey]
	source := func(context.Context) (Key, error) {
		info, err := os.Stat(path)
		if err != nil {
			return Key{}, fmt.Errorf("looking for a key: %w", err)
		}
		if loaded := current.Load(); loaded != nil && loaded.is(info) {
			return loaded.key, nil
		}
		loaded, err := loadKey(path)
		if err != nil {
			return Key{}, err
		}
		current.Store(loaded)
		return loaded.key, nil
	}
	if _, err := source(context.Background()); err != nil {
		return nil, fmt.Errorf("dkim: %w", err)
	}
	return source, nil
}

// loadedKey is what was found in a file.
type loadedKey struct {
	key  Key
	info os.FileInfo // of the file, when it was read
}

// is reports whether a file is the one that was read.
func (l *loadedKey) is(info os.FileInfo) bool {
	return os.SameFile(l.info, info) && l.info.Size() == info.Size() && l.info.ModTime().Equal(info.ModTime())
}

// loadKey reads a key and its name from the same file, even if a link changes
// meanwhile.
func loadKey(path string) (*loadedKey, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("looking for a key: %w", err)
	}
	f, err := os.Open(target)
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	defer func() { _ = f.Close() }()
	l := &loadedKey{}
	if l.info, err = f.Stat(); err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	name := filepath.Base(target)
	l.key.Selector = strings.TrimSuffix(name, filepath.Ext(name))
	if l.key.Signer, err = ParsePEM(data); err != nil {
		return nil, fmt.Errorf("%w: in %s", err, target)
	}
	if _, field, err := l.key.check(); err != nil {
		return nil, fmt.Errorf("the %s from the file's name %s %w", strings.ToLower(field), target, err)
	}
	return l, nil
}
