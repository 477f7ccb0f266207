//go:build unix

package plugins_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
)

// What prints something else than a handshake, or one that the host does not take.
func TestStart_refuses(t *testing.T) {
	const certificate = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for _, tt := range []struct {
		rule, mode string
		kind       error
		class      core.Class
		says       string
	}{
		{"it ends before it serves", "dies", plugins.ErrEnded, core.Temporary, "exit status 7"},
		{"it hangs before it serves", "silent", plugins.ErrLate, core.Temporary, "it does not serve after 200ms"},
		{"it says that it serves, and does not", "deaf", plugins.ErrHandshake, core.Local, ""},
		{"E15 it speaks junk on its socket", "noise", plugins.ErrBroken, core.Local, "the connection to it was lost"},
		{"E15 it prints junk", "Hello, world! hunter2", plugins.ErrHandshake, core.Local, "not a handshake"},
		{"it prints a line without end", "endless", plugins.ErrHandshake, core.Local, "not a handshake"},
		{"it prints numbers", "1|x|unix|DIR/s|grpc|" + certificate, plugins.ErrHandshake, core.Local, "not a handshake"},
		{"E15 it speaks another version", "1|2|unix|DIR/s|grpc|" + certificate, plugins.ErrVersion, core.Local, "version 2 of Postrider's, and this host speaks 1"},
		{"it speaks another version of go-plugin's", "2|1|unix|DIR/s|grpc|" + certificate, plugins.ErrVersion, core.Local, "version 2 of go-plugin's"},
		{"it speaks net/rpc", "1|1|unix|DIR/s|netrpc|" + certificate, plugins.ErrHandshake, core.Local, "gRPC"},
		{"it would be reached without TLS", "1|1|unix|DIR/s|grpc|", plugins.ErrHandshake, core.Local, "certificate"},
		{"it sends the host elsewhere", "1|1|tcp|192.0.2.1:25|grpc|" + certificate, plugins.ErrHandshake, core.Local, "the folder that it was given"},
		{"it sends the host to the socket of another", "1|1|unix|/run/docker.sock|grpc|" + certificate, plugins.ErrHandshake, core.Local, "the folder that it was given"},
		{"it sends the host out of its folder", "1|1|unix|DIR/../s|grpc|" + certificate, plugins.ErrHandshake, core.Local, "the folder that it was given"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFixture(t, tt.mode)
			f.config.Restart.Budget = 1
			if tt.mode == "silent" {
				f.config.StartTimeout = 200 * time.Millisecond
			}
			if tt.mode == "deaf" {
				tt.kind = nil // its certificate cannot be read, which go-plugin says
			}
			e := f.startError(t)
			if tt.kind != nil && !errors.Is(e, tt.kind) || e.Class != tt.class || !strings.Contains(e.Error(), tt.says) {
				t.Errorf("%v: %v", e.Class, e)
			}
			if strings.Contains(e.Error(), "hunter2") {
				t.Errorf("it shows what the plugin prints: %v", e)
			}
		})
	}
}

