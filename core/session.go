package core

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Session is one connection to a server, whose owner gives the commands:
//
//	s, err := core.Dial(ctx, config) // greeting
//	err = s.Hello(ctx)               // EHLO
//	err = s.StartTLS(ctx)
//	err = s.Auth(ctx, mechanism)
//	err = s.Mail(ctx, "me@example.com")
//	err = s.Rcpt(ctx, "you@example.net")
//	reply, err := s.Data(ctx, body)
//	err = s.Quit(ctx)
//
// A session is used by one goroutine at a time; a call while another one runs
// returns [ErrBusy]. After a protocol violation, a 421, an I/O error or the end
// of a context in the middle of a command, the session is over and every method
// says [ErrDisconnected]; so is it when a body breaks off while it is being sent.
// Close it in any case.
type Session struct {
	config   *settings
	pipeline *pipeline
	conn     *conn
	peer     *Peer
	values   map[any]any // set by Connect interceptors

	state    sessionState
	accepted int  // recipients of the transaction that Rcpt has begun
	utf8     bool // Mail has declared SMTPUTF8
	// needsReset: a transaction was refused or abandoned, and the server may
	// still hold its parameters. RSET goes in front of the next MAIL.
	needsReset bool

	busy atomic.Bool
	own  scratch // for whoever has the session to himself

	pooled              // of a client's session
	expires time.Time   // what it authenticated with
	rested  bool        // it was idle for a while before this transaction
	line    *line       // if transactions share the session
	ending  atomic.Bool // replies may still come, but no transaction may begin
}

// sessionState is how far a session has come. That it is over is the
// connection's to know.
type sessionState uint8

const (
	stateConnected sessionState = iota // nothing was read
	stateGreeted                       // 220 was read; hello is due
	stateReady                         // hello was said; no transaction
	stateMail                          // MAIL was accepted
	stateRcpt                          // and at least one RCPT
)

var stateNames = [...]string{"connected", "greeted", "ready", "in a transaction without recipients", "in a transaction"}

func (s sessionState) String() string { return stateNames[s] }

// Dial connects to the endpoint, or to the first of several that can be reached,
// and reads the greeting. With implicit TLS it
// does the handshake too. Of the configuration's interceptors those run that
// wrap Connect or Exchange; Auth is not used: see [Session.Auth].
//
// The error is an [*Error] of the stage config, connect or tls.
func Dial(ctx context.Context, config Config) (*Session, error) {
	list, err := config.check()
	if err != nil {
		return nil, err
	}
	p, err := newPipeline(config.Interceptors)
	if err != nil {
		return nil, configError(err)
	}
	var errs []error
	for _, settings := range list {
		s, err := connectSession(ctx, settings, p, nil)
		if err == nil || ctx.Err() != nil {
			return s, err
		}
		if len(list) > 1 {
			err = fmt.Errorf("%s: %w", settings.endpoint.shown(), err)
		}
		errs = append(errs, err)
	}
	return nil, everywhere(errs, len(list))
}

// connectSession runs the connect chain. In stage it notes how far that has come; nil
// is for the greeting only.
func connectSession(ctx context.Context, config *settings, p *pipeline, stage *atomic.Uint32) (*Session, error) {
	s := &Session{config: config, pipeline: p, peer: &Peer{Endpoint: config.endpoint.URL, ServerName: config.endpoint.ServerName, Protocol: config.endpoint.Protocol}}
	c := &Connect{Endpoint: config.endpoint, session: s, stage: stage}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := c.once.end("connect", p.connect(ctx, c), cancel)
	if err == nil {
		err = c.err
	}
	if err != nil {
		if s.conn != nil {
			s.conn.kill(err)
		}
		return nil, stageError(StageConnect, err)
	}
	return s, nil
}

// Peer returns what is known of the server by now.
func (s *Session) Peer() *Peer { return s.peer }

// begin starts a method: it takes the session and watches the context.
func (s *Session) begin(ctx context.Context) error {
	if !s.busy.CompareAndSwap(false, true) {
		return localError(StageCommand, ErrBusy, "a Session is for one goroutine; use a Client to send from many")
	}
	if s.conn == nil || s.conn.over() != nil {
		s.busy.Store(false)
		return s.deadError(nil)
	}
	if ctx.Err() != nil {
		s.busy.Store(false)
		return &Error{Stage: StageCommand, Class: Temporary, Err: contextError(ctx)}
	}
	s.conn.watch(ctx)
	return nil
}

func (s *Session) end() {
	s.conn.unwatch()
	s.busy.Store(false)
}

// command sends one command and returns its reply.
func (s *Session) command(ctx context.Context, c Command) (Reply, error) {
	s.own.commands = append(s.own.commands[:0], c)
	replies, err := s.exchange(ctx, &s.own, nil)
	if err != nil {
		return Reply{}, err
	}
	return replies[0], nil
}

