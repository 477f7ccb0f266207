package core

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/postrider/postrider/core/internal/wire"
)

// flight is commands on their way, and content behind them, and the replies as
// they come in.
type flight struct {
	w       *scratch
	sent    []Command
	content *outgoing // written after the commands, or nil
	got     []Reply
	// closing is a 421 among the replies, or among those to what stands in front,
	// behind which others may still come. cut says that not all of them did.
	closing error
	cut     bool
	mu      *sync.Mutex // for got, where another goroutine reads the replies
}

// scratch is the memory of one transaction at a time, reused by the next.
type scratch struct {
	flight     flight
	group      wire.Group
	commands   []Command
	params     []Param // of MAIL
	encoder    wire.Encoder
	buffer     []byte // of content, encoded
	readBuffer []byte // of content, as the body yields it
	outgoing   outgoing
	writer     contentWriter
	accepted   []int           // the transaction's list of recipients
	heard      chan earlyReply // what comes before the content is written
	hearEarly  func()          // made once, and started for each content

	// On a session that is shared:
	place place
	line  *line // through which the flights go, unless the transaction is alone
}

// roundTrip writes what is to be written and reads the replies.
func (s *Session) roundTrip(ctx context.Context, f *flight) ([]Reply, error) {
	group := &f.w.group
	group.Reset()
	for i := range f.sent {
		c := &f.sent[i]
		if c.Verb == EndOfData {
			continue
		}
		if err := c.write(group, &s.peer.Extensions); err != nil {
			return nil, err
		}
	}
	if l := f.w.line; l != nil {
		if err := s.render(f); err != nil {
			return nil, err
		}
		return l.fly(ctx, f)
	}
	err := s.direct(f)
	return f.got, err
}

// direct does a round trip in the caller's goroutine, which has the session to
// itself.
func (s *Session) direct(f *flight) (err error) {
	defer func() {
		if _, ok := err.(*PanicError); ok {
			s.conn.kill(err)
		}
	}()
	defer contain("the transport's connection", &err)
	if err := s.checkInStep(f); err != nil {
		return err
	}
	stage := firstStage(f.sent)
	switch {
	case f.content != nil && len(f.sent) == 1:
		if err := s.sendContent(f); err != nil {
			return err
		}
	case f.content != nil:
		if err := s.render(f); err != nil {
			return err
		}
		if s.conn.ctx.Err() != nil {
			return &Error{Stage: StageContent, Class: Temporary, Err: contextError(s.conn.ctx)}
		}
		f.content.lastWrite = true
		if err := s.send(f, f.w.buffer, StageContent); err != nil {
			return err
		}
	case len(f.sent) > 0:
		if err := s.send(f, f.w.group.Bytes(), stage); err != nil {
			return err
		}
	}
	if len(f.sent) == 0 {
		return s.readReply(f, nil, stage, s.config.Timeouts.Greeting)
	}
	return s.readReplies(f)
}

// send writes what a flight consists of.
func (s *Session) send(f *flight, p []byte, stage Stage) error {
	if len(f.sent) > 1 && !s.conn.socket {
		return s.sendAndRead(f, p)
	}
	if err := s.conn.write(p, stage, s.config.Timeouts.Write); err != nil {
		return s.afterFailedWrite(f, err)
	}
	return nil
}

// sendAndRead writes while it reads the replies. A system's sockets take a group
// whether the other side reads or not, and hold its replies. Other connections
// may have no buffers, and a server that answers each command before it reads
// the next one would wait for us, as we for it.
func (s *Session) sendAndRead(f *flight, p []byte) error {
	c := s.conn
	c.share()
	c.holdClock(true)
	written := make(chan error, 1)
	go func() {
		err := c.writeContained(p, s.config.Timeouts.Write)
		if c.over() != nil {
			err = nil // what the reader has found is the reason
		} else if err != nil {
			c.hurry()
		}
		c.flushed()
		written <- err
	}()
	readErr := s.receive(f)
	if c.ctx.Err() == nil {
		_ = c.raw.SetWriteDeadline(deadline(lastWords)) // the server has said everything
	}
	writeErr := <-written
	if writeErr != nil {
		c.kill(writeErr)
	}
	if e, ok := errors.AsType[*Error](readErr); readErr == nil || ok && e.Reply.Code != 0 || writeErr == nil {
		return readErr
	}
	return writeErr
}

// checkInStep refuses to write while there are octets that no command asked
// for: every reply from here on would be taken for the answer to another
// command.
func (s *Session) checkInStep(f *flight) error {
	if s.conn.reader.Buffered() == 0 || len(f.sent) == 0 {
		return nil
	}
	stage := f.sent[0].stage
	reply, err := s.conn.readReply(stage, lastWords)
	if err != nil {
		s.conn.kill(err)
		return err
	}
	if reply.Code == 421 {
		// A server may say goodbye at any time, RFC 5321 §3.8.
		return s.goodbye(f, ownedReply(reply), stage)
	}
	err = protocolError(stage, "reply %s came before its command", ownedReply(reply))
	s.conn.kill(err)
	return err
}

// goodbye ends the session after a 421.
func (s *Session) goodbye(f *flight, reply Reply, stage Stage) error {
	f.got = append(f.got, reply)
	err := replyError(stage, reply)
	s.conn.kill(err)
	return err
}

