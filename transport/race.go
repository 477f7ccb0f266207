package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// attemptDelay is the head start of each address over the next one, RFC 8305 §5.
const attemptDelay = 250 * time.Millisecond

// dialTCP connects to the first address of a host that answers (RFC 8305): the
// addresses are tried in the order of the resolver, with the families in turn,
// each a little later than the one before it, or as soon as that has failed. The
// network is "tcp", "tcp4" or "tcp6".
func dialTCP(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return d.DialContext(ctx, network, address)
	}
	ctx, cancel := withLimits(ctx, d)
	defer cancel()
	addrs, err := lookUp(ctx, d, network, host)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	r := race{dialer: d, network: network, port: port, finished: make(chan finish)}
	return r.run(ctx, addrs)
}

// withLimits bounds the time as the dialer says, whose own limits would be for
// each address.
func withLimits(ctx context.Context, d *net.Dialer) (context.Context, context.CancelFunc) {
	deadline := d.Deadline
	if d.Timeout > 0 {
		if end := time.Now().Add(d.Timeout); deadline.IsZero() || end.Before(deadline) {
			deadline = end
		}
	}
	if deadline.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline)
}

// lookUp returns the addresses of a host that can be dialled, in the order in
// which to try them.
func lookUp(ctx context.Context, d *net.Dialer, network, host string) ([]netip.Addr, error) {
	resolver := d.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	addrs, err := resolver.LookupNetIP(ctx, "ip"+network[len("tcp"):], host)
	if err != nil {
		return nil, err
	}
	var mine netip.Addr // where connections are to come from
	if local, ok := d.LocalAddr.(*net.TCPAddr); ok {
		mine = local.AddrPort().Addr().Unmap()
	}
	var first, second []netip.Addr // by family
	for _, a := range addrs {
		a = a.Unmap()
		switch {
		case mine.IsValid() && mine.Is4() != a.Is4():
		case len(first) == 0 || first[0].Is4() == a.Is4():
			first = append(first, a)
		default:
			second = append(second, a)
		}
	}
	if len(first) == 0 {
		return nil, fmt.Errorf("%s has no address of the IP version of %s", host, mine)
	}
	return interleave(first, second), nil
}

// interleave takes from both lists in turn, RFC 8305 §4.
func interleave(first, second []netip.Addr) (all []netip.Addr) {
	for len(first) > 0 || len(second) > 0 {
		if len(first) > 0 {
			all, first = append(all, first[0]), first[1:]
		}
		if len(second) > 0 {
			all, second = append(all, second[0]), second[1:]
		}
	}
	return all
}

// race is connections to several addresses of a host, of which one is wanted.
type race struct {
	dialer        *net.Dialer
	network, port string
	running       int
	finished      chan finish
}

// finish is how one of them came out.
type finish struct {
	conn net.Conn
	err  error
}

// run returns the connection that was there first. It waits for the others to
// give up.
func (r *race) run(ctx context.Context, addrs []netip.Addr) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer r.drain()
	defer cancel()
	delay := attemptDelay
	if r.dialer.FallbackDelay != 0 {
		delay = r.dialer.FallbackDelay
	}
	headStart := time.NewTimer(0) // the first one needs none
	defer headStart.Stop()
	var errs []error
	for len(addrs) > 0 || r.running > 0 {
		select {
		case <-headStart.C:
		case f := <-r.finished:
			r.running--
			if f.err == nil {
				return f.conn, nil
			}
			errs = append(errs, f.err)
		}
		if len(addrs) > 0 && ctx.Err() == nil {
			r.start(ctx, addrs[0])
			if addrs = addrs[1:]; delay > 0 { // net.Dialer: a negative one is for no race
				headStart.Reset(delay)
			}
		} else if ctx.Err() != nil {
			addrs = nil
		}
	}
	switch len(errs) {
	case 0:
		return nil, &net.OpError{Op: "dial", Net: r.network, Err: ctx.Err()}
	case 1:
		return nil, errs[0]
	}
	return nil, fmt.Errorf("none of %d addresses: %w", len(errs), errors.Join(errs...))
}

func (r *race) start(ctx context.Context, addr netip.Addr) {
	r.running++
	go func() {
		conn, err := r.dialer.DialContext(ctx, r.network, net.JoinHostPort(addr.String(), r.port))
		r.finished <- finish{conn, err}
	}()
}

// drain waits for those that have lost.
func (r *race) drain() {
	for ; r.running > 0; r.running-- {
		if f := <-r.finished; f.err == nil {
			_ = f.conn.Close()
		}
	}
}