// simple sends a command that is no part of a transaction.
func (s *Session) simple(ctx context.Context, verb, argument string) (Reply, error) {
	if err := s.begin(ctx); err != nil {
		return Reply{}, err
	}
	defer s.end()
	return s.command(ctx, Command{Verb: verb, Argument: argument, stage: StageCommand, timeout: s.config.Timeouts.Command})
}

// Noop asks the server for a sign of life.
func (s *Session) Noop(ctx context.Context) error {
	reply, err := s.simple(ctx, "NOOP", "")
	if err == nil && !reply.Positive() {
		err = replyError(StageCommand, reply)
	}
	return err
}

// Reset abandons the transaction, RFC 5321 §4.1.1.5.
func (s *Session) Reset(ctx context.Context) error {
	reply, err := s.simple(ctx, "RSET", "")
	if err != nil {
		return err
	}
	if !reply.Positive() {
		return replyError(StageCommand, reply)
	}
	s.needsReset = false
	s.state = min(s.state, stateReady)
	return nil
}

// Verify asks whether an address is known, RFC 5321 §4.1.1.6. Most servers answer
// 252, which says nothing.
func (s *Session) Verify(ctx context.Context, address string) (Reply, error) {
	return s.simple(ctx, "VRFY", address)
}

// Expand asks for the members of a mailing list, RFC 5321 §4.1.1.7.
func (s *Session) Expand(ctx context.Context, list string) (Reply, error) {
	return s.simple(ctx, "EXPN", list)
}

// Help asks for help, about a command if one is given, RFC 5321 §4.1.1.8.
func (s *Session) Help(ctx context.Context, command string) (Reply, error) {
	return s.simple(ctx, "HELP", command)
}

// Send delivers a message on this session: one transaction, with the outcome
// for each recipient, as [Client.Send] has it. Of the configuration's
// interceptors those run that wrap Content or Exchange.
//
// When recipients are deferred because there were too many (452), it is the
// caller's to send to them again.
func (s *Session) Send(ctx context.Context, m *Message) (*Receipt, error) {
	if m == nil {
		return nil, localError(StagePolicy, errors.New("no message"), "")
	}
	d := newDelivery(m)
	var err error
	if d.utf8, err = m.check(); err == nil {
		err = s.begin(ctx)
	}
	if err == nil {
		defer s.end()
		for i := range m.To {
			d.due = append(d.due, i)
			d.receipt.Recipients[i].Attempts = 1
		}
		d.receipt.Attempts, d.receipt.Peer = 1, s.peer
		d.first = Attempt{delivery: d, session: s, number: 1}
		d.first.t.due = d.due
		err = d.first.transact(ctx)
		d.receipt.Reply = d.first.t.final
	}
	return d.finish(err)
}

// Command sends a command of the caller's own and returns the reply, whatever
// it says. The verb and, if it is not empty, a space and the argument go out as
// they are. Commands that change the state of the session or open a transaction
// have methods of their own and are refused here.
//
// ETRN and XFORWARD need no more than this. XCLIENT, a Postfix extension by which
// a proxy tells whom it speaks for, starts the session anew: its reply is a
// greeting, and what was learnt before, AUTH included, is forgotten. Call Hello
// after it, as after Dial.
func (s *Session) Command(ctx context.Context, verb, argument string) (Reply, error) {
	switch v := strings.ToUpper(verb); v {
	case "EHLO", "HELO", "LHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "QUIT":
		return Reply{}, localError(StageCommand, fmt.Errorf("%s cannot be sent as a raw command", v), "use the method of Session that does it")
	case "", EndOfData:
		return Reply{}, localError(StageCommand, errors.New("no command given"), "")
	}
	if strings.ContainsRune(verb, ' ') {
		return Reply{}, localError(StageCommand, fmt.Errorf("command %q holds a space", verb), "give what follows the verb as the argument")
	}
	reply, err := s.simple(ctx, verb, argument)
	if strings.EqualFold(verb, "XCLIENT") && reply.Code == 220 {
		peer := *s.peer
		peer.Greeting, peer.Extensions, peer.Domain, peer.Mechanism = reply, Extensions{}, "", ""
		s.peer, s.state, s.needsReset = &peer, stateGreeted, false
	}
	return reply, err
}

// Quit says QUIT, reads the reply and closes the connection, which happens in
// any case. The error says that the server did not answer positively; the
// messages that it accepted before stay accepted.
func (s *Session) Quit(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		_ = s.Close()
		return err
	}
	defer s.end()
	reply, err := s.command(ctx, Command{Verb: "QUIT", stage: StageCommand, timeout: s.config.Timeouts.Quit})
	s.conn.kill(ErrClosed)
	if err == nil && !reply.Positive() {
		err = replyError(StageCommand, reply)
	}
	return err
}

// Close closes the connection without a word. Use [Session.Quit] to part
// politely. Close may be called at any time, from any goroutine: a call that is
// running then fails with [ErrDisconnected].
func (s *Session) Close() error {
	if s.conn == nil {
		return nil
	}
	if !s.busy.CompareAndSwap(false, true) {
		return s.conn.raw.Close()
	}
	defer s.busy.Store(false)
	s.conn.kill(ErrClosed)
	return nil
}
