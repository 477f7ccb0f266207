package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/plugins"
)

// settings is what was asked for: by flags, else by the environment, else by a
// file.
type settings struct {
	command string
	files   []string // the arguments behind the flags
	given   map[string]origin

	url                                 string
	endpoints                           []string
	endpointPolicy                      string
	from                                string
	to                                  []string
	helo, user, passwordFile, tokenFile string
	mech, ca, cert, key, tls, chunking  string
	headerEnvelope, json                bool
	dsn                                 dsn
	depth, retries, concurrency         int
	timeout, deadline                   time.Duration
	config                              string
	interceptors                        []interceptorSetting
	plugins                             []plugins.Declaration
	pluginLog                           bool
	verified                            plugins.Declaration // of the command "plugin verify"
}

// origin says where a setting is from.
type origin uint8

const (
	nowhere origin = iota
	fromFlag
	fromEnvironment
	fromFile
)

// has reports whether something was set, and be it to nothing.
func (s *settings) has(name string) bool { return s.given[name] != nowhere }

// blame is the error for settings that cannot be: of the command line if all of
// them were given there, else of the configuration.
func (s *settings) blame(err error, names ...string) error {
	for _, name := range names {
		if o := s.given[name]; o == fromEnvironment || o == fromFile {
			return &ended{misconfigured, err}
		}
	}
	return &ended{badlyInvoked, err}
}

// The commands that a setting is for.
const (
	forSend = 1 << iota
	forProbe
	forPipeline
	forList
	forVerify
	forMail = forSend | forProbe | forPipeline
)

var commandBits = map[string]int{
	"send": forSend, "probe": forProbe, "pipeline": forPipeline, "plugin list": forList, "plugin verify": forVerify,
}

// A setting is one thing that can be set. Its name is that of the flag; with
// POSTRIDER_ in front, in upper case and with "_" for "-" that of the variable
// of the environment; and in the file it stands as it is.
type setting struct {
	name   string
	use    int
	list   bool // may be given more than once
	isBool bool
	set    func(text string) error
}

// table lists what can be set, and puts what is set into s.
func (s *settings) table() []setting {
	return []setting{
		{name: "url", use: forMail, set: text(&s.url)},
		{name: "endpoints", use: forSend | forPipeline, list: true, set: appendTo(&s.endpoints)},
		{name: "endpoint-policy", use: forSend, set: oneOf(&s.endpointPolicy, "fail-over", "round-robin", "least-loaded")},
		{name: "from", use: forSend, set: text(&s.from)},
		{name: "to", use: forSend, list: true, set: appendTo(&s.to)},
		{name: "header-envelope", use: forSend, isBool: true, set: yesNo(&s.headerEnvelope)},
		{name: "dsn", use: forSend, list: true, set: s.dsn.add},
		{name: "helo", use: forSend | forProbe, set: text(&s.helo)},
		{name: "user", use: forSend | forProbe, set: text(&s.user)},
		{name: "password-file", use: forSend | forProbe, set: text(&s.passwordFile)},
		{name: "token-file", use: forSend | forProbe, set: text(&s.tokenFile)},
		{name: "mech", use: forSend | forProbe, set: mechanismName(&s.mech)},
		{name: "tls", use: forSend | forProbe, set: oneOf(&s.tls, "required", "opportunistic", "off")},
		{name: "ca", use: forSend | forProbe, set: text(&s.ca)},
		{name: "cert", use: forSend | forProbe, set: text(&s.cert)},
		{name: "key", use: forSend | forProbe, set: text(&s.key)},
		{name: "chunking", use: forSend, set: oneOf(&s.chunking, "auto", "off")},
		{name: "depth", use: forSend, set: number(&s.depth, 1, 100)},
		{name: "concurrency", use: forSend, set: number(&s.concurrency, 1, 1000)},
		{name: "retries", use: forSend | forPipeline, set: number(&s.retries, 0, 1000)},
		{name: "timeout", use: forSend | forProbe, set: duration(&s.timeout)},
		{name: "deadline", use: forSend | forProbe, set: duration(&s.deadline)},
		{name: "interceptors", use: forSend | forPipeline, list: true, set: s.addInterceptors},
		{name: "plugins", use: forMail | forList, list: true, set: s.addPlugin},
		{name: "plugin-log", use: forMail | forList, isBool: true, set: yesNo(&s.pluginLog)},
		{name: "json", use: forSend | forProbe | forList, isBool: true, set: yesNo(&s.json)},
		{name: "config", use: forMail | forList, set: text(&s.config)},
	}
}

// verifyTable lists what can be set for "plugin verify": by flags alone, since it
// is about the plugin that they name.
func (s *settings) verifyTable() []setting {
	d := &s.verified
	return []setting{
		{name: "sha256", use: forVerify, set: text(&d.SHA256)},
		{name: "name", use: forVerify, set: text(&d.Name)},
		{name: "env", use: forVerify, list: true, set: appendTo(&d.Env)},
		{name: "json", use: forVerify, isBool: true, set: yesNo(&s.json)},
	}
}

