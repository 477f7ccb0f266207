// Package transportv1 is how a transport in a plugin carries its connections. The code is
// generated, see package proto.
package transportv1
