package interceptortest

import (
	"maps"
	"runtime"

	"github.com/postrider/postrider/core"
)

// What holds for each call of an interceptor, whatever the server does.
const (
	ruleReturns   = "it returns"
	ruleNoPanic   = "it does not panic"
	ruleCallsNext = "it calls next, or returns an error"
	ruleOnce      = "it calls next at most once, but for a delivery, which calls it again when it has returned"
	ruleInTime    = "it calls next before it returns, and returns after next has"
	ruleContext   = "it hands on the context that it gets"
	ruleErrors    = "it hands on the errors of next"
	ruleReplies   = "it leaves replies and results as they are"
	ruleBody      = "a body yields what its Size and Form say, each time"
	ruleKeeps     = "it keeps no value when it has returned"
	ruleLeaves    = "it leaves no goroutine behind"
)

// conductRules returns the rules that are looked at together: all situations are
// played once, between the two sides of a probe, and the first case does that.
func (r *run) conductRules() (list []rule) {
	for _, name := range []string{ruleReturns, ruleNoPanic, ruleCallsNext, ruleOnce, ruleInTime, ruleContext, ruleErrors, ruleReplies, ruleBody, ruleKeeps, ruleLeaves} {
		look := func(b *bench) { b.found = append(b.found, b.conducts()[name]...) }
		list = append(list, rule{name: name, conduct: true, cases: []testCase{{"", look}}})
	}
	return list
}

// conducts returns what was found of the interceptor's conduct, by rule.
func (b *bench) conducts() map[string][]string {
	if b.run.conduct == nil {
		p := &probe{calls: map[any]*call{}, found: map[string][]string{}}
		b.watch(p, b.interceptor())
		p.mu.Lock()
		defer p.mu.Unlock()
		b.run.conduct = maps.Clone(p.found)
	}
	return b.run.conduct
}

// watch has the probe look at the interceptor in all situations, and at what is
// left when they are over.
func (b *bench) watch(p *probe, i core.Interceptor) {
	b.playAll(p, i)
	if !b.stuck.Load() {
		b.found = nil // other rules are about that
	}
	// The clients are still there when they are closed, with what the
	// interceptor's functions keep for each.
	clients := b.clients
	b.close()
	if b.stuck.Load() {
		p.note(ruleReturns, "%s", b.found[len(b.found)-1])
		b.found = nil
		return
	}
	b.found = nil
	if left := b.leftBehind(); left != "" {
		b.run.leaked = true
		p.note(ruleLeaves, "these goroutines are there when every client and server is closed:\n%s", left)
	}
	for kind := range p.keptKinds() {
		p.note(ruleKeeps, "a %s is still referred to when it is over, and the client closed", kind)
	}
	// Without the probe a client would use sessions that were not opened.
	b.run.over = i.Connect != nil && p.has(ruleErrors)
	runtime.KeepAlive(clients)
	runtime.KeepAlive(i)
}

// keptKinds returns the kinds of the values that are referred to by anybody.
func (p *probe) keptKinds() map[string]bool {
	p.mu.Lock()
	list := p.kept
	p.mu.Unlock()
	var kinds map[string]bool
	const tries = 10 // what is in a sync.Pool takes two
	for range tries {
		runtime.GC()
		kinds = map[string]bool{}
		for _, k := range list {
			if k.alive() {
				kinds[k.kind] = true
			}
		}
		if len(kinds) == 0 {
			break
		}
	}
	return kinds
}

// playAll plays each situation on each kind of session, and then has next fail in
// each way.
func (b *bench) playAll(p *probe, i core.Interceptor) {
	for _, s := range sessions() {
		for _, x := range situations() {
			if !x.happens(s) {
				continue
			}
			if b.play(s, x, p.around(i)); b.stuck.Load() {
				return
			}
		}
		for _, f := range faults() {
			if b.playFault(s, f, p.around(i)); b.stuck.Load() {
				return
			}
		}
	}
}
