// Package gssapi has the SASL mechanism GSSAPI (RFC 4752), which is Kerberos V5.
// It is a module of its own: a program that does not import it does not get its
// library, gokrb5.
//
// A mechanism is given to a client like any other. Who the user is says a
// password, a keytab, or the credential cache that kinit has filled:
//
//	config.Auth = []core.Mechanism{gssapi.Password("alice@EXAMPLE.COM", password, gssapi.Config{})}
//	config.Auth = []core.Mechanism{gssapi.Keytab("robot", "/etc/robot.keytab", gssapi.Config{})}
//	config.Auth = []core.Mechanism{gssapi.CCache(os.Getenv("KRB5CCNAME"), gssapi.Config{})}
//
// Client and server prove themselves to each other, and nothing that is sent can
// be used again, so it may be used without TLS. It does not protect what follows:
// of the security layers that RFC 4752 §3.3 has, none is asked for. That is left
// to TLS.
//
// Each authentication asks the KDC for a ticket: in three exchanges with a
// password or a keytab, in one with a credential cache, in none if the ticket is
// in it. Files are read each time, so that a keytab or a cache that was renewed
// counts at once. The keys must be AES (RFC 3962, RFC 8009): older ones have
// other tokens.
//
// The library knows no contexts. When a context ends, the caller is set free at
// once, and what was asked of the KDC ends in the background: within a quarter of
// a minute for each KDC that does not answer.
package gssapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jcmturner/gokrb5/v8/client"
	krb5 "github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/keytab"

	"github.com/postrider/postrider/core"
)

// Config says what is not the user's. The zero value is for most servers.
type Config struct {
	// Krb5Conf is the path of the configuration of Kerberos. Empty is
	// /etc/krb5.conf. Other files that it includes are not read.
	Krb5Conf string
	// SPN is the server's principal. Empty is smtp/HOST with the host of the
	// endpoint (RFC 4954), as it is there: no alias is looked up in the DNS.
	SPN string
	// Identity is the user to act as, if that is not the one who authenticates.
	Identity string
}

// Password returns GSSAPI for a user, "alice" in the default realm or
// "alice@EXAMPLE.COM", and a password, with which the KDC is asked for tickets.
// The server does not see it.
func Password(user, password string, config Config) core.Mechanism {
	m := &mechanism{config: config, login: func(conf *krb5.Config) (*client.Client, error) {
		name, realm := principal(user, conf)
		return client.NewWithPassword(name, realm, password, conf), nil
	}}
	if user == "" || password == "" {
		m.problem = errors.New("the user name or the password is empty")
	}
	return m
}

// Keytab returns GSSAPI for a user as in [Password], and the path of a keytab
// that holds the user's keys.
func Keytab(user, path string, config Config) core.Mechanism {
	m := &mechanism{config: config, login: func(conf *krb5.Config) (*client.Client, error) {
		keys, err := keytab.Load(filePath(path))
		if err != nil {
			return nil, fmt.Errorf("reading the keytab: %w", err)
		}
		name, realm := principal(user, conf)
		return client.NewWithKeytab(name, realm, keys, conf), nil
	}}
	if user == "" || path == "" {
		m.problem = errors.New("the user name or the path of the keytab is empty")
	}
	return m
}

// CCache returns GSSAPI for the user whose tickets are in a credential cache,
// which is a file. They are used and not renewed: that is what k5start and the
// like do.
func CCache(path string, config Config) core.Mechanism {
	m := &mechanism{config: config, login: func(conf *krb5.Config) (*client.Client, error) {
		cache, err := credentials.LoadCCache(filePath(path))
		if err == nil {
			var c *client.Client
			if c, err = client.NewFromCCache(cache, conf); err == nil {
				return c, nil
			}
		}
		return nil, fmt.Errorf("reading the credential cache: %w", err)
	}}
	if path == "" {
		m.problem = errors.New("the path of the credential cache is empty")
	}
	return m
}

// principal divides a user into name and realm.
func principal(user string, conf *krb5.Config) (name, realm string) {
	if at := strings.LastIndexByte(user, '@'); at >= 0 {
		return user[:at], user[at+1:]
	}
	return user, conf.LibDefaults.DefaultRealm
}

// filePath returns the path in a name such as the environment has it: with the
// type in front.
func filePath(name string) string { return strings.TrimPrefix(name, "FILE:") }

type mechanism struct {
	config  Config
	problem error // what is wrong with the credentials
	// login makes the library's client. It is a function for fmt not to see the
	// password.
	login func(*krb5.Config) (*client.Client, error)
}

func (*mechanism) Name() string { return "GSSAPI" }

// KeepsSecret implements [core.SecretKeeper]: what is sent is encrypted with keys
// that are not, and each authenticator is good once.
func (*mechanism) KeepsSecret() bool { return true }

// String keeps the password out of whatever prints the mechanism.
func (*mechanism) String() string { return "GSSAPI" }

// GoString is String, for %#v.
func (*mechanism) GoString() string { return "GSSAPI" }

// Check implements [core.Checker].
func (m *mechanism) Check() error {
	if m.problem != nil {
		return m.problem
	}
	if service, host, _ := strings.Cut(m.config.SPN, "/"); m.config.SPN != "" && (service == "" || host == "") {
		return fmt.Errorf("Config.SPN is %q: write it as smtp/mail.example.com", m.config.SPN)
	}
	if identity := m.config.Identity; !utf8.ValidString(identity) || strings.ContainsRune(identity, 0) {
		return errors.New("Config.Identity holds NUL or is not UTF-8")
	}
	return nil
}

func (m *mechanism) Start(ctx context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	if err := m.Check(); err != nil {
		return nil, nil, err
	}
	spn := m.config.SPN
	if spn == "" {
		if peer.ServerName == "" {
			return nil, nil, errors.New("the endpoint has no host name: set Config.SPN")
		}
		// Principals distinguish capitals, and hosts have none.
		spn = "smtp/" + strings.TrimSuffix(strings.ToLower(peer.ServerName), ".")
	}
	i, request, err := m.request(ctx, spn)
	if err != nil {
		return nil, nil, err
	}
	return &exchange{i.proven}, request, nil
}
