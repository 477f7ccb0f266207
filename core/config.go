package core

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Config says how to reach a server and what stands between the caller and the
// wire. Transports and an Endpoint are required; the zero value of everything else
// is safe.
type Config struct {
	// Endpoint is the server's URL: "smtp://host:587", "smtps://host". Its
	// scheme chooses the transport. Credentials do not belong in it.
	Endpoint string
	// Endpoints is the URLs of several servers, in place of Endpoint, any of
	// which takes any message. All else that is configured holds for each of
	// them; MaxSessions and the like for each on its own. A client needs an
	// interceptor with a Breaker then, normally that of middleware/breaker.
	//
	// When no session with one of them can be opened the next one is tried; a
	// refusal of the message is final, and so is one of the credentials. When a
	// session breaks, the next attempt for the message, if there is one, begins
	// elsewhere.
	Endpoints []string
	// EndpointPolicy says which of several endpoints a message is given to. Zero
	// is FailOver: the first one that works.
	EndpointPolicy EndpointPolicy
	// Transports are those that an endpoint's scheme may choose, normally
	// transport.Standard(). Two for one scheme are an error.
	Transports []Transport
	// Auth is the mechanisms, with their credentials, in order of preference:
	// the first that the server offers and that may be used with it is used,
	// and when it is refused, no other is tried. With at least one, a client's
	// session that cannot authenticate is not used. Normally
	// mechanisms.Password(user, password).
	Auth []Mechanism
	// LeastMechanism is the name of the weakest mechanism that may be used, by
	// the order of [CompareStrength]: "SCRAM-SHA-256" keeps a client from
	// showing the password whatever a server offers. Mechanisms that the order
	// does not know may always be used. Empty allows all.
	LeastMechanism string
	// AuthFallback has the next mechanism tried when the server refuses one for
	// good, as Python's smtplib does. A server, or who has taken its place, that
	// refuses the good ones is shown the password then.
	AuthFallback bool
	// Interceptors wrap the work of the client, the first outermost.
	Interceptors []Interceptor

	// LocalName is the argument of EHLO: a domain name or an address literal.
	// Empty means the host's name if it is a full one, else the address literal
	// of the connection's own end (RFC 5321 §4.1.3).
	LocalName string
	// TLS is the base of every handshake's configuration: root certificates,
	// client certificates, a server name that differs from the endpoint's
	// host. TLS 1.2 is the least, whatever it says. It is copied. A client
	// resumes TLS sessions, in a cache of its own, unless ClientSessionCache
	// names another one, SessionTicketsDisabled is set, or VerifyPeerCertificate
	// or GetClientCertificate is, which resumption would pass over.
	TLS *tls.Config
	// TLSPolicy says how much TLS there must be. Zero requires it, with a
	// certificate that verifies, unless the stream stays on this machine.
	TLSPolicy TLSPolicy
	// AllowInsecureAuth permits mechanisms that show a reusable secret on a
	// connection without verified TLS that leaves this machine.
	AllowInsecureAuth bool
	// MaskExtensions are EHLO keywords that are treated as not announced:
	// "CHUNKING" for a server that announces it and does not live up to it.
	MaskExtensions []string
	// LineEnds says what happens to bare CR and LF in content.
	LineEnds LineEnds
	// EightBit says what happens to 8-bit content that the server does not
	// offer to take.
	EightBit EightBit
	// LongLines says what happens to lines of more than 998 octets.
	LongLines LongLines
	// Timeouts bounds each stage.
	Timeouts Timeouts

	// MaxSessions is how many sessions a client has at most with an endpoint;
	// further sends wait. Zero means 4.
	MaxSessions int
	// PipelineDepth is how many messages may share a session of a client at a
	// time. Zero and 1 mean that each has one to itself.
	//
	// With more, up to 100, a message does not wait for the replies to those in
	// front of it, so that a round trip serves many. Where the server announces
	// PIPELINING and CHUNKING, whole messages of up to
	// InlineContent octets follow each other; with PIPELINING alone, one
	// message's content and the next one's envelope share a write (RFC 2920
	// §3.1). When a connection breaks, every message whose content was written
	// and not answered has the outcome Unknown: with CHUNKING, that is up to
	// PipelineDepth of them.
	PipelineDepth int
	// InlineContent is the size in octets up to which content leaves together
	// with its envelope, where the server announces PIPELINING and CHUNKING:
	// the message then takes one round trip. Zero means 64 KiB, which is also
	// the most; a negative one has the replies to the envelope read first.
	InlineContent int
	// IdleTimeout is how long a session is kept without use. Zero means 30
	// seconds; a negative one closes each session after its first use.
	IdleTimeout time.Duration
	// MaxIdleSessions is how many sessions are kept without use. Zero means as
	// many as there may be.
	MaxIdleSessions int
	// MaxSessionAge is how old a session may be when a message is given to it.
	// Zero means any age.
	MaxSessionAge time.Duration
	// MaxSessionMessages is how many messages a session is used for. Zero means
	// as many as come, or as the server announces with LIMITS MAILMAX (RFC 9422
	// §4), which holds in any case.
	MaxSessionMessages int
}

