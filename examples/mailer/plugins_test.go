//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/postrider/postrider/core/smtptest"
)

func TestPlugin_badDeclarations(t *testing.T) {
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	sending := []string{"send", "-url", s.URL(), "-from", "me@example.com", "-to", "you@example.net", "-json", file(t, mail)}
	for rule, tt := range map[string]struct {
		plugins string
		says    string
	}{
		"a number":                  {`5`, "use an object such as"},
		"no path":                   {`{"name":"x"}`, "is not absolute"},
		"a relative path":           {`{"path":"plugin"}`, "is not absolute"},
		"a checksum that is none":   {`{"path":"/p","sha256":"x"}`, "64 hexadecimal digits: mailer plugin verify prints it"},
		"a field that there is not": {`{"path":"/p","checksum":"x"}`, `unknown field "checksum"`},
		"nothing of it":             {`{"path":"/p","use":{}}`, "nothing of it is to be used"},
		"a time":                    {`{"path":"/p","call-timeout":"soon"}`, "is no time"},
		"a word without a checksum": {`"/p@sha256:"`, "no checksum"},
		"no such binary":            {`{"path":"/nonexistent/plugin"}`, "install it there"},
		"another checksum":          {plugin(t, "well", `"sha256":"`+strings.Repeat("0", 64)+`"`), "declare the checksum that it has"},
		"two that have the same":    {plugin(t, "well") + "," + plugin(t, "well"), `both have the mechanism X-TEST: say with "use"`},
		"what it does not have":     {plugin(t, "well", `"use":{"transports":["smtp"]}`), "it has no transport smtp"},
		"one that has our scheme":   {plugin(t, "smtp"), "which is built in: leave it out"},
		"a mechanism not at ease":   {plugin(t, "uneasy"), "it has no key"},
	} {
		t.Run(rule, func(t *testing.T) {
			r := mailer(t, append(sending, "-config", declaring(t, tt.plugins))...)
			r.ends(t, 78, tt.says)
			if r.stdout != "" || strings.Contains(r.stderr, "Config.") {
				t.Errorf("output %q, errors %q", r.stdout, r.stderr)
			}
		})
	}
	mailer(t, append(sending, "-config", file(t, `{"plugins":"/p"}`))...).ends(t, 78, "use a list")
	mailer(t, append(sending, "-plugins", "plugin")...).ends(t, 64, "is not absolute")
	mailerWith(t, "", []string{"POSTRIDER_PLUGINS=plugin"}, sending...).ends(t, 78, "POSTRIDER_PLUGINS")
	// 64 comes before 78, and before a plugin is started.
	mailer(t, append(sending, "-plugins", "/nonexistent", "-key", "x")...).ends(t, 64)
	mailer(t, append(sending, "-plugins", "/nonexistent", "-interceptors", "ratelimit")...).ends(t, 64)
	// What no plugin has.
	well := declaring(t, plugin(t, "well"))
	mailer(t, append(sending, "-config", well, "-mech", "x-other")...).ends(t, 64, `no mechanism "X-OTHER": the plugins have X-TEST`)
	mailer(t, append(sending, "-config", well, "-mech", "plain")...).ends(t, 64, "PLAIN")
	mailer(t, append(sending, "-config", well, "-interceptors", "other")...).ends(t, 64, `no interceptor "other"`)
	mailer(t, append(sending, "-config", well, "-mech", "X-TEST", "-user", "me", "-password-file", file(t, "x"))...).ends(t, 64, "has its own credentials")
	sending[2] = "other://x"
	mailer(t, append(sending, "-config", well)...).ends(t, 64, "there are lmtp, ")
	if n := len(s.Messages()); n > 0 {
		t.Errorf("%d messages were sent", n)
	}
}

func TestPlugin_mechanism(t *testing.T) {
	nothingLeft := private(t)
	secret := file(t, "secret\n")
	both := tickets()
	both.Users = map[string]string{"me": "secret"}
	for rule, tt := range map[string]struct {
		options   smtptest.ServerOptions
		mode      string
		more      []string
		mechanism string
	}{
		"by its name, in any case":             {tickets(), "well", []string{"-mech", "x-test"}, "X-TEST"},
		"of itself":                            {tickets(), "well", nil, "X-TEST"},
		"before a password":                    {both, "well", []string{"-user", "me", "-password-file", secret}, "X-TEST"},
		"another one that was asked for":       {both, "well", []string{"-user", "me", "-password-file", secret, "-mech", "plain"}, "PLAIN"},
		"one that is built in, without secret": {smtptest.ServerOptions{Users: both.Users}, "password", []string{"-mech", "plain"}, "PLAIN"},
	} {
		t.Run(rule, func(t *testing.T) {
			s := smtptest.NewServer(t, tt.options)
			args := append(tt.more, "-config", declaring(t, plugin(t, tt.mode)))
			r := mailer(t, to(s.URL(), append(args, file(t, mail), file(t, mail))...)...)
			r.ends(t, 0)
			if len(r.results) != 2 || r.results[1].Mechanism != tt.mechanism {
				t.Errorf("got %s", r.stdout)
			}
			f, r := look(t, append([]string{"-url", s.URL()}, args...)...)
			r.ends(t, 0)
			if f.Mechanism.Chosen != tt.mechanism {
				t.Errorf("probe: %s", r.stdout)
			}
		})
	}
	// What is declared is used: a server without it gets nothing.
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	mailer(t, to(s.URL(), "-config", declaring(t, plugin(t, "well")), file(t, mail))...).ends(t, 77)
	mailer(t, to(s.URL(), "-config", declaring(t, plugin(t, "well", `"use":{"signers":["key"]}`)), file(t, mail))...).ends(t, 0)
	nothingLeft()
}

