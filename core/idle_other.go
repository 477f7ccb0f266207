//go:build !unix || aix

package core

import "time"

type peek struct{}

// disturbed reports whether anything has arrived on an idle connection. There is
// no way to look without waiting, so it is done only if the connection has
// rested; else it is found out when it is used.
func (c *conn) disturbed(rested bool) bool { return rested && c.hears(time.Millisecond) }
