package realserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// supported says that this system has what the servers need.
const supported = true

// A process is a server's first process together with every process that it has started: they are one session of the
// operating system, whose number is the first one's.
type process struct {
	name     string
	session  int
	exited   chan struct{} // closed when the first process has ended
	guard    *exec.Cmd
	lifeline io.Closer
}

// startProcess starts a server as a session of its own. What it writes to standard output and error goes to the file
// console. The environment gets the variables env besides.
func startProcess(name, console string, env []string, program string, args ...string) (*process, error) {
	output, err := os.OpenFile(console, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	defer output.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &process{name: name, session: cmd.Process.Pid, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // how it ended is in its log
	}()
	if err := p.startGuard(); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// startGuard starts a shell that ends the session when this program does. A test that times out or is killed runs no
// Cleanup, and Linux's parent-death signal does not help: it is lost as soon as a server changes its user.
func (p *process) startGuard() error {
	guard := exec.Command("/bin/sh", "-c", `read -r _; kill -s KILL -- "-$1"`, "guard", strconv.Itoa(p.session))
	guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a Control-C must not end it first
	lifeline, err := guard.StdinPipe()
	if err != nil {
		return fmt.Errorf("guarding %s: %w", p.name, err)
	}
	if err := guard.Start(); err != nil {
		return fmt.Errorf("guarding %s: %w", p.name, err)
	}
	p.guard, p.lifeline = guard, lifeline
	return nil
}

// running reports whether the first process has not ended.
func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// others lists the processes of the session but the first, each by its number and command.
func (p *process) others() ([]string, error) {
	pids, err := members(p.session)
	if err != nil {
		return nil, err
	}
	var others []string
	for _, pid := range pids {
		command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && pid != p.session { // it may have ended since
			words := strings.TrimRight(strings.ReplaceAll(string(command), "\x00", " "), " ")
			others = append(others, fmt.Sprintf("process %d (%s)", pid, words))
		}
	}
	return others, nil
}

// stop kills the session and returns when none of its processes is left. It does not ask first: nothing that a server
// would tidy up outlives its folder, and Dovecot takes a second over it.
func (p *process) stop() error {
	if p.guard != nil {
		// The guard goes first: later the number of the session may be another's.
		_ = p.guard.Process.Kill()
		_ = p.guard.Wait()
		_ = p.lifeline.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := await(ctx, func() (bool, error) {
		left, err := members(p.session)
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended since
		}
		return err == nil && len(left) == 0, err
	})
	if err != nil {
		return fmt.Errorf("stopping %s (session %d): %w", p.name, p.session, err)
	}
	<-p.exited
	return nil
}

// members lists the processes of a session. One that has ended and waits for its parent to notice does not count: in
// a container there may be no init to do so.
func members(session int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended since
		}
		// The name, in brackets, may hold anything; after it come state, parent, group and session.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 4 || fields[0] == "Z" || fields[0] == "X" || fields[3] != strconv.Itoa(session) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// reservePorts reserves n free TCP ports of 127.0.0.1 until release is called: each has a socket bound to it that does
// not listen. A server that sets SO_REUSEADDR, as they all do, can listen there; nobody else is given the port.
func reservePorts(n int) (ports []int, release func(), err error) {
	var reserved []int
	release = func() {
		for _, fd := range reserved {
			_ = syscall.Close(fd)
		}
	}
	for range n {
		port, fd, err := reservePort()
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("reserving a port: %w", err)
		}
		ports, reserved = append(ports, port), append(reserved, fd)
	}
	return ports, release, nil
}

// reservePort reserves one port and returns it with the socket that holds it.
func reservePort() (port, fd int, err error) {
	fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	if err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	var bound syscall.Sockaddr
	if err == nil {
		bound, err = syscall.Getsockname(fd)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return 0, 0, err
	}
	return bound.(*syscall.SockaddrInet4).Port, fd, nil
}

// connections lists the TCP connections over IPv4 to local ports that the server has not closed. It reads the system's
// table, in which those stand too that no process has accepted yet. Linux hands out that table page by page: when it
// changes meanwhile, a connection may stand there several times, or be passed over for once.
func connections(ports []int) ([]string, error) {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return nil, fmt.Errorf("reading the table of connections: %w", err)
	}
	unclosed := []string{"01", "03", "08"} // of Linux's TCP states: established, received SYN, close wait
	var open []string
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line) // sl local_address rem_address st …
		if len(fields) < 4 || !slices.Contains(unclosed, fields[3]) {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		connection := fmt.Sprintf("a connection to port %d (from %s, state %s)", port, fields[2], fields[3])
		if err == nil && slices.Contains(ports, int(port)) && !slices.Contains(open, connection) {
			open = append(open, connection)
		}
	}
	return open, nil
}
