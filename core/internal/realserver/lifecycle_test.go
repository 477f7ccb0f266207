package realserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// recorder is a test that keeps what it is told instead of failing.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (r *recorder) Helper() {}

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// instance is what the tests here want to know of a server that runs.
type instance struct {
	folder    string
	hello     string   // "" if it speaks no SMTP
	addresses []string // of its listeners
	processes []string // something of the command of each process while a session is open
}

// starts holds every server of this package by its name, and how a test starts it.
var starts = map[string]struct {
	server server
	start  func(testing.TB) instance
}{
	"Postfix": {postfixNeeds, func(t testing.TB) instance {
		p := StartPostfix(t)
		return instance{p.folder, "EHLO", []string{p.PlainAddr, p.Addr, p.TLSAddr},
			[]string{"sbin/master", "smtpd", "qmgr", "postlogd", "sbin/dovecot", "dovecot/auth"}}
	}},
	"Exim": {eximNeeds, func(t testing.TB) instance {
		e := StartExim(t)
		return instance{e.folder, "EHLO", []string{e.Addr, e.TLSAddr}, []string{"-bdf"}}
	}},
	"Dovecot": {dovecotNeeds, func(t testing.TB) instance {
		d := StartDovecot(t)
		return instance{d.folder, "LHLO", []string{d.Socket, d.Addr},
			[]string{"sbin/dovecot", "dovecot/lmtp", "dovecot/auth", "dovecot/log"}}
	}},
	"OpenSMTPD": {openSMTPDNeeds, func(t testing.TB) instance {
		o := StartOpenSMTPD(t)
		return instance{o.folder, "EHLO", []string{o.Addr}, []string{"/smtpd"}}
	}},
	"MicroSocks": {microsocksNeeds, func(t testing.TB) instance {
		p := StartMicrosocks(t)
		return instance{p.folder, "", []string{p.Addr}, []string{"/microsocks"}}
	}},
	"Tinyproxy": {tinyproxyNeeds, func(t testing.TB) instance {
		p := StartTinyproxy(t)
		return instance{p.folder, "", []string{p.Addr}, []string{"/tinyproxy"}}
	}},
}

// absence starts a server where it cannot run and returns the reasons for which the test failed or was skipped.
func absence(t *testing.T, name string) (failed, skipped string) {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		starts[name].start(r)
	}()
	<-done
	return r.failed, r.skipped
}

// TestMissing has no server in PATH.
func TestMissing(t *testing.T) {
	for name := range starts {
		for value, fails := range map[string]bool{"required": true, "": false, "optional": false} {
			t.Run(name+", "+RequireEnv+"="+value, func(t *testing.T) {
				t.Setenv("PATH", t.TempDir())
				t.Setenv(RequireEnv, value)
				failed, skipped := absence(t, name)
				if (failed != "") != fails || (skipped != "") == fails {
					t.Errorf("the test failed with %q and was skipped with %q", failed, skipped)
				}
				reason := failed + skipped
				instead := !supported || strings.Contains(reason, "apt-get install "+starts[name].server.packages)
				if !instead || !strings.Contains(reason, RequireEnv) {
					t.Errorf("the reason does not say what to do: %q", reason)
				}
			})
		}
	}
}

