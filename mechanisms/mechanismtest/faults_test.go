package mechanismtest

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
)

// fault is a mechanism that breaks a rule.
type fault struct {
	rule, fault string
	says        string // what the rule says of it
	config      Config
	patience    time.Duration // for what does not return at all; zero is the usual one
	more        bool          // it cannot but break others too
}

const (
	ruleName        = "RFC 4422 §3.1 the name is valid and always the same"
	ruleAccepted    = "the server accepts it, at any PipelineDepth"
	ruleVectors     = "the responses are those of the vectors"
	ruleAgain       = "it can be used again"
	ruleAbandoned   = "one that is abandoned does not disturb the next one"
	ruleInterleaved = "two that take turns do not disturb each other"
	ruleMany        = "many at once do not disturb each other"
	ruleEnded       = "a context that has ended does no harm"
	ruleEnding      = "a context that ends is honoured"
	ruleGoroutines  = "no goroutine is left running"
	ruleHostile     = "RFC 4954 §4 whatever the server says, it returns soon, and what fits a line"
	ruleProof       = "a server that proves nothing is not believed"
	ruleKeeps       = "KeepsSecret is true only if no response shows a secret"
	rulePrinted     = "no way of printing it shows a secret"
	ruleErrors      = "its errors show no secret"
	ruleLogs        = "what a session logs and returns shows no secret"
)

func faults(forever <-chan struct{}) []fault {
	var list []fault
	for _, some := range [][]fault{nameFaults(), wireFaults(), stateFaults(), contextFaults(forever), hostileFaults(forever), proofFaults(), secretFaults()} {
		list = append(list, some...)
	}
	return list
}

func nameFaults() []fault {
	return []fault{
		{rule: ruleName, fault: "lower case", says: `"x-sample"`, config: faulty(func(s *sample) {
			s.name = func() string { return "x-sample" }
		})},
		{rule: ruleName, fault: "21 characters", says: `"X-ABCDEFGHIJKLMNOPQRS"`, config: faulty(func(s *sample) {
			s.name = func() string { return "X-ABCDEFGHIJKLMNOPQRS" }
		})},
		{rule: ruleName, fault: "another one each time", says: "X-1 at one time and X-2 at another", config: faulty(func(s *sample) {
			n := 0
			s.name = func() string { n++; return fmt.Sprint("X-", n) }
		})},
		{rule: ruleName, fault: "no mechanism at all", says: "returned nil", config: sampleConfig(func() core.Mechanism { return nil })},
	}
}

func wireFaults() []fault {
	wrong := faulty(func(*sample) {})
	wrong.Vectors[0].Rounds[0].Response = []byte("other")
	none := faulty(func(*sample) {})
	none.Vectors[0].Initial = nil
	empty := faulty(func(s *sample) {
		s.starting = func(_ context.Context, r *sampleRun) error { r.nonce = ""; return nil }
	})
	empty.Vectors[0].Initial = nil
	early := faulty(func(*sample) {})
	early.Vectors[0].Rounds = early.Vectors[0].Rounds[:1]
	return []fault{
		{rule: ruleAccepted, fault: "a wrong key", says: "535 5.7.8 wrong key", config: faulty(func(s *sample) {
			s.key = func() string { return "battery staple" }
		})},
		{rule: ruleAccepted, fault: "a panic", says: "Start panics: oh", config: faulty(func(s *sample) {
			s.starting = func(context.Context, *sampleRun) error { panic("oh") }
		})},
		{rule: ruleAccepted, fault: "a name that the server does not know", says: "no common mechanism", config: faulty(func(s *sample) {
			s.name = func() string { return "X-OTHER" }
		})},
		{rule: ruleVectors, fault: "another response", says: `by hand: challenge 1, "nonce 1": the response is "`, config: wrong},
		{rule: ruleVectors, fault: "an initial response where there is to be none", says: `the initial response is "c", and not none (nil)`, config: none},
		{rule: ruleVectors, fault: "an empty one where there is to be none", says: "the initial response is an empty one, and not none (nil)", config: empty},
		{rule: ruleVectors, fault: "behind it success is not accepted", says: "the server's success is not accepted: ", config: early},
	}
}