func TestPlugin_signer(t *testing.T) {
	nothingLeft := private(t)
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	sign := func(signer string) string {
		return fmt.Sprintf(`"interceptors":["headers",{"name":"dkim","domain":"example.com","selector":"s",%s}]`, signer)
	}
	config := declaring(t, plugin(t, "key"), sign(`"signer":"example.com"`))
	mailer(t, to(s.URL(), "-config", config, file(t, mail))...).ends(t, 0)
	if got := string(s.Messages()[0].Content); !strings.Contains(got, "DKIM-Signature: ") || !strings.Contains(got, "a=ed25519-sha256") {
		t.Errorf("got %s", got)
	}
	r := mailer(t, "pipeline", "-config", config)
	r.ends(t, 0)
	if !strings.Contains(r.stdout, "2  dkim ") {
		t.Errorf("got %s", r.stdout)
	}
	for says, bad := range map[string]string{
		`there is no signer "x": the plugins have example.com`: declaring(t, plugin(t, "key"), sign(`"signer":"x"`)),
		`declare the plugin that has it`:                       declaring(t, "", sign(`"signer":"x"`)),
		`either "key-file" or the "signer" of a plugin`:        declaring(t, "", sign(`"signer":"x","key-file":"y"`)),
	} {
		mailer(t, to(s.URL(), "-config", bad, file(t, mail))...).ends(t, 78, says)
	}
	nothingLeft()
}

func TestPlugin_transport(t *testing.T) {
	nothingLeft := private(t)
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	config := declaring(t, plugin(t, "tunnel"))
	url := strings.Replace(s.URL(), "smtp:", "test+tcp:", 1)
	r := mailer(t, to(url, "-config", config, file(t, mail))...)
	r.ends(t, 0)
	if got := r.one(t).Server; len(s.Messages()) != 1 || got != strings.TrimPrefix(s.URL(), "smtp://") {
		t.Errorf("got %s", r.stdout)
	}
	if f, r := look(t, "-url", url, "-config", config); r.status != 0 || f.Greeting.Code != 220 {
		t.Errorf("probe: %s%s", r.stdout, r.stderr)
	}
	r = mailer(t, to("test+tcp://127.0.0.1:1", "-config", config, file(t, mail))...)
	r.ends(t, 75)
	if r.one(t).Error.Stage != "connect" {
		t.Errorf("got %s", r.stdout)
	}
	mailer(t, to("test+tcp://127.0.0.1", "-config", config, file(t, mail))...).ends(t, 64, "the tunnel needs a port")
	nothingLeft()
}

