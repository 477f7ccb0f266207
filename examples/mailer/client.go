package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/transport"
)

// quitTimeout is how long the reply to QUIT is waited for at most.
const quitTimeout = 5 * time.Second

// reach returns a configuration that reaches the server, without anything that
// has to be read from a file, or that plugins have.
func (s *settings) reach() (core.Config, error) {
	if s.url == "" && len(s.endpoints) == 0 {
		return core.Config{}, usage("there is no server: give -url, smtp://host:587 for example")
	}
	config := core.Config{
		Endpoint: s.url, Endpoints: s.endpoints, Transports: transport.Standard(), LocalName: s.helo,
		EndpointPolicy: map[string]core.EndpointPolicy{"round-robin": core.RoundRobin, "least-loaded": core.LeastLoaded}[s.endpointPolicy],
		TLSPolicy:      map[string]core.TLSPolicy{"required": core.TLSRequired, "opportunistic": core.TLSOpportunistic, "off": core.TLSOff}[s.tls],
		MaxSessions:    s.concurrency, PipelineDepth: s.depth,
	}
	if s.chunking == "off" {
		config.MaskExtensions = []string{"CHUNKING"}
	}
	if d := s.timeout; d > 0 {
		config.Timeouts = core.Timeouts{
			Dial: d, Greeting: d, Hello: d, TLS: d, Auth: d, Mail: d, Rcpt: d, Data: d,
			Write: d, Content: d, Command: d, Quit: min(d, quitTimeout),
		}
	}
	return config, s.checkURLs(config, len(s.plugins) > 0)
}

// checkURLs refuses URLs that cannot be. What has a scheme that is not known may
// wait until the plugins were started.
func (s *settings) checkURLs(config core.Config, wait bool) error {
	urls := config.Endpoints
	if s.url != "" {
		urls = []string{s.url}
	}
	// One by one, so that it is said of the URL before any file is read; several
	// need a breaker, which comes later.
	for _, url := range urls {
		scheme, _, _ := strings.Cut(url, ":")
		isKnown := func(t core.Transport) bool { return strings.EqualFold(t.Scheme(), scheme) }
		if wait && !slices.ContainsFunc(config.Transports, isKnown) {
			continue
		}
		alone := config
		alone.Endpoint, alone.Endpoints = url, nil
		client, err := core.NewClient(alone)
		if err != nil {
			return s.fault(err, "url", "endpoints", "helo", "tls")
		}
		_ = client.Close()
	}
	return nil
}

// complete adds to a configuration what plugins have.
func (s *settings) complete(config *core.Config, set *pluginSet) (err error) {
	if len(s.plugins) == 0 {
		return nil
	}
	transports, err := set.transports()
	if err != nil {
		return s.fault(err, "plugins")
	}
	for _, t := range transports {
		if slices.ContainsFunc(config.Transports, func(own core.Transport) bool { return own.Scheme() == t.Scheme() }) {
			return misconfiguration(`a plugin has a transport for %s, which is built in: leave it out, and name with "use" what else is to be used`, t.Scheme())
		}
	}
	config.Transports = append(config.Transports, transports...)
	if err := s.checkURLs(*config, false); err != nil {
		return err
	}
	config.Auth, err = s.withPlugins(config.Auth, set)
	return err
}

// fault is the error of a configuration that a client or a session does not take:
// as blame says, but if it is a plugin that has failed.
func (s *settings) fault(err error, names ...string) error {
	if pluginFailed(err) || asError(err).Class == core.Temporary {
		return &core.Error{Stage: core.StageConfig, Class: core.Temporary, Err: err}
	}
	return s.blame(said(err), names...)
}

// said returns the error of a configuration in the words of this program.
func said(err error) error {
	return errors.New(redactor{}.errorText(asError(err)))
}

// protect adds to a configuration what its handshakes need.
func (s *settings) protect(config *core.Config) error {
	config.TLS = &tls.Config{}
	if s.ca != "" {
		pool, err := authorities(s.ca)
		if err != nil {
			return misconfiguration("-ca: %w", err)
		}
		config.TLS.RootCAs = pool
	}
	if s.cert == "" {
		return nil
	}
	key := s.key
	if key == "" {
		key = s.cert // both may be in one file
	}
	certificate, err := core.LoadClientCertificate(s.cert, key, nil)
	if err != nil {
		return misconfiguration("-cert: %w", err)
	}
	config.TLS.GetClientCertificate = certificate
	return nil
}

// authorities returns the system's authorities and those in a file, which may be a
// pipe: it is read once.
func authorities(file string) (*x509.CertPool, error) {
	data, err := readWhole(file)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without any
	}
	for n := 1; ; n++ {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			if n == 1 || bytes.Contains(data, []byte("-----BEGIN ")) {
				return nil, fmt.Errorf("certificate %d in %s cannot be read: it has to be in PEM", n, file)
			}
			return pool, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s has a block %.70q: only certificates belong there", file, block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in %s: %w", n, file, err)
		}
		pool.AddCert(certificate)
	}
}

// bound bounds a context by the setting "deadline".
func (s *settings) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.deadline == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, s.deadline, fmt.Errorf("%w: -deadline %s is over", context.DeadlineExceeded, s.deadline))
}
