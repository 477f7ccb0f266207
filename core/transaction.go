package core

import "context"

// transaction is one transaction of a whole message: the part of an [Attempt]
// that talks.
type transaction struct {
	s       *Session
	w       *scratch
	message *Message
	body    Body
	utf8    bool     // the envelope needs SMTPUTF8
	ascii   []string // or else its paths, the sender's and those of due

	results []RecipientResult // of the delivery
	due     []int             // which of them are in this transaction

	begun     bool  // something was written
	reset     bool  // RSET goes in front
	unreset   bool  // and was refused: the server may hold on to the transaction before
	lastWrite bool  // the write has begun that ends the content
	heard     bool  // a reply that was not a 421 was read
	accepted  []int // by RCPT, in order
	refusal   error // of MAIL
	how       contentCommand
	prdr      bool    // each recipient is to reply to the content, over SMTP
	data      Reply   // to DATA
	inline    []Reply // to content that left with the envelope
	final     Reply   // to the content, the last one
}

// contentCommand is how the content is sent.
type contentCommand uint8

const (
	withData   contentCommand = iota // DATA with the envelope, then the content
	withInline                       // BDAT LAST and the content, with the envelope
	withBdat                         // BDAT LAST and the content, after the envelope
	withChunks                       // BDAT for each part of content whose size is unknown
)

// run does the transaction and gives each of its recipients an outcome. The
// error is that of the first recipient that was not accepted.
func (t *transaction) run(ctx context.Context) error {
	for _, i := range t.due {
		t.results[i].Outcome = Pending
	}
	err := t.prepare(ctx)
	if err == nil {
		defer t.w.outgoing.close()
		err = t.join(ctx)
	}
	for _, i := range t.due {
		r := &t.results[i]
		if r.Outcome == Pending {
			if err == nil {
				err = protocolError(StageContent, "the server left a recipient without a reply")
			}
			r.fail(err)
		}
	}
	for _, i := range t.due {
		if e := t.results[i].Err; e != nil {
			return e
		}
	}
	return err
}

// join has the transaction talk when its turn on the session comes.
func (t *transaction) join(ctx context.Context) (err error) {
	s, l := t.s, t.s.line
	var wary bool
	if l == nil {
		t.reset, wary = s.needsReset, s.rested
	} else {
		alone := !t.fitsOneWrite()
		if t.reset, err = l.join(ctx, t.w, alone); err != nil {
			return err
		}
		defer l.leave(t.w)
		if wary = t.w.place.wary; t.w.place.alone {
			s.conn.watch(ctx)
			defer s.conn.unwatch()
		}
	}
	if wary && t.how == withInline {
		t.how = withBdat
	}
	return t.talk(ctx)
}

// fitsOneWrite reports whether what the transaction has to write can be handed
// over at once: nothing of it has to be read from somewhere.
func (t *transaction) fitsOneWrite() bool {
	o := &t.w.outgoing
	return (t.how == withInline || t.how == withData) && o.inMemory() && len(o.octets) <= inlineContent && len(t.due)+3 <= maxGroup
}

// talk sends envelope and content.
func (t *transaction) talk(ctx context.Context) error {
	s := t.s
	defer func() { t.lastWrite = t.w.outgoing.lastWrite }()
	err := t.envelope(ctx)
	if t.refusal != nil {
		err = t.refusal // it says more than what the connection did after it
	}
	if err != nil || len(t.accepted) == 0 {
		t.abandon(ctx, err)
		return err
	}
	switch t.how {
	case withInline:
		t.take(t.inline)
		return nil
	case withBdat:
		return t.content(ctx, s.bdat(t.w, true, len(t.accepted)))
	case withChunks:
		return t.chunks(ctx)
	}
	if t.data.Code != 354 {
		err = replyError(StageContent, t.data)
		t.abandon(ctx, err)
		return err
	}
	return t.content(ctx, s.endOfData(t.w, len(t.accepted)))
}

