package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/internal/realserver"
	"github.com/postrider/postrider/transport"
)

// realServer is what the tests of shared sessions want of each server.
type realServer interface {
	Settle(t testing.TB)
	Mail() (map[string][][]byte, error)
	Complaints() []string
}

// sizeLimit is the size in octets above which Postfix and Exim refuse content
// here.
const sizeLimit = 400_000

// limit is the setting for it, of Postfix and of Exim.
var limit = "message_size_limit = " + strconv.Itoa(sizeLimit)

// fate is what is to become of a message.
type fate struct {
	from   string // "": somebody who is not refused
	params []core.Param
	to     []string // "": a mailbox that is not refused
	want   []core.Outcome
	stage  core.Stage // in which somebody is not accepted
	field  bool       // its content has a field for which it is refused
	large  bool       // its content is over sizeLimit
	prdr   bool
}

// The fates of messages, some of them several times: that many more messages
// have them.
var (
	goodFates = []fate{
		{to: []string{""}, want: []core.Outcome{core.Accepted}},
		{to: []string{""}, want: []core.Outcome{core.Accepted}},
		{to: []string{"", "", ""}, want: []core.Outcome{core.Accepted, core.Accepted, core.Accepted}},
	}
	rcptFates = slices.Concat(goodFates, goodFates, []fate{
		{to: []string{realserver.RefusedRecipient}, want: []core.Outcome{core.Refused}, stage: core.StageRcpt},
		{to: []string{realserver.DeferredRecipient, realserver.RefusedRecipient}, want: []core.Outcome{core.Deferred, core.Refused}, stage: core.StageRcpt},
		{to: []string{"", realserver.RefusedRecipient, "", realserver.DeferredRecipient}, want: []core.Outcome{core.Accepted, core.Refused, core.Accepted, core.Deferred}, stage: core.StageRcpt},
	})
	smtpFates = slices.Concat(rcptFates, []fate{
		{from: realserver.RefusedSender, to: []string{""}, want: []core.Outcome{core.Refused}, stage: core.StageMail},
		{from: realserver.RefusedSender, to: []string{"", realserver.RefusedRecipient}, want: []core.Outcome{core.Refused, core.Refused}, stage: core.StageMail},
		{to: []string{""}, want: []core.Outcome{core.Refused}, stage: core.StageContent, field: true},
		{to: []string{"", ""}, want: []core.Outcome{core.Refused, core.Refused}, stage: core.StageContent, field: true},
	})
	largeFate = []fate{{to: []string{""}, want: []core.Outcome{core.Refused}, stage: core.StageContent, large: true}}
	prdrFate  = []fate{{
		to:   []string{"", realserver.PRDRRefusedRecipient, "", realserver.PRDRDeferredRecipient},
		want: []core.Outcome{core.Accepted, core.Refused, core.Accepted, core.Deferred}, stage: core.StageContent, prdr: true,
	}}
	oddParam  = []core.Param{core.Parameter("", "X-ODD", "")}
	lmtpFates = slices.Concat(rcptFates, []fate{
		{params: oddParam, to: []string{""}, want: []core.Outcome{core.Refused}, stage: core.StageMail},
		{params: oddParam, to: []string{"", realserver.RefusedRecipient}, want: []core.Outcome{core.Refused, core.Refused}, stage: core.StageMail},
		{to: []string{realserver.FullRecipient}, want: []core.Outcome{core.Refused}, stage: core.StageContent},
		{to: []string{"", realserver.FullRecipient, "", realserver.BrokenRecipient}, want: []core.Outcome{core.Accepted, core.Refused, core.Accepted, core.Deferred}, stage: core.StageContent},
	})
)

// parcel is a message and what is to become of it.
type parcel struct {
	fate
	message *core.Message
	content []byte // what is to arrive
	receipt *core.Receipt
}

