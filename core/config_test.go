package core_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/transport"
)

// untouchable is a transport that must not be dialled.
type untouchable struct {
	core.Transport
	t *testing.T
}

func (u untouchable) Dial(context.Context, core.Endpoint) (net.Conn, error) {
	u.t.Error("a connection was opened")
	return nil, errors.New("untouchable")
}

// untouchableConfig is a configuration without a fault.
func untouchableConfig(t *testing.T) core.Config {
	var list []core.Transport
	for _, s := range transport.Standard() {
		list = append(list, untouchable{s, t})
	}
	return core.Config{
		Endpoint: "smtp://mail.example.com", Transports: list, LocalName: "client.example",
		Auth: mechanisms.Password("user", "secret"), Interceptors: []core.Interceptor{deliverer("first")},
	}
}

func deliverer(name string) core.Interceptor {
	return core.Interceptor{Name: name, Delivery: func(next core.DeliverFunc) core.DeliverFunc { return next }}
}

func contenter(name string, signs bool) core.Interceptor {
	return core.Interceptor{Name: name, Signs: signs, Content: func(next core.ContentFunc) core.ContentFunc { return next }}
}

// named is a mechanism that is never used.
type named string

func (m named) Name() string { return string(m) }
func (m named) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return nil, nil, errors.New("unused")
}

// schemed is a transport of another scheme.
type schemed struct {
	core.Transport
	scheme string
}

func (s schemed) Scheme() string { return s.scheme }

func endpoint(url string) func(*core.Config) { return func(c *core.Config) { c.Endpoint = url } }

func localName(name string) func(*core.Config) { return func(c *core.Config) { c.LocalName = name } }

func withAuth(list ...core.Mechanism) func(*core.Config) {
	return func(c *core.Config) { c.Auth = list }
}

func withInterceptors(list ...core.Interceptor) func(*core.Config) {
	return func(c *core.Config) { c.Interceptors = append(c.Interceptors, list...) }
}

func withTransport(scheme string) func(*core.Config) {
	return func(c *core.Config) { c.Transports = append(c.Transports, schemed{c.Transports[0], scheme}) }
}

