package interceptortest

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// situation is something that happens to a message.
type situation struct {
	name string
	to   string // recipients, separated by spaces; bob if it is empty
	size int    // of the text, in octets, or a small one
	want string // the outcomes
	// passes says that a retry may have all recipients accepted.
	passes bool
	lmtp   bool // it happens over LMTP alone
	// arrange sets up the server, and what stands between it and the client.
	arrange func(*smtptest.ServerOptions) (over func(core.Transport) core.Transport)
}

func (x situation) happens(s session) bool { return !x.lmtp || s.protocol == core.LMTP }

// answers is a situation in which the server answers.
func answers(mail, rcpt, content string) func(*smtptest.ServerOptions) func(core.Transport) core.Transport {
	return func(o *smtptest.ServerOptions) func(core.Transport) core.Transport {
		if mail != "" {
			o.Mail = func(smtptest.Envelope) *core.Reply { return smtptest.Reply(mail) }
		}
		if rcpt != "" {
			o.Rcpt = func(smtptest.Envelope, smtptest.Recipient) *core.Reply { return smtptest.Reply(rcpt) }
		}
		if content != "" {
			o.Content = func(smtptest.Message) *core.Reply { return smtptest.Reply(content) }
		}
		return nil
	}
}

func situations() []situation {
	return slices.Concat(toldSituations(), []situation{recipientsSituation(), deliverSituation()}, lostSituations(), unreachedSituations())
}

// toldSituations are those in which the server says what becomes of the message.
func toldSituations() []situation {
	return []situation{
		{name: "accepted", want: "accepted 250"},
		{name: "refused at MAIL", want: "refused 550", arrange: answers("550 5.7.1 not you", "", "")},
		{name: "deferred at MAIL", want: "deferred 451", arrange: answers("451 4.3.0 not now", "", "")},
		{name: "refused at RCPT", want: "refused 551", arrange: answers("", "551 5.1.6 moved", "")},
		{name: "deferred at RCPT", want: "deferred 450", arrange: answers("", "450 4.2.1 later", "")},
		{name: "content refused", want: "refused 554", arrange: answers("", "", "554 5.6.0 not that")},
		{name: "content deferred", want: "deferred 452", arrange: answers("", "", "452 4.3.1 full")},
		{name: "421 in place of the reply to content", want: "deferred 421", arrange: answers("", "", "421 4.3.2 going down")},
		{name: "deferred the first time, and accepted then", want: "deferred 451", passes: true,
			arrange: func(o *smtptest.ServerOptions) func(core.Transport) core.Transport {
				var came atomic.Bool
				o.Mail = func(smtptest.Envelope) *core.Reply {
					if came.Swap(true) {
						return nil
					}
					return smtptest.Reply("451 4.3.0 come again")
				}
				return nil
			}},
	}
}

