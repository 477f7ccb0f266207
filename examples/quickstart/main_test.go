package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quickstart runs the program.
func quickstart(t *testing.T, ctx context.Context, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(ctx, args, &out, &errs)
	wantNarrow(t, out.String())
	for _, text := range []string{out.String(), errs.String()} {
		for _, secret := range []string{demoPassword, base64.StdEncoding.EncodeToString([]byte("\x00" + demoUser + "\x00" + demoPassword))} {
			if strings.Contains(text, secret) {
				t.Errorf("the password can be seen:\n%s", text)
			}
		}
	}
	return status, out.String(), errs.String()
}

// wantNarrow reports lines that a terminal of 80 columns would break.
func wantNarrow(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("a line of %d characters: %q", n, line)
		}
		if strings.HasSuffix(line, " ") || strings.ContainsRune(line, '\x1b') {
			t.Errorf("a line that does not read well: %q", line)
		}
	}
}

// wantLines reports which of the patterns, each of a whole line, is not found
// behind the one before it.
func wantLines(t *testing.T, text string, patterns ...string) {
	t.Helper()
	rest := text
	for _, p := range patterns {
		at := regexp.MustCompile("(?m)^" + p + "$").FindStringIndex(rest)
		if at == nil {
			t.Errorf("no line %q, or not there, in:\n%s", p, text)
			return
		}
		rest = rest[at[1]:]
	}
}

func TestEmbedded(t *testing.T) {
	status, out, errs := quickstart(t, t.Context())
	if status != 0 || errs != "" {
		t.Fatalf("status %d, errors %q, output:\n%s", status, errs, out)
	}
	wantLines(t, out,
		`Postrider sends one message to 3 recipients, through smtp://127.0.0.1:\d+.`,
		`PIPELINE .*`,
		` +1  telemetry .*`,
		` +2  retry .*`,
		` +3  ratelimit .*`,
		` +4  dkim .*`,
		` +5  dialogue .*`,
		`DIALOGUE .*`,
		`.* S: 220 mx.example.net .*`,
		`.* C: EHLO .*`,
		`.* C: STARTTLS`,
		`.* -- TLS 1.3, .* certificate verified for 127.0.0.1`,
		`.* C: AUTH PLAIN \[redacted\]`,
		`.* S: 235 .*`,
		`.* -- attempt 1, to 3 recipients`,
		`.* C: ┌ MAIL FROM:<orders@shop.example> .*`,
		`.* C: └ BDAT \d+ LAST \[content\]`,
		`.* S: │ 450 4.2.0 Greylisted.*`,
		`.* S: └ 250 2.0.0 OK: queued as Q1`,
		`.* -- retry waits 50.0 ms, then tries 1 recipient again`,
		`.* -- attempt 2, to 1 recipient`,
		`.* C: QUIT`,
		`SPANS .*`,
		`  smtp delivery  .* █{20,}`,
		`  ├─ smtp connect .*█.*`,
		`  │  ├─ smtp dial .*█.*`,
		`  │  └─ smtp auth .*█.*`,
		`  ├─ smtp attempt 1 \(450\) .*█.*`,
		`  └─ smtp attempt 2 .*█+`,
		`RECIPIENTS .*`,
		`  accepted  bob@example.net`,
		`            attempt 1   250 2.0.0 OK: queued as Q1`,
		`  accepted  carol@example.org`,
		`            attempt 1   450 4.2.0 Greylisted.*`,
		`            attempt 2   250 2.0.0 OK: queued as Q2`,
		`  accepted  dave@example.net`,
		`            attempt 1   250 2.0.0 OK: queued as Q1`,
		`SERVER .*`,
		`  Q1  .* over TLS 1.3, from user orders`,
		`      to bob@example.net, dave@example.net`,
		`      DKIM signature of shop.example verified`,
		`  Q2  .* over TLS 1.3, from user orders`,
		`      to carol@example.org`,
		`      DKIM signature of shop.example verified`,
		`3 of 3 recipients accepted, in 2 attempts and .*`,
	)
}

