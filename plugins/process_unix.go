//go:build unix && !linux

package plugins

import (
	"os"
	"syscall"
)

// processAttributes has the process lead a group of its own.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// reap waits until the process has ended, and kills what that left behind in its
// process group.
func (p *process) reap() error {
	err := p.cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
	killGroup(p.cmd.Process)
	return err
}

// killGroup kills what is in the process group of p.
func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
