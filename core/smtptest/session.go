package smtptest

import (
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/core"
)

// session is what a server knows of a connection since its first EHLO, or since
// the first one under TLS.
type session struct {
	server *Server
	smtp   *smtp.Conn
	conn   *serverConn
	tls    *tls.ConnectionState

	user, mechanism string

	began    bool // MAIL was accepted
	envelope Envelope
}

func (s *Server) newSession(c *smtp.Conn) (smtp.Session, error) {
	x := &session{server: s, smtp: c}
	switch conn := c.Conn().(type) {
	case *tls.Conn:
		state := conn.ConnectionState()
		x.tls, x.conn = &state, conn.NetConn().(*serverConn)
	case *serverConn:
		x.conn = conn
	}
	return x, nil
}

func (x *session) Reset() { x.began, x.envelope = false, Envelope{} }

func (x *session) Logout() error { return nil }

func (x *session) AuthMechanisms() []string {
	names := append(slices.Sorted(maps.Keys(x.server.options.Mechanisms)), x.server.options.SCRAM...)
	if len(x.server.options.Users) > 0 {
		names = append(names, plainName)
	}
	return names
}

func (x *session) Auth(name string) (sasl.Server, error) {
	o := &x.server.options
	next := o.Mechanisms[name]
	switch {
	case name == plainName && len(o.Users) > 0:
		next = plain(o.Users)
	case slices.Contains(o.SCRAM, name):
		next = o.scram(name, x.tls)
	}
	if next == nil {
		return nil, reject(Reply("504 5.5.4 no such mechanism"))
	}
	return &conversation{session: x, mechanism: name, next: next}, nil
}

func (x *session) Mail(from string, options *smtp.MailOptions) error {
	o := &x.server.options
	switch {
	case x.conn.last.Load():
		return reject(closing())
	case x.began:
		return reject(Reply("503 5.5.1 there is a transaction already"))
	case o.RequireAuth && x.user == "":
		return reject(Reply("530 5.7.0 authentication required"))
	}
	e := Envelope{
		Connection: x.conn.number, Hello: x.smtp.Hostname(), TLS: x.tls, User: x.user, Mechanism: x.mechanism,
		From: from, Params: mailParams(options),
	}
	if o.Mail != nil {
		if err := x.refuse("Mail", x.ask("Mail", func() *core.Reply { return o.Mail(e) })); err != nil {
			return err
		}
	}
	x.began, x.envelope = true, e
	return nil
}

func (x *session) Rcpt(address string, options *smtp.RcptOptions) error {
	if x.conn.last.Load() {
		return reject(closing())
	}
	to := Recipient{Address: address, Params: rcptParams(options)}
	if f := x.server.options.Rcpt; f != nil {
		e := x.envelope
		if err := x.refuse("Rcpt", x.ask("Rcpt", func() *core.Reply { return f(e, to) })); err != nil {
			return err
		}
	}
	// What functions were given is theirs: the list is a new one each time.
	x.envelope.To = append(slices.Clip(x.envelope.To), to)
	return nil
}

// Data takes the content of a message, in SMTP.
func (x *session) Data(r io.Reader) error {
	m, reply, err := x.content(r)
	if err != nil {
		return err
	}
	if reply.Positive() {
		x.server.keep(m)
	}
	return reject(reply)
}

// LMTPData is Data in LMTP, with a reply for each recipient.
func (x *session) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	m, reply, err := x.content(r)
	if err != nil {
		return err // for each recipient
	}
	to := m.To
	replies := make([]*core.Reply, len(to))
	if deliver := x.server.options.Deliver; reply.Positive() && deliver != nil {
		m.To = nil
		for i := range to {
			whole := m
			whole.To = to
			replies[i] = x.ask("Deliver", func() *core.Reply { return deliver(whole, to[i]) })
			if replies[i] == nil || replies[i].Positive() {
				m.To = append(m.To, to[i])
			}
		}
	}
	if reply.Positive() && len(m.To) > 0 {
		x.server.keep(m)
	}
	for i := range to {
		if replies[i] == nil {
			replies[i] = reply
		}
		status.SetStatus(to[i].Address, reject(replies[i]))
	}
	return nil
}

