package core_test

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider/core"
)

// faultMode is a way of sending, and what is sent: a dialogue that is broken.
type faultMode struct {
	name       string
	protocol   core.Protocol
	extensions string
	depth      int
	inline     int // Config.InlineContent
	mails      []faultMail
	contents   []string // of the mails
	order      faultOrder
	pipe       bool            // it is also broken where the connection is no socket
	quiet      syscall.RawConn // what a socket shows of itself; nil where it is none
	shows      string          // in its dialogue, that it is what it is called
}

// faultMail is one message, and what becomes of it where nothing breaks: see
// faultServer for what the names mean. They occur in no other message.
type faultMail struct {
	from, to string
	outcomes string
	unsized  bool // the body does not say how large it is
	long     bool // it has more than faultInline octets
	large    bool // it has more octets than one chunk
}

// faultOrder is how messages are handed to the client.
type faultOrder struct {
	wait bool          // each when the last can get no further, so that the dialogue is the same each time
	hold int           // from this message on, the first is 1, the server's replies wait until it has all of them
	rest time.Duration // behind the first
}

var (
	// atOnce has the messages race for their places.
	atOnce = faultOrder{}
	// inLine has all of them wait behind the first.
	inLine = faultOrder{wait: true, hold: 1}
	// inTurn has each of them written before the next is there.
	inTurn = faultOrder{wait: true, hold: 2}
	// afterRest has all of them behind one that finds the session at rest.
	afterRest = faultOrder{wait: true, hold: 2, rest: 2 * time.Second}
)

// What the servers of the modes announce.
const (
	faultPipelining = "PIPELINING"
	faultChunking   = "PIPELINING CHUNKING"
)

// faultInline is Config.InlineContent where a message is to be above it.
const faultInline = 20

// faultModes returns the modes, each with a quiet socket or without.
func faultModes(quiet syscall.RawConn) (list []*faultMode) {
	for _, m := range append(faultModesOfOne(), faultModesOfMany()...) {
		for k, x := range m.mails {
			content := fmt.Sprintf("%s.<%d>\r\n", strings.Repeat("..\r\n", k%3), k)
			if x.long {
				content = strings.Repeat("y", faultInline) + "\r\n" + content
			}
			if x.large {
				content = strings.Repeat(strings.Repeat("x", 78)+"\r\n", 3277) + content // a chunk and a little more
			}
			m.contents = append(m.contents, content)
		}
		if m.pipe {
			pipe := *m
			pipe.name += ", pipe"
			list = append(list, &pipe)
		}
		m.quiet = quiet
		list = append(list, m)
	}
	return list
}

// faultModesOfOne returns those in which a message has the session to itself.
func faultModesOfOne() []*faultMode {
	one := faultMail{from: "s0", to: "a0 n0 b0", outcomes: "accepted 250; refused 550; accepted 250"}
	each := faultMail{from: "s0", to: "a0 n0 b0 f0", outcomes: "accepted 250; refused 550; accepted 250; deferred 452"}
	unsized, large := one, one
	unsized.unsized, large.unsized, large.large = true, true, true
	twice := []faultMail{one, {from: "s1", to: "a1 n1 b1", outcomes: "accepted 250; refused 550; accepted 250"}}
	return []*faultMode{
		{name: "DATA without PIPELINING", mails: []faultMail{one}, shows: "MAIL | RCPT | RCPT | RCPT | DATA | ."},
		{name: "DATA", extensions: faultPipelining, mails: []faultMail{one}, pipe: true, shows: "MAIL RCPT RCPT RCPT DATA | ."},
		{name: "DATA, after a rest", extensions: faultPipelining, mails: twice, order: afterRest, shows: ". | MAIL RCPT RCPT RCPT DATA | ."},
		{name: "BDAT with the envelope", extensions: faultChunking, mails: []faultMail{one}, pipe: true, shows: "MAIL RCPT RCPT RCPT BDAT"},
		{name: "BDAT with the envelope, twice", extensions: faultChunking, mails: twice, order: inTurn, shows: "BDAT | MAIL RCPT RCPT RCPT BDAT"},
		{name: "BDAT behind the envelope", extensions: faultChunking, inline: -1, mails: []faultMail{one}, pipe: true, shows: "RCPT | BDAT"},
		{name: "BDAT behind the envelope, after a rest", extensions: faultChunking, mails: twice, order: afterRest, pipe: true, shows: "BDAT | MAIL RCPT RCPT RCPT | BDAT"},
		{name: "BDAT without PIPELINING", extensions: "CHUNKING", mails: []faultMail{one}, shows: "RCPT | RCPT | BDAT"},
		{name: "BDAT in chunks, one", extensions: faultChunking, mails: []faultMail{unsized}, shows: "RCPT | BDAT"},
		{name: "BDAT in chunks, two", extensions: faultChunking, mails: []faultMail{large}, shows: "RCPT | BDAT"},
		{name: "LMTP with DATA", protocol: core.LMTP, extensions: faultPipelining, mails: []faultMail{each}, shows: "LHLO | MAIL RCPT RCPT RCPT RCPT DATA | ."},
		{name: "LMTP with BDAT", protocol: core.LMTP, extensions: faultChunking, mails: []faultMail{each}, pipe: true, shows: "LHLO | MAIL RCPT RCPT RCPT RCPT BDAT"},
		{name: "PRDR with DATA", extensions: faultPipelining + " PRDR", mails: []faultMail{each}, shows: "RCPT DATA | ."},
		{name: "PRDR with BDAT", extensions: faultChunking + " PRDR", mails: []faultMail{each}, pipe: true, shows: "RCPT BDAT"},
	}
}

