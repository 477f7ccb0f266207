package mechanisms

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/core"
)

// External returns EXTERNAL (RFC 4422 Appendix A): who the client is was proven
// before, by a certificate in TLS, or to a Unix socket by the kernel. Nothing is
// sent but identity, the user to act as; with an empty one the server takes the
// user from what was proven.
//
// The certificate is the one of core.Config.TLS; core.LoadClientCertificate reads
// one. Without a certificate or without TLS it does not suit a server, unless that
// is on this machine. A server that offers EXTERNAL and did not ask for the
// certificate refuses it.
func External(identity string) core.Mechanism { return &external{identity} }

type external struct{ identity string }

func (*external) Name() string { return "EXTERNAL" }

// KeepsSecret implements [core.SecretKeeper].
func (*external) KeepsSecret() bool { return true }

// String returns the name alone.
func (*external) String() string { return "EXTERNAL" }

// GoString is String, for %#v.
func (*external) GoString() string { return "EXTERNAL" }

// Check implements [core.Checker].
func (e *external) Check() error {
	// RFC 4422 §A.1
	if strings.ContainsRune(e.identity, 0) || !utf8.ValidString(e.identity) {
		return errors.New("the identity holds NUL or is not UTF-8, and EXTERNAL can carry neither")
	}
	return nil
}

// CheckPeer implements [core.PeerChecker].
func (*external) CheckPeer(peer *core.Peer) error {
	if !peer.ClientCertificate && !peer.Local {
		return errors.New("it needs TLS with a client certificate, or a server on this machine, to prove who the client is")
	}
	return nil
}

func (e *external) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	if err := e.Check(); err != nil {
		return nil, nil, err
	}
	return oneMessage{}, []byte(e.identity), nil
}