// stateFaults keep in the mechanism what belongs to a run.
func stateFaults() []fault {
	many := faulty(func(*sample) {})
	many.New = func(t testing.TB) core.Mechanism {
		s := newSample()
		if strings.HasSuffix(t.Name(), "/many_at_once_do_not_disturb_each_other") { // others would wait for ever
			var using sync.Mutex
			second := make(chan struct{})
			come := sync.OnceFunc(func() { close(second) })
			s.starting = func(context.Context, *sampleRun) error {
				if !using.TryLock() {
					come()
					return errors.New("in use")
				}
				defer using.Unlock()
				<-second
				return nil
			}
		}
		return s
	}
	return []fault{
		{rule: ruleAgain, fault: "a nonce that is good once", says: "the second authentication with one value: ", more: true, config: faulty(func(s *sample) {
			var used atomic.Bool
			s.done = func(r *sampleRun) error {
				used.Store(used.Load() || r.proven)
				return (&sampleRun{sample: newSample(), proven: r.proven}).Done(context.Background())
			}
			s.starting = func(context.Context, *sampleRun) error {
				if used.Load() {
					return errors.New("used up")
				}
				return nil
			}
		})},
		{rule: ruleAbandoned, fault: "a flag that only Done takes back", says: "after one that was abandoned before the answer to challenge 1: ", more: true, config: faulty(func(s *sample) {
			var busy atomic.Bool
			s.starting = func(context.Context, *sampleRun) error {
				if !busy.CompareAndSwap(false, true) {
					return errors.New("in use")
				}
				return nil
			}
			s.done = func(r *sampleRun) error {
				busy.Store(false)
				return (&sampleRun{sample: newSample(), proven: r.proven}).Done(context.Background())
			}
		})},
		{rule: ruleInterleaved, fault: "the nonce", says: "one between whose steps others were begun and ended: ", more: true, config: faulty(func(s *sample) {
			var mu sync.Mutex
			var nonce string
			s.starting = func(_ context.Context, r *sampleRun) error {
				mu.Lock()
				defer mu.Unlock()
				nonce = r.nonce
				return nil
			}
			s.next = func(_ context.Context, r *sampleRun, challenge []byte) ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				r.nonce = nonce
				return r.respond(challenge)
			}
		})},
		{rule: ruleMany, fault: "one thing at a time", says: "one of 16: ", config: many},
	}
}

func contextFaults(forever <-chan struct{}) []fault {
	deaf := faulty(func(*sample) {})
	deaf.Blocked = blocked(func(context.Context, *sampleRun) error { <-forever; return nil })
	mute := faulty(func(*sample) {})
	mute.Blocked = blocked(func(ctx context.Context, _ *sampleRun) error { <-ctx.Done(); return errors.New("no key") })
	ready := faulty(func(*sample) {})
	ready.Blocked = blocked(func(context.Context, *sampleRun) error { return nil })
	return []fault{
		{rule: ruleEnded, fault: "a panic", says: "Start panics: oh", more: true, config: faulty(func(s *sample) {
			s.starting = func(ctx context.Context, _ *sampleRun) error {
				if ctx.Err() != nil {
					panic("oh")
				}
				return nil
			}
		})},
		{rule: ruleEnded, fault: "the error is remembered", says: "the next one: ", more: true, config: faulty(func(s *sample) {
			var once sync.Once
			var err error
			s.starting = func(ctx context.Context, _ *sampleRun) error {
				once.Do(func() { err = ctx.Err() })
				return err
			}
		})},
		{rule: ruleEnding, fault: "it waits on", says: "in a context that has ended: ", patience: 300 * time.Millisecond, config: deaf, more: true},
		{rule: ruleEnding, fault: "the error hides why", says: "in a context that ends after a while: the error is not of the kind context.Canceled: no key", config: mute},
		{rule: ruleEnding, fault: "the author forgot to have it wait", says: "it did not wait for anything", config: ready},
		{rule: ruleEnding, fault: "the error of Next hides why", says: "the answer to challenge 2: the error is not of the kind context.Canceled: oh", config: faulty(func(s *sample) {
			s.next = func(ctx context.Context, r *sampleRun, challenge []byte) ([]byte, error) {
				if r.answered {
					select {
					case <-ctx.Done():
						return nil, errors.New("oh")
					default:
					}
				}
				return r.respond(challenge)
			}
		})},
		{rule: ruleGoroutines, fault: "one for each Start", says: "found unexpected goroutines", config: faulty(func(s *sample) {
			s.starting = func(context.Context, *sampleRun) error {
				go func() { <-forever }()
				return nil
			}
		})},
	}
}