var badConfigs = []struct {
	rule   string
	change func(*core.Config)
	says   []string // what to do is part of the error
}{
	{"a zero Config", func(c *core.Config) { *c = core.Config{} }, []string{"Transports", "transport.Standard()"}},
	{"no transports", func(c *core.Config) { c.Transports = nil }, []string{"Transports", "transport.Standard()"}},
	{"a nil transport", func(c *core.Config) { c.Transports = append(c.Transports, nil) }, []string{"is nil"}},
	{"two transports for one scheme", func(c *core.Config) { c.Transports = append(c.Transports, c.Transports[0]) }, []string{"two transports", `"smtp"`}},
	{"a transport without a scheme", withTransport(""), []string{"scheme"}},
	{"a transport with a scheme in upper case, which no URL has", withTransport("SMTP"), []string{"lower case"}},

	{"no endpoint", endpoint(""), []string{"Config.Endpoint", "smtps://"}},
	{"an unknown scheme", endpoint("pop://mail.example.com"), []string{`"pop"`, "lmtp, lmtp+unix, smtp, smtp+unix, smtps"}},
	{"no scheme", endpoint("mail.example.com"), []string{"scheme", "lmtp, lmtp+unix, smtp, smtp+unix, smtps"}},
	{"a host and a port without a scheme", endpoint("mail.example.com:25"), []string{"smtp"}},
	{"a URL without host", endpoint("smtp://"), []string{"names no host", "smtp://host:port"}},
	{"a URL with a port and no host", endpoint("smtp://:25"), []string{"names no host", "smtp://host:port"}},
	{"a URL without slashes", endpoint("smtp:mail.example.com"), []string{"smtp://host:port"}},
	{"a URL with a path", endpoint("smtp://mail.example.com/inbox"), []string{"smtp://host:port"}},
	{"a port that is too high", endpoint("smtp://mail.example.com:65536"), []string{"port", "65535"}},
	{"a port that is a word", endpoint("smtp://mail.example.com:smtp"), []string{"port", "smtp://host:port"}},
	{"a URL with CRLF", endpoint("smtp://mail.example.com\r\nQUIT"), []string{"smtp://host:port"}},
	{"a URL with a space", endpoint("smtp://mail example.com"), []string{"smtp://host:port"}},

	{"a nil mechanism", withAuth(nil), []string{"mechanism 0 is nil"}},
	{"two mechanisms with one name", withAuth(named("X"), named("Y"), named("X")), []string{"two mechanisms", "X"}},
	{"a mechanism without a name (RFC 4422 §3.1)", withAuth(named("")), []string{"upper-case"}},
	{"a mechanism with a name in lower case (RFC 4422 §3.1)", withAuth(named("plain")), []string{`"plain"`, "upper-case"}},
	{"a mechanism with a name of 21 characters (RFC 4422 §3.1)", withAuth(named(strings.Repeat("X", 21))), []string{"20"}},
	{"a mechanism with a command in its name", withAuth(named("X\r\nQUIT")), []string{"upper-case"}},

	{"an interceptor without a name", withInterceptors(deliverer("")), []string{"interceptor 1", "Name"}},
	{"two interceptors with one name", withInterceptors(deliverer("first")), []string{`"first"`, "its own name"}},
	{"an interceptor without a function", withInterceptors(core.Interceptor{Name: "idle"}), []string{`"idle"`, "set Delivery"}},
	{"an interceptor whose function returns nothing", withInterceptors(core.Interceptor{Name: "nil", Connect: func(core.ConnectFunc) core.ConnectFunc { return nil }}), []string{`"nil"`, "return next"}},
	{"content changed after it was signed", withInterceptors(contenter("dkim", true), contenter("footer", false)), []string{`"footer"`, `put it before "dkim"`}},
	{"a signer without content", withInterceptors(core.Interceptor{Name: "dkim", Signs: true, Attempt: func(next core.AttemptFunc) core.AttemptFunc { return next }}), []string{`"dkim"`, "Content"}},

	{"TLS off where it is all there is", func(c *core.Config) { c.Endpoint, c.TLSPolicy = "smtps://mail.example.com", core.TLSOff }, []string{"TLSPolicy", "use the smtp scheme"}},
	{"a TLS policy that does not exist", func(c *core.Config) { c.TLSPolicy = core.TLSOff + 1 }, []string{"TLSPolicy"}},
	{"a negative MaxSessions", func(c *core.Config) { c.MaxSessions = -1 }, []string{"MaxSessions", "negative"}},

	{"a local name with a space (RFC 5321 §4.1.1.1)", localName("client example"), []string{"LocalName", "domain name"}},
	{"a local name with a command", localName("client.example\r\nMAIL FROM:<>"), []string{"LocalName"}},
	{"a local name with a command in an address literal", localName("[1\r\nMAIL FROM:<>]"), []string{"LocalName"}},
	{"a local name with an escape in an address literal", localName("[\x1b]"), []string{"LocalName"}},
	{"a local name that is half an address literal", localName("[192.0.2.1"), []string{"LocalName"}},
	{"a local name that ends in a dot", localName("client.example."), []string{"LocalName"}},
	{"a local name that is not ASCII (RFC 5321 §4.1.1.1)", localName("bücher.example"), []string{"LocalName"}},
	{"a local name of 256 octets (RFC 5321 §4.5.3.1.2)", localName(strings.Repeat("x", 256)), []string{"LocalName"}},
}

// refuses checks that neither a client nor a session can be had from a
// configuration, and returns the error.
func refuses(t *testing.T, config core.Config) string {
	t.Helper()
	client, err := core.NewClient(smtptest.AtDepth(config))
	message := hasError(t, err, core.StageConfig, core.Local, nil).Error()
	session, err := core.Dial(t.Context(), config)
	if e := hasError(t, err, core.StageConfig, core.Local, nil); e.Error() != message {
		t.Errorf("NewClient says %q, Dial says %q", message, e)
	}
	if client != nil || session != nil {
		t.Error("one was returned all the same")
	}
	if strings.ContainsFunc(message, unicode.IsControl) {
		t.Errorf("the error has a control character: %q", message)
	}
	return message
}

func TestConfig_badInputIsRefusedBeforeAnythingIsOpened(t *testing.T) {
	for _, tt := range badConfigs {
		t.Run(tt.rule, func(t *testing.T) {
			config := untouchableConfig(t)
			tt.change(&config)
			message := refuses(t, config)
			for _, want := range tt.says {
				if !strings.Contains(message, want) {
					t.Errorf("error %q lacks %q", message, want)
				}
			}
		})
	}
}