// parcels returns n messages, the same in every run. Each has one of the fates
// and content of its own, with its number in its subject and in its sender.
func parcels(t *testing.T, n int, fates []fate) []*parcel {
	t.Helper()
	random := rand.New(rand.NewPCG(uint64(n), uint64(len(fates))))
	folder := t.TempDir()
	list := make([]*parcel, n)
	for i := range list {
		p := &parcel{fate: fates[random.IntN(len(fates))]}
		p.message = &core.Message{From: fmt.Sprintf("a%d@example.test", i), Params: p.params, PerRecipient: p.prdr}
		if p.from != "" {
			p.message.From = p.from
		}
		for k, to := range p.to {
			if to == "" { // there are few: to make one takes Dovecot longer than to deliver
				to = fmt.Sprintf("m%d@example.test", (i+17*k)%50)
			}
			p.message.To = append(p.message.To, core.Recipient{Address: to})
		}
		sent := p.fill(random, i)
		kind := random.IntN(16)
		if p.large {
			kind = 1 // else its size is known, and it is not even tried
		}
		switch kind {
		case 0:
			p.message.Body = core.Reader(iotest.HalfReader(bytes.NewReader(sent)))
		case 1:
			p.message.Body = core.Reader(bytes.NewReader(sent))
		case 2, 3:
			file := filepath.Join(folder, strconv.Itoa(i))
			if err := os.WriteFile(file, sent, 0o600); err != nil {
				t.Fatal(err)
			}
			p.message.Body = core.File(file)
		case 4:
			p.message.Body = core.Segments(core.Bytes(sent[:30]), core.Render(bytes.NewReader(sent[30:]), 0))
		case 5:
			p.message.Body = core.Render(bytes.NewReader(sent), 0)
		default:
			p.message.Body = core.Bytes(sent)
		}
		list[i] = p
	}
	return list
}