func hostileFaults(forever <-chan struct{}) []fault {
	// f answers what a good server does not ask first.
	onGarbage := func(f func(r *sampleRun, challenge []byte) ([]byte, error)) Config {
		return faulty(func(s *sample) {
			s.next = func(_ context.Context, r *sampleRun, challenge []byte) ([]byte, error) {
				if r.answered || bytes.HasPrefix(challenge, []byte("nonce ")) {
					return r.respond(challenge)
				}
				return f(r, challenge)
			}
		})
	}
	return []fault{
		{rule: ruleHostile, fault: "a panic", says: "challenge 1 is nothing: Next panics: runtime error: index out of range [0] with length 0",
			config: onGarbage(func(r *sampleRun, challenge []byte) ([]byte, error) {
				_ = challenge[0]
				return r.respond(challenge)
			})},
		{rule: ruleHostile, fault: "a response as long as the challenge", says: "challenge 1 is attributes without end: response 1 has 16384 octets, and 9213 are what fits",
			config: onGarbage(func(_ *sampleRun, challenge []byte) ([]byte, error) { return challenge, nil })},
		{rule: ruleHostile, fault: "a search without end", says: "challenge 1 is a megabyte of one letter: Next has not returned after 1s", patience: time.Second, more: true,
			config: onGarbage(func(r *sampleRun, challenge []byte) ([]byte, error) {
				if len(challenge) == 1<<20 && challenge[0] == challenge[1] {
					<-forever
				}
				return r.respond(challenge)
			})},
		{rule: ruleHostile, fault: "another mechanism after a refusal", says: "Refused returns X-OTHER, which is not the same mechanism", config: faulty(func(s *sample) {
			s.refused = func(*core.Error) core.Mechanism {
				return &sample{name: func() string { return "X-OTHER" }}
			}
		})},
		{rule: ruleHostile, fault: "no use any more", says: "a good server after all that: ", config: faulty(func(s *sample) {
			var insulted atomic.Bool
			s.next = func(_ context.Context, r *sampleRun, challenge []byte) ([]byte, error) {
				if len(challenge) == 1<<20 {
					insulted.Store(true)
				}
				if insulted.Load() {
					return nil, errors.New("no more")
				}
				return r.respond(challenge)
			}
		}), more: true},
	}
}

func proofFaults() []fault {
	return []fault{
		{rule: ruleProof, fault: "Done believes anybody", says: "right after Start", config: faulty(func(s *sample) {
			s.done = func(*sampleRun) error { return nil }
		})},
		{rule: ruleProof, fault: "Done believes who has asked for something", says: "Done accepts success before challenge 2 of 2", config: faulty(func(s *sample) {
			s.done = func(r *sampleRun) error {
				if !r.answered {
					return errors.New("the server has asked for nothing")
				}
				return nil
			}
		})},
		{rule: ruleProof, fault: "an empty proof is as good", says: "challenge 2 is nothing, and Done accepts success", config: faulty(func(s *sample) {
			s.next = func(_ context.Context, r *sampleRun, challenge []byte) ([]byte, error) {
				if r.answered && !r.proven && len(challenge) == 0 {
					r.proven = true
					return nil, nil
				}
				return r.respond(challenge)
			}
		})},
		{rule: ruleProof, fault: "Done panics where nothing was said", says: "Done panics: oh", config: faulty(func(s *sample) {
			s.done = func(r *sampleRun) error {
				if !r.answered {
					panic("oh")
				}
				return (&sampleRun{sample: newSample(), proven: r.proven}).Done(context.Background())
			}
		})},
	}
}

