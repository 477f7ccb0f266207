package corefx_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/fx"
	"go.uber.org/fx/fxtest"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/transport"
	"github.com/postrider/postrider/transport/transportfx"
)

const builds = 30 // fx showed all six orders of three members in fewer

// plain returns a constructor of an interceptor that does nothing.
func plain(name string) func() core.Interceptor {
	return func() core.Interceptor {
		return core.Interceptor{Name: name, Delivery: func(next core.DeliverFunc) core.DeliverFunc { return next }}
	}
}

// content is plain for one that changes content, or signs it.
func content(name string, signs bool) func() (core.Interceptor, error) {
	return func() (core.Interceptor, error) {
		return core.Interceptor{Name: name, Signs: signs, Content: func(next core.ContentFunc) core.ContentFunc { return next }}, nil
	}
}

func TestOrderOfInterceptors(t *testing.T) {
	added := []fx.Option{
		corefx.AsInterceptor(corefx.Wire, plain("dialogue")),
		corefx.AsInterceptor(corefx.Wire, plain("announce")),
		corefx.AsInterceptor(corefx.Transform, content("headers", false)),
		corefx.AsInterceptor(corefx.Transform, content("dkim", true)),
		corefx.AsInterceptor(corefx.Transform, content("arc", true)),
		corefx.AsInterceptor(corefx.Limit, plain("ratelimit")),
		corefx.AsInterceptor(corefx.Retry, plain("retry")),
		corefx.AsInterceptor(corefx.Admit, plain("audit")),
		corefx.AsInterceptor(corefx.Admit, plain("suppression")),
		corefx.AsInterceptor(corefx.Observe, plain("telemetry")),
		corefx.AsInterceptor(corefx.Observe, plain("logging")),
	}
	want := "logging telemetry audit suppression retry ratelimit headers arc dkim announce dialogue"
	for range builds {
		rand.Shuffle(len(added), func(i, j int) { added[i], added[j] = added[j], added[i] })
		var client *core.Client
		options := append([]fx.Option{corefx.Module, transportfx.Module, fx.Supply(core.Config{Endpoint: "smtp://127.0.0.1"}), fx.Populate(&client)}, added...)
		fxtest.New(t, append(options, fx.NopLogger)...).RequireStart().RequireStop()
		if got := strings.Join(client.Pipeline(), " "); got != want {
			t.Fatalf("pipeline %s,\n    want %s", got, want)
		}
	}
}

// mechanism is one that has a name and nothing else.
type mechanism string

func (m mechanism) Name() string { return string(m) }
func (mechanism) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return nil, nil, fmt.Errorf("not to be used")
}

// The client asks for mechanisms in order, and the error of a server that offers
// none of them lists them.
func TestOrderOfMechanisms(t *testing.T) {
	s := startServer(t)
	added := []fx.Option{
		corefx.AsMechanism(func() mechanism { return "CRAM-MD5" }),
		corefx.AsMechanism(func() core.Mechanism { return mechanism("OAUTHBEARER") }),
		corefx.AsMechanism(func() (core.Mechanism, error) { return mechanism("X-TICKET"), nil }),
		corefx.AsMechanism(func() (mechanism, error) { return "CORP-CARD", nil }),
		corefx.AsMechanism(func() []core.Mechanism {
			return []core.Mechanism{mechanism("ANONYMOUS"), mechanism("LOGIN"), mechanism("SCRAM-SHA-256-PLUS"), mechanism("SCRAM-SHA-256")}
		}),
		corefx.AsMechanism(func() ([]core.Mechanism, error) { return nil, nil }),
		corefx.AsMechanism(func() mechanism { return "EXTERNAL" }),
	}
	want := "SCRAM-SHA-1 GSSAPI CORP-CARD X-TICKET EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER CRAM-MD5 LOGIN ANONYMOUS"
	configured := []core.Mechanism{mechanism("SCRAM-SHA-1"), mechanism("GSSAPI")}
	for range builds {
		rand.Shuffle(len(added), func(i, j int) { added[i], added[j] = added[j], added[i] })
		var client *core.Client
		options := append([]fx.Option{corefx.Module, transportfx.Module, fx.Supply(core.Config{Endpoint: s.url, Auth: configured}), fx.Populate(&client)}, added...)
		app := fxtest.New(t, append(options, fx.NopLogger)...).RequireStart()
		_, err := client.Send(t.Context(), &core.Message{To: core.Recipients("bob@example.net"), Body: core.String("")})
		app.RequireStop()
		if err == nil || !strings.Contains(err.Error(), "none will do of "+want) {
			t.Fatalf("Send returned %v,\nwant the order %s", err, want)
		}
	}
	if !reflect.DeepEqual(configured, []core.Mechanism{mechanism("SCRAM-SHA-1"), mechanism("GSSAPI")}) {
		t.Error("the configuration's list was changed")
	}
}

