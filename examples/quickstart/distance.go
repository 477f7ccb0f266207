package main

import (
	"net"
	"sync/atomic"
	"time"
)

// distant is a listener as if a network lay in between: without, every step is
// over too soon to be seen.
type distant struct {
	net.Listener
	roundTrip time.Duration
}

func (l distant) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &distantConn{Conn: c, roundTrip: l.roundTrip}, nil
}

// distantConn takes in what comes after something went out one round trip later:
// what was written together arrives together.
type distantConn struct {
	net.Conn
	roundTrip time.Duration
	answered  atomic.Bool
}

func (c *distantConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.answered.Swap(false) {
		time.Sleep(c.roundTrip)
	}
	return n, err
}

func (c *distantConn) Write(p []byte) (int, error) {
	c.answered.Store(true)
	return c.Conn.Write(p)
}