// The ways to show a secret.

// plainSample holds its key where fmt sees it.
type plainSample struct {
	sample
	password string
}

func (plainSample) Name() string { return "X-SAMPLE" }

// halfSample has a String, which is not called in the field of a struct that is
// not exported, and not for %#v and %d.
type halfSample struct {
	core.Mechanism
	password []byte
}

func (halfSample) String() string { return "X-SAMPLE" }

// openSample shows its key to encoders.
type openSample struct{ core.Mechanism }

func (*openSample) MarshalText() ([]byte, error) { return []byte(secret), nil }

func secretFaults() []fault {
	said := func(config Config, add string) Config {
		inner := config.New
		config.New = func(t testing.TB) core.Mechanism {
			s := inner(t).(*sample)
			s.next = func(_ context.Context, r *sampleRun, challenge []byte) ([]byte, error) {
				response, err := r.respond(challenge)
				if err == nil && !r.proven {
					response = append(response, add...)
				}
				return response, err
			}
			return s
		}
		config.Vectors = nil
		return config
	}
	printed := func(made func() core.Mechanism) Config {
		config := sampleConfig(made)
		config.Vectors = nil // their nonce is that of a sample
		return config
	}
	failing := func(err error) Config {
		return faulty(func(s *sample) {
			s.next = func(_ context.Context, r *sampleRun, challenge []byte) ([]byte, error) {
				response, e := r.respond(challenge)
				if e != nil {
					e = err
				}
				return response, e
			}
		})
	}
	return []fault{
		{rule: ruleKeeps, fault: "as it is", says: "response 1 to the server: it shows secret 0", config: said(faulty(func(*sample) {}), " "+secret)},
		{rule: ruleKeeps, fault: "in the base64 of something longer", says: "response 1 to the server: it shows secret 0 in base64",
			config: said(faulty(func(*sample) {}), base64.StdEncoding.EncodeToString([]byte("ann\x00"+secret+"\x00")))},
		{rule: rulePrinted, fault: "a field", says: "the mechanism: with %#v it shows secret 0", config: printed(func() core.Mechanism {
			return &plainSample{sample: *newSample(), password: secret}
		})},
		{rule: rulePrinted, fault: "a String that does not help", says: "the mechanism: with %#v it shows secret 0 as a list of octets", config: printed(func() core.Mechanism {
			return halfSample{newSample(), []byte(secret)}
		})},
		{rule: rulePrinted, fault: "JSON", says: "its JSON: it shows secret 0", config: printed(func() core.Mechanism {
			return &openSample{newSample()}
		})},
		{rule: ruleErrors, fault: "as it is", says: "the error: with %v it shows secret 0", config: failing(errors.New("not for " + secret)), more: true},
		{rule: ruleErrors, fault: "in hexadecimal", says: "it shows secret 0 in hexadecimal", config: failing(fmt.Errorf("not for %x", secret)), more: true},
		{rule: ruleErrors, fault: "in base64", says: "it shows secret 0 in base64", config: failing(errors.New("not for " + base64.StdEncoding.EncodeToString([]byte("k:"+secret)))), more: true},
		{rule: ruleErrors, fault: "in a field of the error", says: "with %#v it shows secret 0", config: failing(&fieldError{secret}), more: true},
		{rule: ruleLogs, fault: "in the hint of a refusal", says: "the session's error: with %v it shows secret 0", config: faulty(func(s *sample) {
			s.refused = func(e *core.Error) core.Mechanism {
				e.Hint = "is the key " + secret + "?"
				return nil
			}
		})},
	}
}

// fieldError shows its key only to who looks at its fields.
type fieldError struct{ key string }

func (*fieldError) Error() string { return "no" }