// files are what a user has on his disk: a message, a password, a certificate, a
// key.
func files(t *testing.T, e *embedded) map[string]string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(e.key)
	if err != nil {
		t.Fatal(err)
	}
	paths := make(map[string]string)
	for name, content := range map[string]string{
		"message":  "From: orders@shop.example\nTo: bob@example.net\nSubject: from a file\n\nHello.\n",
		"password": demoPassword + "\n",
		"empty":    "",
		"two":      "one\ntwo\n",
		"ca":       string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.authority.Raw})),
		"key":      string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	} {
		paths[name] = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(paths[name], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

func start(t *testing.T) *embedded {
	t.Helper()
	e, err := startEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.stop)
	return e
}

// The embedded server stands in for a real one.
func TestReal(t *testing.T) {
	e := start(t)
	f := files(t, e)
	status, out, errs := quickstart(t, t.Context(), "-url", e.url, "-from", "orders@shop.example", "-to", "bob@example.net,dave@example.net", "-to", "erin@example.net",
		"-message", f["message"], "-user", demoUser, "-password-file", f["password"], "-ca", f["ca"], "-tls", "required",
		"-dkim-domain", demoDomain, "-dkim-selector", demoSelector, "-dkim-key", f["key"])
	if status != 0 || errs != "" {
		t.Fatalf("status %d, errors %q, output:\n%s", status, errs, out)
	}
	wantLines(t, out, `.* C: AUTH PLAIN \[redacted\]`, `.*RCPT TO:<erin@example.net>`, `  smtp delivery .*█`, `3 of 3 recipients accepted, in 1 attempt and .*`)
	if strings.Contains(out, "SERVER") {
		t.Error("the program claims to know what a real server did")
	}
	if n := len(e.arrivals()); n != 1 {
		t.Errorf("%d messages arrived, want 1", n)
	}
}

func TestRealNotAccepted(t *testing.T) {
	e := start(t)
	f := files(t, e)
	for name, test := range map[string]struct {
		args       []string
		out, error string
	}{
		"without a signature": {
			[]string{"-user", demoUser, "-password-file", f["password"], "-ca", f["ca"]},
			`  refused   bob@example.net\n            attempt 1   550 5.7.20 No passing DKIM.*`, "550 5.7.20",
		},
		"with the wrong password": {
			[]string{"-user", demoUser, "-password-file", f["ca"]}, "", "more than one line",
		},
		"as somebody else": {
			[]string{"-user", "mallory", "-password-file", f["password"], "-ca", f["ca"]},
			`  refused   bob@example.net\n            no attempt  535 5.7.8 .*`, "authentication|535 5.7.8",
		},
		"with a certificate that does not verify": {
			[]string{"-tls", "required"},
			`  refused   bob@example.net\n            no attempt  tls: .*`, "add the authority",
		},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"-url", e.url, "-from", "orders@shop.example", "-to", "bob@example.net"}, test.args...)
			status, out, errs := quickstart(t, t.Context(), args...)
			if want := map[bool]int{true: 1, false: 2}[test.out != ""]; status != want {
				t.Errorf("status %d, want %d", status, want)
			}
			if !regexp.MustCompile(test.error).MatchString(errs) || strings.Count(errs, "\n") != 1 {
				t.Errorf("error %q, want one line with %q", errs, test.error)
			}
			if test.out != "" {
				wantLines(t, out, test.out, `0 of 1 recipient accepted, .*`)
			}
		})
	}
	if n := len(e.arrivals()); n != 0 {
		t.Errorf("%d messages arrived, want none", n)
	}
}

