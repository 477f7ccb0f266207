package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/core/smtptest"
)

// Bad input gets one line that says what to do, no line of JSON, and nothing is
// sent.
func TestSettings_badInput(t *testing.T) {
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	mailFile, empty, password := file(t, mail), file(t, ""), file(t, "secret\n")
	good := []string{"send", "-url", s.URL(), "-from", "me@example.com", "-to", "you@example.net", "-json", mailFile}
	with := func(more ...string) []string { return append(good[:len(good):len(good)], more...) }
	for rule, tt := range map[string]struct {
		args   []string
		env    []string
		status int
		says   string
	}{
		"no command":                       {nil, nil, 64, "use send, probe, pipeline or plugin"},
		"no such command":                  {[]string{"sned"}, nil, 64, `no command "sned"`},
		"no such help":                     {[]string{"help", "sned"}, nil, 64, "send, probe, pipeline and plugin"},
		"no such flag":                     {with("-x"), nil, 64, "mailer help send lists the flags"},
		"a flag of another command":        {[]string{"probe", "-from", "a@example.com"}, nil, 64, "probe has no such flag"},
		"a flag twice":                     {with("-from", "a@example.com"), nil, 64, "it is there twice"},
		"no server":                        {[]string{"send", "-from", "a@example.com", "-to", "b@example.com"}, nil, 64, "give -url"},
		"no such scheme":                   {[]string{"send", "-url", "ftp://x", "-from", "a@example.com", "-to", "b@example.com"}, nil, 64, "there are lmtp, "},
		"a password in the URL":            {[]string{"send", "-url", "smtp://a:hunter2@x", "-from", "a@example.com", "-to", "b@example.com"}, nil, 64, "-password-file"},
		"both -url and -endpoints":         {with("-endpoints", "smtp://x"), nil, 64, "give one of them"},
		"no sender":                        {[]string{"send", "-url", s.URL(), "-to", "b@example.com", mailFile}, nil, 64, "give -from"},
		"no recipient":                     {[]string{"send", "-url", s.URL(), "-from", "b@example.com", mailFile}, nil, 64, "give -to"},
		"no address":                       {with("-to", "you@example.net>\r\nRCPT TO:<x@example.net"), nil, 64, "recipient 2"},
		"a name of ours that is none":      {with("-helo", "a b"), nil, 64, "-helo"},
		"no such policy":                   {with("-tls", "maybe"), nil, 64, "required, opportunistic, off"},
		"STARTTLS off for smtps":           {[]string{"send", "-url", "smtps://x", "-tls", "off", "-from", "a@example.com", "-to", "b@example.com"}, nil, 64, "-tls is off"},
		"no such mechanism":                {with("-mech", "rot13"), nil, 64, "SCRAM-SHA-256, "},
		"a user without a password":        {with("-user", "me"), nil, 64, "-password-file FILE"},
		"a mechanism without a password":   {with("-user", "me", "-mech", "plain"), nil, 64, "PLAIN needs a password"},
		"a password without a user":        {with("-password-file", password), nil, 64, "give -user"},
		"a token without a user":           {with("-token-file", password, "-mech", "XOAUTH2"), nil, 64, "give -user"},
		"a key without a certificate":      {with("-key", password), nil, 64, "give both"},
		"a depth":                          {with("-depth", "0"), nil, 64, "from 1 to 100"},
		"a number of retries":              {with("-retries", "-1"), nil, 64, "from 0 to 1000"},
		"a time":                           {with("-timeout", "soon"), nil, 64, "30s"},
		"no time":                          {with("-deadline", "0s"), nil, 64, "30s"},
		"reports of delivery":              {with("-dsn", "NOTIFY=SOMETIMES"), nil, 64, "SUCCESS,FAILURE,DELAY"},
		"reports of delivery, twice":       {with("-dsn", "RET=FULL RET=HDRS"), nil, 64, "RET is there twice"},
		"standard input twice":             {with("-", "-"), nil, 64, "it can be read once"},
		"an endpoint twice":                {[]string{"send", "-endpoints", "smtp://x", "-endpoints", "smtp://x", "-from", "a@example.com", "-to", "b@example.com"}, nil, 64, "-endpoints"},
		"an address with a display name":   {with("-to", "You <you@example.net>"), nil, 64, "give the address alone"},
		"a password with NUL":              {with("-user", "me", "-password-file", file(t, "a\x00b")), nil, 78, "NUL"},
		"no such interceptor":              {with("-interceptors", "magic"), nil, 64, "there are logging, telemetry, headers"},
		"an interceptor without settings":  {with("-interceptors", "ratelimit"), nil, 64, "-config"},
		"retry twice":                      {with("-interceptors", "retry", "-retries", "2"), nil, 64, "use one of them"},
		"an empty password file":           {with("-user", "me", "-password-file", empty), nil, 78, empty},
		"an empty line as a password file": {with("-user", "me", "-password-file", file(t, "\r\n")), nil, 78, "mail.eml"},
		"no password file":                 {with("-user", "me", "-password-file", "/nonexistent"), nil, 78, "/nonexistent"},
		"no authorities":                   {with("-ca", "/nonexistent"), nil, 78, "/nonexistent"},
		"authorities that are none":        {with("-ca", password), nil, 78, "-ca"},
		"a certificate that is none":       {with("-cert", password), nil, 78, "-cert"},
		"no configuration file":            {with("-config", "/nonexistent"), nil, 78, "/nonexistent"},
		"an empty configuration file":      {with("-config", empty), nil, 78, "not a JSON object"},
		"no object in the file":            {with("-config", file(t, "null")), nil, 78, "not a JSON object: write it as"},
		"a list as the file":               {with("-config", file(t, "[]")), nil, 78, "not a JSON object: write it as"},
		"a file without end":               {with("-config", "/dev/zero"), nil, 78, "more than 16777216 octets"},
		"authorities without end":          {with("-ca", "/dev/zero"), nil, 78, "more than 16777216 octets"},
		"a key among the authorities":      {with("-ca", file(t, "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n")), nil, 78, "only certificates belong there"},
		"no list of interceptors":          {with("-config", file(t, `{"interceptors":null}`)), nil, 78, "use a list"},
		"an interceptor without a name":    {with("-config", file(t, `{"interceptors":[{}]}`)), nil, 78, `an object with "name"`},
		"a word for a number":              {with("-config", file(t, `{"interceptors":[{"name":"retry","attempts":"x"}]}`)), nil, 78, `"attempts" cannot be a string`},
		"a setting of an interceptor":      {with("-config", file(t, `{"interceptors":[{"name":"breaker","failures":-1}]}`)), nil, 78, `"failures" is negative`},
		"two objects in the file":          {with("-config", file(t, "{}{}")), nil, 78, "behind the JSON object"},
		"no such setting":                  {with("-config", file(t, `{"form":"a@example.com"}`)), nil, 78, `no setting "form"`},
		"a file in the file":               {with("-config", file(t, `{"config":"x"}`)), nil, 78, "it cannot"},
		"a value in the file":              {with("-config", file(t, `{"depth":1000}`)), nil, 78, `"depth": use a number`},
		"no value in the file":             {with("-config", file(t, `{"depth":null}`)), nil, 78, "use a string, a number"},
		"an interceptor in the file":       {with("-config", file(t, `{"interceptors":[{"name":"retry","x":1}]}`)), nil, 78, `unknown field "x"`},
		"a variable":                       {good, []string{"POSTRIDER_DEPTH=many"}, 78, "POSTRIDER_DEPTH"},
		"an address in a variable":         {[]string{"send", "-url", s.URL(), "-from", "me@example.com", mailFile}, []string{"POSTRIDER_TO=@"}, 78, "recipient 1"},
		"a URL in a variable":              {[]string{"send", "-to", "you@example.net", "-from", "me@example.com", mailFile}, []string{"POSTRIDER_URL=x"}, 78, "there are lmtp, "},
		"64 comes before 78, again":        {with("-user", "me", "-password-file", empty, "-interceptors", "retry", "-retries", "1"), nil, 64, "use one of them"},
		"64 comes before 78":               {with("-ca", "/nonexistent", "-user", "me"), nil, 64, "-password-file"},
	} {
		t.Run(rule, func(t *testing.T) {
			r := mailerWith(t, mail, tt.env, tt.args...)
			r.ends(t, tt.status, tt.says)
			if strings.Contains(r.stderr, "Config.") || strings.Contains(r.stderr, "Go ") {
				t.Errorf("an error for programmers: %q", r.stderr)
			}
			if r.stdout != "" || strings.Contains(r.stderr, "hunter2") {
				t.Errorf("output %q, errors %q", r.stdout, r.stderr)
			}
		})
	}
	if n := len(s.Messages()); n > 0 {
		t.Errorf("%d messages were sent", n)
	}
}

