package core

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Mail begins a transaction, RFC 5321 §4.1.1.2. An empty from is the null
// reverse-path. A transaction that was refused or abandoned before is reset
// first.
func (s *Session) Mail(ctx context.Context, from string, params ...Param) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	if from != "" {
		if _, err := checkPath(from); err != nil {
			return localError(StageMail, err, "")
		}
	}
	if err := s.mayBegin(); err != nil {
		return err
	}
	if s.needsReset {
		reply, err := s.command(ctx, s.rset())
		if err == nil {
			err = s.afterReset(reply)
		}
		if err != nil {
			return err
		}
	}
	reply, err := s.command(ctx, s.mail(from, params))
	if err != nil {
		return err
	}
	if !reply.Positive() {
		s.needsReset = true
		return replyError(StageMail, reply)
	}
	s.state = stateMail
	return nil
}

// Rcpt adds a recipient to the transaction, RFC 5321 §4.1.1.3. The reply may be
// 251 or 252, which accept the recipient too.
func (s *Session) Rcpt(ctx context.Context, to string, params ...Param) (Reply, error) {
	if err := s.begin(ctx); err != nil {
		return Reply{}, err
	}
	defer s.end()
	if _, err := checkPath(to); err != nil {
		return Reply{}, localError(StageRcpt, err, "")
	}
	if s.state != stateMail && s.state != stateRcpt {
		return Reply{}, localError(StageRcpt, fmt.Errorf("RCPT in a session that is %s", s.state), "call Mail first")
	}
	c := s.rcpt(to, params)
	c.silent = false
	reply, err := s.command(ctx, c)
	if err != nil {
		return Reply{}, err
	}
	if !reply.Positive() {
		return reply, replyError(StageRcpt, reply)
	}
	if s.state == stateMail {
		s.state, s.accepted = stateRcpt, 0
	}
	s.accepted++
	return reply, nil
}

// Data sends the content and ends the transaction, RFC 5321 §4.1.1.4. The
// replies are those to the content: one, or over LMTP one for each recipient
// that Rcpt accepted, in order (RFC 2033 §4.2); the error is that of the first
// that is not positive. If it is of the kind [ErrUnknownOutcome], the message
// may have been accepted for those recipients that have no reply.
func (s *Session) Data(ctx context.Context, body Body) ([]Reply, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	if s.state != stateRcpt {
		return nil, localError(StageContent, fmt.Errorf("DATA in a session that is %s", s.state), "call Mail, and Rcpt with success, first")
	}
	if body == nil {
		return nil, localError(StageContent, errors.New("no body"), "use core.String or another Body")
	}
	if err := s.outgoing.open(ctx, body); err != nil {
		return nil, err
	}
	defer s.outgoing.close()
	s.outgoing.sevenBit = !s.peer.Extensions.eightBitMIME
	s.state = stateReady
	reply, err := s.command(ctx, s.data())
	if err != nil {
		return nil, err
	}
	if reply.Code != 354 {
		s.needsReset = true
		return nil, replyError(StageContent, reply)
	}
	replies, err := s.content(ctx, s.accepted)
	replies = append([]Reply(nil), replies...)
	for _, r := range replies {
		if !r.Positive() && err == nil {
			err = replyError(StageContent, r)
		}
	}
	return replies, err
}

// mayBegin reports why no transaction may begin now.
func (s *Session) mayBegin() error {
	if s.state != stateReady {
		return localError(StageMail, fmt.Errorf("MAIL in a session that is %s", s.state), "call Hello first, and Reset to abandon a transaction")
	}
	return s.checkTLS()
}

// The commands of a transaction.

func (s *Session) rset() Command {
	return Command{Verb: "RSET", stage: StageMail, timeout: s.config.Timeouts.Command, silent: true}
}

func (s *Session) mail(from string, params []Param) Command {
	return Command{Verb: "MAIL", Path: from, Params: params, stage: StageMail, timeout: s.config.Timeouts.Mail, silent: true}
}

func (s *Session) rcpt(to string, params []Param) Command {
	return Command{Verb: "RCPT", Path: to, Params: params, stage: StageRcpt, timeout: s.config.Timeouts.Rcpt, silent: true}
}

func (s *Session) data() Command {
	return Command{Verb: "DATA", stage: StageContent, timeout: s.config.Timeouts.Data, silent: true}
}

// afterReset judges the reply to RSET. A server that refuses it is in a state
// that nobody knows.
func (s *Session) afterReset(reply Reply) error {
	if !reply.Positive() {
		err := replyError(StageMail, reply)
		err.Err = fmt.Errorf("%w: RSET was refused", ErrProtocol)
		s.conn.kill(err)
		return err
	}
	s.needsReset = false
	return nil
}

