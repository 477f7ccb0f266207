package mechanismtest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/dialogue"
)

// hostile is a challenge that no good server sends.
type hostile struct {
	name string
	// make makes it of the right one and of the response before.
	make func(right, last []byte, r *rand.Rand) []byte
	// near is of one that is much like the right one, and may be as good.
	near bool
	// echo is of one that shows what the client said itself.
	echo bool
}

var hostiles = [...]hostile{
	{"nothing", func(_, _ []byte, _ *rand.Rand) []byte { return nil }, false, false},
	{"an empty one", func(_, _ []byte, _ *rand.Rand) []byte { return []byte{} }, false, false},
	{"a NUL", func(_, _ []byte, _ *rand.Rand) []byte { return []byte{0} }, false, false},
	{"what is not UTF-8", func(_, _ []byte, _ *rand.Rand) []byte { return []byte("\xff\xfe\xc0\x80") }, false, false},
	{"line ends", func(_, _ []byte, _ *rand.Rand) []byte { return []byte("\r\n.\r\nQUIT\r\n") }, false, false},
	{"verbs of fmt", func(_, _ []byte, _ *rand.Rand) []byte { return []byte("%s%v%d%n%!x(") }, false, false},
	{"attributes without end", func(_, _ []byte, _ *rand.Rand) []byte { return bytes.Repeat([]byte("a=1,"), 1<<12) }, false, false},
	{"brackets without end", func(_, _ []byte, _ *rand.Rand) []byte { return bytes.Repeat([]byte(`{"a":[`), 1<<12) }, false, false},
	{"a report of failure in JSON", func(_, _ []byte, _ *rand.Rand) []byte { return []byte(`{"status":"invalid_token"}`) }, false, false},
	{"a megabyte of one letter", func(_, _ []byte, _ *rand.Rand) []byte { return bytes.Repeat([]byte("A"), 1<<20) }, false, false},
	{"a megabyte at random", func(_, _ []byte, r *rand.Rand) []byte { return random(r, 1<<20) }, false, false},
	{"one octet at random", func(_, _ []byte, r *rand.Rand) []byte { return random(r, 1) }, false, false},
	{"16 octets at random", func(_, _ []byte, r *rand.Rand) []byte { return random(r, 16) }, false, false},
	{"a thousand octets at random", func(_, _ []byte, r *rand.Rand) []byte { return random(r, 1000) }, false, false},
	{"half of the right one", func(right, _ []byte, _ *rand.Rand) []byte { return right[:len(right)/2] }, true, false},
	{"the right one without its end", func(right, _ []byte, _ *rand.Rand) []byte { return right[:max(len(right)-1, 0)] }, true, false},
	{"the right one twice", func(right, _ []byte, _ *rand.Rand) []byte { return bytes.Repeat(right, 2) }, true, false},
	{"the right one and a NUL", func(right, _ []byte, _ *rand.Rand) []byte { return append(right, 0) }, true, false},
	{"the right one with a bit that is wrong", flipped, true, false},
	{"the right one with another bit that is wrong", flipped, true, false},
	{"the right one with a third bit that is wrong", flipped, true, false},
	{"what the client said", func(_, last []byte, _ *rand.Rand) []byte { return last }, false, true},
	{"what the client said, in base64", func(_, last []byte, _ *rand.Rand) []byte { return base64.StdEncoding.AppendEncode(nil, last) }, false, true},
}

func random(r *rand.Rand, n int) []byte {
	octets := make([]byte, n)
	for i := range octets {
		octets[i] = byte(r.Uint32())
	}
	return octets
}

func flipped(right, _ []byte, r *rand.Rand) []byte {
	if len(right) > 0 {
		right[r.IntN(len(right))] ^= 1 << r.IntN(8)
	}
	return right
}

// trial is one authentication in which one challenge was hostile.
type trial struct {
	hostile *hostile
	round   int
	tap     *tap
	err     error // of the session
	log     string
}

// String says which one it is.
func (t *trial) String() string { return fmt.Sprintf("challenge %d is %s", t.round, t.hostile.name) }