// content reads the content, and returns the reply to it.
func (x *session) content(r io.Reader) (Message, *core.Reply, error) {
	octets, err := io.ReadAll(r)
	if err != nil {
		return Message{}, nil, err
	}
	if x.conn.last.Load() {
		return Message{}, nil, reject(closing())
	}
	m := Message{Envelope: x.envelope, ID: x.server.newID(), Content: octets}
	if f := x.server.options.Content; f != nil {
		if reply := x.ask("Content", func() *core.Reply { return f(m) }); reply != nil {
			return m, reply, nil
		}
	}
	return m, Reply("250 2.0.0 queued as " + m.ID), nil
}

// ask calls a function of the options. If that panics, the client is told to
// come again, and the test is told.
func (x *session) ask(name string, f func() *core.Reply) (reply *core.Reply) {
	end, ok := x.server.begin()
	if !ok {
		return Reply("421 4.3.2 closed")
	}
	defer end()
	defer func() {
		if p := recover(); p != nil {
			x.server.fail(fmt.Errorf("panic in ServerOptions.%s: %v\n%s", name, p, debug.Stack()))
			reply = Reply("451 4.3.0 panic in the test")
		}
	}()
	reply = f()
	if reply != nil && reply.Code == 421 {
		x.conn.last.Store(true)
	}
	return reply
}

// closing is the reply to whatever was sent ahead and stands behind a 421.
func closing() *core.Reply { return Reply("421 4.3.2 closing the connection") }

// refuse returns a reply that a function of the options returned, and that can
// be nothing but a refusal.
func (x *session) refuse(name string, reply *core.Reply) error {
	if reply == nil {
		return nil
	}
	if !reply.Temporary() && !reply.Permanent() {
		x.server.fail(fmt.Errorf("ServerOptions.%s replies %s: return nil to go on, or a reply 4yz or 5yz", name, reply))
		reply = Reply("451 4.3.0 mistake in the test")
	}
	return reject(reply)
}

// reject returns a reply in the form of go-smtp, to which every reply that is
// not its own is an error.
func reject(reply *core.Reply) error {
	text := reply.Text
	if code := reply.Enhanced.String(); code != "" && text != code && !strings.HasPrefix(text, code+" ") {
		text = code + " " + strings.ReplaceAll(text, "\n", "\n"+code+" ")
	}
	return &smtp.SMTPError{Code: reply.Code, EnhancedCode: smtp.NoEnhancedCode, Message: text}
}

func mailParams(o *smtp.MailOptions) map[string]string {
	params := map[string]string{}
	set(params, "BODY", string(o.Body))
	set(params, "RET", string(o.Return))
	set(params, "ENVID", o.EnvelopeID)
	if o.Size > 0 {
		params["SIZE"] = strconv.FormatInt(o.Size, 10)
	}
	if o.UTF8 {
		params["SMTPUTF8"] = ""
	}
	if o.RequireTLS {
		params["REQUIRETLS"] = ""
	}
	if o.Auth != nil {
		params["AUTH"] = *o.Auth
		if *o.Auth == "" {
			params["AUTH"] = "<>"
		}
	}
	return params
}

func rcptParams(o *smtp.RcptOptions) map[string]string {
	params := map[string]string{}
	var notify []string
	for _, n := range o.Notify {
		notify = append(notify, string(n))
	}
	set(params, "NOTIFY", strings.Join(notify, ","))
	if o.OriginalRecipient != "" {
		params["ORCPT"] = strings.ToLower(string(o.OriginalRecipientType)) + ";" + o.OriginalRecipient
	}
	if t := o.RequireRecipientValidSince; !t.IsZero() {
		params["RRVS"] = t.Format(time.RFC3339)
	}
	return params
}

func set(params map[string]string, keyword, value string) {
	if value != "" {
		params[keyword] = value
	}
}

var _ smtp.LMTPSession = (*session)(nil)
var _ smtp.AuthSession = (*session)(nil)