func TestBadInput(t *testing.T) {
	e := start(t)
	f := files(t, e)
	enough := []string{"-url", e.url, "-from", "a@example.com", "-to", "b@example.com"}
	with := func(more ...string) []string { return append(enough[:len(enough):len(enough)], more...) }
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"an unknown flag":        {[]string{"-colour"}, "-h lists the flags"},
		"an argument":            {[]string{"me@example.com"}, "is not a flag"},
		"no URL":                 {[]string{"-to", "b@example.com"}, "-url is missing"},
		"no sender":              {[]string{"-url", e.url, "-to", "b@example.com"}, "-from is missing"},
		"no recipient":           {[]string{"-url", e.url, "-from", "a@example.com"}, "-to is missing"},
		"nothing but commas":     {[]string{"-url", e.url, "-from", "a@example.com", "-to", " , "}, "-to is missing"},
		"a user alone":           {with("-user", "ann"), "-user needs -password-file"},
		"a password alone":       {with("-password-file", f["password"]), "-password-file needs -user"},
		"half a signature":       {with("-dkim-domain", "example.com"), "go together"},
		"no such policy":         {with("-tls", "maybe"), "use required, opportunistic or off"},
		"no such message":        {with("-message", f["message"]+".not"), "no such file"},
		"a folder for a message": {with("-message", t.TempDir()), "is not a regular file"},
		"an empty message":       {with("-message", f["empty"]), "is empty"},
		"no such password":       {with("-user", "ann", "-password-file", f["password"]+".not"), "no such file"},
		"an empty password":      {with("-user", "ann", "-password-file", f["empty"]), "is empty"},
		"two passwords":          {with("-user", "ann", "-password-file", f["two"]), "more than one line"},
		"no such authority":      {with("-ca", f["ca"]+".not"), "no such file"},
		"no authority":           {with("-ca", f["message"]), "no certificate in PEM form"},
		"no key":                 {with("-dkim-domain", "example.com", "-dkim-selector", "s", "-dkim-key", f["message"]), "no PEM data"},
		"not a key":              {with("-dkim-domain", "example.com", "-dkim-selector", "s", "-dkim-key", f["ca"]), "no private key"},
		"an unknown scheme":      {[]string{"-url", "http://example.com", "-from", "a@example.com", "-to", "b@example.com"}, `no transport for the scheme "http"`},
		"not a URL":              {[]string{"-url", "mail.example.com", "-from", "a@example.com", "-to", "b@example.com"}, "no transport"},
		"no host":                {[]string{"-url", "smtp://:25", "-from", "a@example.com", "-to", "b@example.com"}, "names no host"},
		"a password in the URL":  {[]string{"-url", "smtp://ann:secret@example.com", "-from", "a@example.com", "-to", "b@example.com"}, "credentials"},
		"a bad sender":           {[]string{"-url", e.url, "-from", "a b", "-to", "b@example.com"}, "sender"},
		"a bad recipient":        {[]string{"-url", e.url, "-from", "a@example.com", "-to", "b@c> SIZE=1"}, "recipient 1"},
	} {
		status, out, errs := quickstart(t, t.Context(), test.args...)
		if status != 2 {
			t.Errorf("%s: status %d, want 2", name, status)
		}
		if !strings.HasPrefix(errs, "quickstart: ") || !strings.Contains(errs, test.want) || strings.Count(errs, "\n") != 1 || strings.Contains(errs, "secret") {
			t.Errorf("%s: error %q, want one line with %q", name, errs, test.want)
		}
		if out != "" {
			t.Errorf("%s: there is output:\n%s", name, out)
		}
	}
	if n := len(e.arrivals()); n != 0 {
		t.Errorf("%d messages arrived, want none", n)
	}
}

func TestUsage(t *testing.T) {
	status, out, errs := quickstart(t, t.Context(), "-h")
	if status != 0 || errs != "" || out != usage {
		t.Errorf("status %d, errors %q, output %q", status, errs, out)
	}
}

