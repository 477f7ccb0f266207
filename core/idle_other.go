//go:build !unix || aix

package core

type peek struct{}

// disturbed reports whether anything has arrived on an idle connection. Where
// there is no way to look without blocking, that is found out when it is used.
func (c *conn) disturbed() bool { return false }
