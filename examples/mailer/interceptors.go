package main

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/breaker"
	"github.com/postrider/postrider/middleware/dialogue"
	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/middleware/headers"
	"github.com/postrider/postrider/middleware/logging"
	"github.com/postrider/postrider/middleware/ratelimit"
	"github.com/postrider/postrider/middleware/retry"
)

// interceptorSetting is an interceptor that was asked for, and with what: nil,
// or the fields of a JSON object.
type interceptorSetting struct {
	name   string
	fields json.RawMessage
	made   core.Interceptor // when it was
}

// stock is what interceptors are made of besides their fields.
type stock struct {
	w       io.Writer  // for those that write
	plugins *pluginSet // nil before they were started
}

// errNotStarted is that an interceptor needs a plugin, which was not started yet.
var errNotStarted = errors.New("the plugins were not started")

// maker makes one interceptor from its fields.
type maker struct {
	name, about string
	make        func(fields json.RawMessage, from stock) (core.Interceptor, error)
}

// makers are the interceptors that can be asked for.
var makers = []maker{
	{"logging", "logs what becomes of each message", makeLogging},
	{"telemetry", "traces each message and its steps, in JSON", makeTelemetry},
	{"headers", "adds the Date and Message-ID that are missing, removes Bcc", makeHeaders},
	{"retry", "tries the recipients again who were put off", makeRetry},
	{"breaker", "has a server rest that cannot be reached", makeBreaker},
	{"ratelimit", "keeps to so many messages a second", makeRateLimit},
	{"dkim", "signs the content", makeDKIM},
	{"dialogue", "shows what this side and the server say to each other", makeDialogue},
}

// find returns the maker of an interceptor.
func find(name string) (maker, error) {
	var names []string
	for _, m := range makers {
		if m.name == name {
			return m, nil
		}
		names = append(names, m.name)
	}
	return maker{}, fmt.Errorf("there is no interceptor %q: there are %s", name, strings.Join(names, ", "))
}

// addInterceptors reads names that are separated by commas.
func (s *settings) addInterceptors(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		s.interceptors = append(s.interceptors, interceptorSetting{name: name})
	}
	return nil
}

// readInterceptors reads the list of the configuration file: each is a name, or
// an object with the name and more.
func (s *settings) readInterceptors(value json.RawMessage) error {
	var list []json.RawMessage
	if err := json.Unmarshal(value, &list); err != nil || list == nil {
		return errors.New("use a list")
	}
	for _, item := range list {
		one := interceptorSetting{fields: item}
		if item[0] == '"' {
			one.fields = nil
			if err := json.Unmarshal(item, &one.name); err != nil {
				return err
			}
		} else {
			var named struct{ Name string }
			if err := json.Unmarshal(item, &named); err != nil || named.Name == "" {
				return errors.New(`each is a name, or an object with "name"`)
			}
			one.name = named.Name
		}
		s.interceptors = append(s.interceptors, one)
	}
	return nil
}

// asked reports whether an interceptor was asked for by its name.
func (s *settings) asked(name string) bool {
	return slices.ContainsFunc(s.interceptors, func(i interceptorSetting) bool { return i.name == name })
}

// makeInterceptors makes the interceptors that were asked for and are not made yet.
// As long as no plugins were started, those are left that need one.
func (s *settings) makeInterceptors(from stock) error {
	if s.asked("retry") && s.has("retries") {
		return s.blame(errors.New("there are both -retries and the interceptor retry: use one of them"), "retries", "interceptors")
	}
	for n := range s.interceptors {
		one := &s.interceptors[n]
		if one.made.Name != "" {
			continue
		}
		made, err := one.make(from)
		switch {
		case err == nil:
			one.made = made
		case !errors.Is(err, errNotStarted):
			return s.blame(err, "interceptors")
		}
	}
	return nil
}