// Whatever is long is broken, and nothing of it is lost.
func TestLong(t *testing.T) {
	e := start(t)
	f := files(t, e)
	long := strings.Repeat("abcdefghi.", 20) + "z@example.net"
	status, out, errs := quickstart(t, t.Context(), "-url", e.url, "-from", long, "-to", long+",bob@example.net",
		"-user", demoUser, "-password-file", f["password"], "-ca", f["ca"],
		"-dkim-domain", demoDomain, "-dkim-selector", strings.Repeat("s", 60), "-dkim-key", f["key"])
	if status != 1 || !strings.Contains(errs, "No passing DKIM") {
		t.Errorf("status %d, errors %q, output:\n%s", status, errs, out)
	}
	joined := regexp.MustCompile(`(?m)\n +(S: |C: )?(│ )? *`).ReplaceAllString(out, "")
	if n := strings.Count(joined, long); n < 4 {
		t.Errorf("the long address can be read %d times, want it in two commands, a reply and the outcome:\n%s", n, out)
	}
}

func TestSplitAddresses(t *testing.T) {
	for list, want := range map[string]string{
		`a@b.c`:                        `a@b.c`,
		`a@b.c, d@e.f`:                 `a@b.c|d@e.f`,
		`d@e.f,"q, u"@e.f`:             `d@e.f|"q, u"@e.f`,
		`"q, u"@e.f , d@e.f,`:          `"q, u"@e.f|d@e.f`,
		`"a\",b\\"@e.f,"c,d"@e.f`:      `"a\",b\\"@e.f|"c,d"@e.f`,
		`"without an end, a@b.c,d@e.f`: `"without an end, a@b.c,d@e.f`,
	} {
		f, err := parse([]string{"-url", "smtp://localhost", "-from", "a@b.c", "-to", list})
		if err != nil {
			t.Errorf("%s: %v", list, err)
		} else if got := strings.Join(f.to, "|"); got != want {
			t.Errorf("%s: %s, want %s", list, got, want)
		}
	}
}

func TestQuoted(t *testing.T) {
	e := start(t)
	f := files(t, e)
	status, out, errs := quickstart(t, t.Context(), "-url", e.url, "-from", `"a@b"@shop.example`, "-to", `bob@example.net,"q, u"@example.net`,
		"-user", demoUser, "-password-file", f["password"], "-ca", f["ca"],
		"-dkim-domain", demoDomain, "-dkim-selector", demoSelector, "-dkim-key", f["key"])
	if status != 0 || errs != "" {
		t.Fatalf("status %d, errors %q, output:\n%s", status, errs, out)
	}
	body, err := newMessage(`"a@b"@shop.example`, "bob@example.net").Body.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	content, err := io.ReadAll(body)
	if err != nil || !regexp.MustCompile(`Message-ID: <[A-Z2-7]+@shop\.example>\r\n`).Match(content) {
		t.Errorf("error %v, no good Message-ID in:\n%s", err, content)
	}
	wantLines(t, out, `  accepted  bob@example.net`, `  accepted  "q, u"@example.net`, `2 of 2 recipients accepted, .*`)
}

// full is a disk on which there is room for so many lines.
type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if f.room--; f.room < 0 {
		return 0, errors.New("no space left")
	}
	return len(p), nil
}

