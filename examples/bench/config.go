package main

import (
	"crypto/tls"
	"net/url"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/transport"
)

// config returns the configuration of each connection's client, without its
// interceptors.
func (f *flags) config(address string) core.Config {
	config := core.Config{
		Endpoint:      f.scheme() + "://" + address,
		Transports:    append(transport.Standard(), lmtps{transport.LMTP(transport.TCP{})}),
		LocalName:     "localhost",
		TLS:           &tls.Config{InsecureSkipVerify: true}, // of a server under test, which has any certificate
		TLSPolicy:     core.TLSRequired,
		MaxSessions:   1,
		PipelineDepth: f.depth,
	}
	if f.tls == "none" {
		config.TLSPolicy = core.TLSOff
	}
	if f.chunking == "off" {
		config.MaskExtensions = []string{"CHUNKING"}
	}
	if !f.reuse {
		config.IdleTimeout = -1
	}
	return config
}

// scheme returns that of the endpoint's URL.
func (f *flags) scheme() string {
	scheme := "smtp"
	if f.lmtp {
		scheme = "lmtp"
	}
	if f.tls == "implicit" {
		scheme += "s"
	}
	return scheme
}

// lmtps is LMTP with TLS from the first octet. There is no registered port for
// it, and no standard transport therefore, but there are servers that can.
type lmtps struct{ core.Transport }

func (lmtps) Scheme() string { return "lmtps" }

func (t lmtps) Endpoint(u *url.URL) (core.Endpoint, error) {
	e, err := t.Transport.Endpoint(u)
	e.Security = core.ImplicitTLS
	return e, err
}
