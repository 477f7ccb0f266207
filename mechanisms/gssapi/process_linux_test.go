package gssapi_test

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a server. It is a watchdog, not a measure.
const patience = 30 * time.Second

// startProcess starts a server as a group of processes of its own, waits until
// it is ready, and kills the group when the test ends. What it writes goes to
// the file console.
func startProcess(t *testing.T, console string, env []string, ready func() bool, program string, args ...string) {
	t.Helper()
	output, err := os.OpenFile(console, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	server := exec.Command(program, args...)
	server.Env = append(os.Environ(), env...)
	server.Stdout, server.Stderr = output, output
	server.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	group := server.Process.Pid
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Wait() // how it ended is in its log
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-group, syscall.SIGKILL) // it may have ended
		<-ended
	})
	guard(t, group)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-tick.C:
		case <-ended:
			t.Fatalf("%s has ended", program)
		case <-ctx.Done():
			t.Fatalf("%s: %v", program, context.Cause(ctx))
		}
	}
}

// guard starts a shell that kills a group when this program ends without its
// cleanup: a test that times out has none.
func guard(t *testing.T, group int) {
	t.Helper()
	shell := exec.Command("/bin/sh", "-c", `read -r _; kill -s KILL -- "-$1"`, "guard", strconv.Itoa(group))
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a Control-C must not end it first
	lifeline, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the group is killed, whose number may be another's then
		_ = shell.Process.Kill()
		_ = shell.Wait()
		_ = lifeline.Close()
	})
}

// reservePort reserves a TCP port of 127.0.0.1: a socket is bound to it that
// does not listen. A server that sets SO_REUSEADDR, as all here do, can listen
// there; nobody else is given the port.
func reservePort(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(bound.(*syscall.SockaddrInet4).Port)
}
