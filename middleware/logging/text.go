package logging

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"

	"github.com/postrider/postrider/core"
)

// text returns the text of an error that may be logged. Without addresses that is
// one whose words are known: those of the network, of a certificate, or of one of
// the kinds of errors.
func (l *logger) text(err error) string {
	if e, ok := errors.AsType[*core.PanicError](err); ok {
		return "panic in " + e.Where // its value can be anything, content for example
	}
	if l.Addresses {
		return err.Error()
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e.Error()
	}
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return ""
}

// kinds of errors, what says most about one first.
var kinds = []error{
	context.Canceled, context.DeadlineExceeded, os.ErrDeadlineExceeded,
	core.ErrCredentials, core.ErrMechanismRefused, core.ErrTLSRequired,
	core.ErrConnect, core.ErrHello, core.ErrAuthentication,
	core.ErrSenderRefused, core.ErrRecipientRefused, core.ErrContentRefused,
	core.ErrNotSupported, core.ErrOneShot, core.ErrProtocol, core.ErrClosed,
	core.ErrNextTwice, core.ErrNextLate, core.ErrNextSkipped,
	core.ErrUnknownOutcome, core.ErrDisconnected,
}
