package telemetry_test

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/middleware/telemetry"
)

// exchanges returns what the spans of exchanges in a span say: verbs, arrow,
// codes.
func exchanges(o *observed, in string) []string {
	var list []string
	for _, s := range o.named(telemetry.SpanExchange) {
		if !childOf(s, o.one(in)) {
			continue
		}
		verbs, _ := attr(s.Attributes(), "postrider.exchange.commands").([]string)
		codes, _ := attr(s.Attributes(), "postrider.exchange.reply_codes").([]int64)
		line := strings.Join(verbs, " ") + " ->"
		for _, c := range codes {
			line += " " + attribute.Int64Value(c).String()
		}
		list = append(list, line)
	}
	return list
}

func TestExchangesAreSpansOnRequestWithVerbsAndCodesAndNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		announce []string
		want     []string
	}{
		"without pipelining": {nil, []string{"MAIL -> 250", "RCPT -> 250", "RCPT -> 550", "DATA -> 354", "content -> 250"}},
		"with pipelining":    {[]string{"PIPELINING"}, []string{"MAIL RCPT RCPT DATA -> 250 250 550 354", "content -> 250"}},
		"with chunking":      {[]string{"PIPELINING", "CHUNKING"}, []string{"MAIL RCPT RCPT BDAT -> 250 250 550 250"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := observe(t, telemetry.WithExchangeSpans())
			s := refuse(carol, "550 5.1.1 no "+carol)
			s.announce = append([]string{"AUTH PLAIN"}, c.announce...)
			client := o.client(serve(t, s), func(c *core.Config) { c.Auth = mechanisms.Password("alice", "tanstaafl") })
			if _, err := send(t, client, letter(bob, carol)); err == nil {
				t.Fatal("Send succeeded")
			}
			if have := exchanges(o, telemetry.SpanAttempt); !slices.Equal(have, c.want) {
				t.Errorf("the exchanges of the attempt are %q, want %q", have, c.want)
			}
			want := []string{" -> 220", "EHLO -> 250", "AUTH -> 235"}
			if have := exchanges(o, telemetry.SpanConnect); !slices.Equal(have, want) {
				t.Errorf("the exchanges of connecting are %q, want %q", have, want)
			}
		})
	}
}

func TestAnExchangeWithARefusalIsAnErrorWithItsCodeAndTheStageOfItsCommand(t *testing.T) {
	o := observe(t, telemetry.WithExchangeSpans())
	s := refuse(carol, "452 4.3.1 full")
	s.announce = []string{"PIPELINING"}
	_, _ = send(t, o.client(serve(t, s)), letter(bob, carol))
	for _, s := range o.named(telemetry.SpanExchange) {
		if verbs, _ := attr(s.Attributes(), "postrider.exchange.commands").([]string); slices.Contains(verbs, "MAIL") {
			wantAttrs(t, "MAIL", s.Attributes(), map[attribute.Key]any{
				"error.type": "452", "postrider.error.stage": "rcpt", "postrider.reply.code": int64(452), "postrider.reply.enhanced_code": "4.3.1"})
		} else {
			wantSuccess(t, s)
		}
	}
}

func TestAnExchangeThatFailsHasTheStageOfItsCommand(t *testing.T) {
	for verb, stage := range map[string]string{"": "connect", "EHLO": "hello", "MAIL": "mail", core.EndOfData: "content"} {
		o := observe(t, telemetry.WithExchangeSpans())
		no := core.Interceptor{Name: "no", Exchange: func(next core.ExchangeFunc) core.ExchangeFunc {
			return func(ctx context.Context, x *core.Exchange) error {
				if verb == "" && len(x.Commands) == 0 || len(x.Commands) > 0 && x.Commands[0].Verb == verb {
					return errors.New("not today")
				}
				return next(ctx, x)
			}
		}}
		if _, err := send(t, o.client(serve(t, &smtpServer{}), interceptors(no)), letter(bob)); err == nil {
			t.Fatal("Send succeeded")
		}
		list := o.named(telemetry.SpanExchange)
		wantFailure(t, list[len(list)-1], "local", stage, "local")
	}
}

func TestWithoutTheOptionNoExchangeIsASpan(t *testing.T) {
	o := observe(t)
	if o.tel.Exchange != nil {
		t.Error("exchanges are wrapped, and that costs")
	}
}

func TestAnExchangeOutsideOfAnySpanHasNone(t *testing.T) {
	o := observe(t, telemetry.WithExchangeSpans())
	client := o.client(serve(t, &smtpServer{}))
	if _, err := send(t, client, letter(bob)); err != nil {
		t.Fatal(err)
	}
	_ = client.Close() // says QUIT
	for _, s := range o.spans.Ended() {
		if !s.Parent().IsValid() && s.Name() != telemetry.SpanDelivery {
			t.Errorf("%s is a trace of its own", s.Name())
		}
	}
}

func TestAResponseToAChallengeIsNamedAndNotShown(t *testing.T) {
	o := observe(t, telemetry.WithExchangeSpans())
	secret := base64.StdEncoding.EncodeToString([]byte("response99"))
	s := &smtpServer{announce: []string{"AUTH TICKET"}, answer: func(line string) string {
		switch line {
		case "AUTH TICKET":
			return "334 " + base64.StdEncoding.EncodeToString([]byte("challenge99"))
		case secret:
			return "235 2.7.0 " + secret
		}
		return usual
	}}
	client := o.client(serve(t, s), func(c *core.Config) { c.Auth = []core.Mechanism{ticket{}} })
	if _, err := send(t, client, letter(bob)); err != nil {
		t.Fatal(err)
	}
	want := []string{" -> 220", "EHLO -> 250", "AUTH -> 334", "auth response -> 235"}
	if have := exchanges(o, telemetry.SpanConnect); !slices.Equal(have, want) {
		t.Errorf("the exchanges of connecting are %q, want %q", have, want)
	}
	for _, word := range []string{secret, "response99", "challenge99", base64.StdEncoding.EncodeToString([]byte("challenge99"))} {
		if strings.Contains(o.dump(), word) {
			t.Errorf("%q was recorded", word)
		}
	}
}

// ticket is a mechanism that answers a challenge.
type ticket struct{}

func (ticket) Name() string { return "TICKET" }

func (ticket) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return ticket{}, nil, nil
}

func (ticket) Next(context.Context, []byte) ([]byte, error) { return []byte("response99"), nil }

func (ticket) Done(context.Context) error { return nil }