func TestConfig_aPasswordInTheEndpointIsNotRepeated(t *testing.T) {
	for _, endpoint := range []string{
		"smtp://user:hunter2@mail.example.com",
		"smtp://:hunter2@mail.example.com",
		"smtp://hunter2@mail.example.com",
		"smtp://user:hunter2@",
		"smtp:user:hunter2@mail.example.com",
		"smtp:/user:hunter2@mail.example.com",
		"smtp:///user:hunter2@mail.example.com",
		"smtp//user:hunter2@mail.example.com",
		"user:hunter2@mail.example.com",
		"//user:hunter2@mail.example.com",
		"pop://user:hunter2@mail.example.com",
		"smtp://user:hunter2/3@mail.example.com",
		"smtp://user:1/hunter2@mail.example.com",
		"smtp://user:hunter2?3@mail.example.com",
		"smtp://user:1?hunter2@mail.example.com",
		"smtp://user:hunter2#3@mail.example.com",
		"smtp://user:%hunter2@mail.example.com",
		"smtp://user:hunter2 3@mail.example.com",
		"smtp://user:hunter2\n@mail.example.com",
	} {
		config := untouchableConfig(t)
		config.Endpoint = endpoint
		message := refuses(t, config)
		if strings.Contains(message, "hunter2") || strings.Contains(message, "%hu") {
			t.Errorf("%q: the error shows it: %s", endpoint, message)
		}
		if !strings.Contains(message, "Config.Auth") {
			t.Errorf("%q: the error does not say where it belongs: %s", endpoint, message)
		}
	}
}