// load reads the flags, the environment and the file.
func load(command string, args []string, environment func(string) (string, bool)) (*settings, error) {
	s := &settings{command: command, given: map[string]origin{}, concurrency: 1, depth: 1}
	if command == "plugin verify" {
		return s, s.readFlags(s.verifyTable(), args)
	}
	table := s.table()
	if err := s.readFlags(table, args); err != nil {
		return nil, err
	}
	if err := s.readEnvironment(table, environment); err != nil {
		return nil, err
	}
	if s.config != "" {
		if err := s.readFile(table); err != nil {
			return nil, err
		}
	}
	return s, s.checkNames()
}

// checkNames refuses the names of mechanisms and interceptors that there are not.
// What is not built in a plugin may have: that is seen when it was started.
func (s *settings) checkNames() error {
	if len(s.plugins) > 0 {
		return nil
	}
	if s.has("mech") && !known[s.mech].exists() {
		return s.blame(noMechanism(s.mech), "mech")
	}
	for _, one := range s.interceptors {
		if _, err := find(one.name); err != nil {
			return s.blame(err, "interceptors")
		}
	}
	return nil
}

// readFlags reads the command line. Flags may stand behind files, up to "--".
func (s *settings) readFlags(table []setting, args []string) error {
	set := flag.NewFlagSet(s.command, flag.ContinueOnError)
	set.SetOutput(io.Discard) // errors are one line, and the caller's to print
	for i := range table {
		one := &table[i]
		set.Var(&flagValue{one, s}, one.name, "")
	}
	for len(args) > 0 {
		if err := set.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return err
			}
			return usage("%w: mailer help %s lists the flags", err, s.command)
		}
		rest := set.Args()
		if n := len(args) - len(rest); n > 0 && args[n-1] == "--" {
			s.files = append(s.files, rest...)
			break
		}
		if len(rest) == 0 {
			break
		}
		s.files, args = append(s.files, rest[0]), rest[1:]
	}
	if s.has("url") && s.has("endpoints") {
		return usage("there are both -url and -endpoints: give one of them")
	}
	return nil
}

// flagValue is a setting as a flag.
type flagValue struct {
	*setting
	of *settings
}

func (v *flagValue) String() string { return "" }

func (v *flagValue) IsBoolFlag() bool { return v.setting != nil && v.isBool }

func (v *flagValue) Set(text string) error {
	if v.use&commandBits[v.of.command] == 0 {
		return fmt.Errorf("%s has no such flag", v.of.command)
	}
	if v.of.has(v.name) && !v.list {
		return errors.New("it is there twice")
	}
	v.of.given[v.name] = fromFlag
	return v.set(text)
}

// readEnvironment reads the variables POSTRIDER_… whose settings are not given
// as flags.
func (s *settings) readEnvironment(table []setting, environment func(string) (string, bool)) error {
	for _, one := range table {
		variable := "POSTRIDER_" + strings.ToUpper(strings.ReplaceAll(one.name, "-", "_"))
		text, ok := environment(variable)
		if !ok || s.taken(one, fromEnvironment) {
			continue
		}
		s.given[one.name] = fromEnvironment
		values := []string{text}
		if one.list {
			values = strings.Fields(text)
		}
		for _, value := range values {
			if err := one.set(value); err != nil {
				return misconfiguration("the environment variable %s is %q: %w", variable, value, err)
			}
		}
	}
	if s.given["url"] == fromEnvironment && s.given["endpoints"] == fromEnvironment {
		return misconfiguration("there are both POSTRIDER_URL and POSTRIDER_ENDPOINTS: set one of them")
	}
	return nil
}

// taken reports whether a setting is not to be read from where, because the
// command has no use for it or because it stands in a better place. "url" and
// "endpoints" are two forms of one.
func (s *settings) taken(one setting, where origin) bool {
	better := func(name string) bool { return s.has(name) && s.given[name] < where }
	if one.use&commandBits[s.command] == 0 {
		return true
	}
	switch one.name {
	case "url", "endpoints":
		return better("url") || better("endpoints")
	}
	return better(one.name)
}

// The forms of values.

func text(target *string) func(string) error {
	return func(text string) error {
		*target = text
		return nil
	}
}

func appendTo(target *[]string) func(string) error {
	return func(text string) error {
		*target = append(*target, text)
		return nil
	}
}

func yesNo(target *bool) func(string) error {
	return func(text string) (err error) {
		if *target, err = strconv.ParseBool(text); err != nil {
			return errors.New("use true or false")
		}
		return nil
	}
}

func oneOf(target *string, words ...string) func(string) error {
	return func(text string) error {
		if !slices.Contains(words, text) {
			return fmt.Errorf("use one of %s", strings.Join(words, ", "))
		}
		*target = text
		return nil
	}
}

func number(target *int, least, most int) func(string) error {
	return func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			return fmt.Errorf("use a number from %d to %d", least, most)
		}
		*target = n
		return nil
	}
}

func duration(target *time.Duration) func(string) error {
	return func(text string) error {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return errors.New("use a time such as 500ms, 30s or 2m")
		}
		*target = d
		return nil
	}
}
