// Package proto is the wire protocol between a host and its plugins: gRPC on a
// socket that hashicorp/go-plugin sets up. The folder below holds one package for
// each kind of plugin and major version, and docs/plugins.md the rest of what it
// takes to speak it, in any language.
//
// The code in them is generated from the .proto files, and checked by buf:
//
//	go generate ./plugins/proto
package proto

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 lint
//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate

// The handshake of hashicorp/go-plugin. The cookie keeps people from starting a
// plugin by hand. It is no secret, and proves nothing.
const (
	// Version is the application's version of the protocol, which both sides must
	// have. It grows when the packages below are replaced by others.
	Version = 1
	// CookieKey is the name of the variable that has the cookie.
	CookieKey = "POSTRIDER_PLUGIN"
	// CookieValue is the cookie.
	CookieValue = "bfe1a59e4f8a4a5c"
)

// MaxMessage is how large a message may be, in octets, in either direction.
const MaxMessage = 1 << 20
