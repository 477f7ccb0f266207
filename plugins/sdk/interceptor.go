package sdk

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/serve"
	"github.com/postrider/postrider/plugins/internal/wire"
	interceptorv1 "github.com/postrider/postrider/plugins/proto/postrider/interceptor/v1"
)

// Interceptor is something that decides about messages, and what it is called: 1 to
// 64 letters, digits, dots, hyphens and underscores. One that is a [Reporter] too is
// told what became of those that it has admitted. It is used by many goroutines at a
// time.
func Interceptor(name string, a Admitter) Part {
	return Part{func(p *serve.Plugin) { p.Interceptors = append(p.Interceptors, served(name, a)) }}
}

// AddTo adds the part to what is served. It is for package plugintest.
func (p Part) AddTo(plugin *serve.Plugin) { p.add(plugin) }

// Admitter decides about messages before they are sent. It sees the envelope, never
// the content.
type Admitter interface {
	// Admit admits a message, as it is or with changes, or returns why nobody is to
	// have it: with a *[core.Error] of the class Temporary the recipients are
	// Deferred, with any other error that is not itself temporary (see
	// [core.ClassOf]) they are Refused. The context ends when the host no longer
	// wants the answer. A panic is a temporary error of this call.
	Admit(ctx context.Context, m *Message) (Changes, error)
}

// AdmitFunc is a function that is an [Admitter].
type AdmitFunc func(ctx context.Context, m *Message) (Changes, error)

// Admit calls the function.
func (f AdmitFunc) Admit(ctx context.Context, m *Message) (Changes, error) { return f(ctx, m) }

// Reporter is implemented by an [Admitter] that wants to know what became of the
// messages that it has admitted.
type Reporter interface {
	// Report is called once for each, at the end of its delivery, while the sender
	// waits. It is not called if the host or the plugin has ended meanwhile.
	Report(ctx context.Context, r *Report)
}

// Message is what an interceptor sees of a message.
type Message struct {
	// ID is of this delivery alone, and the same in its [Report].
	ID string
	// Endpoint is where it goes, SCHEME://HOST:PORT: the first endpoint of the
	// client that sends it.
	Endpoint string
	// From is the reverse-path; empty is the null reverse-path (RFC 5321 §4.5.5).
	From string
	// Params are the parameters of MAIL that the message brings, as they go out:
	// "ENVID=QQ314159".
	Params []string
	// To is the recipients. There is one at least.
	To []Recipient
	// Size is how many octets the content has, or -1 if nobody knows.
	Size int64
}

// Recipient is a forward-path.
type Recipient struct {
	// Address is an address without angle brackets.
	Address string
	// Params are the parameters of RCPT: "NOTIFY=NEVER".
	Params []string
}

// Changes is what is to be different in a message that is admitted. The zero value
// leaves it as it is.
type Changes struct {
	// From is another reverse-path, if it is not nil. Empty is the null reverse-path.
	From *string
	// Redirect has other addresses for recipients, by their index in Message.To.
	// What became of a recipient is told with the address that it had.
	Redirect map[int]string
	// Refuse has the recipients who are not to get the message, by index, and why:
	// see [Admitter] for which errors have them deferred. It counts for more than
	// Redirect.
	Refuse map[int]error
	// Header is fields that are put in front of the content, before anybody signs
	// that, in this order: a hundred of them and 64 KiB at most.
	Header []Field
}

// Field is a header field (RFC 5322 §2.2).
type Field struct {
	// Name is the name, 1 to 64 printable ASCII characters without a colon.
	Name string
	// Value is one line of printable ASCII, which is folded if it is long. Package
	// mime encodes other characters.
	Value string
}

// Report is what became of a message.
type Report struct {
	// ID is that of the [Message].
	ID string
	// Results has one for each recipient, in the order of the message.
	Results []Result
	// QueueID is what the server called the message; empty if it did not say.
	QueueID string
	// Attempts is how many transactions there were.
	Attempts int
}

