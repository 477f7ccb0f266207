package core_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

const (
	nextPart  = "---\n"
	taken     = "S: 250 taken\n" // content
	noRcpt    = "S: 250 ok\nS: 550 no\nS: 503 nobody\n"
	noMail    = "S: 550 no\nS: 503 no\nS: 503 nobody\n"
	noContent = twoOK + "S: 554 spam\n"
	largeSize = 14 * 5000
)

var (
	// pipeliningDirect is a server that knows 8BITMIME, so that a body is not
	// looked through before.
	pipeliningDirect = strings.Replace(pipelining, "S: 250 PIPELINING", "S: 250-8BITMIME\nS: 250 PIPELINING", 1)

	largeText = strings.Repeat("a large body\r\n", 5000)
)

// sentTogether is transactions that leave in one write, each with RSET in front.
func sentTogether(numbers ...int) string {
	var parts []string
	for _, i := range numbers {
		parts = append(parts, resetFirst, bdat(i))
	}
	return oneWrite(parts...)
}

// withBody changes the body of a numbered message.
func withBody(i int, b core.Body) *core.Message {
	m := numbered(i)
	m.Body = b
	return m
}

// play begins the messages in order and checks the outcome of each.
func play(t *testing.T, dialogue string, options smtptest.Options, messages []*core.Message, want []string, change ...func(*core.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, dialogue, options, append([]func(*core.Config){shared(16, 1)}, change...)...)
		var all []*sending
		for _, m := range messages {
			all = append(all, begin(t, c, m))
		}
		for i, s := range all {
			s.is(t, fmt.Sprintf("message %d", i), want[i])
		}
	})
}

// letters is so many numbered messages.
func letters(n int) (list []*core.Message) {
	for i := range n {
		list = append(list, numbered(i))
	}
	return list
}

