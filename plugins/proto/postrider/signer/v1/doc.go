// Package signerv1 is how a key in a plugin signs. The code is generated, see
// package proto.
package signerv1
