// Package interceptorv1 is how an interceptor in a plugin decides about messages. The code is
// generated, see package proto.
package interceptorv1