// make makes the interceptor.
func (i *interceptorSetting) make(from stock) (core.Interceptor, error) {
	m, err := find(i.name)
	switch {
	case err == nil:
		made, err := m.make(i.fields, from)
		if err != nil && !errors.Is(err, errNotStarted) {
			return core.Interceptor{}, fmt.Errorf("the interceptor %s: %w", i.name, inWords(err))
		}
		return made, err
	case !strings.Contains(i.name, "/"):
		return core.Interceptor{}, err
	case from.plugins == nil:
		return core.Interceptor{}, errNotStarted
	}
	if err := readFields(i.fields, &struct{}{}); err != nil {
		return core.Interceptor{}, fmt.Errorf("the interceptor %s: %w", i.name, inWords(err))
	}
	return from.plugins.interceptor(i.name)
}

// pipeline returns the interceptors, the outermost first: those that were asked for
// in their order, what plugins have besides, and what -retries and -endpoints need.
func (s *settings) pipeline(from stock) ([]core.Interceptor, error) {
	if err := s.makeInterceptors(from); err != nil {
		return nil, err
	}
	var list []core.Interceptor
	for _, one := range s.interceptors {
		list = append(list, one.made)
	}
	// Behind what is to see a message once.
	behind := slices.IndexFunc(list, func(i core.Interceptor) bool {
		return i.Name != logging.Name && i.Name != "telemetry" && i.Name != headers.Name
	})
	if behind < 0 {
		behind = len(list)
	}
	for _, name := range from.plugins.names(interceptorsOf) {
		if s.asked(name) {
			continue
		}
		made, err := from.plugins.interceptor(name)
		if err != nil {
			return nil, s.blame(err, "plugins")
		}
		list, behind = slices.Insert(list, behind, made), behind+1
	}
	// A plugin is asked once for each message, and not for each attempt.
	for n, one := range list {
		if !ofPlugin(one) {
			continue
		}
		if slices.ContainsFunc(list[:n], func(i core.Interceptor) bool { return i.Name == retry.Name }) {
			return nil, s.blame(fmt.Errorf("the interceptor %s stands behind retry: put it in front of that", one.Name), "interceptors")
		}
		behind = max(behind, n+1)
	}
	if s.retries > 0 {
		made, err := shortRetries(s.retries)
		if err != nil {
			return nil, err
		}
		list = slices.Insert(list, behind, made)
	}
	if len(s.endpoints) > 1 && !s.asked("breaker") {
		made, err := breaker.New(breaker.Config{})
		if err != nil {
			return nil, err
		}
		list = append(list, made) // its place is of no consequence
	}
	return list, nil
}

// ofPlugin reports whether an interceptor is that of a plugin.
func ofPlugin(i core.Interceptor) bool { return strings.Contains(i.Name, "/") }

// readFields reads the fields of an interceptor into target.
func readFields(fields json.RawMessage, target any) error {
	if fields == nil {
		return nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(fields, &all); err != nil {
		return err
	}
	delete(all, "name")
	rest, err := json.Marshal(all)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(rest))
	decoder.DisallowUnknownFields()
	return decoder.Decode(target)
}

// period is a duration in JSON: "30s".
type period time.Duration

func (p *period) UnmarshalText(text []byte) error {
	return duration((*time.Duration)(p))(string(text))
}

// rate is a ratelimit.Rate in JSON: "10/s", "500/m", "20/1h30m".
type rate ratelimit.Rate

func (r *rate) UnmarshalText(text []byte) error {
	count, per, _ := strings.Cut(string(text), "/")
	n, err := strconv.Atoi(count)
	if err == nil {
		if per == "s" || per == "m" || per == "h" {
			per = "1" + per
		}
		err = duration(&r.Per)(per)
	}
	if err != nil || n < 1 {
		return errors.New(`use a rate such as "10/s"`)
	}
	r.Count = n
	return nil
}

func makeLogging(fields json.RawMessage, from stock) (core.Interceptor, error) {
	var f struct {
		Format    string `json:"format"`
		Addresses bool   `json:"addresses"`
	}
	if err := readFields(fields, &f); err != nil {
		return core.Interceptor{}, err
	}
	var handler slog.Handler = slog.NewTextHandler(from.w, nil)
	switch f.Format {
	case "", "text":
	case "json":
		handler = slog.NewJSONHandler(from.w, nil)
	default:
		return core.Interceptor{}, errors.New(`its "format" is "text" or "json"`)
	}
	return logging.New(logging.Config{Logger: slog.New(handler), Addresses: f.Addresses})
}