// Defaults of [Config].
const (
	DefaultMaxSessions = 4
	DefaultIdleTimeout = 30 * time.Second
)

// Defaults of Timeouts.Connect.
const (
	connectTimeout          = 20 * time.Minute
	connectTimeoutOfSeveral = 30 * time.Second
)

// maxDepth bounds what one lost connection can leave in doubt.
const maxDepth = 100

// settings is a Config that was checked and completed.
type settings struct {
	Config
	transport Transport
	endpoint  Endpoint
	auth      *mechanismSet
	policy    TLSPolicy

	// noChunking is set for good when the server has announced CHUNKING and
	// does not know BDAT.
	noChunking atomic.Bool
}

// masked returns the extensions that are not to be used.
func (s *settings) masked() []string {
	if s.noChunking.Load() {
		return append(slices.Clip(s.MaskExtensions), "CHUNKING")
	}
	return s.MaskExtensions
}

// check refuses what cannot work, before anything is opened. It returns the
// settings for each endpoint.
func (config Config) check() ([]*settings, error) {
	transports, err := newTransportSet(config.Transports)
	if err != nil {
		return nil, configError(err)
	}
	urls := config.Endpoints
	switch {
	case len(urls) == 0:
		urls = []string{config.Endpoint}
	case config.Endpoint != "":
		return nil, configError(errors.New("Config.Endpoint and Config.Endpoints are both set: use one of them"))
	}
	if config.EndpointPolicy > LeastLoaded {
		return nil, configError(fmt.Errorf("Config.EndpointPolicy %d does not exist", config.EndpointPolicy))
	}
	var list []*settings
	for n, url := range urls {
		field := "Config.Endpoint"
		if len(config.Endpoints) > 0 {
			field = fmt.Sprintf("Config.Endpoints[%d]", n)
		}
		s, err := config.checkFor(field, url, transports)
		if err != nil {
			return nil, err
		}
		for other, o := range list {
			if o.isThatOf(s) {
				return nil, configError(fmt.Errorf("%s is the server that Config.Endpoints[%d] is already: leave one out", field, other))
			}
		}
		list = append(list, s)
	}
	return list, nil
}

// isThatOf reports whether two settings are for the same server.
func (s *settings) isThatOf(other *settings) bool {
	a, b := &s.endpoint, &other.endpoint
	if a.Address == "" {
		return strings.EqualFold(a.URL, b.URL)
	}
	return s.transport.Scheme() == other.transport.Scheme() && a.Network == b.Network && strings.EqualFold(a.Address, b.Address)
}

