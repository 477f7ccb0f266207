package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/postrider/postrider/core"
)

// dsn is what reports of delivery are asked for, RFC 3461.
type dsn struct {
	mail []core.Param // RET, ENVID
	rcpt []core.Param // NOTIFY
	said map[string]bool
}

// add reads parts that are separated by spaces or semicolons, whatever their
// case: NOTIFY=NEVER, or NOTIFY= and some of SUCCESS,FAILURE,DELAY; RET=FULL or
// RET=HDRS; ENVID=an identifier.
func (d *dsn) add(text string) error {
	parts := strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == ';' })
	if len(parts) == 0 {
		return errors.New("it is empty: use NOTIFY=, RET= and ENVID=")
	}
	for _, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		name = strings.ToUpper(name)
		if d.said[name] {
			return fmt.Errorf("%s is there twice", name)
		}
		if d.said == nil {
			d.said = map[string]bool{}
		}
		d.said[name] = true
		if err := d.addOne(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (d *dsn) addOne(name, value string) error {
	switch upper := strings.ToUpper(value); {
	case name == "NOTIFY" && upper == "NEVER":
		d.rcpt = append(d.rcpt, core.NotifyNever())
	case name == "NOTIFY":
		events := map[string]core.Notification{"SUCCESS": core.OnSuccess, "FAILURE": core.OnFailure, "DELAY": core.OnDelay}
		var list []core.Notification
		for event := range strings.SplitSeq(upper, ",") {
			n, ok := events[event]
			if !ok {
				return fmt.Errorf("NOTIFY is NEVER, or some of SUCCESS,FAILURE,DELAY, and not %q", value)
			}
			list = append(list, n)
		}
		d.rcpt = append(d.rcpt, core.Notify(list...))
	case name == "RET" && upper == "FULL":
		d.mail = append(d.mail, core.ReturnFull())
	case name == "RET" && upper == "HDRS":
		d.mail = append(d.mail, core.ReturnHeaders())
	case name == "RET":
		return fmt.Errorf("RET is FULL or HDRS, and not %q", value)
	case name == "ENVID":
		d.mail = append(d.mail, core.EnvelopeID(value))
	default:
		return fmt.Errorf("%q is none of NOTIFY=, RET= and ENVID=", name)
	}
	return nil
}

// checkEnvelope refuses an envelope that no server can take, whatever the
// message.
func (s *settings) checkEnvelope() error {
	names := []string{"from", "to", "dsn", "header-envelope"}
	switch {
	case s.headerEnvelope:
	case !s.has("from"):
		return s.blame(errors.New(`there is no sender: give -from ADDRESS, -from "<>" for none, or -header-envelope`), names...)
	case len(s.to) == 0:
		return s.blame(errors.New("there is no recipient: give -to ADDRESS, or -header-envelope"), names...)
	}
	m := s.envelope(nil)
	m.Body = core.String("")
	if len(m.To) == 0 {
		m.To = s.recipients("someone@example.com") // whoever is in the header
	}
	if err := m.Check(); err != nil {
		return s.blame(said(err), names...)
	}
	return nil
}

// envelope returns a message with the envelope that the settings ask for. What
// stands in m, the envelope of a header, is kept where they ask for nothing.
func (s *settings) envelope(m *core.Message) *core.Message {
	if m == nil {
		m = &core.Message{}
	}
	if s.has("from") {
		m.From = s.from
		if m.From == "<>" { // the null reverse-path, RFC 5321 §4.5.5
			m.From = ""
		}
	}
	switch {
	case len(s.to) > 0:
		m.To = s.recipients(s.to...)
	default:
		for i := range m.To {
			m.To[i].Params = s.dsn.rcpt
		}
	}
	m.Params = s.dsn.mail
	return m
}

// addressed is envelope for a message that is to be sent.
func (s *settings) addressed(m *core.Message) (*core.Message, error) {
	if m = s.envelope(m); len(m.To) == 0 {
		return nil, &core.Error{Stage: core.StagePolicy, Class: core.Local, Err: errors.New("there is no address in the header's To, Cc or Bcc: give -to ADDRESS")}
	}
	return m, nil
}

func (s *settings) recipients(addresses ...string) []core.Recipient {
	list := core.Recipients(addresses...)
	for i := range list {
		list[i].Params = s.dsn.rcpt
	}
	return list
}
