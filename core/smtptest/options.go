package smtptest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/postrider/postrider/core"
)

// ServerOptions vary what a [Server] is. The zero value is an SMTP server on
// this machine, in clear text, that accepts everything.
//
// Its functions are called from the goroutine of the connection, several at the
// same time if there are several connections. One that blocks makes its client
// wait. Call t.Error in them, not t.Fatal. What they get, they may keep and must
// not change. [Reply] makes what they return:
//
//	Rcpt: func(e smtptest.Envelope, to smtptest.Recipient) *core.Reply {
//		if to.Address == "nobody@example.net" {
//			return smtptest.Reply("550 5.1.1 no such mailbox")
//		}
//		return nil
//	},
//
// DELIVERBY and MT-PRIORITY cannot be had: the server takes their parameters
// with RCPT alone, and they belong to MAIL (RFC 2852 §4, RFC 6710 §4). For any
// other extension use a [Script].
type ServerOptions struct {
	// Protocol is SMTP or LMTP.
	Protocol core.Protocol
	// Remote makes the endpoint of Config one that is not on this machine,
	// server.example, so that the client's rules for TLS hold.
	Remote bool

	// StartTLS offers STARTTLS, ImplicitTLS begins each connection with a
	// handshake; not both, and no ImplicitTLS with LMTP. A server with either
	// offers AUTH only under TLS.
	StartTLS, ImplicitTLS bool
	// TLS is the server's configuration for them. If it is nil, the server
	// makes a certificate for server.example, localhost and the loopback
	// addresses, which clients made with Config trust.
	TLS *tls.Config

	// Users has the passwords of those who can authenticate with PLAIN, and with
	// the mechanisms in SCRAM.
	Users map[string]string
	// SCRAM has the variants of SCRAM to offer beside PLAIN, in this order:
	// "SCRAM-SHA-256-PLUS", say. There are SHA-1, SHA-256 and SHA-512.
	//
	// Those with -PLUS need StartTLS or ImplicitTLS, and take the bindings
	// tls-exporter and tls-server-end-point; the latter not if the certificate is
	// signed by Ed25519. A certificate of one's own must be the only one in TLS.
	// A client that is bound to another connection is refused with 535, and so is
	// one that could bind itself and believes that the server cannot, since
	// somebody on the way took -PLUS from the list (RFC 5802 §6). The reply has
	// the reason in the words of RFC 5802 §7:
	//
	//	535 5.7.8 channel-bindings-dont-match
	SCRAM []string
	// Mechanisms has other SASL mechanisms by name.
	Mechanisms map[string]AuthFunc
	// RequireAuth refuses MAIL without AUTH before it.
	RequireAuth bool

	// Mail replies to MAIL, and Rcpt to RCPT. nil accepts; any other reply must
	// be 4yz or 5yz. Behind 421 the server closes the connection.
	Mail func(e Envelope) *core.Reply
	Rcpt func(e Envelope, to Recipient) *core.Reply
	// Content replies to the content. nil and 2yz accept the message, which is
	// kept then.
	Content func(m Message) *core.Reply
	// Deliver replies to the content for one recipient after the other, in
	// LMTP. A recipient that it refuses is not in the message that is kept.
	// It is not called if Content refuses all.
	Deliver func(m Message, to Recipient) *core.Reply

	// SMTPUTF8, DSN, BINARYMIME, RRVS and, under TLS, REQUIRETLS announce the
	// extension.
	SMTPUTF8, DSN, BINARYMIME, REQUIRETLS, RRVS bool
	// MaxSize, if not zero, is the size of the largest message, as SIZE
	// announces it. Content of just that size is refused after DATA, and taken
	// after BDAT.
	MaxSize int64
	// MaxRecipients, if not zero, is how many recipients a transaction may
	// have, as LIMITS announces it (RFC 9422).
	MaxRecipients int

	// Dialogue gets everything that is said on all connections, in both
	// directions, without TLS and with the passwords: t.Output() for example.
	Dialogue io.Writer
}

func (o *ServerOptions) check() error {
	switch {
	case o.StartTLS && o.ImplicitTLS:
		return errors.New("ServerOptions has both StartTLS and ImplicitTLS")
	case o.ImplicitTLS && o.Protocol == core.LMTP:
		return errors.New("ServerOptions.ImplicitTLS: there is no URL for LMTP with TLS from the first octet")
	case o.TLS != nil && !o.StartTLS && !o.ImplicitTLS:
		return errors.New("ServerOptions.TLS is set without StartTLS or ImplicitTLS")
	case o.RequireAuth && len(o.Users)+len(o.Mechanisms) == 0:
		return errors.New("ServerOptions.RequireAuth is set without Users or Mechanisms")
	case o.Deliver != nil && o.Protocol != core.LMTP:
		return errors.New("ServerOptions.Deliver is for LMTP: use Content")
	case o.MaxSize < 0 || o.MaxRecipients < 0:
		return errors.New("ServerOptions has a negative limit")
	}
	if err := o.checkSCRAM(); err != nil {
		return err
	}
	for name, f := range o.Mechanisms {
		switch {
		case f == nil:
			return fmt.Errorf("ServerOptions.Mechanisms[%q] is nil", name)
		case name != strings.ToUpper(name):
			return fmt.Errorf("ServerOptions.Mechanisms[%q]: write the name in upper case", name)
		case name == plainName && len(o.Users) > 0:
			return errors.New("ServerOptions.Mechanisms has PLAIN, which Users has too")
		}
	}
	return nil
}

func (o *ServerOptions) scheme() string {
	switch {
	case o.Protocol == core.LMTP:
		return "lmtp"
	case o.ImplicitTLS:
		return "smtps"
	}
	return "smtp"
}