func TestOutputIncomplete(t *testing.T) {
	for _, room := range []int{0, 12} {
		var errs bytes.Buffer
		status := run(t.Context(), nil, &full{room}, &errs)
		if want := "quickstart: every recipient was accepted, but the output is incomplete: no space left\n"; status != 1 || errs.String() != want {
			t.Errorf("room for %d: status %d, errors %q, want %q", room, status, &errs, want)
		}
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(interrupt{})
	var errs bytes.Buffer
	status := run(ctx, nil, &full{}, &errs)
	if want := `^quickstart: 0 of 3 recipients .*interrupt signal received; and the output is incomplete: no space left\n$`; status != 1 || !regexp.MustCompile(want).MatchString(errs.String()) {
		t.Errorf("interrupted: status %d, errors %q, want %q", status, &errs, want)
	}

	errs.Reset()
	if status := run(t.Context(), []string{"-h"}, &full{}, &errs); status != 1 || errs.String() != "quickstart: no space left\n" {
		t.Errorf("usage: status %d, errors %q", status, &errs)
	}
}

// interrupt is like the cause that [signal.NotifyContext] gives: it says more
// than context.Canceled, and yet is that.
type interrupt struct{}

func (interrupt) Error() string        { return "interrupt signal received" }
func (interrupt) Is(target error) bool { return target == context.Canceled }

// trigger is a page with somebody in front of it who interrupts the program at
// what he reads.
type trigger struct {
	bytes.Buffer
	text string
	do   func()
}

func (w *trigger) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.text)) {
		w.do()
	}
	return w.Buffer.Write(p)
}

// An interrupt ends the program at once, and it says that this was why.
func TestInterrupted(t *testing.T) {
	for _, at := range []string{"Postrider sends", "C: EHLO", "C: AUTH", "attempt 1", "BDAT", "retry waits", "attempt 2"} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			out := &trigger{text: at, do: func() { cancel(interrupt{}) }}
			var errs bytes.Buffer
			status := run(ctx, nil, out, &errs)
			wantNarrow(t, out.String())
			if status != 1 || strings.Count(errs.String(), "\n") != 1 || strings.Count(errs.String(), "interrupt signal received") != 1 {
				t.Errorf("status %d, errors %q", status, &errs)
			}
			shown := strings.Join(strings.Fields(out.String()), " ")
			if !strings.Contains(shown, "interrupt signal received") && at != "retry waits" || !regexp.MustCompile(`[02] of 3 recipients accepted`).MatchString(shown) {
				t.Errorf("output:\n%s", out)
			}
		})
	}
}

func TestWrap(t *testing.T) {
	for _, test := range []struct {
		text    string
		n, hang int
		want    string
	}{
		{"", 12, 0, ""},
		{"250 one / two / three four", 12, 0, "250 one /|two / three|four"},
		{"250 one / two / three four", 10, 0, "250 one /|two /|three four"},
		{"250 one / two / three four", 12, 2, "250 one /|  two /|  three four"},
		{"no  room-for-a-word here", 8, 2, "no room-|  for-a-|  word|  here"},
		{"ééééé", 3, 1, "ééé| éé"},
	} {
		if got := strings.Join(wrap(test.text, test.n, test.hang), "|"); got != test.want {
			t.Errorf("%q in %d: %q, want %q", test.text, test.n, got, test.want)
		}
	}
}

// However long and deep its names are, a waterfall has bars.
func TestWaterfallNarrow(t *testing.T) {
	begun := time.Now()
	var spans tracetest.SpanStubs
	parent := trace.SpanContext{}
	for i := range 30 {
		own := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{byte(i + 1)}})
		spans = append(spans, tracetest.SpanStub{
			Name: strings.Repeat("ä", i*3), SpanContext: own, Parent: parent,
			StartTime: begun.Add(time.Duration(i) * time.Hour), EndTime: begun.Add(30 * time.Hour),
		})
		parent = own
	}
	var out bytes.Buffer
	drawSpans(newPage(&out), spans)
	wantNarrow(t, out.String())
	if n := strings.Count(out.String(), "█\n"); n != len(spans) || !strings.Contains(out.String(), "…") {
		t.Errorf("%d bars, want %d:\n%s", n, len(spans), &out)
	}
}

func TestMillis(t *testing.T) {
	for d, want := range map[time.Duration]string{
		50 * time.Microsecond:    "0.1",
		999 * time.Second:        "999000.0",
		1000 * time.Second:       "1000000",
		24*time.Hour - 1:         "86400000",
		1500 * time.Microsecond:  "1.5",
		22500 * time.Microsecond: "22.5",
	} {
		if got := millis(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