func TestLineWire_whatLeavesTogether(t *testing.T) {
	const okAll = okRSET + okBDAT
	for _, tt := range []struct{ rule, dialogue, outcomes string }{
		{
			"the first content that goes by BDAT goes alone, the waiting ones in one write",
			chunking + oneWrite(bdat(0)) + stillness + okBDAT + sentTogether(1, 2, 3) + okAll + okAll + okAll + bye,
			"accepted 250, accepted 250, accepted 250, accepted 250",
		},
		{
			"a first content that was refused has proven nothing",
			chunking + oneWrite(bdat(0)) + stillness + noContent + sentTogether(1) + okAll + sentTogether(2) + okAll + bye,
			"refused 554, accepted 250, accepted 250",
		},
		{
			"with DATA, one's content and the next one's envelope",
			pipelining + oneWrite(data(0)) + stillness + goOn +
				oneWrite(theEnd, resetFirst, data(1)) + taken + okRSET + goOn +
				oneWrite(theEnd, resetFirst, data(2)) + taken + okRSET + goOn + oneWrite(theEnd) + taken + bye,
			"accepted 250, accepted 250, accepted 250",
		},
		{
			"MAIL refused in the middle, BDAT",
			chunking + oneWrite(bdat(0)) + stillness + okBDAT + sentTogether(1, 2, 3) + okAll + okRSET + noMail + okAll + bye,
			"accepted 250, accepted 250, refused 550, accepted 250",
		},
		{
			"RCPT refused in the middle, BDAT",
			chunking + oneWrite(bdat(0)) + stillness + okBDAT + sentTogether(1, 2, 3) + okAll + okRSET + noRcpt + okAll + bye,
			"accepted 250, accepted 250, refused 550, accepted 250",
		},
		{
			"content refused in the middle, BDAT",
			chunking + oneWrite(bdat(0)) + stillness + okBDAT + sentTogether(1, 2, 3) + okAll + okRSET + noContent + okAll + bye,
			"accepted 250, accepted 250, refused 554, accepted 250",
		},
		{
			"MAIL refused in the middle, DATA: there is no content with which the next envelope could leave",
			pipelining + oneWrite(data(0)) + stillness + goOn +
				oneWrite(theEnd, resetFirst, data(1)) + taken + okRSET + noMail +
				oneWrite(resetFirst, data(2)) + okRSET + goOn + oneWrite(theEnd) + taken + bye,
			"accepted 250, refused 550, accepted 250",
		},
		{
			"RCPT refused in the middle, DATA",
			pipelining + oneWrite(data(0)) + stillness + goOn +
				oneWrite(theEnd, resetFirst, data(1)) + taken + okRSET + noRcpt +
				oneWrite(resetFirst, data(2)) + okRSET + goOn + oneWrite(theEnd) + taken + bye,
			"accepted 250, refused 550, accepted 250",
		},
		{
			"RCPT refused in the middle and 354 all the same: a lone dot, and the next envelope",
			pipelining + oneWrite(data(0)) + stillness + goOn +
				oneWrite(theEnd, resetFirst, data(1)) + taken + okRSET + "S: 250 ok\nS: 550 no\nS: 354 go on\n" +
				oneWrite(".\n", resetFirst, data(2)) + "S: 554 nothing\n" + okRSET + goOn + oneWrite(theEnd) + taken + bye,
			"accepted 250, refused 550, accepted 250",
		},
		{
			"content refused in the middle, DATA",
			pipelining + oneWrite(data(0)) + stillness + goOn +
				oneWrite(theEnd, resetFirst, data(1)) + "S: 554 spam\n" + okRSET + goOn +
				oneWrite(theEnd, resetFirst, data(2)) + taken + okRSET + goOn + oneWrite(theEnd) + taken + bye,
			"refused 554, accepted 250, accepted 250",
		},
		{
			"421 defers its own and those behind it that were written",
			chunking + oneWrite(bdat(0)) + stillness + okBDAT + sentTogether(1, 2, 3) + okAll + "S: 421 bye\nHANG\n",
			"accepted 250, accepted 250, deferred 421, deferred 421",
		},
		{
			"421 in place of the reply to content is that message's, and those behind it are deferred",
			chunking + oneWrite(bdat(0)) + stillness + okBDAT + sentTogether(1, 2, 3) + okRSET + twoOK + "S: 421 bye\nHANG\n",
			"accepted 250, deferred 421, deferred 421, deferred 421",
		},
		{
			"421 in place of the reply to content, from a server that goes on: what it says of the others counts",
			chunking + oneWrite(bdat(0)) + stillness + okBDAT + sentTogether(1, 2, 3) + okRSET + twoOK + "S: 421 bye\n" + okAll + okRSET + noContent + "HANG\n",
			"accepted 250, deferred 421, accepted 250, refused 554",
		},
		{
			"421 in place of the reply to content, from a server that goes on for a while",
			chunking + oneWrite(bdat(0)) + stillness + okBDAT + sentTogether(1, 2, 3) + okRSET + twoOK + "S: 421 bye\n" + okAll + okRSET + "CLOSE\n",
			"accepted 250, deferred 421, accepted 250, deferred 421",
		},
		{
			"421 to the first content, and who had not begun moves to a new session",
			chunking + oneWrite(bdat(0)) + stillness + twoOK + "S: 421 bye\nHANG\n" + nextPart + chunking + oneWrite(bdat(1)) + okBDAT + bye,
			"deferred 421, accepted 250",
		},
		{
			"421 in place of the reply to content, and the envelope to which nothing was said moves",
			pipelining + oneWrite(data(0)) + stillness + goOn + oneWrite(theEnd, resetFirst, data(1)) + "S: 421 bye\nHANG\n" +
				nextPart + pipelining + oneWrite(data(1)) + goOn + oneWrite(theEnd) + taken + bye,
			"deferred 421, accepted 250",
		},
		{
			"421 in place of a reply to an envelope defers it, and who had not begun moves",
			pipelining + oneWrite(data(0)) + stillness + goOn + oneWrite(theEnd, resetFirst, data(1)) + taken + okRSET + "S: 250 ok\nS: 421 bye\nHANG\n" +
				nextPart + pipelining + oneWrite(data(2)) + goOn + oneWrite(theEnd) + taken + bye,
			"accepted 250, deferred 421, accepted 250",
		},
		{
			"EOF leaves what was written whole in doubt",
			chunking + oneWrite(bdat(0)) + stillness + okBDAT + sentTogether(1, 2, 3) + okAll + okRSET + "CLOSE\n",
			"accepted 250, accepted 250, unknown, unknown",
		},
		{
			"EOF behind a refusal that was read: it stands, and those behind it are in doubt",
			chunking + oneWrite(bdat(0)) + stillness + okBDAT + sentTogether(1, 2) + okRSET + noMail + "CLOSE\n",
			"accepted 250, refused 550, unknown",
		},
		{
			"EOF leaves content in doubt, and the envelope to which nothing was said moves",
			pipelining + oneWrite(data(0)) + stillness + goOn + oneWrite(theEnd, resetFirst, data(1)) + "CLOSE\n" +
				nextPart + pipelining + oneWrite(data(1)) + goOn + oneWrite(theEnd) + taken + bye,
			"unknown, accepted 250",
		},
		{
			"RSET refused ends the session, with what was said to that message",
			chunking + oneWrite(bdat(0)) + stillness + okBDAT + sentTogether(1, 2) + "S: 500 no RSET here\n" + okBDAT + "HANG\n",
			"accepted 250, accepted 250, unknown",
		},
		{
			"a reply that nobody asked for ends the session",
			chunking + oneWrite(bdat(0)) + stillness + okBDAT + "S: 250 and another\nHANG\n" + nextPart + chunking + oneWrite(bdat(1)) + okBDAT + bye,
			"accepted 250, accepted 250",
		},
		{
			"LIMITS MAILMAX holds at depth",
			strings.Replace(chunking, "S: 250 CHUNKING", "S: 250-LIMITS MAILMAX=3\nS: 250 CHUNKING", 1) + oneWrite(bdat(0)) + stillness + okBDAT + sentTogether(1, 2) + okAll + okAll + strings.TrimPrefix(bye, "\n") +
				nextPart + chunking + oneWrite(bdat(3)) + okBDAT + bye,
			"accepted 250, accepted 250, accepted 250, accepted 250",
		},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			want := strings.Split(tt.outcomes, ", ")
			play(t, tt.dialogue, smtptest.Options{}, letters(len(want)), want)
		})
	}
}

