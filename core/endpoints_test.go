package core_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/middleware/retry"
)

func TestEndpoints_failOver(t *testing.T) {
	for _, tt := range []struct {
		rule string
		set  func(a *site)
		auth bool
		want string
	}{
		{"the first is used as long as it works", func(*site) {}, false, "a"},
		{"a connection that cannot be made moves on", func(a *site) { a.down = true }, false, "b"},
		{"a greeting 421 moves on", func(a *site) { a.greeting = "421 4.3.2 too busy" }, false, "b"},
		{"a greeting 554 moves on", func(a *site) { a.greeting = "554 5.7.1 not you" }, false, "b"},
		{"a server that cannot check credentials just now moves on", func(a *site) { a.auth = "454 4.7.0 later" }, true, "b"},
		{"credentials that are refused are not shown to another server", func(a *site) { a.auth = "535 5.7.8 no" }, true, "refused 535 5.7.8"},
		{"a refusal of the message does not move on", func(a *site) { a.mail = "550 5.1.0 no" }, false, "refused 550 5.1.0"},
		{"nor does one for the time being", func(a *site) { a.mail = "451 4.3.0 later" }, false, "deferred 451 4.3.0"},
		{"nor does a session that breaks", func(a *site) { a.mail = "CLOSE" }, false, "deferred"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := newSites("a", "b")
			s["a"].set(tt.set)
			c := s.client(t, "a b", func(config *core.Config) {
				if tt.auth {
					config.Auth = []core.Mechanism{mechanisms.Plain("user", "hunter2")}
					s["b"].auth = "235 ok"
				}
			})
			if got := goes(t, c); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if dials, _ := s["b"].counts(); dials > 0 != (tt.want == "b") {
				t.Errorf("b was dialled %d times", dials)
			}
		})
	}
}

func TestEndpoints_theErrorNamesEachThatFailed(t *testing.T) {
	s := newSites("a", "b")
	s["a"].down = true
	s["b"].greeting = "554 5.7.1 not you"
	receipt, err := s.client(t, "a b", nil).Send(t.Context(), message("b@example.com"))
	if outcomes(receipt) != "deferred" { // since a may be back soon
		t.Error(outcomes(receipt))
	}
	for _, want := range []string{"none of 2 endpoints", "connection refused", "554 5.7.1 not you"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

// A server that fails rests, is probed by a connection that no message waits
// for, and is used again.
func TestEndpoints_oneThatFailsRestsAndIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSites("a", "b")
		c := s.client(t, "a b", nil)
		s["a"].set(func(a *site) { a.down, a.slow = true, time.Second })
		dials := func(want int) {
			t.Helper()
			synctest.Wait()
			if got, _ := s["a"].counts(); got != want {
				t.Errorf("a was dialled %d times, want %d", got, want)
			}
		}
		timed := func(where string, want time.Duration) {
			t.Helper()
			began := time.Now()
			if got := goes(t, c); got != where {
				t.Errorf("it goes to %s, want %s", got, where)
			}
			if took := time.Since(began).Truncate(time.Second); took != want {
				t.Errorf("it took %v, want %v", took, want)
			}
		}
		timed("b", time.Second)
		timed("b", time.Second) // the second failure
		dials(2)
		for range 3 {
			timed("b", 0) // a rests
		}
		dials(2)
		if got := c.Endpoints()[0].State; got != core.BreakerOpen {
			t.Errorf("a is %v", got)
		}
		<-time.After(11 * time.Second)
		timed("b", 0) // the probe is nobody's to wait for
		timed("b", 0)
		dials(3)
		<-time.After(time.Second) // and fails
		timed("b", 0)
		dials(3)

		s["a"].set(func(a *site) { a.down = false })
		<-time.After(11 * time.Second)
		timed("b", 0)
		dials(4)
		<-time.After(time.Second)
		timed("a", 0) // on the session that was the probe
		dials(4)
		if got := c.Endpoints()[0].State; got != core.BreakerClosed {
			t.Errorf("a is %v", got)
		}
	})
}

