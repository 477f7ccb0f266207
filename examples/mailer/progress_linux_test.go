package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/postrider/postrider/core/smtptest"
)

// terminal opens a pseudo-terminal: what is written to the one file can be read
// from the other.
func terminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return screen, tty
}

// On a terminal there is a bar, and a line for each message that was not
// delivered; with -json the lines are on standard output and the bar is not.
func TestProgress(t *testing.T) {
	for _, form := range []string{"", "-json"} {
		screen, tty := terminal(t)
		s := smtptest.NewServer(t, smtptest.ServerOptions{})
		files := append(outbox(t, 200), "/nonexistent/mail.eml")
		args := append([]string{"send", "-url", s.URL(), "-from", "me@example.com", "-to", "you@example.net"}, files...)
		if form != "" {
			args = append(args, form)
		}
		cmd := command(t, args...)
		cmd.Stderr = tty
		var stdout lockedBuffer
		cmd.Stdout = &stdout
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = tty.Close()
		shown, _ := io.ReadAll(screen) // it ends with an error when nobody has the terminal any more
		_ = cmd.Wait()
		if cmd.ProcessState.ExitCode() != 65 || !strings.Contains(string(shown), "sending") || !strings.Contains(string(shown), "/201") {
			t.Errorf("status %d, on the terminal %q", cmd.ProcessState.ExitCode(), shown)
		}
		switch n := strings.Count(stdout.String(), "\n"); {
		case form == "-json" && n != 201:
			t.Errorf("%d lines of JSON", n)
		case form == "" && (n != 3 || !strings.Contains(stdout.String(), "201 messages: 200 delivered, 1 not delivered")):
			t.Errorf("for people: %s", &stdout)
		}
	}
}

// Without a FILE a terminal is no message: nobody would know what is waited for.
func TestSend_64WithoutAFileOnATerminal(t *testing.T) {
	_, tty := terminal(t)
	defer tty.Close()
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	cmd := command(t, to(s.URL())...)
	cmd.Stdin = tty
	out, _ := cmd.CombinedOutput() // the status is looked at below
	if status := cmd.ProcessState.ExitCode(); status != 64 || !strings.Contains(string(out), "name a file, or give - ") {
		t.Errorf("status %d, %s", status, out)
	}
}
