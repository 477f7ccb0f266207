//go:build !unix

package plugins

import (
	"os"
	"syscall"
)

func processAttributes() *syscall.SysProcAttr { return nil }

// reap waits until the process has ended. What that left behind stays.
func (p *process) reap() error {
	err := p.cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
	return err
}

func killGroup(p *os.Process) { _ = p.Kill() }