func TestPlugin_interceptor(t *testing.T) {
	nothingLeft := private(t)
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	config := declaring(t, plugin(t, "policy"))
	for rule, tt := range map[string]struct {
		to       string
		status   int
		outcome  string
		arrives  string
		attempts int
	}{
		"0 admitted":   {"you@example.net", 0, "accepted", "you@example.net", 1},
		"0 redirected": {"old@example.net", 0, "accepted", "new@example.net", 1},
		"69 refused":   {"refused@example.net", 69, "refused", "", 0},
		"75 put off":   {"deferred@example.net", 75, "deferred", "", 0},
		"75 it ends":   {"crash@example.net", 75, "deferred", "", 0},
	} {
		t.Run(rule, func(t *testing.T) {
			before := len(s.Messages())
			r := mailer(t, "send", "-url", s.URL(), "-from", "me@example.com", "-to", tt.to, "-json", "-config", config, file(t, mail))
			r.ends(t, tt.status)
			got := r.one(t)
			if one := got.Recipients[0]; one.Address != tt.to || one.Outcome != tt.outcome || got.Attempts != tt.attempts {
				t.Errorf("got %s", r.stdout)
			}
			if got.Error != nil && got.Error.Stage != "policy" {
				t.Errorf("got %s", r.stdout)
			}
			arrived := s.Messages()[before:]
			if tt.arrives == "" != (len(arrived) == 0) {
				t.Fatalf("%d messages arrived", len(arrived))
			}
			if tt.arrives != "" && (arrived[0].To[0].Address != tt.arrives || !strings.HasPrefix(string(arrived[0].Content), "X-Stamp: seen\r\n")) {
				t.Errorf("arrived %v: %s", arrived[0].To, arrived[0].Content)
			}
		})
	}
	for rule, tt := range map[string]struct {
		args []string
		more string
		want string
	}{
		"those that are not named":   {nil, "", "corp/policy corp/stamp"},
		"behind what observes":       {[]string{"-interceptors", "logging,headers,ratelimit", "-retries", "1"}, "", ""},
		"with retries":               {[]string{"-retries", "1", "-interceptors", "logging,headers,dialogue"}, "", "logging headers corp/policy corp/stamp retry dialogue"},
		"where they are named":       {[]string{"-retries", "1"}, `"interceptors":["corp/stamp","dialogue","corp/policy"]`, "corp/stamp dialogue corp/policy retry"},
		"one that is named":          {[]string{"-interceptors", "dialogue,corp/stamp"}, "", "corp/policy dialogue corp/stamp"},
		"an object, with no setting": {nil, `"interceptors":[{"name":"corp/policy"},"retry"]`, "corp/stamp corp/policy retry"},
	} {
		t.Run(rule, func(t *testing.T) {
			if tt.want == "" {
				mailer(t, append([]string{"pipeline", "-config", config}, tt.args...)...).ends(t, 64, "ratelimit")
				return
			}
			config := config
			if tt.more != "" {
				config = declaring(t, plugin(t, "policy"), tt.more)
			}
			r := mailer(t, append([]string{"pipeline", "-config", config}, tt.args...)...)
			r.ends(t, 0)
			var names []string
			for line := range strings.Lines(r.stdout) {
				names = append(names, strings.Fields(line)[1])
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("got %s", r.stdout)
			}
		})
	}
	for says, interceptors := range map[string]string{
		"the interceptor corp/policy stands behind retry": `"retry","corp/policy"`,
		`the plugins have corp/policy, corp/stamp`:        `"corp/x"`,
		`there is no interceptor "policy"`:                `"policy"`,
		`unknown field "x"`:                               `{"name":"corp/policy","x":1}`,
		`two interceptors are named "corp/policy"`:        `"corp/policy","corp/policy"`,
	} {
		mailer(t, "pipeline", "-config", declaring(t, plugin(t, "policy"), `"interceptors":[`+interceptors+`]`)).ends(t, 78, says)
	}
	mailer(t, "pipeline", "-interceptors", "corp/policy").ends(t, 64, "corp/policy")
	nothingLeft()
}

// Without -tls a server that is not on this machine has to have TLS that verifies.
func TestPlugin_tlsIsRequiredElsewhere(t *testing.T) {
	good, ca := certificate(t, "127.0.0.1")
	config := declaring(t, plugin(t, "tunnel"))
	for rule, tt := range map[string]struct {
		options smtptest.ServerOptions
		more    []string
		status  int
	}{
		"69 it is not offered":              {smtptest.ServerOptions{}, nil, 69},
		"0 it is not offered, and need not": {smtptest.ServerOptions{}, []string{"-tls", "opportunistic"}, 0},
		"69 it does not verify":             {smtptest.ServerOptions{StartTLS: true, TLS: good}, nil, 69},
		"0 it verifies":                     {smtptest.ServerOptions{StartTLS: true, TLS: good}, []string{"-ca", ca}, 0},
		"0 off":                             {smtptest.ServerOptions{StartTLS: true, TLS: good}, []string{"-tls", "off"}, 0},
	} {
		t.Run(rule, func(t *testing.T) {
			s := smtptest.NewServer(t, tt.options)
			url := strings.Replace(s.URL(), "smtp:", "test+tcp:", 1) + "?remote"
			r := mailer(t, to(url, append(tt.more, "-config", config, file(t, mail))...)...)
			r.ends(t, tt.status)
			if got := r.one(t); got.Error != nil && got.Error.Stage != "tls" {
				t.Errorf("got %s", r.stdout)
			}
			if tt.options.StartTLS && tt.more == nil || tt.status == 69 {
				_, r = look(t, "-url", url, "-config", config)
				r.ends(t, tt.status)
			}
		})
	}
}