func TestStart_itsContextEnds(t *testing.T) {
	f := newFixture(t, "silent")
	ctx, cancel := context.WithCancel(t.Context())
	f.config.Observe = func(plugins.Status) { time.AfterFunc(100*time.Millisecond, cancel) }
	_, err := plugins.Start(ctx, f.config)
	if e, ok := err.(*core.Error); !ok || e.Class != core.Temporary || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	f = newFixture(t, "well")
	if _, err := plugins.Start(ctx, f.config); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestStart_itLiesAboutItsName(t *testing.T) {
	f := newFixture(t, "well")
	f.config.Name = "corp-auth"
	if e := f.startError(t); e.Class != core.Local || !strings.Contains(e.Error(), "plugin corp-auth: it breaks the protocol: it calls itself well, and not corp-auth") {
		t.Error(e)
	}
	f.config.Name = "well"
	works(t, mechanism(t, f.start(t)))
}

func TestStart_checksum(t *testing.T) {
	f := newFixture(t, "well")
	f.config.SHA256 = strings.Repeat("0", 64)
	if e := f.startError(t); e.Class != core.Local || !errors.Is(e, plugins.ErrChecksum) {
		t.Error(e)
	}
	if strings.Contains(f.log.String(), "starting") {
		t.Errorf("it was run:\n%s", f.log)
	}
}

// Neither between the check and the start, nor between two starts.
func TestStart_aBinaryThatIsReplacedIsNotRun(t *testing.T) {
	f := newFixture(t, "well")
	path := copyOf(t, f.config.Path)
	f.config.Path, f.config.SHA256 = path, checksum(t, path)
	observe := f.config.Observe
	f.config.Observe = func(s plugins.Status) {
		if s.State == plugins.Starting { // it was checked, and does not run yet
			if err := os.WriteFile(path+".new", []byte("#!/bin/sh\necho replaced >&2\n"), 0o700); err != nil {
				t.Error(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Error(err)
			}
		}
		observe(s)
	}
	p := f.start(t)
	m := mechanism(t, p)
	f.await(t, plugins.Ready)
	works(t, m)
	_, err := say(t.Context(), m, "crash")
	temporary(t, err, plugins.ErrEnded)
	f.await(t, plugins.Ready)
	works(t, m)
	if checksum(t, path) == f.config.SHA256 {
		t.Error("it was not replaced")
	}
}

func TestStart_others(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		change func(t *testing.T, path string)
		says   string
	}{
		{"can write the file", func(t *testing.T, path string) { chmod(t, path, 0o757) }, "others can change what is run"},
		{"of the group can write the file", func(t *testing.T, path string) { chmod(t, path, 0o775) }, "others can change what is run"},
		{"can write its folder", func(t *testing.T, path string) { chmod(t, filepath.Dir(path), 0o757) }, "others can change what is run"},
		{"own it", func(t *testing.T, path string) {
			if err := os.Chown(path, 65534, 65534); err != nil {
				chmod(t, path, 0o757) // who is not root cannot give it away
			}
		}, "others can change what is run"},
		{"can run nothing, it is a folder", func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, "no regular file"},
		{"put a pipe there, that nobody writes", func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, "no regular file"},
		{"took it away", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
		{"put a text there", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("hello"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "it cannot be run"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFixture(t, "well")
			f.config.Path = copyOf(t, f.config.Path)
			tt.change(t, f.config.Path)
			if e := f.startError(t); e.Class != core.Local || !strings.Contains(e.Error(), tt.says) {
				t.Error(e)
			}
		})
	}
}

// What nobody can reach nobody can change.
func TestStart_inAFolderThatOthersCannotEnter(t *testing.T) {
	f := newFixture(t, "well")
	f.config.Path = copyOf(t, f.config.Path)
	chmod(t, f.config.Path, 0o775)
	chmod(t, filepath.Dir(f.config.Path), 0o700)
	works(t, mechanism(t, f.start(t)))
}

func TestStart_overASymbolicLink(t *testing.T) {
	f := newFixture(t, "well")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(f.config.Path, link); err != nil {
		t.Fatal(err)
	}
	f.config.Path = link
	works(t, mechanism(t, f.start(t)))
}

// A host that is killed leaves a folder, whose lock nobody has then.
func TestStart_sweepsWhatIsLeft(t *testing.T) {
	f := newFixture(t, "well")
	left, young, other := filepath.Join(f.config.RuntimeDir, "postrider-1"), filepath.Join(f.config.RuntimeDir, "postrider-2"), filepath.Join(f.config.RuntimeDir, "postrider-3")
	for _, folder := range []string{left, young, other} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if folder == other {
			continue
		}
		if err := os.WriteFile(filepath.Join(folder, "plugin.lock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	running := f.start(t)
	folders, err := filepath.Glob(filepath.Join(f.config.RuntimeDir, "postrider-*"))
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	for _, folder := range folders {
		if folder == young {
			continue
		}
		if err := os.Chtimes(folder, long, long); err != nil {
			t.Fatal(err)
		}
	}
	works(t, mechanism(t, f.start(t)))
	works(t, mechanism(t, running))
	for folder, stays := range map[string]bool{left: false, young: true, other: true} {
		if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) == stays {
			t.Errorf("%s: %v", folder, err)
		}
	}
	if err := errors.Join(os.RemoveAll(young), os.RemoveAll(other)); err != nil {
		t.Fatal(err)
	}
}

func TestStart_theFolderIsPrivate(t *testing.T) {
	f := newFixture(t, "well")
	f.start(t)
	err := filepath.WalkDir(f.config.RuntimeDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == f.config.RuntimeDir {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o022 != 0 || d.IsDir() && info.Mode().Perm() != 0o700 {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func copyOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "pp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	chmod(t, folder, 0o755) // others may enter
	to := filepath.Join(folder, "plugin")
	if err := os.WriteFile(to, data, 0o700); err != nil {
		t.Fatal(err)
	}
	return to
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestStartAll(t *testing.T) {
	one, other := newFixture(t, "well"), newFixture(t, "well")
	list, err := plugins.StartAll(t.Context(), one.config, other.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		works(t, mechanism(t, p))
	}
	if err := plugins.CloseAll(t.Context(), append(list, nil)...); err != nil {
		t.Error(err)
	}
}

// The fixture of the one that could be started sees that nothing is left of it.
func TestStartAll_oneThatCannotBeStarted(t *testing.T) {
	well, missing, relative := newFixture(t, "well"), newFixture(t, "well"), newFixture(t, "well")
	missing.config.Path, relative.config.Path = "/nowhere/to/be/found", "here"
	list, err := plugins.StartAll(t.Context(), missing.config, well.config, relative.config)
	if list != nil || err == nil || !strings.Contains(err.Error(), "plugin found") || !strings.Contains(err.Error(), "plugin here") {
		t.Errorf("%v, %v", list, err)
	}
}

func TestStart_aBinaryThatIsTooLarge(t *testing.T) {
	f := newFixture(t, "well")
	f.config.Path = copyOf(t, f.config.Path)
	if err := os.Truncate(f.config.Path, 1<<30+1); err != nil { // it takes no room
		t.Fatal(err)
	}
	if e := f.startError(t); e.Class != core.Local || !strings.Contains(e.Error(), "has 1073741825 octets, and 1073741824 are the most") {
		t.Error(e)
	}
}

// The copy that runs is as safe as what was copied.
func TestStart_aRuntimeDirThatOthersCanWrite(t *testing.T) {
	for mode, kind := range map[os.FileMode]error{0o777: plugins.ErrUnsafe, 0o770: plugins.ErrUnsafe, 0o777 | os.ModeSticky: nil} {
		t.Run(mode.String(), func(t *testing.T) {
			f := newFixture(t, "well")
			chmod(t, f.config.RuntimeDir, 0o755) // others can enter it
			f.config.RuntimeDir = filepath.Join(f.config.RuntimeDir, "r")
			if err := os.Mkdir(f.config.RuntimeDir, 0o700); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = os.Remove(f.config.RuntimeDir) }()
			chmod(t, f.config.RuntimeDir, mode)
			p, err := plugins.Start(t.Context(), f.config)
			if err == nil {
				err = p.Close(t.Context())
			}
			if !errors.Is(err, kind) || (err == nil) != (kind == nil) {
				t.Error(err)
			}
		})
	}
}
