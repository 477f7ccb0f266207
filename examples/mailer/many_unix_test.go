//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// outbox makes a folder with n small messages.
func outbox(t *testing.T, n int) []string {
	t.Helper()
	folder := t.TempDir()
	files := make([]string, n)
	for i := range files {
		files[i] = filepath.Join(folder, fmt.Sprintf("%05d.eml", i))
		if err := os.WriteFile(files[i], fmt.Appendf(nil, "Subject: %d\r\n\r\nHello.\r\n", i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// running is a run of the program that the test can interrupt.
type running struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

func start(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{cmd: command(t, args...)}
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// end waits for the end of the run, and returns the names of the files by the
// outcome of the message.
func (r *running) end(t *testing.T) (files map[string][]string) {
	t.Helper()
	_ = r.cmd.Wait() // the status is looked at by the test
	files = map[string][]string{}
	for line := range bytes.Lines(r.stdout.Bytes()) {
		var one result
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("%v in the line %q", err, line)
		}
		files[one.Outcome] = append(files[one.Outcome], one.File)
	}
	return files
}

// An interrupt ends the run; what was sent and what was not is told, and when the
// rest is sent afterwards each message has arrived once.
func TestMany_interruptLosesAndDoublesNothing(t *testing.T) {
	for _, tt := range []struct {
		n    int
		more []string
	}{{2_000, nil}, {10_000, []string{"-depth", "16", "-concurrency", "2"}}} {
		var process atomic.Pointer[os.Process]
		started := make(chan struct{})
		var count atomic.Int32
		s := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
			if count.Add(1) == 300 {
				<-started
				_ = process.Load().Signal(os.Interrupt)
			}
			return nil
		}})
		args := func(files []string) []string { return to(s.URL(), slices.Concat(tt.more, files)...) }
		files := outbox(t, tt.n)
		r := start(t, args(files)...)
		process.Store(r.cmd.Process)
		close(started)
		first := r.end(t)
		if status := r.cmd.ProcessState.ExitCode(); status != 75 || !strings.Contains(r.stderr.String(), "interrupted") {
			t.Errorf("status %d, %s", status, &r.stderr)
		}
		if len(first[inDoubt]) > 0 || len(first[delivered])+len(first[notDelivered]) != len(files) || len(first[delivered]) > tt.n*3/4 {
			t.Errorf("delivered %d, not %d, unknown %d", len(first[delivered]), len(first[notDelivered]), len(first[inDoubt]))
		}
		r = start(t, args(first[notDelivered])...)
		if rest := r.end(t); len(rest[delivered]) != len(first[notDelivered]) {
			t.Errorf("of the rest, %d of %d were delivered: %s", len(rest[delivered]), len(first[notDelivered]), &r.stderr)
		}
		seen := map[string]int{}
		for _, m := range s.Messages() {
			seen[string(m.Content)]++
		}
		if len(seen) != len(files) || len(s.Messages()) != len(files) {
			t.Errorf("%d messages arrived, %d different ones", len(s.Messages()), len(seen))
		}
	}
}

// Where no transaction is under way, an interrupt is not kept waiting: not by a
// server that does not answer.
func TestMany_interruptOfAConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := start(t, to("smtp://"+l.Addr().String(), file(t, mail), file(t, mail))...)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	files := r.end(t)
	if len(files[notDelivered]) != 2 || r.cmd.ProcessState.ExitCode() != 75 {
		t.Errorf("got %v, %s", files, &r.stderr)
	}
}

// The second interrupt does not wait for the reply to the content, and says so.
func TestMany_secondInterrupt(t *testing.T) {
	var process atomic.Pointer[os.Process]
	started, release := make(chan struct{}), make(chan struct{})
	defer sync.OnceFunc(func() { close(release) })()
	s := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
		<-started
		_ = process.Load().Signal(os.Interrupt)
		_ = process.Load().Signal(syscall.SIGTERM)
		<-release
		return nil
	}})
	r := start(t, to(s.URL(), file(t, mail))...)
	process.Store(r.cmd.Process)
	close(started)
	files := r.end(t)
	if len(files[inDoubt]) != 1 || r.cmd.ProcessState.ExitCode() != 76 {
		t.Errorf("got %v, status %d", files, r.cmd.ProcessState.ExitCode())
	}
}

// Nor does it wait for standard input, and it leaves no temporary file.
func TestMany_interruptOfStandardInput(t *testing.T) {
	temporary := t.TempDir()
	cmd := command(t, to("smtp://127.0.0.1:1", "-")...)
	cmd.Env = append(cmd.Env, "TMPDIR="+temporary)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than is kept in memory, and than a pipe holds besides: when all is
	// written, there is the file.
	if _, err := stdin.Write(make([]byte, 2<<20)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	left, err := os.ReadDir(temporary)
	if status := cmd.ProcessState.ExitCode(); status != 75 || len(left) > 0 || err != nil {
		t.Errorf("status %d, left %v, %v", status, left, err)
	}
}

// A pipe is a message like any other, and one that nobody writes to does not keep
// the program from ending.
func TestMany_pipe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	mailer(t, to("smtp://127.0.0.1:1", "-deadline", "100ms", name)...).ends(t, 75, "-deadline")
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	r := start(t, to(s.URL(), name)...)
	if err := os.WriteFile(name, []byte(mail), 0o600); err != nil {
		t.Fatal(err)
	}
	files := r.end(t)
	if len(files[delivered]) != 1 || string(s.Messages()[0].Content) != mail {
		t.Errorf("got %v, %s", files, &r.stderr)
	}
}