func makeHeaders(fields json.RawMessage, _ stock) (core.Interceptor, error) {
	var f struct {
		Domain string `json:"domain"`
	}
	if err := readFields(fields, &f); err != nil {
		return core.Interceptor{}, err
	}
	return headers.New(headers.Config{Domain: f.Domain})
}

// The waits of -retries are short: somebody waits for the command.
const (
	shortWait   = 200 * time.Millisecond
	longestWait = 5 * time.Second
)

// shortRetries makes the interceptor that -retries asks for: so many further
// attempts for each message, whatever the server says of greylisting and however
// many messages there are.
func shortRetries(further int) (core.Interceptor, error) {
	return retry.New(retry.Config{
		Attempts: further + 1, InitialInterval: shortWait, MaxInterval: longestWait,
		GreylistInterval: -1, Budget: retry.Budget{Ratio: -1},
	})
}

func makeRetry(fields json.RawMessage, _ stock) (core.Interceptor, error) {
	var f struct {
		Attempts int    `json:"attempts"`
		Initial  period `json:"initial-interval"`
		Max      period `json:"max-interval"`
	}
	if err := readFields(fields, &f); err != nil {
		return core.Interceptor{}, err
	}
	if f.Attempts < 0 {
		return core.Interceptor{}, errors.New(`its "attempts" are not 1 or more`)
	}
	return retry.New(retry.Config{Attempts: f.Attempts, InitialInterval: time.Duration(f.Initial), MaxInterval: time.Duration(f.Max)})
}

func makeBreaker(fields json.RawMessage, _ stock) (core.Interceptor, error) {
	var f struct {
		Failures int    `json:"failures"`
		Rest     period `json:"rest"`
	}
	if err := readFields(fields, &f); err != nil {
		return core.Interceptor{}, err
	}
	return breaker.New(breaker.Config{Failures: f.Failures, Rest: time.Duration(f.Rest)})
}

func makeRateLimit(fields json.RawMessage, _ stock) (core.Interceptor, error) {
	var f struct {
		Messages   rate `json:"messages"`
		Recipients rate `json:"recipients"`
		Adaptive   bool `json:"adaptive"`
	}
	if err := readFields(fields, &f); err != nil {
		return core.Interceptor{}, err
	}
	if f.Messages.Count == 0 && f.Recipients.Count == 0 {
		return core.Interceptor{}, errors.New(`it needs "messages" or "recipients", such as "10/s": give them in the file of -config`)
	}
	return ratelimit.New(ratelimit.Config{Messages: ratelimit.Rate(f.Messages), Recipients: ratelimit.Rate(f.Recipients), Adaptive: f.Adaptive})
}

func makeDKIM(fields json.RawMessage, from stock) (core.Interceptor, error) {
	var f struct {
		Domain   string `json:"domain"`
		Selector string `json:"selector"`
		KeyFile  string `json:"key-file"`
		Signer   string `json:"signer"`
	}
	if err := readFields(fields, &f); err != nil {
		return core.Interceptor{}, err
	}
	if f.Domain == "" || f.Selector == "" || (f.KeyFile == "") == (f.Signer == "") {
		return core.Interceptor{}, errors.New(`it needs "domain", "selector", and either "key-file" or the "signer" of a plugin: give them in the file of -config`)
	}
	key, err := from.key(f.KeyFile, f.Signer)
	if err != nil {
		return core.Interceptor{}, err
	}
	return dkim.New(dkim.Config{Signatures: []dkim.Signature{{Domain: f.Domain, Selector: f.Selector, Signer: key}}})
}

// key returns the key in a file, or else that of a plugin.
func (from stock) key(file, signer string) (crypto.Signer, error) {
	switch {
	case file != "":
		return dkim.LoadKey(file)
	case from.plugins == nil:
		return nil, errNotStarted
	}
	return from.plugins.signer(signer)
}

func makeDialogue(fields json.RawMessage, from stock) (core.Interceptor, error) {
	var f struct {
		Times bool `json:"times"`
	}
	if err := readFields(fields, &f); err != nil {
		return core.Interceptor{}, err
	}
	return dialogue.New(dialogue.Config{Writer: from.w, Times: f.Times})
}