func TestLineWire_RSETIsForWhoeverFollowsOneThatMayBeRefused(t *testing.T) {
	for how, tt := range map[string]struct{ first, second, refused, third string }{
		"BDAT": {chunking + oneWrite(bdat(0)) + okBDAT, oneWrite(bdat(1)), noContent, oneWrite(resetFirst, bdat(2)) + okRSET + okBDAT},
		"DATA": {pipelining + oneWrite(data(0)) + goOn + oneWrite(theEnd) + taken, oneWrite(data(1)), noRcpt, oneWrite(resetFirst, data(2)) + okRSET + goOn + oneWrite(theEnd) + taken},
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, tt.first+tt.second+tt.refused+tt.third+bye, smtptest.Options{}, shared(16, 1))
				begin(t, c, numbered(0)).is(t, "the first", "accepted 250")
				want := "refused 554"
				if how == "DATA" {
					want = "refused 550"
				}
				begin(t, c, numbered(1)).is(t, "one on a quiet clean session", want)
				begin(t, c, numbered(2)).is(t, "one behind a refusal", "accepted 250")
			})
		})
	}
}

func TestLineWire_whatCannotBeWrittenAtOnceHasTheSessionToItself(t *testing.T) {
	const (
		behind  = " BODY=8BITMIME"
		okAll   = okRSET + okBDAT
		dataFor = "RCPT TO:<r2@example.com>\nC| DATA\n"
	)
	once := func() core.Body { return core.Reader(strings.NewReader("once\r\n")) }
	large := func() core.Body { return core.String(largeText) }
	unknown := func() core.Body { return sized{noForm{core.String("once\r\n")}} }
	// The one between is written when those in front are answered, and those
	// behind it when it is.
	front := chunking + oneWrite(bdat(0)) + stillness + okBDAT + oneWrite(resetFirst, bdat(1)) + stillness + okRSET + okBDAT
	rear := sentTogether(3, 4) + okAll + okAll + bye
	frontData := pipeliningDirect + oneWrite(data(0)) + stillness + goOn + oneWrite(theEnd, resetFirst, data(1)) + taken + okRSET + goOn + oneWrite(theEnd) + stillness + taken
	rearData := oneWrite(resetFirst, data(3)) + okRSET + goOn + oneWrite(theEnd, resetFirst, data(4)) + taken + okRSET + goOn + oneWrite(theEnd) + taken + bye
	mail := "C: MAIL FROM:<a@example.com>"
	for name, tt := range map[string]struct {
		body     func() core.Body
		dialogue string
	}{
		"large, BDAT":    {large, front + mail + "\nC| RCPT TO:<r2@example.com>\n" + twoOK + fmt.Sprintf("C/ BDAT %d LAST\nC~ %q\n", largeSize, largeText) + taken + rear},
		"one-shot, BDAT": {once, front + mail + behind + "\nC| RCPT TO:<r2@example.com>\n" + twoOK + "C/ BDAT 6 LAST\nC~ \"once\\r\\n\"\n" + taken + rear},
		"unknown, BDAT":  {unknown, front + mail + behind + "\nC| RCPT TO:<r2@example.com>\n" + twoOK + "C/ BDAT 6 LAST\nC~ \"once\\r\\n\"\n" + taken + rear},
		"large, DATA":    {large, frontData + mail + "\nC| " + dataFor + goOn + fmt.Sprintf("C~ %q\n", largeText+".\r\n") + taken + rearData},
		"one-shot, DATA": {once, frontData + mail + behind + "\nC| " + dataFor + goOn + "C~ \"once\\r\\n.\\r\\n\"\n" + taken + rearData},
		"unknown, DATA":  {unknown, frontData + mail + behind + "\nC| " + dataFor + goOn + "C~ \"once\\r\\n.\\r\\n\"\n" + taken + rearData},
	} {
		t.Run(name, func(t *testing.T) {
			messages := letters(5)
			messages[2] = withBody(2, tt.body())
			play(t, tt.dialogue, smtptest.Options{}, messages, strings.Split(strings.Repeat("accepted 250,", 5), ","))
		})
	}
}