// Result is what became of a message for one recipient.
type Result struct {
	// Address is that of the [Message], before any change.
	Address string
	// Outcome is Accepted, Refused, Deferred or Unknown.
	Outcome core.Outcome
	// Code is of the reply that decided; 0 if none did. Enhanced is its enhanced
	// status code (RFC 3463), zero if there was none.
	Code     int
	Enhanced core.EnhancedCode
	// Text is why the message was not accepted, for people; else it is empty.
	Text string
}

// served is an interceptor as package serve has it.
func served(name string, a Admitter) serve.Interceptor {
	if a == nil {
		return serve.Interceptor{Name: name}
	}
	i := serve.Interceptor{Name: name, Admit: func(ctx context.Context, m *interceptorv1.Message) (*interceptorv1.Admitted, error) {
		message := newMessage(m)
		changes, err := a.Admit(ctx, message)
		if err != nil {
			return nil, err
		}
		return changes.admitted()
	}}
	if r, ok := a.(Reporter); ok {
		i.Report = func(ctx context.Context, report *interceptorv1.ReportRequest) { r.Report(ctx, newReport(report)) }
	}
	return i
}

func newMessage(m *interceptorv1.Message) *Message {
	message := &Message{
		ID: m.GetId(), Endpoint: m.GetEndpoint(), From: m.GetReversePath(), Params: m.GetParameters(),
		To: make([]Recipient, len(m.GetRecipients())), Size: -1,
	}
	for n, r := range m.GetRecipients() {
		message.To[n] = Recipient{r.GetAddress(), r.GetParameters()}
	}
	if m != nil && m.Size != nil {
		message.Size = int64(m.GetSize())
	}
	return message
}

func newReport(r *interceptorv1.ReportRequest) *Report {
	report := &Report{ID: r.GetId(), QueueID: r.GetQueueId(), Attempts: int(r.GetAttempts()), Results: make([]Result, len(r.GetResults()))}
	for n, one := range r.GetResults() {
		report.Results[n] = Result{
			Address: one.GetAddress(), Outcome: wire.CoreOutcome(one.GetOutcome()),
			Code: int(one.GetCode()), Enhanced: wire.EnhancedCode(one.GetEnhancedCode()), Text: one.GetText(),
		}
	}
	return report
}

// errUnnamed stands in for a refusal without an error.
var errUnnamed = errors.New("refused, without a reason")

// admitted is the changes as they travel. The host checks them.
func (c *Changes) admitted() (*interceptorv1.Admitted, error) {
	a := &interceptorv1.Admitted{ReversePath: c.From}
	texts := []*string{c.From}
	for n, err := range c.Refuse {
		if err == nil {
			err = errUnnamed
		}
		a.Decisions = append(a.Decisions, &interceptorv1.Decision{Index: index(n), Decision: &interceptorv1.Decision_Refused{Refused: wire.Failure(err)}})
	}
	for n, address := range c.Redirect {
		if _, refused := c.Refuse[n]; refused {
			continue
		}
		a.Decisions = append(a.Decisions, &interceptorv1.Decision{Index: index(n), Decision: &interceptorv1.Decision_Address{Address: address}})
		texts = append(texts, &address)
	}
	for _, f := range c.Header {
		a.Fields = append(a.Fields, &interceptorv1.Field{Name: f.Name, Value: f.Value})
		texts = append(texts, &f.Name, &f.Value)
	}
	for _, text := range texts {
		if text != nil && !utf8.ValidString(*text) {
			return nil, fmt.Errorf("the interceptor changes something to what is not UTF-8: %.70q", *text)
		}
	}
	return a, nil
}

// index is an index as it travels. One that cannot be is one that no message has.
func index(n int) uint32 {
	if n < 0 || n > 1<<31-1 {
		return 1<<32 - 1
	}
	return uint32(n)
}
