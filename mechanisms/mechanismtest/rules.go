package mechanismtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// rule is something that holds for every mechanism.
type rule struct {
	name  string
	check func(*kit) error // says what is wrong
	// essential is of a rule without which the others cannot be checked.
	essential bool
}

var rules = [...]rule{
	{"RFC 4422 §3.1 the name is valid and always the same", (*kit).checkName, true},
	{"the server accepts it, at any PipelineDepth", (*kit).checkAccepted, true},
	{"the responses are those of the vectors", (*kit).checkVectors, false},
	{"it can be used again", (*kit).checkAgain, false},
	{"one that is abandoned does not disturb the next one", (*kit).checkAbandoned, false},
	{"two that take turns do not disturb each other", (*kit).checkInterleaved, false},
	{"many at once do not disturb each other", (*kit).checkMany, false},
	{"a context that has ended does no harm", (*kit).checkEnded, false},
	{"a context that ends is honoured", (*kit).checkEnding, false},
	{"no goroutine is left running", (*kit).checkGoroutines, false},
	{"RFC 4954 §4 whatever the server says, it returns soon, and what fits a line", (*kit).checkHostile, false},
	{"a server that proves nothing is not believed", (*kit).checkProof, false},
	{"KeepsSecret is true only if no response shows a secret", (*kit).checkKeepsSecret, false},
	{"no way of printing it shows a secret", (*kit).checkPrinted, false},
	{"its errors show no secret", (*kit).checkErrors, false},
	{"what a session logs and returns shows no secret", (*kit).checkLogs, false},
}

// kit checks one mechanism.
type kit struct {
	Config
	t      testing.TB // of the rule that is being checked
	server *smtptest.Server
	forms  []form // of the secrets

	right  *run // one that was accepted; set by checkAccepted
	trials []trial
	tried  core.Mechanism // in all of the trials
}

func newKit(config Config) (*kit, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	config.Server.RequireAuth = true
	config.Patience = cmp.Or(config.Patience, DefaultPatience)
	server, err := smtptest.StartServer(config.Server)
	if err != nil {
		return nil, err
	}
	return &kit{Config: config, server: server, forms: formsOf(config.Secrets)}, nil
}

func (k *kit) close() { _ = k.server.Close() } // a panic in an AuthFunc was a temporary refusal

var validName = regexp.MustCompile(`^[A-Z0-9_-]{1,20}$`)

func (k *kit) checkName() error {
	var names []string
	for range 2 {
		m := k.New(k.t)
		if m == nil {
			return errors.New("Config.New returned nil")
		}
		names = append(names, m.Name(), m.Name())
	}
	for _, name := range names {
		if !validName.MatchString(name) {
			return fmt.Errorf("the name is %q: use 1 to 20 upper-case letters, digits, hyphens and underscores", name)
		}
		if name != names[0] {
			return fmt.Errorf("the name is %s at one time and %s at another", names[0], name)
		}
	}
	return nil
}

// checkAccepted also remembers the exchange, for the other rules.
func (k *kit) checkAccepted() error {
	for _, depth := range []int{0, 1, 16} {
		tap := k.tap(k.New(k.t))
		err := k.send(tap, func(c *core.Config) { c.PipelineDepth = depth })
		if err == nil {
			err = tap.misconduct()
		}
		if err != nil {
			return fmt.Errorf("with a PipelineDepth of %d: %w", depth, err)
		}
		k.right = tap.runs[0]
	}
	return nil
}

// send has a client authenticate with m and send a message. It returns nil if the
// server has accepted both.
func (k *kit) send(m core.Mechanism, adjust ...func(*core.Config)) error {
	config := k.server.Config()
	config.Auth = []core.Mechanism{m}
	for _, f := range adjust {
		f(&config)
	}
	client, err := core.NewClient(config)
	if err != nil {
		return err
	}
	// More than a session takes in which each call takes what it may.
	ctx, cancel := context.WithTimeout(k.t.Context(), 20*k.Patience)
	defer cancel()
	_, err = client.Send(ctx, &core.Message{
		From: "ann@example.com", To: core.Recipients("bob@example.net"), Body: core.String("Subject: mechanismtest\r\n\r\n"),
	})
	return errors.Join(err, client.Close())
}