func TestEndpoints_whenAllRestMessagesAreDeferredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSites("a", "b")
		c := s.client(t, "a b", nil)
		for _, a := range s {
			a.set(func(a *site) { a.down, a.slow = true, time.Second })
		}
		for range 2 {
			goes(t, c)
		}
		began := time.Now()
		receipt, err := c.Send(t.Context(), message("b@example.com"))
		if outcomes(receipt) != "deferred" || !errors.Is(err, core.ErrResting) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("%s, %v", outcomes(receipt), err)
		}
		if time.Since(began) != 0 {
			t.Errorf("it took %v", time.Since(began))
		}
		for _, a := range s {
			a.set(func(a *site) { a.down = false })
		}
		<-time.After(11 * time.Second)
		if got := goes(t, c); got != "a" { // with nowhere else to go it waits for the probe
			t.Errorf("it goes to %s", got)
		}
	})
}

// A server that takes four connections and no fifth is not at rest for those
// that it has taken.
func TestEndpoints_aRestingOneIsUsedOnTheSessionsThatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSites("a")
		c := s.client(t, "a", func(config *core.Config) { config.MaxSessions, config.PipelineDepth = 3, 1 })
		if got := goes(t, c); got != "a" {
			t.Fatal(got)
		}
		hold := make(chan struct{})
		s["a"].set(func(a *site) { a.down, a.hold = true, hold })
		var all sync.WaitGroup
		got := make([]string, 4)
		send := func(i int) { all.Go(func() { got[i] = goes(t, c) }); synctest.Wait() }
		send(0) // has the session
		send(1) // fails to open another one
		send(2) // and again: now it rests
		send(3) // waits for the session
		s["a"].set(func(a *site) { a.hold = nil })
		close(hold)
		all.Wait()
		if want := []string{"a", "deferred", "deferred", "a"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestEndpoints_keptSessionsThatDieWithTheirServerMoveOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSites("a", "b")
		c := s.client(t, "a b", nil)
		if got := goes(t, c); got != "a" {
			t.Fatal(got)
		}
		s["a"].set(func(a *site) { a.down = true })
		s["a"].hangUp()
		receipt, err := c.Send(t.Context(), message("b@example.com"))
		if err != nil || receipt.Peer.ServerName != "b" || receipt.Attempts != 1 {
			t.Errorf("%+v, %v", receipt, err)
		}
	})
}

// A retry after a session that broke begins elsewhere, though the first
// endpoint's connections work.
func TestEndpoints_theAttemptAfterABreakBeginsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSites("a", "b")
		again, err := retry.New(retry.Config{})
		if err != nil {
			t.Fatal(err)
		}
		c := s.client(t, "a b", func(config *core.Config) { config.Interceptors = append(config.Interceptors, again) })
		s["a"].set(func(a *site) { a.mail = "CLOSE" })
		receipt, err := c.Send(t.Context(), message("b@example.com"))
		if err != nil || receipt.Peer.ServerName != "b" || receipt.Attempts != 2 {
			t.Errorf("%+v, %v", receipt, err)
		}
		s["a"].set(func(a *site) { a.mail = "" })
		if got := goes(t, c); got != "a" {
			t.Errorf("the next message goes to %s", got)
		}
	})
}

func TestEndpoints_roundRobin(t *testing.T) {
	s := newSites("a", "b", "c")
	c := s.client(t, "a b c", func(config *core.Config) { config.EndpointPolicy = core.RoundRobin })
	var got []string
	for range 6 {
		got = append(got, goes(t, c))
	}
	if want := "a b c a b c"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s["b"].set(func(b *site) { b.down = true })
	s["b"].hangUp()
	for range 6 {
		if got := goes(t, c); got == "b" || got == "deferred" {
			t.Errorf("it goes to %s", got)
		}
	}
}

func TestEndpoints_leastLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSites("a", "b")
		c := s.client(t, "a b", func(config *core.Config) { config.EndpointPolicy = core.LeastLoaded })
		hold := make(chan struct{})
		s["a"].set(func(a *site) { a.hold = hold })
		var all sync.WaitGroup
		all.Go(func() {
			if got := goes(t, c); got != "a" {
				t.Errorf("the first goes to %s", got)
			}
		})
		synctest.Wait()
		for range 4 { // one after the other, so b is always the idle one
			if got := goes(t, c); got != "b" {
				t.Errorf("it goes to %s", got)
			}
		}
		close(hold)
		all.Wait()
		if _, stored := s["b"].counts(); stored != 4 {
			t.Errorf("b has %d messages", stored)
		}
	})
}