func TestConfig_goodInputOpensNothing(t *testing.T) {
	for name, change := range map[string]func(*core.Config){
		"as it is":                           func(*core.Config) {},
		"implicit TLS":                       endpoint("smtps://mail.example.com:1465"),
		"a scheme in upper case":             endpoint("SMTP://mail.example.com"),
		"an IPv6 address":                    endpoint("smtp://[2001:db8::1]:587"),
		"no mechanism":                       withAuth(),
		"an address literal as local name":   localName("[192.0.2.1]"),
		"an IPv6 literal as local name":      localName("[IPv6:2001:db8::1]"),
		"a local name of one label":          localName("localhost"),
		"no local name":                      localName(""),
		"content before a signer":            withInterceptors(contenter("footer", false), contenter("dkim", true)),
		"two signers":                        withInterceptors(contenter("dkim", true), contenter("arc", true)),
		"a signer before what leaves it be":  withInterceptors(contenter("dkim", true), deliverer("retry")),
		"no limit of time":                   func(c *core.Config) { c.Timeouts = core.Timeouts{Dial: -1, Content: -1} },
		"TLS off where STARTTLS may be used": func(c *core.Config) { c.TLSPolicy = core.TLSOff },
	} {
		t.Run(name, func(t *testing.T) {
			config := untouchableConfig(t)
			change(&config)
			c, err := core.NewClient(smtptest.AtDepth(config))
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Pipeline(); len(got) != len(config.Interceptors) || got[0] != "first" {
				t.Errorf("the pipeline is %q", got)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSend_aMessageThatCannotBeSentIsRefusedBeforeAnythingIsOpened(t *testing.T) {
	reserved := func(params ...core.Param) func(*core.Message) {
		return func(m *core.Message) { m.Params = params }
	}
	from := func(address string) func(*core.Message) { return func(m *core.Message) { m.From = address } }
	to := func(list ...string) func(*core.Message) {
		return func(m *core.Message) { m.To = core.Recipients(list...) }
	}
	for _, tt := range []struct {
		rule   string
		change func(*core.Message)
		stage  core.Stage
		says   string
	}{
		{"no body", func(m *core.Message) { m.Body = nil }, core.StagePolicy, "core.String"},
		{"no recipient", to(), core.StagePolicy, "core.Recipients"},
		{"F15 a sender with CRLF", from("a@example.com\r\nRCPT TO:<evil@example.net>"), core.StageMail, "sender"},
		{"F15 trap 2: a parameter in the sender's address", from("a@b> SIZE=1"), core.StageMail, "sender"},
		{"F15 a recipient with CRLF", to("b@example.com", "c@example.com\r\nDATA"), core.StageRcpt, "recipient 2"},
		{"F15 trap 2: a parameter in a recipient's address", to("a@b> SIZE=1"), core.StageRcpt, "recipient 1"},
		{"F15 a recipient with NUL", to("b@example.com", "c\x00@example.com"), core.StageRcpt, "recipient 2"},
		{"a recipient without an address", to(""), core.StageRcpt, "recipient 1: empty"},
		{"a recipient with a display name", to("Bob <bob@example.com>"), core.StageRcpt, "net/mail"},
		{"SIZE, which is set as needed", reserved(core.Parameter("SIZE", "SIZE", "1")), core.StageMail, "leave it out"},
		{"BODY, which is set as needed", reserved(core.Parameter("", "body", "8BITMIME")), core.StageMail, "leave it out"},
		{"SMTPUTF8, which is set as needed", reserved(core.Parameter("", "smtputf8", "")), core.StageMail, "leave it out"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			client, err := core.NewClient(smtptest.AtDepth(untouchableConfig(t)))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			m := message("b@example.com", "c@example.com")
			tt.change(m)
			receipt, err := client.Send(t.Context(), m)
			if e := hasError(t, err, tt.stage, core.Local, nil); !strings.Contains(e.Error(), tt.says) {
				t.Errorf("error %q lacks %q", e, tt.says)
			}
			if receipt == nil || len(receipt.Recipients) != len(m.To) || receipt.Attempts != 0 || receipt.Count(core.Refused) != len(m.To) {
				t.Fatalf("receipt %+v", receipt)
			}
			for i, r := range receipt.Recipients {
				if r.Address != m.To[i].Address || r.Attempts != 0 || r.Reply.Code != 0 {
					t.Errorf("recipient %d is %+v", i, r)
				}
				hasError(t, r.Err, tt.stage, core.Local, nil)
			}
		})
	}
}

// RFC 5321 §4.1.1.3: a client must not send parameters of an extension that the
// server did not announce.
func TestSend_aParameterThatCannotBeSentStopsTheTransaction_F22(t *testing.T) {
	for _, p := range []core.Param{
		core.Parameter("DSN", "NOTIFY", "NEVER"), core.Parameter("", "X", "y z"), core.Parameter("", "X", "y\r\nQUIT"), core.Parameter("", "X", "ü"), core.Parameter("", "X Y", ""),
	} {
		for of, m := range map[string]*core.Message{"MAIL": message("b@example.com"), "RCPT": message("b@example.com", "c@example.com")} {
			t.Run(fmt.Sprintf("%s %q", of, p), func(t *testing.T) {
				if of == "MAIL" {
					m.Params = []core.Param{p}
				} else {
					m.To[1].Params = []core.Param{p}
				}
				dialogue := "" // what no server takes is found out before one is asked
				if p.Extension() != "" || p.Value() == "ü" {
					dialogue = pipelining + bye
				}
				receipt, err := newClient(t, dialogue, smtptest.Options{}).Send(t.Context(), m)
				hasError(t, err, map[string]core.Stage{"MAIL": core.StageMail, "RCPT": core.StageRcpt}[of], core.Local, nil)
				if p.Extension() != "" && !errors.Is(err, core.ErrNotSupported) {
					t.Errorf("%v is not of the kind ErrNotSupported", err)
				}
				if n := receipt.Count(core.Refused); n != len(m.To) {
					t.Errorf("%d of %d recipients are refused", n, len(m.To))
				}
			})
		}
	}
}

// away is a transport whose URLs are read by something that cannot be asked now.
type away struct{ err error }

func (away) Scheme() string                                        { return "away" }
func (a away) Endpoint(*url.URL) (core.Endpoint, error)            { return core.Endpoint{}, a.err }
func (away) Dial(context.Context, core.Endpoint) (net.Conn, error) { return nil, errors.ErrUnsupported }

// uneasy is a mechanism that cannot work.
type uneasy struct {
	core.Mechanism
	err error
}

func (uneasy) Name() string   { return "X-UNEASY" }
func (u uneasy) Check() error { return u.err }

func TestNewClient_whatAMechanismSaysOfItselfKeepsItsClass(t *testing.T) {
	reason := errors.New("the vault is sealed")
	for class, err := range map[core.Class]error{
		core.Local:     reason,
		core.Temporary: &core.Error{Stage: core.StageAuth, Class: core.Temporary, Hint: "wait", Err: reason},
	} {
		_, err := core.NewClient(core.Config{Endpoint: "smtp://mx.example", Transports: transport.Standard(), Auth: []core.Mechanism{uneasy{err: err}}})
		e, ok := err.(*core.Error)
		if !ok || e.Stage != core.StageConfig || e.Class != class || !errors.Is(err, reason) || (e.Hint == "wait") != (class == core.Temporary) {
			t.Errorf("%#v", err)
		}
		if want := "config: mechanism X-UNEASY: the vault is sealed"; !strings.HasPrefix(fmt.Sprint(err), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestNewClient_whatATransportSaysOfAURLKeepsItsClass(t *testing.T) {
	reason := errors.New("the directory is down")
	for class, err := range map[core.Class]error{
		core.Local:     reason,
		core.Temporary: &core.Error{Stage: core.StageConnect, Class: core.Temporary, Hint: "wait", Err: reason},
	} {
		_, err := core.NewClient(core.Config{Endpoint: "away://mx.example?token=hunter2", Transports: []core.Transport{away{err}}})
		e, ok := err.(*core.Error)
		if !ok || e.Stage != core.StageConfig || e.Class != class || !errors.Is(err, reason) || (e.Hint == "wait") != (class == core.Temporary) {
			t.Errorf("%#v", err)
		}
		if want := `config: endpoint "away://mx.example": the directory is down`; !strings.HasPrefix(fmt.Sprint(err), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