// recipientsSituation is one message whose recipients have different outcomes.
func recipientsSituation() situation {
	return situation{
		name: "some recipients refused, some deferred", to: "bob gone later carol moved", want: "accepted 250; refused 550; deferred 450; accepted 250; refused 551",
		arrange: func(o *smtptest.ServerOptions) func(core.Transport) core.Transport {
			o.Rcpt = func(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply { return byName(to) }
			return nil
		},
	}
}

// deliverSituation is the same behind the content, which is what LMTP is for.
func deliverSituation() situation {
	return situation{
		name: "LMTP: some recipients refused, some deferred behind the content", to: "bob gone later carol", want: "accepted 250; refused 550; deferred 450; accepted 250",
		lmtp: true,
		arrange: func(o *smtptest.ServerOptions) func(core.Transport) core.Transport {
			o.Deliver = func(_ smtptest.Message, to smtptest.Recipient) *core.Reply { return byName(to) }
			return nil
		},
	}
}

func byName(to smtptest.Recipient) *core.Reply {
	switch to.Address {
	case "gone@example.net":
		return smtptest.Reply("550 5.1.1 no such mailbox")
	case "later@example.net":
		return smtptest.Reply("450 4.2.1 later")
	case "moved@example.net":
		return smtptest.Reply("551 5.1.6 moved")
	}
	return nil
}

// lostSituations are those in which the connection breaks.
func lostSituations() []situation {
	return []situation{
		{name: "the connection is cut in the middle of the content", size: 300 << 10, want: "deferred",
			arrange: func(o *smtptest.ServerOptions) func(core.Transport) core.Transport {
				const after = 100 << 10
				o.Content = func(m smtptest.Message) *core.Reply {
					if len(m.Content) <= after {
						return smtptest.Reply("451 4.3.0 not whole") // which the server does not notice in a chunk
					}
					return nil
				}
				return func(t core.Transport) core.Transport { return &cutter{Transport: t, after: after} }
			}},
		{name: "the connection is cut behind the content, before the reply", want: "unknown",
			arrange: func(o *smtptest.ServerOptions) func(core.Transport) core.Transport {
				c := &cutter{}
				o.Content = func(smtptest.Message) *core.Reply { c.cut(); return nil }
				return func(t core.Transport) core.Transport { c.Transport = t; return c }
			}},
	}
}

// unreachedSituations are those in which there is no session. There is no attempt
// then, no peer in a receipt, and no reply.
func unreachedSituations() []situation {
	greets := func(text string) func(*smtptest.ServerOptions) func(core.Transport) core.Transport {
		return func(*smtptest.ServerOptions) func(core.Transport) core.Transport {
			return func(t core.Transport) core.Transport { return greeting{t, text} }
		}
	}
	return []situation{
		{name: "the connection is refused", want: "deferred",
			arrange: func(*smtptest.ServerOptions) func(core.Transport) core.Transport {
				return func(t core.Transport) core.Transport { return unreachable{t} }
			}},
		{name: "the server greets with 554", want: "refused 554", arrange: greets("554 5.3.2 no service\r\n")},
		{name: "the server greets with 421", want: "deferred 421", arrange: greets("421 4.3.2 too busy\r\n")},
		{name: "the server hangs up without a greeting", want: "deferred", arrange: greets("")},
	}
}

// play sends a message in the situation, through these interceptors.
func (b *bench) play(s session, x situation, interceptors ...core.Interceptor) {
	options := smtptest.ServerOptions{Protocol: s.protocol}
	var over func(core.Transport) core.Transport
	if x.arrange != nil {
		over = x.arrange(&options)
	}
	server := b.server(options)
	config := s.configure(server.Config())
	if over != nil {
		config.Transports = []core.Transport{over(config.Transports[0])}
	}
	c := b.client(config, interceptors...)
	if c == nil {
		return
	}
	m := message(text(x.name, x.size), recipients(x.to)...)
	r := b.send(b.scope.ctx, c, m)
	if !r.back {
		return
	}
	got := outcomes(r.receipt)
	may := x.passes && b.run.config.Retries && r.err == nil
	if got != x.want && !may {
		b.foundf("%s: the outcome is %q, and is to be %q: %v", s.name, got, x.want, r.err)
	}
	b.checkArrivals(s, server, r)
}

// checkArrivals compares what the receipt says with what the server has taken.
func (b *bench) checkArrivals(s session, server *smtptest.Server, r result) {
	taken := map[string]int{}
	for _, m := range server.Messages() {
		for _, to := range m.To {
			taken[to.Address]++
		}
	}
	for _, x := range r.receipt.Recipients {
		n := taken[x.Address]
		if n > 1 || x.Outcome == core.Accepted && n == 0 || n > 0 && (x.Outcome == core.Refused || x.Outcome == core.Deferred) {
			b.foundf("%s: the server has taken the message for %s %d times, and the receipt says %s", s.name, x.Address, n, x.Outcome)
		}
	}
}

// outcomeRules are about what becomes of a message.
func outcomeRules() []rule {
	list := []rule{{name: "what the server says of a message stands"}, {name: "each recipient has an outcome of its own"}, {name: "a lost connection loses no outcome"}, {name: "a server that is not reached is no surprise"}}
	for n, these := range [][]situation{toldSituations(), {recipientsSituation(), deliverSituation()}, lostSituations(), unreachedSituations()} {
		for _, x := range these {
			list[n].cases = append(list[n].cases, testCase{x.name, func(b *bench) {
				for _, s := range sessions() {
					if x.happens(s) && !b.stuck.Load() {
						b.play(s, x, b.interceptor())
					}
				}
			}})
		}
	}
	return list
}

// outcomes is a receipt in short: "accepted 250; refused 550".
func outcomes(r *core.Receipt) string {
	var list []string
	for i := range r.Recipients {
		list = append(list, describe(r.Recipients[i]))
	}
	return strings.Join(list, "; ")
}

func describe(r core.RecipientResult) string {
	if r.Reply.Code == 0 {
		return r.Outcome.String()
	}
	return fmt.Sprintf("%s %d", r.Outcome, r.Reply.Code)
}
