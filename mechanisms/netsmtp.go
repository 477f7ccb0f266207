package mechanisms

import (
	"context"
	"errors"
	"fmt"
	"net/smtp"
	"strings"

	"github.com/postrider/postrider/core"
)

// FromNetSMTP returns a mechanism that is an Auth of the package net/smtp. An
// Auth may keep the state of one authentication, so auth is called at each
// Start, by several sessions at once. name is what the Auth's Start returns.
//
// The Auth is told the peer's ServerName, the mechanisms that it offers, and
// that it has TLS if its certificate verifies. Some have rules of their own
// beside those of the session: that of smtp.PlainAuth wants TLS, or a server
// called localhost, whatever core.Config.AllowInsecureAuth says. After the
// server's success Next is called once more, with more = false as in net/smtp
// but without the text of the reply; an error of it ends the session.
//
// An initial response of no octets is none, as in net/smtp. An Auth has no
// context and cannot be interrupted.
//
// The mechanism is taken to show a reusable secret, and is refused without TLS:
// see [KeepingSecret].
func FromNetSMTP(name string, auth func(peer *core.Peer) smtp.Auth) core.Mechanism {
	return fromNetSMTP{strings.ToUpper(name), auth}
}

type fromNetSMTP struct {
	name string
	auth func(*core.Peer) smtp.Auth
}

func (f fromNetSMTP) Name() string { return f.name }

// String returns the name.
func (f fromNetSMTP) String() string { return f.name }

// Check implements [core.Checker].
func (f fromNetSMTP) Check() error {
	if f.auth == nil {
		return errors.New("the function given to mechanisms.FromNetSMTP is nil")
	}
	return nil
}

func (f fromNetSMTP) Start(_ context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	if err := f.Check(); err != nil {
		return nil, nil, err
	}
	a := f.auth(peer)
	if a == nil {
		return nil, nil, errors.New("the function given to mechanisms.FromNetSMTP returned nil")
	}
	name, initial, err := a.Start(&smtp.ServerInfo{
		Name: peer.ServerName,
		TLS:  peer.TLS != nil && peer.TLSError == nil,
		Auth: peer.Extensions.Mechanisms(),
	})
	if err != nil {
		return nil, nil, err
	}
	if !strings.EqualFold(name, f.name) {
		return nil, nil, fmt.Errorf("the Auth given to mechanisms.FromNetSMTP as %s is one for %q", f.name, name)
	}
	if len(initial) == 0 {
		initial = nil // net/smtp never sends the "=" of RFC 4954 §4
	}
	return netSMTPRun{a.Next}, initial, nil
}

// netSMTPRun holds no Auth: it is a function, which shows nothing when printed.
type netSMTPRun struct {
	next func(fromServer []byte, more bool) ([]byte, error)
}

func (r netSMTPRun) Next(_ context.Context, challenge []byte) ([]byte, error) {
	return r.next(challenge, true)
}

func (r netSMTPRun) Done(context.Context) error {
	_, err := r.next(nil, false)
	return err
}
