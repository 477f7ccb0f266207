// Package headers completes the header of each message: it adds the Date and the
// Message-ID that are missing, removes Bcc, and sets, adds and removes whatever
// else it is told.
//
// Only the header is held in memory, and only while it is being edited: the text
// behind it is streamed. Content that needs no change is passed on as it is.
package headers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/core"
)

// Name is the name of the interceptor.
const Name = "headers"

// Config says what to do to the header. The zero value adds Date and Message-ID
// where they are missing, and removes Bcc and Resent-Bcc.
type Config struct {
	// Domain is what stands behind the @ of a Message-ID: a domain, or an
	// address literal. Empty means the domain of the message's sender; where
	// there is none, the name of this host, or "localhost" if that is not a
	// full one.
	Domain string

	// Set is fields that replace those of the same name. The first is replaced
	// in its place and the others are removed; where there is none, the field
	// is added.
	Set []Field
	// Add is fields that are added, whether there are some of the same name or
	// not.
	Add []Field
	// Remove is the names of fields that are removed.
	Remove []string

	// LeaveDate adds no Date, LeaveMessageID no Message-ID: a submission server
	// adds them (RFC 6409 §8).
	LeaveDate, LeaveMessageID bool
	// LeaveBcc removes neither Bcc nor Resent-Bcc: every recipient sees them
	// then.
	LeaveBcc bool

	// Now returns the time for Date. Nil means time.Now. It is called once for
	// a delivery, concurrently for different ones.
	Now func() time.Time
}

// Field is a field of a header. It has a Value or a Func.
//
// A value is plain text: it is encoded if it is not ASCII (RFC 2047), and folded
// if it is long (RFC 5322 §2.2.3). In fields that hold addresses, From or
// Reply-To for example, only the names are encoded; the addresses must be ASCII.
type Field struct {
	// Name is the field's name: "Reply-To".
	Name string
	// Value is the same for every message.
	Value string
	// Func returns the value for a message, which it must not change. With ""
	// the message is left as it is. It is called concurrently, and usually once
	// for a delivery: see [core.Content.Offers].
	Func func(*core.Message) string
}

// New returns an interceptor that edits the header. It is safe for concurrent use
// and may be given to several clients. Its place in the list is before a signer.
// What it adds stands at the end of the header.
//
// All attempts of a delivery have the same Date and Message-ID, and so have all
// its recipients. Put it before a retry to have that also where the content is
// made anew for another server, because an interceptor asked what it offers:
// behind the retry, the other content has values of its own.
//
// Content is refused, before anything of it is written, with an [*core.Error] of
// the class Local: if it does not begin with a header, if a line of that is no
// field or has a bare CR, or if it has more than 256 KiB. Of a body that can be
// read only once, all that is found out when the server waits for the content:
// so it is not spent when the envelope is refused.
//
// A value must hold neither line ends nor other control characters, and no word
// that does not fit into a line (998 octets). For a Value that is an error here;
// for what a Func returns, it is one of the message.
func New(config Config) (core.Interceptor, error) {
	s, err := newStage(config)
	if err != nil {
		return core.Interceptor{}, &core.Error{Stage: core.StageConfig, Class: core.Local, Err: fmt.Errorf("headers: %w", err)}
	}
	i := core.Interceptor{Name: Name, Content: s.content}
	if s.addDate || s.addMessageID {
		i.Delivery = s.delivery
	}
	return i, nil
}

// stage is what an interceptor knows.
type stage struct {
	domain                string // of a Message-ID; "" is the sender's
	host                  string // if he has none
	addDate, addMessageID bool
	set, add              []field
	remove                []string
	now                   func() time.Time
	buffers               sync.Pool // of *[]byte
}

// bufferSize is how much is read at first, to find the header in, in octets.
const bufferSize = 4 << 10

