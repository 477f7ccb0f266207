package core_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

var paris = time.FixedZone("", 2*60*60)

// parameters are what the constructors return and what a server reads.
var parameters = []struct {
	rule      string
	command   string // MAIL or RCPT
	extension string
	param     core.Param
	wire      string
}{
	{"RET=FULL (RFC 3461 §4.3)", "MAIL", "DSN", core.ReturnFull(), "RET=FULL"},
	{"RET=HDRS (RFC 3461 §4.3)", "MAIL", "DSN", core.ReturnHeaders(), "RET=HDRS"},
	{"ENVID (RFC 3461 §4.4)", "MAIL", "DSN", core.EnvelopeID("QQ314159"), "ENVID=QQ314159"},
	{"trap 24: ENVID is xtext (RFC 3461 §4)", "MAIL", "DSN", core.EnvelopeID("a+b=c d"), "ENVID=a+2Bb+3Dc+20d"},
	{"ENVID has up to 100 octets (RFC 3461 §4.4)", "MAIL", "DSN", core.EnvelopeID(strings.Repeat("x", 100)), "ENVID=" + strings.Repeat("x", 100)},
	{"NOTIFY=NEVER (RFC 3461 §4.1)", "RCPT", "DSN", core.NotifyNever(), "NOTIFY=NEVER"},
	{"NOTIFY with one event (RFC 3461 §4.1)", "RCPT", "DSN", core.Notify(core.OnFailure), "NOTIFY=FAILURE"},
	{"NOTIFY with all, in one order (RFC 3461 §4.1)", "RCPT", "DSN", core.Notify(core.OnDelay, core.OnFailure, core.OnSuccess), "NOTIFY=SUCCESS,FAILURE,DELAY"},
	{"NOTIFY names an event once", "RCPT", "DSN", core.Notify(core.OnDelay, core.OnDelay|core.OnSuccess), "NOTIFY=SUCCESS,DELAY"},
	{"ORCPT (RFC 3461 §4.2)", "RCPT", "DSN", core.OriginalRecipient("bob@example.net"), "ORCPT=rfc822;bob@example.net"},
	{"trap 24: ORCPT is xtext (RFC 3461 §4)", "RCPT", "DSN", core.OriginalRecipient(`"a b"+c=d@example.net`), `ORCPT=rfc822;"a+20b"+2Bc+3Dd@example.net`},
	{"ORCPT of type utf-8 (RFC 6533 §3)", "RCPT", "DSN", core.OriginalRecipient("bücher@例.example"), `ORCPT=utf-8;b\x{FC}cher@\x{4F8B}.example`},
	{"and what a parameter cannot hold in it (RFC 6533 §3)", "RCPT", "DSN", core.OriginalRecipient(`"ü +=\"@😀.example`), `ORCPT=utf-8;"\x{FC}\x{20}\x{2B}\x{3D}\x{5C}"@\x{1F600}.example`},
	{"AUTH (RFC 4954 §5)", "MAIL", "AUTH", core.AuthSubmitter("e=mc2@example.com"), "AUTH=e+3Dmc2@example.com"},
	{"AUTH=<> (RFC 4954 §5)", "MAIL", "AUTH", core.AuthSubmitter(""), "AUTH=<>"},
	{"REQUIRETLS (RFC 8689 §2)", "MAIL", "REQUIRETLS", core.RequireTLS(), "REQUIRETLS"},
	{"BY with return (RFC 2852 §4)", "MAIL", "DELIVERBY", core.DeliverBy(time.Hour, core.OrReturn), "BY=3600;R"},
	{"BY with notification (RFC 2852 §4)", "MAIL", "DELIVERBY", core.DeliverBy(2*time.Minute, core.OrNotify), "BY=120;N"},
	{"BY with return and trace (RFC 2852 §4)", "MAIL", "DELIVERBY", core.DeliverBy(time.Second, core.OrReturnTraced), "BY=1;RT"},
	{"BY after the deadline, with trace (RFC 2852 §4)", "MAIL", "DELIVERBY", core.DeliverBy(-time.Minute, core.OrNotifyTraced), "BY=-60;NT"},
	{"BY=0 with notification (RFC 2852 §4)", "MAIL", "DELIVERBY", core.DeliverBy(0, core.OrNotify), "BY=0;N"},
	{"BY is rounded down", "MAIL", "DELIVERBY", core.DeliverBy(1999*time.Millisecond, core.OrReturn), "BY=1;R"},
	{"BY is rounded down below zero, too", "MAIL", "DELIVERBY", core.DeliverBy(-time.Millisecond, core.OrNotify), "BY=-1;N"},
	{"BY has nine digits (RFC 2852 §4)", "MAIL", "DELIVERBY", core.DeliverBy(999999999*time.Second, core.OrReturn), "BY=999999999;R"},
	{"HOLDFOR (RFC 4865)", "MAIL", "FUTURERELEASE", core.HoldFor(90 * time.Minute), "HOLDFOR=5400"},
	{"HOLDFOR is rounded up", "MAIL", "FUTURERELEASE", core.HoldFor(time.Millisecond), "HOLDFOR=1"},
	{"HOLDUNTIL is UTC (RFC 4865)", "MAIL", "FUTURERELEASE", core.HoldUntil(time.Date(2030, 1, 1, 1, 30, 0, 0, paris)), "HOLDUNTIL=2029-12-31T23:30:00Z"},
	{"HOLDUNTIL is rounded up", "MAIL", "FUTURERELEASE", core.HoldUntil(time.Date(2029, 12, 31, 23, 59, 59, 1, time.UTC)), "HOLDUNTIL=2030-01-01T00:00:00Z"},
	{"MT-PRIORITY (RFC 6710)", "MAIL", "MT-PRIORITY", core.Priority(3), "MT-PRIORITY=3"},
	{"the lowest MT-PRIORITY (RFC 6710)", "MAIL", "MT-PRIORITY", core.Priority(-9), "MT-PRIORITY=-9"},
	{"the highest MT-PRIORITY (RFC 6710)", "MAIL", "MT-PRIORITY", core.Priority(9), "MT-PRIORITY=9"},
	{"MT-PRIORITY=0 is said (RFC 6710)", "MAIL", "MT-PRIORITY", core.Priority(0), "MT-PRIORITY=0"},
	{"RRVS (RFC 7293)", "RCPT", "RRVS", core.RequireRecipientValidSince(time.Date(2014, 4, 3, 23, 1, 0, 999, time.UTC)), "RRVS=2014-04-03T23:01:00Z"},
}

