package transport

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"syscall"
	"time"
)

// maxUserTimeout is what the system's number of milliseconds holds.
const maxUserTimeout = math.MaxInt32 * time.Millisecond

// dialer returns the dialer of a configuration. What is said twice, here and in
// the caller's dialer, is refused: one of the two would be lost.
func (config TCP) dialer() (*net.Dialer, error) {
	var d net.Dialer
	if config.Dialer != nil {
		d = *config.Dialer
	}
	twice := func(field string) error {
		return fmt.Errorf("TCP.%s is set, and so is that of TCP.Dialer: use one of them", field)
	}
	if config.Resolver != nil {
		if d.Resolver != nil {
			return nil, twice("Resolver")
		}
		d.Resolver = config.Resolver
	}
	if config.LocalAddr.IsValid() {
		if d.LocalAddr != nil {
			return nil, twice("LocalAddr")
		}
		addr := config.LocalAddr.Unmap()
		d.LocalAddr = &net.TCPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}
	}
	if config.KeepAlive != (net.KeepAliveConfig{}) {
		switch {
		case d.KeepAlive != 0 || d.KeepAliveConfig != (net.KeepAliveConfig{}):
			return nil, twice("KeepAlive")
		case !config.KeepAlive.Enable:
			return nil, errors.New("TCP.KeepAlive has values but not Enable: set that too, or TCP.Dialer.KeepAlive to -1 for no probes")
		}
		d.KeepAliveConfig = config.KeepAlive
	}
	return &d, config.limitUnacknowledged(&d)
}

// limitUnacknowledged makes a dialer set the user timeout.
func (config TCP) limitUnacknowledged(d *net.Dialer) error {
	switch timeout := config.UserTimeout; {
	case timeout == 0:
		return nil
	case !userTimeoutSupported:
		return errors.New("TCP.UserTimeout is there on Linux only: leave it zero, core.Timeouts bounds each write and each reply anyway")
	case timeout < time.Millisecond || timeout > maxUserTimeout:
		return fmt.Errorf("TCP.UserTimeout is %v: use 1ms to %v, or zero for the system's", timeout, maxUserTimeout)
	}
	control := d.ControlContext
	if control == nil && d.Control != nil {
		f := d.Control
		control = func(_ context.Context, network, address string, c syscall.RawConn) error {
			return f(network, address, c)
		}
	}
	milliseconds := int(config.UserTimeout / time.Millisecond)
	d.ControlContext = func(ctx context.Context, network, address string, c syscall.RawConn) error {
		if control != nil {
			if err := control(ctx, network, address, c); err != nil {
				return err
			}
		}
		var failed error
		err := c.Control(func(fd uintptr) { failed = setUserTimeout(fd, milliseconds) })
		if err = errors.Join(err, failed); err != nil {
			return fmt.Errorf("setting TCP.UserTimeout: %w", err)
		}
		return nil
	}
	return nil
}