// fill gives a parcel its content, and returns it as it is handed to the client:
// in some cases its line ends are still to be made right. Some of it has to be
// dot-stuffed, some has lines that would do harm as commands, and some is too
// large to leave with its envelope, or exactly as large as may.
func (p *parcel) fill(random *rand.Rand, i int) []byte {
	size := 100 + random.IntN(3000)
	switch k := random.IntN(30); {
	case p.large:
		size = sizeLimit + random.IntN(sizeLimit)
	case k == 0:
		size = 64<<10 - 2 + random.IntN(5)
	case k <= 2:
		size = 64<<10 + random.IntN(sizeLimit-70<<10)
	case k <= 6:
		size = random.IntN(40_000)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: a@example.test\r\nSubject: message %d\r\n", i)
	if p.field {
		b.WriteString(realserver.RefusedField + "yes\r\n")
	}
	b.WriteString("\r\n")
	for odd := random.IntN(3) > 0; b.Len() < size-6; {
		switch line := random.IntN(12); {
		case odd && line < 4:
			b.WriteString([]string{".", "..", ".dot", "na\xc3\xafve \xff\xfe"}[line])
		case odd && line == 4:
			b.WriteString("RSET\r\nMAIL FROM:<a@example.test>\r\nRCPT TO:<smuggled@example.test>\r\nDATA")
		case line == 5:
		default:
			fmt.Fprintf(&b, "%016x%s", random.Uint64(), strings.Repeat("x", min(random.IntN(900), max(size-b.Len()-24, 0))))
		}
		b.WriteString("\r\n")
	}
	b.WriteString(strings.Repeat("x", max(size-b.Len()-2, 1)) + "\r\n")
	p.content = b.Bytes()
	switch random.IntN(8) {
	case 0:
		return bytes.ReplaceAll(p.content, []byte("\r\n"), []byte("\n"))
	case 1:
		return p.content[:len(p.content)-2]
	}
	return p.content
}

// came returns what is wrong with what has become of a message.
func (p *parcel) came(err error) error {
	for k, r := range p.receipt.Recipients {
		e, _ := errors.AsType[*core.Error](r.Err)
		switch {
		case r.Outcome != p.want[k]:
			return fmt.Errorf("the outcomes are %s, not %v: %w", outcomes(p.receipt), p.want, err)
		case r.Outcome != core.Accepted && (e == nil || e.Stage != p.stage || r.Reply.Code < 400):
			return fmt.Errorf("%s was not refused at %v: %w", r.Address, p.stage, r.Err)
		}
	}
	if p.receipt.Attempts != 1 || (err == nil) != (p.stage == 0) {
		return fmt.Errorf("%d attempts: %w", p.receipt.Attempts, err)
	}
	return nil
}

// cameUnlessCut is came where sessions end before their time: what that has left
// undone is to be tried again, or in doubt.
func (p *parcel) cameUnlessCut(err error) error {
	if errors.Is(err, core.ErrDisconnected) {
		return p.undecided(err)
	}
	return p.came(err)
}

// undecided returns what is wrong with what has become of a message that nothing
// was to keep from being accepted but the end of a session or of a context.
func (p *parcel) undecided(err error) error {
	for k, r := range p.receipt.Recipients {
		if r.Outcome != p.want[k] && r.Outcome != core.Deferred && r.Outcome != core.Unknown {
			return fmt.Errorf("the outcomes are %s: %w", outcomes(p.receipt), err)
		}
	}
	return nil
}

// arrived checks that what the receipts say is what has arrived: once for who is
// accepted, once at most for who is unknown, for nobody else. A message without
// a receipt was not sent.
func arrived(t *testing.T, server realServer, list []*parcel) {
	t.Helper()
	server.Settle(t)
	mail, err := server.Mail()
	if err != nil {
		t.Fatal(err)
	}
	wrong := &limited{TB: t}
	copies := make([]map[string]int, len(list)) // of each message, by mailbox
	for mailbox, messages := range mail {
		for _, message := range messages {
			content, err := realserver.Content(message)
			i := numberOf(content)
			if err != nil || i < 0 || i >= len(list) || !bytes.Equal(content, list[i].content) {
				wrong.Errorf("what has arrived for %s are %d octets that were not sent, of message %d: %v", mailbox, len(content), i, err)
				continue
			}
			if copies[i] == nil {
				copies[i] = make(map[string]int)
			}
			copies[i][mailbox]++
		}
	}
	for i, p := range list {
		for k, to := range p.message.To {
			outcome := core.Pending
			if p.receipt != nil {
				outcome = p.receipt.Recipients[k].Outcome
			}
			n := copies[i][to.Address]
			delete(copies[i], to.Address)
			if n > 1 || n == 1 && outcome != core.Accepted && outcome != core.Unknown || n == 0 && outcome == core.Accepted {
				wrong.Errorf("message %d has arrived %d times for %s, who is %v", i, n, to.Address, outcome)
			}
		}
		if len(copies[i]) > 0 {
			wrong.Errorf("message %d has arrived for others too: %v", i, copies[i])
		}
	}
}

// numberOf returns the number in the subject of a parcel's content, or -1.
func numberOf(content []byte) int {
	_, rest, _ := bytes.Cut(content, []byte("\r\nSubject: message "))
	number, _, _ := bytes.Cut(rest, []byte("\r\n"))
	i, err := strconv.Atoi(string(number))
	if err != nil {
		return -1
	}
	return i
}

// limited is a test that complains ten times at most: what is wrong with a
// thousand messages is often the same.
type limited struct {
	testing.TB
	n int
}

func (l *limited) Errorf(format string, args ...any) {
	l.Helper()
	switch l.n++; {
	case l.n <= 10:
		l.TB.Errorf(format, args...)
	case l.n == 11:
		l.TB.Error("... and so on")
	}
}

// tap is a transport that looks at what is written.
type tap struct {
	core.Transport
	dialed atomic.Int32
	shared atomic.Int32 // writes in which something stands in front of RSET and MAIL
	before func(p []byte)
	after  func(p []byte)
}

// tapped puts a tap on the standard transport for the configuration's endpoint.
func tapped(a *tap) func(*core.Config) {
	return func(c *core.Config) {
		scheme, _, _ := strings.Cut(c.Endpoint, ":")
		c.Transports = slices.Clone(transport.Standard())
		i := slices.IndexFunc(c.Transports, func(t core.Transport) bool { return t.Scheme() == scheme })
		a.Transport, c.Transports[i] = c.Transports[i], a
	}
}

func (a *tap) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	conn, err := a.Transport.Dial(ctx, e)
	if err != nil {
		return nil, err
	}
	a.dialed.Add(1)
	return tappedConn{conn, a}, nil
}

type tappedConn struct {
	net.Conn
	tap *tap
}

func (c tappedConn) Write(p []byte) (int, error) {
	if sharedWrite.Match(p) {
		c.tap.shared.Add(1)
	}
	if c.tap.before != nil {
		c.tap.before(p)
	}
	n, err := c.Conn.Write(p)
	if c.tap.after != nil {
		c.tap.after(p)
	}
	return n, err
}

// The senders of messages are not those in the text of some.
var (
	sharedWrite = regexp.MustCompile(`(?s).RSET\r\nMAIL FROM:<(a\d+|banned)@`)
	mailCommand = regexp.MustCompile(`MAIL FROM:<a(\d+)@`)
)

// atDepth has two sessions, on which a tap can see what is written.
func atDepth(depth int, masked []string) func(*core.Config) {
	return func(c *core.Config) {
		c.MaxSessions, c.PipelineDepth, c.MaskExtensions, c.TLSPolicy = 2, depth, masked, core.TLSOff
	}
}

