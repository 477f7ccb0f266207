package core

import (
	"errors"
	"fmt"
	"strings"
)

// Message is what is to be delivered: an envelope and a body.
//
// The envelope is what the server acts on; it is never derived from the body's
// header. A message is only read: it may be sent by several goroutines at once
// if its Body allows that.
type Message struct {
	// From is the reverse-path, to which failures are reported: an address
	// without angle brackets or display name. Empty is the null reverse-path,
	// "<>", that such reports themselves have (RFC 5321 §4.5.5).
	From string
	// To is the recipients, each with an outcome of its own. There must be one
	// at least. The same address may stand more than once.
	To []Recipient
	// Params are parameters for MAIL. SIZE, BODY, SMTPUTF8 and PRDR are set as
	// the message needs them and are not to be given here.
	Params []Param
	// Body is the content: header, empty line and text, RFC 5322.
	Body Body
	// Binary sends the octets of Body exactly as they are, with
	// BODY=BINARYMIME (RFC 3030 §3): no line ends are made right, and NUL is
	// allowed. The server must announce BINARYMIME and CHUNKING.
	Binary bool
	// PerRecipient asks an SMTP server that announces PRDR for a reply to the
	// content from each recipient, as LMTP gives them. Without PRDR there is
	// one for all.
	PerRecipient bool
}

// Recipient is one forward-path of an envelope.
type Recipient struct {
	// Address is an address without angle brackets or display name.
	Address string
	// Params are parameters for this recipient's RCPT.
	Params []Param
}

// Recipients returns a recipient without parameters for each address.
func Recipients(addresses ...string) []Recipient {
	list := make([]Recipient, len(addresses))
	for i, a := range addresses {
		list[i].Address = a
	}
	return list
}

// Check reports the first thing that makes the message unfit for any server:
// what [Client.Send] would refuse before it opens anything. The error is an
// [*Error] of the class Local.
func (m *Message) Check() error {
	_, err := m.check()
	return err
}

// check reports the first thing that makes the message unfit for any server,
// and whether its envelope needs SMTPUTF8.
func (m *Message) check() (utf8 bool, err error) {
	if m.Body == nil {
		return false, localError(StagePolicy, errors.New("message has no body"), "set Message.Body, with core.String for example")
	}
	if len(m.To) == 0 {
		return false, localError(StagePolicy, errors.New("message has no recipient"), "set Message.To, with core.Recipients for example")
	}
	if err := checkTwice(m.Params); err != nil {
		return false, localError(StageMail, err, "")
	}
	for _, p := range m.Params {
		if err := errors.Join(p.checkSyntax(), p.misplaced("MAIL")); err != nil {
			return false, localError(StageMail, err, "")
		}
		switch strings.ToUpper(p.keyword) {
		case "SIZE", "BODY", "SMTPUTF8", "PRDR":
			return false, localError(StageMail, fmt.Errorf("Message.Params holds %s", p.keyword), "leave it out: it is set as the message needs it")
		}
	}
	if m.From != "" {
		if utf8, err = checkPath(m.From); err != nil {
			return false, localError(StageMail, fmt.Errorf("sender: %w", err), "")
		}
	}
	for i := range m.To {
		u, err := checkPath(m.To[i].Address)
		if err != nil {
			return false, localError(StageRcpt, fmt.Errorf("recipient %d: %w", i+1, err), "")
		}
		utf8 = utf8 || u
		if err := checkTwice(m.To[i].Params); err != nil {
			return false, localError(StageRcpt, fmt.Errorf("recipient %d: %w", i+1, err), "")
		}
		for _, p := range m.To[i].Params {
			if err := errors.Join(p.checkSyntax(), p.misplaced("RCPT")); err != nil {
				return false, localError(StageRcpt, fmt.Errorf("recipient %d: %w", i+1, err), "")
			}
		}
	}
	return utf8, nil
}
