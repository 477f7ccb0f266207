// Package mechanismv1 is how a SASL mechanism runs in a plugin. The code is
// generated, see package proto.
package mechanismv1
