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

// absence starts Postfix where it cannot run and returns the reasons for which the test failed or was skipped.
func absence(t *testing.T) (failed, skipped string) {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		StartPostfix(r)
	}()
	<-done
	return r.failed, r.skipped
}

// TestMissing has no server in PATH.
func TestMissing(t *testing.T) {
	for value, fails := range map[string]bool{"required": true, "": false, "optional": false} {
		t.Run(RequireEnv+"="+value, func(t *testing.T) {
			t.Setenv("PATH", t.TempDir())
			t.Setenv(RequireEnv, value)
			failed, skipped := absence(t)
			if (failed != "") != fails || (skipped != "") == fails {
				t.Errorf("the test failed with %q and was skipped with %q", failed, skipped)
			}
			reason := failed + skipped
			instead := !supported || strings.Contains(reason, "apt-get install postfix dovecot-core")
			if !instead || !strings.Contains(reason, RequireEnv) {
				t.Errorf("the reason does not say what to do: %q", reason)
			}
		})
	}
}

// TestOtherDovecot has a Dovecot whose settings are others.
func TestOtherDovecot(t *testing.T) {
	if !supported || os.Geteuid() != 0 {
		t.Skip("on this system, or for this user, the reason would be another")
	}
	programs := t.TempDir()
	t.Setenv("PATH", programs)
	t.Setenv(RequireEnv, "")
	for _, name := range []string{"postconf", "dovecot"} {
		if err := os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/sh\necho '2.4.1 (7d8c0e5)'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, skipped := absence(t); !strings.Contains(skipped, "needs Dovecot 2.3") {
		t.Errorf("the test was skipped with %q", skipped)
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

// TestStop looks for what is left when the test that has started a server is over.
func TestStop(t *testing.T) {
	var p *Postfix
	t.Run("server", func(t *testing.T) {
		p = StartPostfix(t)
		d := dial(t, p.PlainAddr, nil) // a session under way must not keep it from stopping
		d.say("EHLO client.example.test", "250 ")
		d.say("MAIL FROM:<me@example.com>", "250 2.1.0 ")
		// All must be seen running: else their end could not be seen either. Some take their time to start.
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for _, want := range []string{"sbin/master", "smtpd", "qmgr", "postlogd", "sbin/dovecot", "dovecot/auth"} {
			var running []string
			err := await(ctx, func() (_ bool, err error) {
				running, err = processesIn(p.folder)
				return strings.Contains(strings.Join(running, "\n"), want), err
			})
			if err != nil {
				t.Errorf("%s is not seen running: %v in %q", want, err, running)
			}
		}
	})
	if p == nil || t.Failed() {
		return // skipped: no Postfix here
	}
	if left, err := processesIn(p.folder); len(left) > 0 || err != nil {
		t.Errorf("processes are left: %q (%v)", left, err)
	}
	if _, err := os.Stat(p.folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	for _, address := range []string{p.Addr, p.TLSAddr, p.PlainAddr} {
		if listener, err := net.Listen("tcp", address); err != nil {
			t.Errorf("the port is left: %v", err)
		} else if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestKilled kills a test program, which then runs no Cleanup, and looks for what is left of its server.
func TestKilled(t *testing.T) {
	const role = "POSTRIDER_TEST_TO_BE_KILLED"
	if os.Getenv(role) != "" {
		fmt.Printf("folder %s\n", StartPostfix(t).folder)
		select {} // until it is killed
	}
	if _, err := postfixNeeds.find(); err != nil {
		absent(t, err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), role+"=1")
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
	if running, err := processesIn(folder); len(running) < 5 {
		t.Errorf("these processes run: %q (%v)", running, err)
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