// Flags come before the environment, and that before the file.
func TestSettings_precedence(t *testing.T) {
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	config := file(t, fmt.Sprintf(`{"url":%q,"helo":"file.example","from":"file@example.com","to":["c@example.net","d@example.net"],"json":true,"timeout":"9s","retries":0}`, s.URL()))
	run := func(env []string, args ...string) smtptest.Message {
		t.Helper()
		before := len(s.Messages())
		mailerWith(t, mail, env, append([]string{"send", "-config", config}, args...)...).ends(t, 0)
		return s.Messages()[before]
	}
	if m := run(nil); m.From != "file@example.com" || len(m.To) != 2 || m.Hello != "file.example" {
		t.Errorf("of the file: %+v", m.Envelope)
	}
	env := []string{"POSTRIDER_FROM=env@example.com", "POSTRIDER_TO=a@example.net b@example.net x@example.net", "POSTRIDER_HELO=env.example"}
	if m := run(env); m.From != "env@example.com" || len(m.To) != 3 || m.Hello != "env.example" {
		t.Errorf("of the environment: %+v", m.Envelope)
	}
	if m := run(env, "-from", "flag@example.com", "-to", "z@example.net", "-helo", "flag.example"); m.From != "flag@example.com" || len(m.To) != 1 || m.Hello != "flag.example" {
		t.Errorf("of the flags: %+v", m.Envelope)
	}
	// A flag that is there is one, and be it empty.
	if m := run(env, "-from", ""); m.From != "" {
		t.Errorf("of the flags: %+v", m.Envelope)
	}
	// The file may be named by the environment, too, and endpoints replace a URL.
	other := file(t, `{"endpoints":["smtp://127.0.0.1:1"]}`)
	mailerWith(t, mail, append(env, "POSTRIDER_CONFIG="+other, "POSTRIDER_URL="+s.URL()), "send").ends(t, 0)
}