// checkFor is check for one endpoint.
func (config Config) checkFor(field, url string, transports transportSet) (*settings, error) {
	config.Endpoint = url
	s := &settings{Config: config}
	var err error
	if s.transport, s.endpoint, err = transports.resolve(field, url); err != nil {
		if strings.Contains(url, "@") {
			// Errors are logged, and there are more ways to write a password
			// into a URL than a parser recognises.
			err = fmt.Errorf("%s is no URL for these transports, and is not repeated here because it has an @: put credentials into Config.Auth, where they stay out of logs, and write it as smtp://host:port", field)
		}
		return nil, configError(err)
	}
	if s.auth, err = newMechanismSet(config.Auth, config.LeastMechanism); err != nil {
		return nil, configError(err)
	}
	if config.LocalName != "" && !validHelloName(config.LocalName) {
		return nil, configError(fmt.Errorf("Config.LocalName %q is neither a domain name nor an address literal", config.LocalName))
	}
	if config.TLSPolicy > TLSOff {
		return nil, configError(fmt.Errorf("Config.TLSPolicy %d does not exist", config.TLSPolicy))
	}
	if config.LineEnds > RefuseLineEnds || config.EightBit > SendEightBit || config.LongLines > RefuseLongLines {
		return nil, configError(errors.New("Config.LineEnds, EightBit or LongLines has a value that does not exist: use the constants"))
	}
	if config.TLS != nil && config.TLS.MaxVersion != 0 && config.TLS.MaxVersion < tls.VersionTLS12 {
		return nil, configError(errors.New("Config.TLS.MaxVersion is below TLS 1.2, which is the least: leave it zero"))
	}
	for _, keyword := range config.MaskExtensions {
		if !validKeyword(keyword) {
			return nil, configError(fmt.Errorf("Config.MaskExtensions holds %q, which is no EHLO keyword", keyword))
		}
	}
	if config.TLSPolicy == TLSOff && s.endpoint.Security == ImplicitTLS {
		return nil, configError(fmt.Errorf("Config.TLSPolicy is off, and %q is TLS from the first octet: use the smtp scheme", config.Endpoint))
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Config.MaxSessions", int64(config.MaxSessions)}, {"Config.MaxIdleSessions", int64(config.MaxIdleSessions)},
		{"Config.MaxSessionAge", int64(config.MaxSessionAge)}, {"Config.MaxSessionMessages", int64(config.MaxSessionMessages)},
		{"Config.PipelineDepth", int64(config.PipelineDepth)},
	} {
		if f.value < 0 {
			return nil, configError(fmt.Errorf("%s is negative", f.name))
		}
	}
	if config.PipelineDepth > maxDepth {
		return nil, configError(fmt.Errorf("Config.PipelineDepth is %d, and %d is the most: use more sessions", config.PipelineDepth, maxDepth))
	}
	if config.InlineContent > inlineContent {
		return nil, configError(fmt.Errorf("Config.InlineContent is %d octets, and %d is the most: larger content is hardly faster in one round trip", config.InlineContent, inlineContent))
	}
	s.policy = config.TLSPolicy.effective(&s.endpoint)
	s.TLS = resumable(config.TLS)
	s.Timeouts = config.Timeouts.withDefaults()
	if s.Timeouts.Connect == 0 {
		s.Timeouts.Connect = connectTimeout
		if len(config.Endpoints) > 1 {
			s.Timeouts.Connect = connectTimeoutOfSeveral
		}
	}
	if s.MaxSessions == 0 {
		s.MaxSessions = DefaultMaxSessions
	}
	if s.InlineContent == 0 {
		s.InlineContent = inlineContent
	}
	if s.IdleTimeout == 0 {
		s.IdleTimeout = DefaultIdleTimeout
	}
	if s.LocalName == "" {
		if name, err := os.Hostname(); err == nil && strings.Contains(name, ".") && validHelloName(name) {
			s.LocalName = name
		}
	}
	return s, nil
}

// partError says what an error is about that something configured returned. One that
// asks others may have found that they are away for a while, and says so by a class.
func partError(what string, err error) error {
	if own, ok := err.(*Error); ok && own.Err != nil {
		return &Error{Stage: StageConfig, Class: own.Class, Hint: own.Hint, Err: fmt.Errorf("%s: %w", what, own.Err)}
	}
	return fmt.Errorf("%s: %w", what, err)
}

func configError(err error) error {
	if own, ok := err.(*Error); ok {
		return own
	}
	return &Error{Stage: StageConfig, Class: Local, Err: err}
}

// validHelloName accepts what may follow EHLO: a domain or an address literal,
// both in ASCII (RFC 5321 §4.1.1.1), since nobody knows yet whether the server
// takes anything else.
func validHelloName(name string) bool {
	return len(name) <= maxDomain && isASCII(name) && checkDomain(name, name) == nil
}

// helloName returns the argument of EHLO for a connection.
func (s *settings) helloName(conn net.Conn) string {
	if s.LocalName != "" {
		return s.LocalName
	}
	if addr, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		if ip4 := addr.IP.To4(); ip4 != nil {
			return "[" + ip4.String() + "]"
		}
		return "[IPv6:" + addr.IP.String() + "]"
	}
	return "localhost"
}