// hostileTrials tries every hostile challenge in place of every right one, and
// behind the last one. All are with one value.
func (k *kit) hostileTrials() []trial {
	if k.trials != nil {
		return k.trials
	}
	k.tried = k.New(k.t)
	for round := 1; round <= k.rounds(); round++ {
		for n := range hostiles {
			// The same each time, so that a failure can be seen again.
			r := rand.New(rand.NewPCG(uint64(round), uint64(n)))
			k.trials = append(k.trials, k.try(&hostiles[n], round, r))
		}
	}
	return k.trials
}

func (k *kit) try(h *hostile, round int, r *rand.Rand) trial {
	t := trial{hostile: h, round: round, tap: k.tap(k.tried)}
	if round == k.rounds() {
		var previous []byte // the right one again, as far as there is one
		if n := len(k.right.rounds); n > 0 {
			previous = k.right.rounds[n-1].Challenge
		}
		t.tap.late = func(last []byte) []byte { return h.make(bytes.Clone(previous), bytes.Clone(last), r) }
	} else {
		t.tap.challenge = func(n int, right, last []byte) []byte {
			if n != round {
				return right
			}
			return h.make(bytes.Clone(right), bytes.Clone(last), r)
		}
	}
	t.log, t.err = k.sendLogged(t.tap)
	return t
}

// sendLogged is send, and returns what a session logs.
func (k *kit) sendLogged(m core.Mechanism) (log string, err error) {
	var text, asJSON bytes.Buffer
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	logger := slog.New(slog.NewMultiHandler(slog.NewTextHandler(&text, options), slog.NewJSONHandler(&asJSON, options)))
	show, err := dialogue.New(dialogue.Config{Logger: logger})
	if err != nil {
		return "", err
	}
	err = k.send(m, func(c *core.Config) { c.Interceptors = append(c.Interceptors, show) })
	return text.String() + asJSON.String(), err
}

// maxResponse is how many octets a response may have, so that it fits a line of
// 12288 octets in base64: RFC 4954 §4 takes that to be enough for everybody, and
// servers take no more.
const maxResponse = (12288 - len("\r\n")) / 4 * 3

func (k *kit) checkHostile() error {
	for _, t := range k.hostileTrials() {
		if err := t.tap.misconduct(); err != nil {
			return fmt.Errorf("%v: %w", &t, err)
		}
		for _, r := range t.tap.runs {
			for n, response := range r.responses() {
				if len(response) > maxResponse {
					return fmt.Errorf("%v: response %d has %d octets, and %d are what fits", &t, n, len(response), maxResponse)
				}
			}
		}
	}
	if err := k.send(k.tried); err != nil {
		return fmt.Errorf("a good server after all that: %w", err)
	}
	return nil
}

// responses returns all responses, the initial one first.
func (r *run) responses() [][]byte {
	list := [][]byte{r.initial}
	for _, round := range r.rounds {
		list = append(list, round.Response)
	}
	return list
}

// checkProof reports success before the server's last challenge, and after one
// that proves nothing.
func (k *kit) checkProof() error {
	a, _, err := start(k.t.Context(), k.Patience, k.New(k.t), k.right.peer)
	if err != nil {
		return err
	}
	err = done(k.t.Context(), k.Patience, a)
	if m, ok := err.(*misconduct); ok {
		return m
	}
	switch {
	case !k.ProvesServer:
		return nil
	case err == nil:
		return errors.New("Done accepts success right after Start, and Config.ProvesServer says that it does not")
	}
	if err := k.checkEarly(); err != nil {
		return err
	}
	for _, t := range k.hostileTrials() {
		if t.round != len(k.right.rounds) || t.hostile.near {
			continue
		}
		for _, r := range t.tap.runs {
			if r.believed {
				return fmt.Errorf("%v, and Done accepts success", &t)
			}
		}
	}
	return nil
}

// checkEarly reports success before each of the right challenges.
func (k *kit) checkEarly() error {
	m := k.New(k.t)
	for early := 2; early < k.rounds(); early++ {
		var said error
		tap := k.tap(m)
		tap.before = func(round int, a core.Authentication) error {
			if round != early {
				return nil
			}
			if said = done(k.t.Context(), k.Patience, a); said == nil {
				return fmt.Errorf("Done accepts success before challenge %d of %d", round, k.rounds()-1)
			}
			return errAbandoned
		}
		if err := k.send(tap); said == nil {
			return err
		}
	}
	return nil
}