// Flags may stand behind files, up to "--".
func TestSettings_flagsBehindFiles(t *testing.T) {
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	mailer(t, "send", "-url", s.URL(), "-from", "<>", file(t, mail), "-to", "you@example.net").ends(t, 0)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "-odd"), []byte(mail), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, to(s.URL(), "--", "-odd")...)
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A server that is down is passed over.
func TestSettings_endpoints(t *testing.T) {
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	r := mailer(t, append([]string{"send", "-endpoints", "smtp://127.0.0.1:1", "-endpoints", s.URL(), file(t, mail)}, envelope...)...)
	r.ends(t, 0)
	if got := r.one(t).Server; got != strings.TrimPrefix(s.URL(), "smtp://") {
		t.Errorf("it was %s", got)
	}
}

func TestHelp(t *testing.T) {
	for page, args := range map[string][][]string{
		"Exit status:":          {{"help"}, {"-h"}, {"--help"}},
		"-header-envelope":      {{"help", "send"}, {"send", "-h"}, {"send", "-help"}},
		"would be chosen and":   {{"help", "probe"}, {"probe", "-h"}},
		"the outermost first, ": {{"help", "pipeline"}, {"pipeline", "-h"}},
	} {
		for _, a := range args {
			r := mailer(t, a...)
			r.ends(t, 0)
			if !strings.Contains(r.stdout, page) {
				t.Errorf("%q: no %q in %s", a, page, r.stdout)
			}
		}
	}
}

// Each setting is in the help of the commands that have it, and in the page of
// documentation.
func TestHelp_hasEverySetting(t *testing.T) {
	page, err := os.ReadFile("../../docs/mailer.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range (&settings{}).verifyTable() {
		if !strings.Contains(helpPlugin, "[-"+one.name) || !strings.Contains(string(page), "[-"+one.name) {
			t.Errorf("-%s of plugin verify is not in the help or in docs/mailer.md", one.name)
		}
	}
	for _, one := range (&settings{}).table() {
		for command, help := range map[string]string{"send": helpSend, "probe": helpProbe, "pipeline": helpPipeline, "plugin list": helpPlugin} {
			if has := strings.Contains(help, " -"+one.name+" ") || strings.Contains(help, "[-"+one.name+" ") || strings.Contains(help, "[-"+one.name+"]"); has != (one.use&commandBits[command] != 0) && !(command == "pipeline" && one.name == "url") {
				t.Errorf("-%s in the help of %s: %t", one.name, command, has)
			}
		}
		if !strings.Contains(string(page), "`-"+one.name) {
			t.Errorf("-%s is not in docs/mailer.md", one.name)
		}
	}
	for _, help := range []string{helpAll, helpSend, helpProbe, helpPipeline, helpPlugin} {
		for line := range strings.Lines(help) {
			if len(line) > 90 {
				t.Errorf("%d columns: %s", len(line), line)
			}
		}
	}
}