// envelope writes [RSET] MAIL RCPT… and, if it belongs to the envelope, DATA or
// BDAT with the content, in as few groups as the server allows, and judges the
// replies.
func (t *transaction) envelope(ctx context.Context) error {
	s, w := t.s, t.w
	group := 1
	if s.peer.Extensions.pipelining {
		group = maxGroup // DATA or BDAT may be the last of it, RFC 2920 §3.1, RFC 3030 §4.2
	}
	data := len(t.due) + 1 // the position of DATA or BDAT; MAIL has 0, RSET -1
	end := data
	if t.how == withBdat || t.how == withChunks {
		end = data - 1
	}
	position := 0
	if t.reset {
		position = -1
	}
	for position <= end && t.refusal == nil {
		if position == data && len(t.accepted) == 0 {
			return nil // everybody was refused before DATA went out
		}
		first := position
		w.commands = w.commands[:0]
		for ; position <= end && len(w.commands) < group; position++ {
			w.commands = append(w.commands, t.command(position))
		}
		var content *outgoing
		if position > data && t.how == withInline {
			content = &w.outgoing
		}
		replies, err := s.exchange(ctx, w, content)
		t.begun = t.begun || len(replies) > 0
		for k, reply := range replies {
			if content != nil && first+k == data {
				t.inline = replies[k:]
				break
			}
			if e := t.judge(first+k, reply); e != nil && err == nil {
				err = e
			}
		}
		if content != nil && len(t.inline) > 0 && len(t.inline) >= awaits(w.commands, data-first, replies) {
			return nil // complete, whatever happened afterwards
		}
		if err != nil && content != nil {
			t.take(t.inline)
			return w.inDoubt(err)
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
		from := t.message.From
		if t.ascii != nil {
			from = t.ascii[0]
		}
		return t.s.mail(from, t.w.params)
	case position <= len(t.due):
		r := &t.message.To[t.due[position-1]]
		to := r.Address
		if t.ascii != nil {
			to = t.ascii[position]
		}
		return t.s.rcpt(to, r.Params)
	case t.how == withInline:
		c := t.s.bdat(t.w, true, len(t.accepted))
		c.prdr = t.prdr
		return c
	}
	return t.s.data()
}

// judge takes in the reply to the command at a position of the envelope.
func (t *transaction) judge(position int, reply Reply) error {
	t.heard = t.heard || reply.Code != 421
	switch {
	case position < 0:
		t.unreset = !reply.Positive()
		if t.w.line != nil {
			return nil // judged in its turn
		}
		if l := t.s.line; l != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
		}
		return t.s.afterReset(reply)
	case position == 0:
		if !reply.Positive() {
			refusal := replyError(StageMail, reply)
			if t.unreset {
				refusal.Class = Temporary // it is not about this message
			}
			t.refusal = refusal
		}
	case position > len(t.due):
		t.data = reply
	case t.refusal != nil:
		// Without a sender every recipient is refused, and it says nothing.
	case reply.Positive():
		t.accepted = append(t.accepted, t.due[position-1])
	default:
		t.refuse(t.due[position-1], replyError(StageRcpt, reply))
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
func (t *transaction) content(ctx context.Context, c Command) error {
	c.prdr = t.prdr && (c.Last || c.Verb == EndOfData)
	replies, err := t.s.content(ctx, t.w, c)
	t.take(replies)
	return err
}

// take gives the accepted recipients the outcomes of the replies to the content.
func (t *transaction) take(replies []Reply) {
	if len(replies) == 0 {
		return
	}
	t.final = replies[len(replies)-1]
	each := t.s.peer.Protocol == LMTP
	if t.prdr && replies[0].Code == 353 {
		if len(replies) < 1+len(t.accepted)+1 {
			return // nobody is accepted before the last reply
		}
		// That one, if it is a refusal, is one for all.
		if each = t.final.Positive(); each {
			replies = replies[1:]
		} else {
			replies = replies[len(replies)-1:]
		}
	}
	var refusal *Error
	for k, i := range t.accepted {
		if !each {
			k = 0
		}
		if k >= len(replies) {
			break
		}
		if replies[k].Positive() {
			t.results[i].settle(Accepted, replies[k], nil)
			continue
		}
		if refusal == nil || each {
			refusal = t.contentError(replies[k], k == 0 && bdatUnknown(replies[k], true))
		}
		t.refuse(i, refusal)
	}
}

// contentError is the error of a reply to content that is not positive. After a
// refused chunk the session needs a reset; if BDAT is unknown to the server, it
// is not to be used at all.
func (t *transaction) contentError(reply Reply, unknown bool) *Error {
	err := replyError(StageContent, reply)
	if t.how == withData {
		return err
	}
	t.needsReset(true) // RFC 3030 §2
	if unknown {
		err.Class, err.Err = Temporary, errChunking
		err.Hint = "the next message to this endpoint is sent with DATA"
		t.s.config.noChunking.Store(true)
		t.s.conn.kill(err)
	}
	return err
}

// abandon leaves the session fit for the next transaction, or closes it, after
// an envelope that got no content.
func (t *transaction) abandon(ctx context.Context, err error) {
	s := t.s
	for _, reply := range t.inline {
		if bdatUnknown(reply, false) {
			t.contentError(reply, true)
		}
	}
	if s.conn.over() != nil || t.w.place.left {
		return // nothing more is written; the replies are somebody else's to read
	}
	t.needsReset(t.begun)
	if t.data.Code != 354 {
		return
	}
	if len(t.accepted) > 0 {
		s.conn.kill(err) // a dot would deliver an empty message
		return
	}
	// The server waits for content that nobody is to have. A lone dot ends
	// that, whatever the reply (RFC 2920 §3.1).
	t.w.outgoing.close()
	t.w.outgoing = outgoing{}
	if _, err := s.content(ctx, t.w, s.endOfData(t.w, 1)); err != nil {
		s.conn.kill(err)
	}
}

// needsReset says whether the server may hold on to something of this
// transaction.
func (t *transaction) needsReset(yes bool) {
	if t.w.line != nil && t.how == withInline {
		return // the replies were judged in their turn, and others may have come since
	}
	if l := t.s.line; l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	t.s.needsReset = yes
}