func newPlain() core.Mechanism { return mechanisms.Plain("ann", "secret") }

func TestRefused(t *testing.T) {
	standard := fx.Options(transportfx.Module, fx.Supply(core.Config{Endpoint: "smtp://127.0.0.1"}))
	for name, test := range map[string]struct {
		options fx.Option
		want    []string // all of them in the error
	}{
		"two interceptors of one name": {
			fx.Options(standard, fx.Supply(&record{}), corefx.AsInterceptor(corefx.Admit, newAudit), corefx.AsInterceptor(corefx.Wire, plain("audit"))),
			[]string{`two interceptors named "audit"`, "corefx_test.newAudit at assembly_test.go:", "plain.func"},
		},
		"one interceptor twice": {
			fx.Options(standard, fx.Supply(&record{}), corefx.AsInterceptor(corefx.Admit, newAudit), corefx.AsInterceptor(corefx.Admit, newAudit)),
			[]string{`two interceptors named "audit", both from corefx_test.newAudit`},
		},
		"two mechanisms of one name": {
			fx.Options(standard, corefx.AsMechanism(newPlain), corefx.AsMechanism(func() mechanism { return "PLAIN" })),
			[]string{`two mechanisms named "PLAIN"`, "corefx_test.newPlain at", "corefx_test.TestRefused.func"},
		},
		"a mechanism that is configured already": {
			fx.Options(transportfx.Module, fx.Supply(core.Config{Endpoint: "smtp://127.0.0.1", Auth: mechanisms.Password("ann", "secret")}), corefx.AsMechanism(newPlain)),
			[]string{`two mechanisms named "PLAIN"`, "core.Config.Auth", "corefx_test.newPlain at"},
		},
		"two transports for one scheme": {
			fx.Options(standard, corefx.AsTransport(func() core.Transport { return transport.SMTP(transport.TCP{}) })),
			[]string{`two transports for the scheme "smtp"`, "transportfx.New at", "corefx_test.TestRefused.func"},
		},
		"a transport that is configured already": {
			fx.Options(transportfx.Module, fx.Supply(core.Config{Endpoint: "smtp://127.0.0.1", Transports: transport.Standard()})),
			[]string{`two transports for the scheme "lmtp"`, "transportfx.New at", "core.Config.Transports"},
		},
		"no transport": {
			fx.Supply(core.Config{Endpoint: "smtp://127.0.0.1"}),
			[]string{"there is no transport: add transportfx.Module"},
		},
		"content changed after signing": {
			fx.Options(standard, corefx.AsInterceptor(corefx.Transform, content("dkim", true)), corefx.AsInterceptor(corefx.Wire, content("footer", false))),
			[]string{`"footer" (wire, from`, `"dkim" (transform, from`, "give it the signer's stage or an earlier one"},
		},
		"an order in the configuration and stages": {
			fx.Options(transportfx.Module, fx.Supply(core.Config{Endpoint: "smtp://127.0.0.1", Interceptors: []core.Interceptor{plain("a")()}}), corefx.AsInterceptor(corefx.Admit, plain("b"))),
			[]string{"core.Config.Interceptors is set", "plain.func", `adds "b"`},
		},
		"an interceptor without a name": {
			fx.Options(standard, corefx.AsInterceptor(corefx.Admit, plain(""))),
			[]string{"plain.func", "has no Name"},
		},
		"an interceptor without a function": {
			fx.Options(standard, corefx.AsInterceptor(corefx.Admit, func() core.Interceptor { return core.Interceptor{Name: "idle"} })),
			[]string{`"idle" has no function`},
		},
		"a nil mechanism": {
			fx.Options(standard, corefx.AsMechanism(func() core.Mechanism { return nil })),
			[]string{"corefx_test.TestRefused.func", "returned a mechanism that is nil"},
		},
		"a nil transport": {
			fx.Options(standard, corefx.AsTransport(func() core.Transport { return nil })),
			[]string{"corefx_test.TestRefused.func", "returned a transport that is nil"},
		},
		"a constructor that fails": {
			fx.Options(standard, corefx.AsMechanism(newBroken)),
			[]string{"corefx_test\".newBroken", "no ticket office"},
		},
		"a constructor that lacks something": {
			fx.Options(standard, corefx.AsInterceptor(corefx.Admit, newAudit)),
			[]string{"corefx_test\".newAudit", "missing type: *corefx_test.record"},
		},
		"a value":                 {corefx.AsInterceptor(corefx.Admit, plain("a")()), []string{"corefx.AsInterceptor needs a constructor, and core.Interceptor is none"}},
		"nil":                     {corefx.AsMechanism(nil), []string{"corefx.AsMechanism needs a constructor"}},
		"an annotated one":        {corefx.AsTransport(fx.Annotate(transport.Standard)), []string{"give it the constructor itself"}},
		"a stage that is none":    {corefx.AsInterceptor(0, plain("a")), []string{"stage 0 does not exist: use Observe"}},
		"of another seam":         {corefx.AsInterceptor(corefx.Admit, newPlain), []string{"corefx_test.newPlain at", "let it return core.Interceptor, or that and an error"}},
		"no result":               {corefx.AsMechanism(func() {}), []string{"let it return core.Mechanism or []core.Mechanism"}},
		"a result that is no use": {corefx.AsTransport(func() (core.Transport, bool) { return nil, false }), []string{"let it return core.Transport or []core.Transport"}},
	} {
		t.Run(name, func(t *testing.T) {
			var first string
			for range 5 { // whatever the order in which fx happens to call
				err := fx.New(corefx.Module, fx.NopLogger, test.options, fx.Invoke(func(*core.Client) {})).Err()
				if err == nil {
					t.Fatal("no error")
				}
				for _, want := range test.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("error %q lacks %q", err, want)
					}
				}
				if first == "" {
					first = err.Error()
				}
				if err.Error() != first {
					t.Errorf("two errors for the same mistake:\n%v\n%v", first, err)
				}
			}
		})
	}
}

func newBroken() (core.Mechanism, error) { return nil, fmt.Errorf("no ticket office") }

func TestStageString(t *testing.T) {
	var names []string
	for s := corefx.Observe; s <= corefx.Wire; s++ {
		names = append(names, s.String())
	}
	if got := strings.Join(names, " < "); got != "observe < admit < retry < limit < transform < wire" {
		t.Error(got)
	}
	if got := corefx.Stage(99).String(); got != "stage 99" {
		t.Error(got)
	}
}

func TestStageUnmarshalText(t *testing.T) {
	for s := corefx.Observe; s <= corefx.Wire; s++ {
		var got corefx.Stage
		if err := got.UnmarshalText([]byte(s.String())); err != nil || got != s {
			t.Errorf("%s is read as %s, %v", s, got, err)
		}
	}
	for _, text := range []string{"", "Admit", "stage 1", "7"} {
		var got corefx.Stage
		if err := got.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "use observe, admit, retry, limit, transform or wire") || got != 0 {
			t.Errorf("%q is read as %s, %v", text, got, err)
		}
	}
}