// withParam is a message with one parameter, on MAIL or on RCPT.
func withParam(command string, p core.Param) *core.Message {
	m := message("b@example.com")
	if command == "MAIL" {
		m.Params = []core.Param{p}
	} else {
		m.To[0].Params = []core.Param{p}
	}
	return m
}

// Trap 23: DELIVERBY and MT-PRIORITY go out with MAIL.
func TestParameters_onTheWire(t *testing.T) {
	server, trust := smtptest.NewCertificate(t, "server.example")
	for _, tt := range parameters {
		t.Run(tt.rule, func(t *testing.T) {
			mail, rcpt := "C: MAIL FROM:<a@example.com>", "C| RCPT TO:<b@example.com>"
			if tt.command == "MAIL" {
				mail += " " + tt.wire
			} else {
				rcpt += " " + tt.wire
			}
			c := newClient(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250-PIPELINING\nS: 250 "+tt.extension+"\n"+
				mail+"\n"+rcpt+"\nC| DATA\nS: 250 ok\nS: 250 ok\nS: 354 go on\nC: hi\nC| .\nS: 250 ok"+bye,
				smtptest.Options{ImplicitTLS: true, TLS: server, OverTCP: true}, func(c *core.Config) { c.TLS = trust })
			if _, err := c.Send(t.Context(), withParam(tt.command, tt.param)); err != nil {
				t.Error(err)
			}
		})
	}
}

// RFC 5321 §4.1.1.3: a client must not send parameters of an extension that the
// server did not announce.
func TestParameters_areNeverSentUnannounced_F22(t *testing.T) {
	server, trust := smtptest.NewCertificate(t, "server.example")
	for _, tt := range parameters {
		t.Run(tt.rule, func(t *testing.T) {
			c := newClient(t, pipelining+bye, smtptest.Options{ImplicitTLS: true, TLS: server, OverTCP: true}, func(c *core.Config) { c.TLS = trust })
			_, err := c.Send(t.Context(), withParam(tt.command, tt.param))
			if !errors.Is(err, core.ErrNotSupported) || !strings.Contains(err.Error(), tt.extension) {
				t.Errorf("got %v, want an error of the kind ErrNotSupported that names %s", err, tt.extension)
			}
		})
	}
}

func TestParameters_all(t *testing.T) {
	c := newClient(t, `
		S: 220 hi
		C: EHLO client.example
		S: 250-mx.example
		S: 250-PIPELINING
		S: 250-SIZE
		S: 250 DSN
		C: MAIL FROM:<a@example.com> SIZE=4 RET=HDRS ENVID=job+2B7
		C| RCPT TO:<b@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@example.com
		C| RCPT TO:<c@example.com> NOTIFY=NEVER
		C| RCPT TO:<d@example.com>
		C| DATA
		S: 250 ok
		S: 250 ok
		S: 250 ok
		S: 250 ok
		S: 354 go on
		C: hi
		C| .
		S: 250 ok`+bye, smtptest.Options{})
	m := message("b@example.com", "c@example.com", "d@example.com")
	m.Params = []core.Param{core.ReturnHeaders(), core.EnvelopeID("job+7")}
	m.To[0].Params = []core.Param{core.Notify(core.OnSuccess, core.OnFailure), core.OriginalRecipient("b@example.com")}
	m.To[1].Params = []core.Param{core.NotifyNever()}
	if _, err := c.Send(t.Context(), m); err != nil {
		t.Errorf("33 size first, then the caller's; trap 24: each recipient has its own: %v", err)
	}
}