// content sends s.outgoing behind a 354 and returns the replies to it: one, or
// over LMTP one for each accepted recipient. If the error is of the kind
// ErrUnknownOutcome, the recipients without a reply are in doubt.
func (s *Session) content(ctx context.Context, accepted int) ([]Reply, error) {
	c := Command{Verb: EndOfData, Size: s.outgoing.size, stage: StageContent, timeout: s.config.Timeouts.Content, perRecipient: s.peer.Protocol == LMTP, accepted: accepted}
	s.commands = append(s.commands[:0], c)
	replies, err := s.exchange(ctx, s.commands, &s.outgoing)
	if len(replies) >= awaits(s.commands, 0, replies) {
		return replies, err // complete, whatever happened afterwards
	}
	if s.conn.dead == nil {
		// An interceptor stood in the way of the content that the server now
		// waits for.
		s.conn.kill(err)
	}
	if n := len(replies); n > 0 && replies[n-1].Code == 421 {
		return replies, err // RFC 5321 §3.8: nothing behind it was accepted
	}
	if s.outgoing.lastWrite {
		err = &Error{Stage: StageContent, Class: Temporary, Err: fmt.Errorf("%w: %w", ErrUnknownOutcome, err)}
	}
	return replies, err
}

// transaction is one transaction of a whole message: the part of an [Attempt]
// that talks.
type transaction struct {
	s       *Session
	message *Message
	body    Body
	utf8    bool // the envelope needs SMTPUTF8

	results []RecipientResult // of the delivery
	todo    []int             // which of them are in this transaction

	begun    bool  // something was written
	heard    bool  // a reply that was not a 421 was read
	accepted []int // by RCPT, in order
	refusal  error // of MAIL
	data     Reply // to DATA
	final    Reply // to the content, the last one
}

// run does the transaction and gives each of its recipients an outcome. The
// error is that of the first recipient that was not accepted.
func (t *transaction) run(ctx context.Context) error {
	for _, i := range t.todo {
		t.results[i].Outcome = Pending
	}
	err := t.prepare(ctx)
	if err == nil {
		defer t.s.outgoing.close()
		err = t.talk(ctx)
	}
	for _, i := range t.todo {
		r := &t.results[i]
		if r.Outcome == Pending {
			if err == nil {
				err = protocolError(StageContent, "the server left a recipient without a reply")
			}
			r.fail(err)
		}
	}
	for _, i := range t.todo {
		if e := t.results[i].Err; e != nil {
			return e
		}
	}
	return err
}

// prepare refuses what this server cannot take, and opens the body, while
// nothing is written.
func (t *transaction) prepare(ctx context.Context) error {
	s, extensions := t.s, &t.s.peer.Extensions
	if err := s.mayBegin(); err != nil {
		return err
	}
	if err := t.checkParams(extensions); err != nil {
		return err
	}
	form, known := formOf(t.body)
	size := form.Size
	if !known {
		size = t.body.Size()
	}
	if limit, ok := extensions.SizeLimit(); ok && size > limit {
		return localError(StagePolicy, fmt.Errorf("the message has %d octets, the server takes %d (SIZE)", size, limit), "")
	}
	if t.utf8 && !extensions.smtpUTF8 {
		return localError(StagePolicy, fmt.Errorf("an address is not ASCII, and SMTPUTF8 is %w", ErrNotSupported), "")
	}
	if !extensions.eightBitMIME && !known && !isOneShot(t.body) {
		var err error
		if form.EightBit, err = eightBit(ctx, t.body); err != nil {
			return err
		}
	}
	if !extensions.eightBitMIME && form.EightBit {
		return errEightBit()
	}
	if err := s.outgoing.open(ctx, t.body); err != nil {
		return err
	}
	s.outgoing.sevenBit = !extensions.eightBitMIME && !known

	p := s.params[:0]
	if extensions.size && size >= 0 {
		p = append(p, numberParam("SIZE", "SIZE", size)) // RFC 1870 §3
	}
	if extensions.eightBitMIME && (form.EightBit || !known) {
		p = append(p, Parameter("8BITMIME", "BODY", "8BITMIME")) // RFC 6152 §2
	}
	if t.utf8 {
		p = append(p, Parameter("SMTPUTF8", "SMTPUTF8", "")) // RFC 6531 §3.4
	}
	s.params = append(p, t.message.Params...)
	return nil
}

// checkParams refuses parameters that the server does not know. They would be
// refused when they are written, but by then MAIL may have been.
func (t *transaction) checkParams(extensions *Extensions) error {
	for _, p := range t.message.Params {
		if err := p.check(extensions); err != nil {
			return localError(StageMail, err, "")
		}
	}
	for _, i := range t.todo {
		for _, p := range t.message.To[i].Params {
			if err := p.check(extensions); err != nil {
				return localError(StageRcpt, err, "")
			}
		}
	}
	return nil
}