// faultModesOfMany returns those in which messages share a session.
func faultModesOfMany() []*faultMode {
	const (
		refused = "MAIL RCPT RCPT BDAT"
		others  = "RSET MAIL RCPT BDAT RSET MAIL RCPT BDAT RSET MAIL RCPT RCPT RCPT BDAT"
	)
	long := faultMail{from: "s1", to: "a1", outcomes: "accepted 250", long: true}
	unsized := faultMail{from: "s1", to: "a1", outcomes: "accepted 250", unsized: true}
	apart := strings.ReplaceAll(refused+" "+others, " RSET", " | RSET")
	list := []*faultMode{
		{name: "BDAT, in line", extensions: faultChunking, inline: faultInline, mails: severalMails(false, false, long), order: inLine, pipe: true, shows: "MAIL RCPT | BDAT | RSET " + refused + " " + others},
		{name: "BDAT, in turn", extensions: faultChunking, mails: severalMails(false, false), order: inTurn, shows: "| " + apart + " |"},
		{name: "BDAT, at once", extensions: faultChunking, mails: severalMails(false, false, unsized), order: atOnce},
		{name: "BDAT, after a rest", extensions: faultChunking, mails: severalMails(false, false), order: afterRest, shows: "| MAIL RCPT RCPT | " + others},
		{name: "BDAT behind the envelope", extensions: faultChunking, inline: -1, mails: severalMails(false, false), order: inLine, shows: "RCPT | BDAT | MAIL"},
		{name: "LMTP with BDAT, in line", protocol: core.LMTP, extensions: faultChunking, mails: severalMails(true, false), order: inLine, shows: "BDAT | RSET " + refused + " " + others},
		{name: "LMTP with BDAT, in turn", protocol: core.LMTP, extensions: faultChunking, mails: severalMails(true, false), order: inTurn, shows: "| " + apart + " |"},
		{name: "PRDR with BDAT", extensions: faultChunking + " PRDR", mails: severalMails(true, false), order: inTurn, shows: "| " + apart + " |"},
		{name: "DATA, in line", extensions: faultPipelining, mails: severalMails(false, true, unsized), order: inLine, shows: "| . RSET MAIL RCPT DATA |"},
		{name: "DATA, at once", extensions: faultPipelining, mails: severalMails(false, true), order: atOnce},
		{name: "LMTP with DATA", protocol: core.LMTP, extensions: faultPipelining, mails: severalMails(true, true), order: inLine, shows: "| . RSET MAIL RCPT DATA |"},
	}
	for _, m := range list {
		m.name, m.depth = "depth 16, "+m.name, 16
	}
	return list
}

// severalMails is messages that share a session. With each set recipients have
// their own replies to content, and with data one message is for a server that
// says 354 in vain. Those that have the session to themselves come behind the
// first.
func severalMails(each, data bool, alone ...faultMail) []faultMail {
	full := "accepted 250"
	if each {
		full = "deferred 452"
	}
	list := append([]faultMail{{from: "s0", to: "a0 n0 b0", outcomes: "accepted 250; refused 550; accepted 250"}}, alone...)
	list = append(list,
		faultMail{from: "s2", to: "n2 nn2", outcomes: "refused 550; refused 550"},
		faultMail{from: "n3", to: "a3", outcomes: "refused 550"},
		faultMail{from: "p4", to: "a4", outcomes: "refused 554"},
		faultMail{from: "s5", to: "a5 f5 b5", outcomes: "accepted 250; " + full + "; accepted 250"})
	if data {
		list = append(list, faultMail{from: "g6", to: "n6", outcomes: "refused 550"})
	}
	return append(list, faultMail{from: "s7", to: "a7", outcomes: "accepted 250"})
}