// TestOther has programs in PATH that are not what the servers need.
func TestOther(t *testing.T) {
	if !supported || os.Geteuid() != 0 {
		reason := "on this system, or for this user, the reason would be another"
		if os.Getenv(RequireEnv) == "required" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	const dovecot = "echo '2.3.19.1 (9b53102964)'"
	for name, c := range map[string]struct {
		server   string
		programs map[string]string
		want     string
	}{
		"Postfix with another Dovecot": {"Postfix", map[string]string{"postconf": "", "dovecot": "echo 2.4.1"}, "needs Dovecot 2.3"},
		"another Dovecot":              {"Dovecot", map[string]string{"doveconf": "", "dovecot": "echo 2.4.1"}, "needs Dovecot 2.3"},
		"Dovecot without LMTP": {"Dovecot", map[string]string{"doveconf": "echo /nonexistent", "dovecot": dovecot},
			"apt-get install dovecot-lmtpd"},
		"Exim without PRDR":     {"Exim", map[string]string{"exim4": "echo 'Support for: GnuTLS I18N OCSP '"}, "Exim with PRDR"},
		"Exim without its user": {"Exim", map[string]string{"exim4": "echo no user >&2; exit 1"}, "it fails: exit status 1: no user"},
	} {
		t.Run(name, func(t *testing.T) {
			programs := t.TempDir()
			t.Setenv("PATH", programs)
			t.Setenv(RequireEnv, "")
			for program, script := range c.programs {
				if err := os.WriteFile(filepath.Join(programs, program), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if _, skipped := absence(t, c.server); !strings.Contains(skipped, c.want) {
				t.Errorf("the test was skipped with %q", skipped)
			}
		})
	}
}

// processesIn lists the processes that work in a folder or were started with one of its paths.
func processesIn(folder string) ([]string, error) {
	var found []string
	processes, err := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		// One that has ended since, or is not ours to look at, has neither.
		where, _ := os.Readlink(process + "/cwd")
		command, _ := os.ReadFile(process + "/cmdline")
		if strings.HasPrefix(where, folder) || strings.Contains(string(command), folder) {
			found = append(found, fmt.Sprintf("%s %q in %s", filepath.Base(process), command, where))
		}
	}
	return found, err
}

// underWay begins a session.
func underWay(t *testing.T, i instance) {
	t.Helper()
	if i.hello == "" {
		conn, err := net.Dial("tcp", i.addresses[0])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return
	}
	d := dial(t, i.addresses[0], nil)
	d.say(i.hello+" client.example.test", "250 ")
	d.say("MAIL FROM:<me@example.com>", "250 ")
	d.say("RCPT TO:<alice@example.test>", "250 ")
}

// TestStop looks for what is left when the test that has started a server is over.
func TestStop(t *testing.T) {
	for name, c := range starts {
		t.Run(name, func(t *testing.T) {
			var i instance
			t.Run("server", func(t *testing.T) {
				i = c.start(t)
				underWay(t, i) // a session must not keep it from stopping
				// All must be seen running: else their end could not be seen either. Some take their time to start.
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				for _, want := range i.processes {
					var running []string
					err := await(ctx, func() (_ bool, err error) {
						running, err = processesIn(i.folder)
						return strings.Contains(strings.Join(running, "\n"), want), err
					})
					if err != nil {
						t.Errorf("%s is not seen running: %v in %q", want, err, running)
					}
				}
			})
			if i.folder == "" || t.Failed() {
				return // skipped: the server is not here
			}
			if left, err := processesIn(i.folder); len(left) > 0 || err != nil {
				t.Errorf("processes are left: %q (%v)", left, err)
			}
			if _, err := os.Stat(i.folder); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the folder is left: %v", err)
			}
			for _, address := range i.addresses {
				if strings.HasPrefix(address, "/") {
					continue // it was in the folder
				}
				// A process that was killed has no name any more before its sockets are closed. And the port may be
				// another's by now, for a connection from there: so the question is whether somebody answers.
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				err := await(ctx, func() (bool, error) {
					conn, err := net.Dial("tcp", address)
					if err == nil {
						err = conn.Close()
						return false, err
					}
					return true, nil
				})
				if err != nil {
					t.Errorf("the port %s is left: %v", address, err)
				}
			}
		})
	}
}

// TestKilled kills a test program, which then runs no Cleanup, and looks for what is left of its server.
func TestKilled(t *testing.T) {
	const role = "POSTRIDER_TEST_TO_BE_KILLED"
	if name := os.Getenv(role); name != "" {
		fmt.Printf("folder %s\n", starts[name].start(t).folder)
		select {} // until it is killed
	}
	for name, c := range starts {
		t.Run(name, func(t *testing.T) {
			if _, err := c.server.find(); err != nil {
				Absent(t, err)
			}
			killed(t, role+"="+name)
		})
	}
}

// killed runs TestKilled as a program of its own with this in its environment, kills it, and waits until nothing of its
// server runs.
func killed(t *testing.T, role string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), role)
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	folder, found := strings.CutPrefix(strings.TrimSpace(line), "folder ")
	if !found {
		_ = cmd.Process.Kill()
		t.Fatalf("the program says %q (%v)", line, err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	if running, err := processesIn(folder); len(running) == 0 {
		t.Errorf("no process is seen running (%v)", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	var left []string
	err = await(ctx, func() (_ bool, err error) {
		left, err = processesIn(folder)
		return len(left) == 0, err
	})
	if err != nil {
		t.Errorf("these processes run on: %q (%v)", left, err)
	}
}
