package plugins

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin/runner"
)

// process is one process of a plugin. It is what go-plugin takes for a runner: it
// starts the process itself, and reads what it prints, so that the parts of
// go-plugin that would do so are never fed by a plugin.
type process struct {
	cmd   *exec.Cmd
	lines *lineLog
	// stop asks the process to end, when it is closed: it is the other end of its
	// standard input. It closes by itself when the host is gone.
	stop   *os.File
	line   string        // of the handshake, for go-plugin
	done   chan struct{} // closed when the process has ended and was waited for
	copies sync.WaitGroup

	ended error // how it ended, from when done is closed

	mu     sync.Mutex
	killed bool
	reaped bool
}

var _ runner.Runner = (*process)(nil)

// Start starts the process and waits for its handshake. An error says what is wrong
// with that.
func (p *process) Start(ctx context.Context) error {
	stdout, stderr, err := p.launch()
	if err != nil {
		return err
	}
	p.copies.Go(func() { p.drain(stderr, stderr, "stderr") })
	handshake := make(chan string, 1)
	p.copies.Go(func() { p.readHandshake(stdout, handshake) })
	select {
	case line, ok := <-handshake:
		if !ok {
			return p.diedEarly()
		}
		if err := checkHandshake(line, p.socketFolder()); err != nil {
			if line != "" {
				p.lines.line([]byte(line), "stdout") // it is not for an error
			}
			return err
		}
		p.line = line
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: there is no handshake", ErrLate)
	}
}

// errNotRun is that the system does not run the copy of the binary.
var errNotRun = errors.New("it cannot be run")

// diedEarly is the error of a process that has no handshake.
func (p *process) diedEarly() error {
	select {
	case <-p.done:
		return fmt.Errorf("%w before its handshake: %w", ErrEnded, p.ended)
	case <-time.After(drainTime):
		return fmt.Errorf("%w: it closed its output", ErrHandshake)
	}
}

// launch starts the process, with pipes for its input and output.
func (p *process) launch() (stdout, stderr *os.File, err error) {
	var files []*os.File
	defer func() {
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
		}
	}()
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, nil, err
		}
		files = append(files, r, w)
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = files[0], files[3], files[5]
	p.stop = files[1]
	p.cmd.SysProcAttr = processAttributes()
	started := make(chan error)
	go p.live(started)
	if err := <-started; err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errNotRun, err)
	}
	for _, f := range []*os.File{files[0], files[3], files[5]} {
		_ = f.Close() // the process has its own
	}
	return files[2], files[4], nil
}

// live starts the process and waits for its end. The process is killed when the
// thread that started it ends, so it keeps one.
func (p *process) live(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.begin()
	started <- err
	if err != nil {
		return
	}
	err = p.reap()
	p.ended = exitState(p.cmd, err)
	_ = p.stop.Close()
	close(p.done)
}

func (p *process) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed {
		return context.Canceled
	}
	return p.cmd.Start()
}

// exitState says how a process ended. What it printed is not in it.
func exitState(cmd *exec.Cmd, err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); err == nil || ok {
		return errors.New(cmd.ProcessState.String())
	}
	return err
}

// Kill kills the process and what is in its process group. It does not wait.
func (p *process) Kill(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed = true
	if !p.reaped && p.cmd.Process != nil {
		killGroup(p.cmd.Process)
	}
	return nil
}

// maxHandshake is how long the line of a handshake may be: it has a certificate.
const maxHandshake = 8 << 10

// readHandshake passes on the first line that the process prints, and logs the
// others.
func (p *process) readHandshake(stdout *os.File, handshake chan<- string) {
	b := bufio.NewReaderSize(stdout, maxHandshake)
	line, err := b.ReadSlice('\n')
	if err == nil {
		handshake <- strings.TrimSpace(string(line))
	}
	if errors.Is(err, bufio.ErrBufferFull) {
		handshake <- "" // which is none
	}
	close(handshake)
	p.drain(stdout, b, "stdout")
}

// drain logs what r reads of a pipe until all that hold its other end are gone, or a
// while after the process is.
func (p *process) drain(pipe *os.File, r io.Reader, source string) {
	over, limited := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(limited)
		select {
		case <-p.done:
			_ = pipe.SetReadDeadline(time.Now().Add(drainTime))
		case <-over:
		}
	}()
	p.lines.copy(r, source)
	close(over)
	<-limited
	_ = pipe.Close()
}

// What else a runner has.

// Wait implements runner.Runner.
func (p *process) Wait(context.Context) error {
	<-p.done
	return p.ended
}

// Diagnose implements runner.Runner.
func (p *process) Diagnose(context.Context) string { return "" }

// Stdout has the handshake, and nothing else of what the plugin prints.
func (p *process) Stdout() io.ReadCloser { return io.NopCloser(strings.NewReader(p.line + "\n")) }

// Stderr has nothing: go-plugin's reader panics if a line is {"@message":1}.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name implements runner.Runner.
func (p *process) Name() string { return p.cmd.Path }

// ID implements runner.Runner.
func (p *process) ID() string { return strconv.Itoa(p.pid()) }

func (p *process) pid() int {
	if p.cmd.Process == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// PluginToHost implements runner.Runner. The address was checked.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

func (p *process) socketFolder() string { return p.cmd.Dir }