func TestEndpoints_aThousandMessagesWhileServersComeAndGo(t *testing.T) {
	s := newSites("a", "b", "c")
	again, err := retry.New(retry.Config{Attempts: -1, InitialInterval: time.Millisecond, MaxInterval: 5 * time.Millisecond, MaxElapsed: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, policy := range []core.EndpointPolicy{core.FailOver, core.RoundRobin, core.LeastLoaded} {
		t.Run(policy.String(), func(t *testing.T) {
			c := s.client(t, "a b c", func(config *core.Config) {
				config.EndpointPolicy = policy
				config.Interceptors = append([]core.Interceptor{again}, config.Interceptors...)
			})
			before := s.stored()
			var all sync.WaitGroup
			var mu sync.Mutex
			accepted, unknown := 0, 0
			for i := range 1000 {
				all.Go(func() {
					switch i % 100 {
					case 30:
						s["a"].set(func(a *site) { a.down = true })
						s["a"].hangUp()
					case 60:
						s["b"].hangUp()
					case 90:
						s["a"].set(func(a *site) { a.down = false })
					}
					receipt, err := c.Send(t.Context(), message("b@example.com"))
					mu.Lock()
					defer mu.Unlock()
					switch receipt.Recipients[0].Outcome {
					case core.Accepted:
						accepted++
					case core.Unknown:
						unknown++
					default:
						t.Errorf("%s: %v", outcomes(receipt), err)
					}
				})
			}
			all.Wait()
			if stored := s.stored() - before; stored < accepted || stored > accepted+unknown {
				t.Errorf("%d are stored, %d were accepted and %d are in doubt", stored, accepted, unknown)
			}
		})
	}
}

func (s sites) stored() (n int) {
	for _, a := range s {
		_, stored := a.counts()
		n += stored
	}
	return n
}

func TestEndpoints_shutdownEndsTheSessionsWithAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSites("a", "b")
		c := s.client(t, "a b", func(config *core.Config) { config.EndpointPolicy = core.RoundRobin })
		goes(t, c)
		goes(t, c)
		if got := c.Stats(); got.Open != 2 || got.Idle != 2 || got.MaxSessions != 2*core.DefaultMaxSessions {
			t.Errorf("%+v", got)
		}
		if err := c.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got := c.Stats(); got.Open != 0 || got.Closed != 2 {
			t.Errorf("%+v", got)
		}
		if _, err := c.Send(t.Context(), message("b@example.com")); !errors.Is(err, core.ErrClosed) {
			t.Error(err)
		}
	})
}

func TestEndpoints_aCancelEndsTheTrying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSites("a", "b")
		s["a"].down, s["a"].slow = true, time.Minute
		c := s.client(t, "a b", nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		receipt, err := c.Send(ctx, message("b@example.com"))
		if outcomes(receipt) != "deferred" || !errors.Is(err, context.Canceled) {
			t.Errorf("%s, %v", outcomes(receipt), err)
		}
		if dials, _ := s["b"].counts(); dials != 0 {
			t.Errorf("b was dialled")
		}
	})
}

func TestEndpoints_aSessionOfOnesOwnIsWithTheFirstThatAnswers(t *testing.T) {
	s := newSites("a", "b")
	s["a"].down = true
	session, err := core.Dial(t.Context(), core.Config{Endpoints: []string{"site://a", "site://b"}, Transports: []core.Transport{s}})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if got := session.Peer().ServerName; got != "b" {
		t.Errorf("it is with %s", got)
	}
}

