package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
)

// probe is the command: it opens a session with a server, as send would, and
// says what the server offers. It authenticates nobody and sends nothing.
func probe(ctx context.Context, s *settings, sys *system) error {
	if len(s.files) > 0 {
		return usage("probe takes no file, and there is %q", s.files[0])
	}
	if err := s.checkCredentials(); err != nil {
		return err
	}
	config, err := s.reach()
	if err != nil {
		return err
	}
	auth, secrets, err := s.authentication(ctx)
	if err != nil {
		return err
	}
	if err := s.protect(&config); err != nil {
		return err
	}
	ctx, release := s.bound(ctx)
	defer release()
	p := &probing{s: s, secrets: secrets, roots: config.TLS.RootCAs}
	set, err := s.startPlugins(ctx, sys)
	if err == nil {
		defer set.close()
		config.Auth = auth
		err = s.complete(&config, set)
	}
	switch {
	case statusOf(err, false) == deferred:
		return p.end(sys.stdout, err)
	case err != nil:
		return err
	}
	p.auth, p.given = config.Auth, len(config.Auth) > 0
	config.Auth = nil // it is not to authenticate
	if !p.given {
		p.auth = mechanisms.Password("user", "password") // what would be chosen, and never used
		if s.cert != "" {
			p.auth = append([]core.Mechanism{mechanisms.External("")}, p.auth...)
		}
	}
	// The certificate is looked at afterwards: a bad one is to be told of.
	config.TLS.InsecureSkipVerify = true
	config.TLSPolicy = core.TLSOpportunistic
	ctx, uninterruptible := interruptible(ctx, sys)
	defer uninterruptible()
	return p.end(sys.stdout, p.run(ctx, config))
}

// end prints what was found, and returns what the program ends with.
func (p *probing) end(w io.Writer, failure error) error {
	if err := p.print(w, failure); err != nil {
		return written(err)
	}
	if failure == nil {
		return nil
	}
	e := asError(failure)
	return &ended{statusOf(failure, p.given), fmt.Errorf("%s: %s", stageName(e.Stage), strings.TrimSpace(code(e.Code())+" "+p.secrets.errorText(e)))}
}

// probing is one run of the command, and what it has found.
type probing struct {
	s       *settings
	secrets redactor
	auth    []core.Mechanism
	given   bool // auth are those that were asked for
	roots   *x509.CertPool

	before, after *core.Peer // after is nil without STARTTLS
	choice        core.Choice
}

// peer returns what was found last.
func (p *probing) peer() *core.Peer {
	if p.after != nil {
		return p.after
	}
	return p.before
}

// run opens the session. The error is what would keep send from handing a message
// over.
func (p *probing) run(ctx context.Context, config core.Config) error {
	var reached *core.Peer
	config.Interceptors = []core.Interceptor{{Name: "probe", Connect: func(next core.ConnectFunc) core.ConnectFunc {
		return func(ctx context.Context, c *core.Connect) error {
			defer func() { reached = c.Peer() }()
			return next(ctx, c)
		}
	}}}
	session, err := core.Dial(ctx, config)
	if err != nil {
		if e := asError(err); reached != nil && reached.Addr != nil {
			refused := *reached
			refused.Greeting = e.Reply
			p.before = &refused
		}
		return err
	}
	defer session.Close()
	p.before = p.look(session)
	if err := session.Hello(ctx); err != nil {
		return err
	}
	p.before = p.look(session)
	if p.before.TLS == nil && p.before.Extensions.Has("STARTTLS") && p.s.tls != "off" {
		if err := session.StartTLS(ctx); err != nil {
			return err
		}
		p.after = p.look(session)
	}
	defer func() { _ = session.Quit(ctx) }() // all has been said
	if p.choice, err = core.ChooseMechanism(core.Config{Auth: p.auth}, p.peer()); err != nil {
		return err
	}
	return p.verdict()
}

// look returns what is known of the server, and whether its certificate is good.
func (p *probing) look(session *core.Session) *core.Peer {
	peer := *session.Peer()
	if peer.TLS != nil {
		peer.TLSError = p.verify(peer.TLS.PeerCertificates, peer.ServerName)
	}
	return &peer
}

// verify checks a chain of certificates as a handshake does.
func (p *probing) verify(chain []*x509.Certificate, name string) error {
	if len(chain) == 0 {
		return errors.New("the server sent no certificate")
	}
	options := x509.VerifyOptions{Roots: p.roots, DNSName: name, Intermediates: x509.NewCertPool()}
	for _, certificate := range chain[1:] {
		options.Intermediates.AddCert(certificate)
	}
	_, err := chain[0].Verify(options)
	return err
}

// required reports whether send would insist on TLS.
func (p *probing) required() bool {
	implicit := strings.HasPrefix(p.s.url, "smtps:")
	return implicit || p.s.tls == "required" || p.s.tls == "" && !p.peer().Local
}

// verdict returns why send would not hand a message over.
func (p *probing) verdict() error {
	peer := p.peer()
	switch {
	case p.required() && peer.TLS == nil:
		return &core.Error{Stage: core.StageTLS, Class: core.Permanent, Err: fmt.Errorf("%w, and the server does not offer it", core.ErrTLSRequired),
			Hint: "use the smtps scheme if the server has a port for it, or -tls opportunistic"}
	case p.required() && peer.TLSError != nil:
		return &core.Error{Stage: core.StageTLS, Class: core.Permanent, Err: fmt.Errorf("the server's certificate does not verify: %w", peer.TLSError),
			Hint: "check the host name in the URL, or add the authority with -ca FILE"}
	case p.given && p.choice.Mechanism == nil:
		return &core.Error{Stage: core.StageAuth, Class: core.Permanent, Err: fmt.Errorf("no mechanism: %s", p.choice)}
	}
	return nil
}