// ways are how content goes out, with the extensions that are masked for it.
var ways = map[string][]string{"BDAT": nil, "DATA": {"CHUNKING"}}

// sendAll sends parcels with SendAll, and checks what it says of each.
func sendAll(ctx context.Context, t *testing.T, c *core.Client, list []*parcel, each func(p *parcel, err error) error) error {
	t.Helper()
	wrong := &limited{TB: t}
	failed, results := 0, 0
	err := c.SendAll(ctx, func(yield func(*core.Message) bool) {
		for _, p := range list {
			if !yield(p.message) {
				return
			}
		}
	}, func(r core.Result) {
		results++
		p := list[r.Index]
		if p.receipt != nil || r.Message != p.message {
			wrong.Errorf("message %d has two results, or another's", r.Index)
		}
		if p.receipt = r.Receipt; r.Err != nil {
			failed++
		}
		if err := each(p, r.Err); err != nil {
			wrong.Errorf("message %d: %v", r.Index, err)
		}
	})
	if ctx.Err() == nil && results != len(list) {
		t.Errorf("%d results for %d messages", results, len(list))
	}
	if want := fmt.Sprintf("%d of %d messages", failed, results); (err == nil) != (failed == 0 && ctx.Err() == nil) || failed > 0 && !strings.Contains(err.Error(), want) {
		t.Errorf("%s were not accepted, and the error is %v", want, err)
	}
	return err
}

func TestDepth_onRealServers(t *testing.T) {
	for name, start := range map[string]func(t *testing.T, way string) (s realServer, endpoint string, fates []fate){
		"Postfix": func(t *testing.T, _ string) (realServer, string, []fate) {
			p := realserver.StartPostfix(t, limit)
			return p, "smtp://" + p.PlainAddr, slices.Concat(smtpFates, largeFate)
		},
		"Exim": func(t *testing.T, way string) (realServer, string, []fate) {
			e := realserver.StartExim(t, limit, "pipelining_connect_advertise_hosts =")
			fates := slices.Concat(smtpFates, prdrFate)
			if way == "DATA" { // else it takes for commands what is over the limit
				fates = append(fates, largeFate...)
			}
			return e, "smtp://" + e.Addr, fates
		},
		"Dovecot": func(t *testing.T, _ string) (realServer, string, []fate) {
			d := realserver.StartDovecot(t)
			return d, "lmtp://" + d.Addr, lmtpFates
		},
	} {
		for way, masked := range ways {
			for _, depth := range []int{1, 16} {
				t.Run(fmt.Sprintf("%s, %s, depth %d", name, way, depth), func(t *testing.T) {
					server, endpoint, fates := start(t, way)
					list := parcels(t, 1000, fates)
					var a tap
					c := reaches(t, endpoint, atDepth(depth, masked), tapped(&a))
					_ = sendAll(t.Context(), t, c, list, (*parcel).came)
					if shared, dialed := a.shared.Load(), a.dialed.Load(); shared > 0 != (depth > 1) || dialed > 2 {
						t.Errorf("%d sessions, and %d writes that several messages shared", dialed, shared)
					}
					_ = c.Close()
					arrived(t, server, list)
					wrong := &limited{TB: t}
					for _, complaint := range server.Complaints() {
						wrong.Errorf("the server complains: %s", complaint)
					}
				})
			}
		}
	}
}

// Servers that hang up after so many errors, or messages, do so while the next
// messages are on their way.
func TestDepth_realServersHangUp(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (s realServer, endpoint string){
		"Postfix": func(t *testing.T) (realServer, string) {
			p := realserver.StartPostfix(t, "smtpd_hard_error_limit = 4")
			return p, "smtp://" + p.PlainAddr
		},
		"Exim": func(t *testing.T) (realServer, string) {
			e := realserver.StartExim(t, "smtp_accept_max_per_connection = 30")
			return e, "smtp://" + e.Addr
		},
	} {
		for way, masked := range ways {
			t.Run(name+", "+way, func(t *testing.T) {
				server, endpoint := start(t)
				list := parcels(t, 300, smtpFates)
				var a tap
				c := reaches(t, endpoint, atDepth(16, masked), tapped(&a))
				cut := 0
				_ = sendAll(t.Context(), t, c, list, func(p *parcel, err error) error {
					if errors.Is(err, core.ErrDisconnected) {
						cut++
					}
					return p.cameUnlessCut(err)
				})
				if dialed := int(a.dialed.Load()); dialed < 5 || cut > dialed*16 {
					t.Errorf("%d sessions, and %d messages that their ends have struck", dialed, cut)
				}
				_ = c.Close()
				arrived(t, server, list)
			})
		}
	}
}