func TestEndpoints_refusedConfigurations(t *testing.T) {
	s := newSites("a", "b")
	usual := core.Interceptor{Name: "x", Breaker: func(core.Endpoint) core.Breaker { return nil }}
	for says, config := range map[string]core.Config{
		"use one of them":    {Endpoint: "site://a", Endpoints: []string{"site://b"}},
		"is already":         {Endpoints: []string{"site://a", "site://a"}},
		"middleware/breaker": {Endpoints: []string{"site://a", "site://b"}},
		"no transport":       {Endpoints: []string{"site://a", "nowhere://b"}},
		"does not exist":     {Endpoints: []string{"site://a"}, EndpointPolicy: 7},
		"returned nil":       {Endpoint: "site://a", Interceptors: []core.Interceptor{usual}},
		"both have a Breaker": {Endpoint: "site://a", Interceptors: []core.Interceptor{usual,
			{Name: "y", Breaker: usual.Breaker}}},
	} {
		config.Transports = []core.Transport{s}
		if _, err := core.NewClient(config); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q is not in: %v", says, err)
		}
	}
}

// A server that takes connections and says nothing does not use up the time of a
// message that could go elsewhere, and the next messages do not wait for it.
func TestEndpoints_oneThatIsSilentHoldsNobodyUp(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		timeout time.Duration // of each message; zero for none
		want    []time.Duration
	}{
		{"a message spends no more than its share on it", 4 * time.Second, []time.Duration{2 * time.Second, 0, 0}},
		{"without a deadline it waits for Timeouts.Connect", 0, []time.Duration{30 * time.Second, 30 * time.Second, 0}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSites("a", "b")
				s["a"].slow = time.Hour
				c := s.client(t, "a b", func(config *core.Config) { config.Timeouts.Dial = -1 })
				for i, want := range tt.want {
					ctx, cancel := context.WithCancel(t.Context())
					if tt.timeout > 0 {
						ctx, cancel = context.WithTimeout(t.Context(), tt.timeout)
					}
					began := time.Now()
					receipt, err := c.Send(ctx, message("b@example.com"))
					cancel()
					if err != nil || receipt.Peer.ServerName != "b" {
						t.Errorf("message %d: %v", i, err)
					}
					if took := time.Since(began).Truncate(time.Second); took != want {
						t.Errorf("message %d took %v, want %v", i, took, want)
					}
				}
			})
		})
	}
}

// What is refused for good by one server is not, as long as another one was not
// asked.
func TestEndpoints_aRefusalIsForGoodOnlyIfAllWereAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSites("a", "b")
		s["a"].greeting = "554 5.7.1 not you"
		s["b"].down = true
		c := s.client(t, "b a", func(config *core.Config) { config.EndpointPolicy = core.RoundRobin })
		for i := range 10 {
			receipt, err := c.Send(t.Context(), message("b@example.com"))
			if got := receipt.Recipients[0].Outcome; got != core.Deferred {
				t.Errorf("message %d is %v: %v", i, got, err)
			}
		}
	})
}

// Credentials that are refused, or cannot be had, say nothing about the server.
func TestEndpoints_credentialsAreNoReasonToRest(t *testing.T) {
	for rule, tt := range map[string]struct {
		source mechanisms.Source
		want   core.Outcome
	}{
		"refused":           {mechanisms.Static("user", "hunter2"), core.Refused},
		"not to be had":     {func(context.Context) (string, string, error) { return "", "", errors.New("vault: 503") }, core.Deferred},
		"asked for in vain": {func(ctx context.Context) (string, string, error) { <-ctx.Done(); return "", "", ctx.Err() }, core.Deferred},
	} {
		t.Run(rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSites("a", "b")
				s["a"].auth, s["b"].auth = "535 5.7.8 no", "235 ok"
				c := s.client(t, "a b", func(config *core.Config) {
					config.Auth = []core.Mechanism{mechanisms.From(tt.source, mechanisms.Plain)}
					config.Timeouts.Auth = time.Second
				})
				for range 5 {
					receipt, err := c.Send(t.Context(), message("b@example.com"))
					if got := receipt.Recipients[0].Outcome; got != tt.want {
						t.Errorf("%v: %v", got, err)
					}
				}
				for _, e := range c.Endpoints() {
					if e.State != core.BreakerClosed {
						t.Errorf("%s is %v", e.Endpoint.URL, e.State)
					}
				}
				if s.stored() > 0 {
					t.Error("a message was sent")
				}
			})
		})
	}
}