// eightBit looks through a body for octets above 127.
func eightBit(ctx context.Context, b Body) (bool, error) {
	src, err := b.Open(ctx)
	if err != nil {
		return false, stageError(StageContent, fmt.Errorf("opening the body: %w", err))
	}
	defer func() { _ = src.Close() }()
	var w eightBitWriter
	if _, err := io.Copy(&w, src); err != nil {
		return false, stageError(StageContent, fmt.Errorf("reading the body: %w", err))
	}
	return w.found, nil
}

type eightBitWriter struct{ found bool }

func (w *eightBitWriter) Write(p []byte) (int, error) {
	w.found = w.found || hasEightBit(p)
	return len(p), nil
}

func errEightBit() *Error {
	return localError(StagePolicy, fmt.Errorf("the content has 8-bit octets, and 8BITMIME is %w", ErrNotSupported),
		"encode the content in quoted-printable or base64")
}

// talk sends envelope and content.
func (t *transaction) talk(ctx context.Context) error {
	err := t.envelope(ctx)
	if t.refusal != nil {
		err = t.refusal // it says more than what the connection did after it
	}
	if err == nil && len(t.accepted) > 0 {
		if t.data.Code == 354 {
			return t.content(ctx)
		}
		err = replyError(StageContent, t.data)
	}
	t.abandon(ctx, err)
	return err
}

// envelope writes [RSET] MAIL RCPT… DATA in as few groups as the server allows,
// and judges the replies.
func (t *transaction) envelope(ctx context.Context) error {
	s := t.s
	group := 1
	if s.peer.Extensions.pipelining {
		group = maxGroup // DATA may be the last of a group, RFC 2920 §3.1
	}
	data := len(t.todo) + 1 // the position of DATA; MAIL has 0, RSET -1
	position := 0
	if s.needsReset {
		position = -1
	}
	for position <= data && t.refusal == nil {
		if position == data && len(t.accepted) == 0 {
			return nil // everybody was refused before DATA went out
		}
		first := position
		s.commands = s.commands[:0]
		for ; position <= data && len(s.commands) < group; position++ {
			s.commands = append(s.commands, t.command(position))
		}
		replies, err := s.exchange(ctx, s.commands, nil)
		t.begun = t.begun || len(replies) > 0
		for k, reply := range replies {
			if e := t.judge(first+k, reply); e != nil && err == nil {
				err = e
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// command returns the command at a position of the envelope.
func (t *transaction) command(position int) Command {
	switch {
	case position < 0:
		return t.s.rset()
	case position == 0:
		return t.s.mail(t.message.From, t.s.params)
	case position <= len(t.todo):
		r := &t.message.To[t.todo[position-1]]
		return t.s.rcpt(r.Address, r.Params)
	}
	return t.s.data()
}

// judge takes in the reply to the command at a position of the envelope.
func (t *transaction) judge(position int, reply Reply) error {
	t.heard = t.heard || reply.Code != 421
	switch {
	case position < 0:
		return t.s.afterReset(reply)
	case position == 0:
		if !reply.Positive() {
			t.refusal = replyError(StageMail, reply)
		}
	case position > len(t.todo):
		t.data = reply
	case t.refusal != nil:
		// Without a sender every recipient is refused, and it says nothing.
	case reply.Positive():
		t.accepted = append(t.accepted, t.todo[position-1])
	default:
		t.refuse(t.todo[position-1], replyError(StageRcpt, reply))
	}
	return nil
}

// refuse gives a recipient the outcome of a reply that is not positive.
func (t *transaction) refuse(i int, err *Error) {
	o := Refused
	if err.Class == Temporary {
		o = Deferred
	}
	t.results[i].settle(o, err.Reply, err)
}

// content sends the content to those that were accepted.
func (t *transaction) content(ctx context.Context) error {
	replies, err := t.s.content(ctx, len(t.accepted))
	var shared *Error
	for k, i := range t.accepted {
		if t.s.peer.Protocol == SMTP {
			k = 0
		}
		if k >= len(replies) {
			break
		}
		t.final = replies[k]
		if t.final.Positive() {
			t.results[i].settle(Accepted, t.final, nil)
			continue
		}
		if shared == nil || t.s.peer.Protocol == LMTP {
			shared = replyError(StageContent, t.final)
		}
		t.refuse(i, shared)
	}
	return err
}

// abandon leaves the session fit for the next transaction, or closes it, after
// an envelope that got no content.
func (t *transaction) abandon(ctx context.Context, err error) {
	s := t.s
	if s.conn.dead != nil {
		return
	}
	s.needsReset = t.begun
	if t.data.Code != 354 {
		return
	}
	if len(t.accepted) > 0 {
		s.conn.kill(err) // a dot would deliver an empty message
		return
	}
	// The server waits for content that nobody is to have. A lone dot ends
	// that, whatever the reply (RFC 2920 §3.1).
	s.outgoing.close()
	s.outgoing = outgoing{}
	if _, err := s.content(ctx, 1); err != nil {
		s.conn.kill(err)
	}
}