func TestParameters_invalid(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		command string
		param   core.Param
		want    string // in the error
	}{
		{"an empty ENVID (RFC 3461 §4.4)", "MAIL", core.EnvelopeID(""), "ENVID"},
		{"F17 an ENVID with CRLF", "MAIL", core.EnvelopeID("a\r\nRCPT TO:<evil@example.com>"), "printable"},
		{"F17 an ENVID with NUL", "MAIL", core.EnvelopeID("a\x00"), "printable"},
		{"F17 an ENVID that is not ASCII (RFC 3461 §4.4)", "MAIL", core.EnvelopeID("ü"), "printable"},
		{"an ENVID of 101 octets, encoded (RFC 3461 §4.4)", "MAIL", core.EnvelopeID(strings.Repeat("x", 98) + "="), "101"},
		{"NOTIFY without an event (RFC 3461 §4.1)", "RCPT", core.Notify(), "core.NotifyNever"},
		{"NOTIFY with an event that is none", "RCPT", core.Notify(core.OnDelay, 8), "no such event"},
		{"an empty ORCPT (RFC 3461 §4.2)", "RCPT", core.OriginalRecipient(""), "ORCPT"},
		{"F17 an ORCPT with CRLF", "RCPT", core.OriginalRecipient("b@example.com\r\nDATA"), "printable"},
		{"F17 an ORCPT with CRLF beyond ASCII", "RCPT", core.OriginalRecipient("ü@example.com\r\nDATA"), "printable"},
		{"F17 an ORCPT that is not UTF-8", "RCPT", core.OriginalRecipient("\xff@example.com"), "printable"},
		{"an ORCPT of more than 500 octets (RFC 3461 §4.2)", "RCPT", core.OriginalRecipient(strings.Repeat("=", 163)), "502"},
		{"F17 AUTH with CRLF", "MAIL", core.AuthSubmitter("a@example.com\r\nDATA"), "control character"},
		{"AUTH with a display name (RFC 4954 §5)", "MAIL", core.AuthSubmitter("A <a@example.com>"), "quoted"},
		{"AUTH that is not ASCII", "MAIL", core.AuthSubmitter("ü@example.com"), "not ASCII"},
		{"BY=0 with return (RFC 2852 §4)", "MAIL", core.DeliverBy(999*time.Millisecond, core.OrReturn), "a second at least"},
		{"BY below zero with return and trace (RFC 2852 §4)", "MAIL", core.DeliverBy(-time.Second, core.OrReturnTraced), "a second at least"},
		{"BY with ten digits (RFC 2852 §4)", "MAIL", core.DeliverBy(1e9*time.Second, core.OrReturn), "nine digits"},
		{"BY with ten digits below zero (RFC 2852 §4)", "MAIL", core.DeliverBy(math.MinInt64, core.OrNotify), "nine digits"},
		{"F17 BY with another mode", "MAIL", core.DeliverBy(time.Hour, "R SIZE=1"), "no such mode"},
		{"BY without a mode", "MAIL", core.DeliverBy(time.Hour, ""), "no such mode"},
		{"HOLDFOR=0 (RFC 4865)", "MAIL", core.HoldFor(0), "from 1"},
		{"HOLDFOR below zero (RFC 4865)", "MAIL", core.HoldFor(-time.Hour), "from 1"},
		{"HOLDFOR with ten digits (RFC 4865)", "MAIL", core.HoldFor(math.MaxInt64), "from 1"},
		{"HOLDUNTIL the zero time", "MAIL", core.HoldUntil(time.Time{}), "year"},
		{"HOLDUNTIL a year of five digits", "MAIL", core.HoldUntil(time.Date(9999, 12, 31, 23, 59, 59, 1, time.UTC)), "year"},
		{"MT-PRIORITY=10 (RFC 6710)", "MAIL", core.Priority(10), "-9 to 9"},
		{"MT-PRIORITY=-10 (RFC 6710)", "MAIL", core.Priority(-10), "-9 to 9"},
		{"RRVS the zero time", "RCPT", core.RequireRecipientValidSince(time.Time{}), "year"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			// Nothing is opened for it.
			err := withParam(tt.command, tt.param).Check()
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Class != core.Local || !strings.Contains(e.Error(), tt.want) || !strings.Contains(e.Error(), tt.param.Keyword()) {
				t.Fatalf("got %v, want a local error with %q that names %s", err, tt.want, tt.param.Keyword())
			}
			if strings.ContainsFunc(e.Error(), unicode.IsControl) {
				t.Errorf("the error has a control character: %q", e)
			}
		})
	}
}