// A plugin that fails costs a temporary error: of each message that it was to help
// with, if it cannot even be started.
func TestPlugin_75ThatFails(t *testing.T) {
	nothingLeft := private(t)
	s := smtptest.NewServer(t, tickets())
	missing := "/nonexistent/mail.eml"
	for mode, stage := range map[string]string{"dies": "policy", "crashes": "auth"} {
		t.Run(mode, func(t *testing.T) {
			config := declaring(t, plugin(t, mode))
			r := mailer(t, to(s.URL(), "-config", config, file(t, mail), file(t, mail))...)
			r.ends(t, 75, "plugin ")
			if len(r.results) != 2 {
				t.Fatalf("got %s", r.stdout)
			}
			for _, one := range r.results {
				if one.Recipients[0].Outcome != "deferred" || one.Error.Stage != stage || one.Error.Class != "temporary" {
					t.Errorf("got %s", r.stdout)
				}
			}
			r = mailerWith(t, mail, nil, to(s.URL(), "-config", config, "-header-envelope", "-", missing)...)
			r.ends(t, 65)
			if len(r.results) != 2 || r.results[0].Error.Class != "temporary" || r.results[1].Error.Class != "local" {
				t.Errorf("got %s", r.stdout)
			}
		})
	}
	f, r := look(t, "-url", s.URL(), "-config", declaring(t, plugin(t, "dies")))
	r.ends(t, 75)
	if f.Error == nil || f.Error.Class != "temporary" {
		t.Errorf("probe: %s", r.stdout)
	}
	mailer(t, "pipeline", "-config", declaring(t, plugin(t, "dies"))).ends(t, 75)
	mailer(t, to(s.URL(), "-config", declaring(t, plugin(t, "silent")), "-deadline", "300ms", file(t, mail))...).ends(t, 75, "-deadline 300ms is over")
	if n := len(s.Messages()); n > 0 {
		t.Errorf("%d messages were sent", n)
	}
	nothingLeft()
}

// What plugins log is shown if that is asked for, and else nothing of it.
func TestPlugin_log(t *testing.T) {
	s := smtptest.NewServer(t, tickets())
	args := to(s.URL(), "-config", declaring(t, plugin(t, "logs")), file(t, mail))
	mailer(t, args...).ends(t, 0)
	cmd := command(t, append(args, "-plugin-log")...)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "the vault is slow") {
		t.Errorf("%v: %s", err, out)
	}
}

// However the program ends, so do its plugins.
func TestPlugin_interrupted(t *testing.T) {
	nothingLeft := private(t)
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		s := smtptest.NewServer(t, tickets())
		r := start(t, to(s.URL(), "-config", declaring(t, plugin(t, "silent")), file(t, mail), file(t, mail))...)
		awaitPlugin(t)
		if err := r.cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if files := r.end(t); len(files[notDelivered]) != 2 || r.cmd.ProcessState.ExitCode() != 75 || !strings.Contains(r.stderr.String(), "interrupted") {
			t.Errorf("while it starts: %v, %s", files, &r.stderr)
		}
		nothingLeft()

		cmd := command(t, to(s.URL(), "-plugin-log", "-config", declaring(t, plugin(t, "hangs")), file(t, mail), file(t, mail))...)
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var shown strings.Builder
		for buffer := make([]byte, 1024); !strings.Contains(shown.String(), "it hangs"); {
			n, err := stderr.Read(buffer)
			if err != nil {
				t.Fatalf("%v: %s", err, &shown)
			}
			shown.Write(buffer[:n])
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(&shown, stderr)
		_ = cmd.Wait()
		if status := cmd.ProcessState.ExitCode(); status != 75 || !strings.Contains(shown.String(), "interrupted") {
			t.Errorf("while it authenticates: status %d, %s", status, &shown)
		}
		nothingLeft()
	}
	for _, args := range [][]string{{"plugin", "list"}, {"pipeline"}, {"probe", "-url", "smtp://127.0.0.1:1"}} {
		r := start(t, append(args, "-config", declaring(t, plugin(t, "silent")))...)
		awaitPlugin(t)
		if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		_ = r.cmd.Wait()
		if status := r.cmd.ProcessState.ExitCode(); status != 75 {
			t.Errorf("%v: status %d, %s%s", args, status, &r.stdout, &r.stderr)
		}
		nothingLeft()
	}
}

// Nor is standard input waited for, which nobody ends.
func TestPlugin_interruptedWithStandardInput(t *testing.T) {
	nothingLeft := private(t)
	cmd := command(t, to("smtp://127.0.0.1:1", "-config", declaring(t, plugin(t, "silent")), "-")...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitPlugin(t)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 75 {
		t.Errorf("status %d", status)
	}
	nothingLeft()
}

// awaitPlugin waits until there is the folder of a plugin's process.
func awaitPlugin(t *testing.T) {
	t.Helper()
	for t.Context().Err() == nil {
		found, err := filepath.Glob(filepath.Join(os.TempDir(), "postrider-*", "1"))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			return
		}
	}
}
