// Package pluginv1 is how a plugin describes itself, and how it says what went
// wrong. The code is generated, see package proto.
package pluginv1