// sized is a body of unknown size that can be opened again.
type sized struct{ core.Body }

func (sized) Size() int64 { return -1 }

func TestLineWire_LMTPHasAReplyForEachRecipientAtDepth(t *testing.T) {
	lhlo := func(s string) string { return strings.Replace(s, "EHLO", "LHLO", 1) }
	to := func(i int) *core.Message {
		return message(fmt.Sprintf("r%d@example.com", i), fmt.Sprintf("x%d@example.com", i), fmt.Sprintf("y%d@example.com", i))
	}
	three := func(i int) string {
		return fmt.Sprintf("%sRCPT TO:<x%d@example.com>\nRCPT TO:<y%d@example.com>\n", mailRcpt(i), i, i)
	}
	const (
		envelopeOK = "S: 250 ok\nS: 250 ok\nS: 550 no\nS: 250 ok\n" // x is refused
		all        = "S: 250 r\nS: 250 y\n"
		mixed      = "S: 452 full\nS: 250 y\n"
		fine       = "accepted 250; refused 550; accepted 250"
		content    = "BDAT 4 LAST\nhi\n"
	)
	bdats := lhlo(chunking) + oneWrite(three(0), content) + stillness + envelopeOK + all + oneWrite(resetFirst, three(1), content, resetFirst, three(2), content)
	datas := lhlo(pipelining) + oneWrite(three(0)+"DATA\n") + stillness + envelopeOK + "S: 354 go on\n" + oneWrite(theEnd, resetFirst, three(1), "DATA\n")
	for _, tt := range []struct {
		rule, dialogue string
		outcomes       []string
	}{
		{"BDAT", bdats + okRSET + envelopeOK + mixed + okRSET + envelopeOK + all + bye,
			[]string{fine, "deferred 452; refused 550; accepted 250", fine}},
		{"BDAT, EOF between the replies of one message", bdats + okRSET + envelopeOK + "S: 250 r\nCLOSE",
			[]string{fine, "accepted 250; refused 550; unknown", "unknown; unknown; unknown"}},
		{"BDAT, 421 to one recipient of a message", bdats + okRSET + envelopeOK + "S: 250 r\nS: 421 bye\nHANG",
			[]string{fine, "accepted 250; refused 550; deferred 421", "deferred 421; deferred 421; deferred 421"}},
		{"DATA", datas + mixed + okRSET + envelopeOK + "S: 354 go on\n" + oneWrite(theEnd, resetFirst, three(2), "DATA\n") + all + okRSET + envelopeOK + "S: 354 go on\n" + oneWrite(theEnd) + all + bye,
			[]string{"deferred 452; refused 550; accepted 250", fine, fine}},
		{"DATA, EOF between the replies of one message", datas + "S: 250 r\nCLOSE\n" + nextPart + lhlo(pipelining) + oneWrite(three(1)+"DATA\n") + envelopeOK + "S: 354 go on\n" + oneWrite(theEnd) + all + bye,
			[]string{"accepted 250; refused 550; unknown", fine}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			play(t, tt.dialogue, smtptest.Options{Protocol: core.LMTP}, []*core.Message{to(0), to(1), to(2)}[:len(tt.outcomes)], tt.outcomes)
		})
	}
}