func TestDepth_manyGoroutines_onPostfix(t *testing.T) {
	p := realserver.StartPostfix(t, limit)
	list := parcels(t, 1000, slices.Concat(smtpFates, largeFate))
	var a tap
	c := toPostfix(t, p, "smtp://"+p.Addr, atDepth(16, nil), tapped(&a), func(c *core.Config) { c.TLSPolicy = core.TLSRequired })
	var (
		senders sync.WaitGroup
		mu      sync.Mutex
		wrong   = &limited{TB: t}
	)
	for part := range slices.Chunk(list, 10) {
		senders.Go(func() {
			for _, p := range part {
				receipt, err := c.Send(t.Context(), p.message)
				p.receipt = receipt
				if err := p.came(err); err != nil {
					mu.Lock()
					wrong.Errorf("%s: %v", p.message.To[0].Address, err)
					mu.Unlock()
				}
			}
		})
	}
	senders.Wait()
	if n := a.dialed.Load(); n != 2 {
		t.Errorf("%d sessions", n)
	}
	_ = c.Close()
	arrived(t, p, list)
	for _, complaint := range p.Complaints() {
		wrong.Errorf("the server complains: %s", complaint)
	}
}

func TestDepth_cancelledRun_onPostfix(t *testing.T) {
	for way, masked := range ways {
		t.Run(way, func(t *testing.T) {
			p := realserver.StartPostfix(t)
			list := parcels(t, 600, goodFates)
			c := reaches(t, "smtp://"+p.PlainAddr, atDepth(16, masked))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			results := 0
			err := sendAll(ctx, t, c, list[:500], func(p *parcel, err error) error {
				if results++; results == 200 {
					cancel()
				}
				if err != nil && !errors.Is(err, context.Canceled) {
					return fmt.Errorf("not the context's error: %w", err)
				}
				return p.undecided(err)
			})
			if !errors.Is(err, context.Canceled) || results == 500 {
				t.Errorf("%d results, and the error %v", results, err)
			}
			// The client has not suffered.
			if err := sendAll(t.Context(), t, c, list[500:], (*parcel).came); err != nil {
				t.Error(err)
			}
			_ = c.Close()
			arrived(t, p, list)
		})
	}
}

// A message that is cancelled harms none of those that share its session: not
// when it is just about to be written, not when it just was, and not at any
// other time.
func TestDepth_cancelledMessages_onPostfix(t *testing.T) {
	for way, masked := range ways {
		t.Run(way, func(t *testing.T) {
			p := realserver.StartPostfix(t)
			list := parcels(t, 600, goodFates)
			contexts, cancels := make([]context.Context, len(list)), make([]context.CancelFunc, len(list))
			for i := range list {
				contexts[i], cancels[i] = context.WithCancel(t.Context())
				defer cancels[i]()
			}
			const before, after, anytime, kinds = 0, 1, 2, 8
			cancel := func(p []byte, kind, ahead int) {
				for _, found := range mailCommand.FindAllSubmatch(p, -1) {
					i, _ := strconv.Atoi(string(found[1]))
					if i += ahead; i%kinds == kind && i < len(list) {
						cancels[i]()
					}
				}
			}
			a := tap{
				before: func(p []byte) { cancel(p, before, 0); cancel(p, anytime, 12) },
				after:  func(p []byte) { cancel(p, after, 0) },
			}
			c := reaches(t, "smtp://"+p.PlainAddr, atDepth(16, masked), tapped(&a))
			var (
				senders sync.WaitGroup
				mu      sync.Mutex
				wrong   = &limited{TB: t}
			)
			for i, p := range list {
				senders.Go(func() {
					receipt, err := c.Send(contexts[i], p.message)
					p.receipt = receipt
					check := p.came(err)
					if i%kinds <= anytime {
						check = p.undecided(err)
					}
					if check != nil {
						mu.Lock()
						wrong.Errorf("message %d: %v", i, check)
						mu.Unlock()
					}
				})
			}
			senders.Wait()
			_ = c.Close()
			arrived(t, p, list)
		})
	}
}
