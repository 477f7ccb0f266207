package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/middleware/retry"
	"github.com/postrider/postrider/transport"
)

// job is what to send, where to, and what is done on the way.
type job struct {
	config  core.Config // without its interceptors
	message *core.Message
	sign    []dkim.Signature // none: the message is not signed
	retry   retry.Config
}

// job is what the embedded server is to get. TLS is required although the
// server is on this machine, where it would be the client's choice.
func (e *embedded) job() *job {
	roots := x509.NewCertPool()
	roots.AddCert(e.authority)
	return &job{
		config: core.Config{
			Endpoint:   e.url,
			Transports: transport.Standard(),
			Auth:       mechanisms.Password(demoUser, demoPassword),
			TLS:        &tls.Config{RootCAs: roots},
			TLSPolicy:  core.TLSRequired,
		},
		message: newMessage("orders@"+demoDomain, "bob@example.net", demoGreylist, "dave@example.net"),
		sign:    []dkim.Signature{{Domain: demoDomain, Selector: demoSelector, Signer: e.key}},
		retry:   retry.Config{InitialInterval: 50 * time.Millisecond, Randomization: -1},
	}
}

// job is what the flags ask for. Everything that they name is opened here, so
// that nothing is sent when something is wrong.
func (f *flags) job() (*job, error) {
	j := &job{
		config: core.Config{Endpoint: f.url, Transports: transport.Standard()},
		retry:  retry.Config{Attempts: 3}, // somebody is watching
	}
	var err error
	if j.config.TLSPolicy, err = f.policy(); err != nil {
		return nil, err
	}
	if f.user != "" {
		password, err := readPassword(f.passwordFile)
		if err != nil {
			return nil, err
		}
		j.config.Auth = mechanisms.Password(f.user, password)
	}
	if f.ca != "" {
		roots, err := readAuthorities(f.ca)
		if err != nil {
			return nil, err
		}
		j.config.TLS = &tls.Config{RootCAs: roots}
	}
	if f.domKey != "" {
		key, err := dkim.LoadKey(f.domKey)
		if err != nil {
			return nil, fmt.Errorf("-dkim-key: %w", err)
		}
		j.sign = []dkim.Signature{{Domain: f.domain, Selector: f.selector, Signer: key}}
	}
	from := f.from
	if from == "<>" {
		from = ""
	}
	j.message = newMessage(from, f.to...)
	if f.message != "" {
		if err := checkFile(f.message); err != nil {
			return nil, err
		}
		j.message.Body = core.File(f.message)
	}
	return j, j.message.Check() // an address that no server would take
}

// checkFile reports why a message cannot be read from a file.
func checkFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("-message: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("-message: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("-message: %s is not a regular file: a second attempt would have to read it again", name)
	case info.Size() == 0:
		return fmt.Errorf("-message: %s is empty: it is to hold header fields, an empty line and text", name)
	}
	return nil
}

// readPassword reads a file that holds a password, perhaps with a line end that
// is not part of it.
func readPassword(name string) (string, error) {
	p, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("-password-file: %w", err)
	}
	p = bytes.TrimRight(p, "\r\n")
	switch {
	case len(p) == 0:
		return "", fmt.Errorf("-password-file: %s is empty: it is to hold the password", name)
	case bytes.ContainsAny(p, "\r\n"):
		return "", fmt.Errorf("-password-file: %s has more than one line: it is to hold the password alone", name)
	}
	return string(p), nil
}

// readAuthorities reads certificates that are trusted beside the system's.
func readAuthorities(name string) (*x509.CertPool, error) {
	p, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("-ca: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a system without any has these at least
	}
	if !roots.AppendCertsFromPEM(p) {
		return nil, fmt.Errorf("-ca: %s has no certificate in PEM form", name)
	}
	return roots, nil
}
