//go:build !linux

package realserver

import "errors"

// supported says that this system lacks what the servers need. The package compiles everywhere, since the tests that use
// it do.
const supported = false

type process struct{ name string }

func startProcess(_, _ string, _ []string, _ string, _ ...string) (*process, error) {
	return nil, errors.ErrUnsupported
}

func (p *process) running() bool { return false }

func (p *process) others() ([]string, error) { return nil, errors.ErrUnsupported }

func (p *process) stop() error { return errors.ErrUnsupported }

func connections([]int) ([]string, error) { return nil, errors.ErrUnsupported }

func reservePorts(int) ([]int, func(), error) { return nil, nil, errors.ErrUnsupported }
