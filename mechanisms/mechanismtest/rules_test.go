package mechanismtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A mechanism that keeps all the rules passes.
func TestRun(t *testing.T) {
	config := faulty(func(*sample) {})
	config.Blocked = blocked(func(ctx context.Context, _ *sampleRun) error {
		<-ctx.Done()
		return fmt.Errorf("no key: %w", ctx.Err())
	})
	Run(t, config)
}

// One that breaks a rule fails the test, which names the rule. It is run in a
// process of its own, in this same test.
func TestRun_fails(t *testing.T) {
	const variable = "MECHANISMTEST_RUN_FAILS"
	if os.Getenv(variable) != "" {
		Run(t, faulty(func(s *sample) { s.done = func(*sampleRun) error { return nil } }))
		return
	}
	test := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRun_fails$", "-test.v")
	test.Env = append(os.Environ(), variable+"=1")
	out, err := test.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		t.Fatalf("error %v, output\n%s", err, out)
	}
	for _, want := range []string{
		"--- FAIL: TestRun_fails/a_server_that_proves_nothing_is_not_believed ",
		"Done accepts success right after Start, and Config.ProvesServer says that it does not",
		"--- PASS: TestRun_fails/no_way_of_printing_it_shows_a_secret ",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if n := strings.Count(string(out), "    --- FAIL: "); n != 1 {
		t.Errorf("%d rules are broken, and not 1:\n%s", n, out)
	}
}

func TestConfig_check(t *testing.T) {
	for says, change := range map[string]func(*Config){
		"Config.New is nil":                        func(c *Config) { c.New = nil },
		"Config.Secrets is nil":                    func(c *Config) { c.Secrets = nil },
		"Config.Patience is negative":              func(c *Config) { c.Patience = -1 },
		"secret 1 of Config.Secrets has 5 octets":  func(c *Config) { c.Secrets = []string{"123456", "12345"} },
		"Config.Server accepts no mechanism":       func(c *Config) { c.Server = smtptest.ServerOptions{} },
		"ServerOptions.Mechanisms[\"X-S\"] is nil": func(c *Config) { c.Server.Mechanisms = map[string]smtptest.AuthFunc{"X-S": nil} },
	} {
		config := faulty(func(*sample) {})
		change(&config)
		if _, err := newKit(config); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one with %q", err, says)
		}
	}
}

// Every fault is found by the rule that it breaks.
func TestRules(t *testing.T) {
	forever := make(chan struct{}) // what never returns does so when the test ends
	t.Cleanup(func() { close(forever) })
	tested := map[string]bool{}
	for _, tt := range faults(forever) {
		t.Run(tt.rule+"/"+tt.fault, func(t *testing.T) {
			tt.config.Patience = tt.patience
			k, err := newKit(tt.config)
			if err != nil {
				t.Fatal(err)
			}
			defer k.close()
			for _, r := range rules {
				var err error
				t.Run(r.name, func(t *testing.T) {
					k.t = t
					err = r.check(k)
					switch {
					case r.name == tt.rule:
						tested[r.name] = true
						if err == nil || !strings.Contains(err.Error(), tt.says) {
							t.Errorf("error %v, want one with %q", err, tt.says)
						}
					case err != nil && !tt.more:
						t.Errorf("broken too: %v", err)
					}
					if strings.Contains(fmt.Sprint(err), secret) {
						t.Errorf("the kit itself shows a secret: %v", err)
					}
				})
				if err != nil && r.essential {
					break
				}
			}
		})
	}
	for _, r := range rules {
		if !tested[r.name] {
			t.Errorf("nothing that breaks the rule %q was tried", r.name)
		}
	}
}

// faulty has the kit check samples with a fault.
func faulty(fault func(*sample)) Config {
	return sampleConfig(func() core.Mechanism {
		s := newSample()
		fault(s)
		return s
	})
}

// blocked returns samples that wait in Start.
func blocked(starting func(context.Context, *sampleRun) error) func(testing.TB) core.Mechanism {
	return func(testing.TB) core.Mechanism {
		s := newSample()
		s.starting = starting
		return s
	}
}