// What is refused because the server still holds the transaction before is not
// refused for good.
func TestLineWire_aRefusedRSETIsNotTheNextMessagesFault(t *testing.T) {
	refused := chunking + oneWrite(bdat(0)) + "S: 250 ok\nS: 550 no\nS: 554 nobody\n"
	for _, depth := range []int{1, 16} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, refused+oneWrite(resetFirst, bdat(1))+"S: 500 no RSET\nS: 503 nested MAIL\nS: 503 no\nS: 503 no", smtptest.Options{}, shared(depth, 1))
			begin(t, c, numbered(0)).is(t, 0, "refused 550")
			begin(t, c, numbered(1)).is(t, 1, "deferred 503")
		})
	}
}

// BDAT is unknown to a server if it says so first: what it says of a later
// recipient is about that one (RFC 2033 §4.2).
func TestSend_LMTP_a502ForALaterRecipientIsNotAboutBDAT(t *testing.T) {
	lhlo := "S: 220 hi\nC: LHLO client.example\nS: 250-mx.example\nS: 250-PIPELINING\nS: 250 CHUNKING\n"
	to := "MAIL FROM:<a@example.com>\nRCPT TO:<b@example.com>\nRCPT TO:<c@example.com>\nBDAT 4 LAST\nhi\n"
	said := "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 b\nS: 502 not for c\n"
	for _, depth := range []int{1, 16} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, lhlo+oneWrite(to)+said+oneWrite(resetFirst, to)+okRSET+said+bye, smtptest.Options{Protocol: core.LMTP}, shared(depth, 1))
			for i := range 2 {
				begin(t, c, message("b@example.com", "c@example.com")).is(t, i, "accepted 250; refused 502")
			}
		})
	}
}
