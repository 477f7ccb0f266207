package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Mail begins a transaction, RFC 5321 §4.1.1.2. An empty from is the null
// reverse-path. An address that is not ASCII declares SMTPUTF8, where the server
// announces it. A transaction that was refused or abandoned before is reset
// first.
func (s *Session) Mail(ctx context.Context, from string, params ...Param) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	if err := s.mayBegin(); err != nil {
		return err
	}
	s.utf8 = slices.ContainsFunc(params, func(p Param) bool { return strings.EqualFold(p.keyword, "SMTPUTF8") })
	if from != "" {
		var utf8 bool
		var err error
		if from, utf8, err = s.path(StageMail, from); err != nil {
			return err
		}
		if utf8 && !s.utf8 {
			s.utf8 = true
			params = append(slices.Clip(params), Parameter("SMTPUTF8", "SMTPUTF8", "")) // RFC 6531 §3.4
		}
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
	if s.state != stateMail && s.state != stateRcpt {
		return Reply{}, localError(StageRcpt, fmt.Errorf("RCPT in a session that is %s", s.state), "call Mail first")
	}
	to, utf8, err := s.path(StageRcpt, to)
	switch {
	case err != nil:
		return Reply{}, err
	case utf8 && !s.utf8:
		return Reply{}, localError(StageRcpt, fmt.Errorf("address %q is not ASCII, and Mail did not declare SMTPUTF8", to), `give Mail core.Parameter("SMTPUTF8", "SMTPUTF8", "")`)
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
	w := &s.own
	if err := w.outgoing.open(ctx, body); err != nil {
		return nil, err
	}
	defer w.outgoing.close()
	w.outgoing.refuse = s.config.refusals(&s.peer.Extensions, &Message{})
	s.state = stateReady
	reply, err := s.command(ctx, s.data())
	if err != nil {
		return nil, err
	}
	if reply.Code != 354 {
		s.needsReset = true
		return nil, replyError(StageContent, reply)
	}
	replies, err := s.content(ctx, w, s.endOfData(w, s.accepted))
	replies = append([]Reply(nil), replies...)
	for _, r := range replies {
		if !r.Positive() && err == nil {
			err = replyError(StageContent, r)
		}
	}
	return replies, err
}

// path checks an address and returns it in the form that the server takes, and
// whether that needs SMTPUTF8.
func (s *Session) path(stage Stage, address string) (path string, utf8 bool, err error) {
	utf8, err = checkPath(address)
	if err == nil && utf8 && !s.peer.Extensions.smtpUTF8 {
		utf8 = false
		address, err = asciiPath(address)
	}
	if err != nil {
		return "", false, localError(stage, err, "")
	}
	return address, utf8, nil
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

// endOfData is the command for w.outgoing behind a 354.
func (s *Session) endOfData(w *scratch, accepted int) Command {
	return Command{Verb: EndOfData, Size: w.outgoing.size, stage: StageContent, timeout: s.config.Timeouts.Content, perRecipient: s.peer.Protocol == LMTP, accepted: accepted}
}

// bdat is the command for w.outgoing as a chunk, RFC 3030 §2.
func (s *Session) bdat(w *scratch, last bool, accepted int) Command {
	return Command{Verb: "BDAT", Size: w.outgoing.size, Last: last, stage: StageContent, timeout: s.config.Timeouts.Content, perRecipient: last && s.peer.Protocol == LMTP, accepted: accepted}
}

// content sends w.outgoing with a command, which may be [EndOfData], and returns
// the replies to it. If the error is of the kind ErrUnknownOutcome, the
// recipients without a reply are in doubt.
func (s *Session) content(ctx context.Context, w *scratch, c Command) ([]Reply, error) {
	w.commands = append(w.commands[:0], c)
	replies, err := s.exchange(ctx, w, &w.outgoing)
	if len(replies) >= awaits(w.commands, 0, replies) {
		return replies, err // complete, whatever happened afterwards
	}
	if s.conn.over() == nil && !w.outgoing.lastWrite {
		// An interceptor stood in the way of the content that the server now
		// waits for.
		s.conn.kill(err)
	}
	return replies, w.inDoubt(err)
}

// inDoubt returns the error of those recipients who got no reply to content, in
// an exchange that ended with err.
func (w *scratch) inDoubt(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e.Reply.Code == 421 {
		return err // RFC 5321 §3.8: nothing behind it was accepted
	}
	if err == nil || !w.outgoing.lastWrite {
		return err
	}
	return &Error{Stage: StageContent, Class: Temporary, Err: fmt.Errorf("%w: %w", ErrUnknownOutcome, err)}
}