func newStage(config Config) (*stage, error) {
	s := &stage{domain: config.Domain, host: hostName(), addDate: !config.LeaveDate, addMessageID: !config.LeaveMessageID, now: config.Now}
	s.buffers.New = func() any { b := make([]byte, 0, bufferSize); return &b }
	if s.now == nil {
		s.now = time.Now
	}
	if config.Domain != "" {
		if s.domain = idRight(config.Domain); s.domain == "" {
			return nil, fmt.Errorf("Config.Domain %q is neither a domain nor an address literal", config.Domain)
		}
	}
	if !config.LeaveBcc {
		s.remove = append(s.remove, "Bcc", "Resent-Bcc")
	}
	places := map[string]string{} // where each name stands
	for _, name := range config.Remove {
		if !isFieldName([]byte(name)) {
			return nil, fmt.Errorf("Config.Remove has %q, which is no name of a header field", name)
		}
		s.remove = append(s.remove, name)
		places[strings.ToLower(name)] = "Config.Remove"
	}
	for _, list := range []struct {
		place  string
		fields []Field
		to     *[]field
	}{{"Config.Set", config.Set, &s.set}, {"Config.Add", config.Add, &s.add}} {
		for _, f := range list.fields {
			parsed, err := newField(f)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", list.place, err)
			}
			lower := strings.ToLower(f.Name)
			if !config.LeaveBcc && (lower == "bcc" || lower == "resent-bcc") {
				return nil, fmt.Errorf("%s has %s, which is removed: set LeaveBcc if every recipient may see it", list.place, f.Name)
			}
			if other, ok := places[lower]; ok && (other != list.place || list.place == "Config.Set") {
				return nil, fmt.Errorf("%s has %s, which is in %s too: name it in one place", list.place, f.Name, other)
			}
			places[lower] = list.place
			*list.to = append(*list.to, parsed)
		}
	}
	return s, nil
}

// newField checks a field of the configuration.
func newField(f Field) (field, error) {
	f.Value = trim(f.Value)
	switch {
	case !isFieldName([]byte(f.Name)):
		return field{}, fmt.Errorf("%q is no name of a header field", f.Name)
	case f.Func != nil && f.Value != "":
		return field{}, fmt.Errorf("%s has a Value and a Func: give it one of them", f.Name)
	case f.Func != nil:
		return field{name: f.Name, value: f.Func}, nil
	case f.Value == "":
		return field{}, fmt.Errorf("%s has neither a Value nor a Func: give it one of them, or name it in Remove", f.Name)
	}
	lines, err := render(f.Name, f.Value)
	return field{name: f.Name, lines: lines}, err
}

// delivery has all attempts of a delivery use the same Date and Message-ID.
func (s *stage) delivery(next core.DeliverFunc) core.DeliverFunc {
	return func(ctx context.Context, d *core.Delivery) error {
		return next(context.WithValue(ctx, s, &stamp{at: s.now()}), d)
	}
}

// content edits the header of an attempt's content.
func (s *stage) content(next core.ContentFunc) core.ContentFunc {
	return func(ctx context.Context, c *core.Content) error {
		e, err := s.newEdit(ctx, c.Message())
		if err != nil {
			return err
		}
		if c.Body, err = s.edited(ctx, c.Body, e); err != nil {
			return err
		}
		return next(ctx, c)
	}
}

// newEdit says what is to be done to one message.
func (s *stage) newEdit(ctx context.Context, m *core.Message) (*edit, error) {
	e := &edit{stage: s}
	if m != nil {
		e.from = m.From
	}
	var ok bool
	if e.stamp, ok = ctx.Value(s).(*stamp); !ok {
		e.stamp = &stamp{at: s.now()}
	}
	var err error
	if e.set, err = resolve(s.set, m); err == nil {
		e.add, err = resolve(s.add, m)
	}
	return e, err
}

// resolve asks the functions for their values.
func resolve(fields []field, m *core.Message) ([]field, error) {
	shared := true
	for i, f := range fields {
		if f.value == nil {
			continue
		}
		if shared {
			fields, shared = append([]field(nil), fields...), false
		}
		value := trim(f.value(m))
		if value == "" {
			continue
		}
		lines, err := render(f.name, value)
		if err != nil {
			return nil, refusal("", "%w", err)
		}
		fields[i].lines = lines
	}
	return fields, nil
}

// refusal is the error for a message that must not be sent as it is.
func refusal(hint, format string, args ...any) error {
	return &core.Error{Stage: core.StagePolicy, Class: core.Local, Err: fmt.Errorf("headers: "+format, args...), Hint: hint}
}

// readError says that the body could not be read.
func readError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err, cause := ctx.Err(), context.Cause(ctx)
		if !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return &core.Error{Stage: core.StageContent, Class: core.Temporary, Err: fmt.Errorf("headers: reading the header: %w", err)}
	}
	if _, ok := errors.AsType[*core.Error](err); ok {
		return fmt.Errorf("headers: reading the header: %w", err)
	}
	return &core.Error{Stage: core.StageContent, Class: core.Local, Err: fmt.Errorf("headers: reading the header: %w", err)}
}