// receive reads the replies to a flight that is being written by another
// goroutine. After a panic nobody knows what was read, and the connection is
// not used again.
func (s *Session) receive(f *flight) (err error) {
	defer func() {
		if _, ok := err.(*PanicError); ok {
			s.conn.kill(err)
		}
	}()
	defer contain("the transport's connection", &err)
	return s.readReplies(f)
}

// readReplies reads the replies that are still missing, up to the first that
// ends the session.
func (s *Session) readReplies(f *flight) error {
	err := s.eachReplyDue(f, func(c *Command) error {
		timeout := c.timeout
		if f.closing != nil {
			timeout = lastWords
		}
		return s.readReply(f, c, c.stage, timeout)
	})
	if f.closing != nil {
		f.cut, err = err != nil, f.closing
		if f.w.line == nil {
			s.conn.kill(err)
		}
	}
	return err
}

// eachReplyDue calls read for each reply that is not in f.got yet, until it
// fails.
func (s *Session) eachReplyDue(f *flight, read func(*Command) error) error {
	have := len(f.got)
	for i := range f.sent {
		c := &f.sent[i]
		for n := 0; n < 1 || (c.perRecipient || c.prdr) && n < awaits(f.sent, i, f.got); n++ {
			if have > 0 {
				have--
				continue
			}
			if err := read(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// readReply reads one reply and appends it to f.got. c is nil for the greeting.
func (s *Session) readReply(f *flight, c *Command, stage Stage, timeout time.Duration) error {
	reply, err := s.conn.readReply(stage, timeout)
	if err != nil {
		s.conn.kill(err)
		return err
	}
	if f.mu != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
	}
	if c != nil && c.silent && c.fits(reply.Code) && reply.Code < 400 && !s.pipeline.wrapsExchange {
		// Nobody sees its text, which would cost an allocation.
		f.got = append(f.got, Reply{Code: reply.Code})
		return nil
	}
	return s.takeReply(f, c, stage, ownedReply(reply))
}

// takeReply appends a reply to f.got, if it is one that the command can have. c
// is nil for the greeting.
func (s *Session) takeReply(f *flight, c *Command, stage Stage, r Reply) error {
	switch {
	case r.Code == 421 && c != nil && (c.perRecipient || f.content != nil && len(f.sent) > 1):
		// Each recipient's reply is its own (RFC 2033 §4.2): those behind this
		// one may have come already. And where the content was written with the
		// envelope, a server that does not close now, as RFC 5321 §3.8 has it,
		// may accept that.
		f.closing = replyError(stage, r)
	case r.Code == 421:
		return s.goodbye(f, r, stage)
	case c != nil && !c.fits(r.Code):
		err := protocolError(stage, "%s answered with %d", c.name(), r.Code)
		s.conn.kill(err)
		return err
	}
	f.got = append(f.got, r)
	return nil
}

// afterFailedWrite looks for replies that came before the connection broke: a
// server that closes says why first, and that counts for more than the broken
// pipe.
func (s *Session) afterFailedWrite(f *flight, writeErr error) error {
	if s.conn.ctx.Err() == nil {
		err := s.eachReplyDue(f, func(c *Command) error { return s.readReply(f, c, c.stage, lastWords) })
		if f.closing != nil {
			err = f.closing
		}
		if e, ok := errors.AsType[*Error](err); ok && e.Reply.Code != 0 {
			writeErr = err
		}
		// Content that was not written whole cannot have been accepted.
		if n := len(f.got); f.content != nil && !f.content.lastWrite && n >= len(f.sent) && f.got[n-1].Code < 400 {
			f.got = f.got[:len(f.sent)-1]
		}
	}
	s.conn.kill(writeErr)
	return writeErr
}

// lastWords is how long a broken connection is listened to.
const lastWords = time.Second

// awaits returns how many replies the i-th command gets, as far as the replies
// up to now tell.
func awaits(commands []Command, i int, got []Reply) int {
	c := &commands[i]
	if !c.perRecipient && !c.prdr {
		return 1
	}
	// Every command in front of content gets one reply.
	if c.prdr && (len(got) <= i || got[i].Code != 353) {
		return 1 // the server has decided for all of them at once
	}
	n := c.accepted
	for k := range i {
		if commands[k].Verb == "RCPT" && k < len(got) && got[k].Positive() {
			n++
		}
	}
	if c.prdr {
		return 1 + n + 1
	}
	return max(n, 1)
}

// maxGroup bounds the commands in one write. A server may read the next command
// only when its reply to the last one was read, so what is in flight must fit
// into the buffers between (RFC 2920 §3.1): these commands, and their replies.
const maxGroup = 100

// refusesBDAT reports whether the replies say that BDAT is not known.
func (f *flight) refusesBDAT() bool {
	last := len(f.sent) - 1
	return f.sent[last].Verb == "BDAT" && len(f.got) > last && bdatUnknown(f.got[last], f.standing() > 0)
}

// bdatUnknown reports whether a reply, the first to BDAT, says that the server
// has announced CHUNKING and does not know it: it may take the octets of content
// for commands. Where no recipient stands, 502 may mean as little as 503.
func bdatUnknown(reply Reply, standing bool) bool {
	return reply.Code == 500 || reply.Code == 504 || reply.Code == 502 && standing
}

// standing returns how many recipients were accepted, as far as the replies
// tell.
func (f *flight) standing() int {
	n := f.sent[len(f.sent)-1].accepted
	for i := range f.sent {
		if f.sent[i].Verb == "RCPT" && i < len(f.got) && f.got[i].Positive() {
			n++
		}
	}
	return n
}
