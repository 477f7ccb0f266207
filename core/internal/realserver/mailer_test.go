package realserver_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/core/internal/realserver"
)

// The tests of examples/mailer, which cannot import this package, against real servers.

// mailerResult is a line of "mailer send -json", mailerFinding one of "mailer probe -json"; docs/mailer.md has them.
type mailerResult struct {
	File       string
	Recipients []struct {
		Address, Outcome, Enhanced, Text string
		Code                             int
	}
	Server    string
	QueueID   string `json:"queue_id"`
	TLS       *struct{ Verified bool }
	Mechanism string
	Attempts  int
	Outcome   string
	Error     *mailerError
}

type mailerError struct {
	Stage, Class, Text string
	Code               int
}

type mailerFinding struct {
	Protocol  string
	Greeting  struct{ Code int }
	BeforeTLS *mailerHello `json:"before_tls"`
	AfterTLS  *mailerHello `json:"after_tls"`
	TLS       *struct {
		Version     string
		Verified    bool
		Certificate struct{ Names []string }
	}
	Mechanism struct{ Chosen, Why string }
	Limits    map[string]int
	Error     *mailerError
}

type mailerHello struct {
	Domain     string
	Extensions []struct{ Keyword, Parameters string }
	Mechanisms []string
}

// has reports whether all extensions are there.
func (h *mailerHello) has(keywords ...string) bool {
	if h == nil {
		return false
	}
	for _, keyword := range keywords {
		if !slices.ContainsFunc(h.Extensions, func(e struct{ Keyword, Parameters string }) bool { return e.Keyword == keyword }) {
			return false
		}
	}
	return true
}

// mailer is the program.
type mailer struct{ program, folder string }

func buildMailer(t *testing.T) mailer {
	t.Helper()
	folder := t.TempDir()
	m := mailer{filepath.Join(folder, "mailer"), folder}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", m.program, "github.com/postrider/postrider/examples/mailer")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return m
}

// file makes a file and returns its name.
func (m mailer) file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(m.folder, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs the program and returns its exit status and what it has printed.
func (m mailer) run(t *testing.T, args ...string) (status int, stdout []byte, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), m.program, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	stdout, err := cmd.Output()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout, errs.String()
}

// send sends messages from me@example.com, and wants this exit status.
func (m mailer) send(t *testing.T, status int, args ...string) []mailerResult {
	t.Helper()
	got, out, errs := m.run(t, append([]string{"send", "-json", "-helo", "client.example.test"}, args...)...)
	if got != status {
		t.Errorf("status %d, want %d: %s%s", got, status, out, errs)
	}
	var results []mailerResult
	for line := range bytes.Lines(out) {
		var r mailerResult
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		results = append(results, r)
	}
	if len(results) == 0 {
		t.Fatalf("no result: %s", errs)
	}
	return results
}

// probe probes a server, and wants this exit status.
func (m mailer) probe(t *testing.T, status int, args ...string) mailerFinding {
	t.Helper()
	got, out, errs := m.run(t, append([]string{"probe", "-json", "-helo", "client.example.test"}, args...)...)
	if got != status {
		t.Errorf("status %d, want %d: %s%s", got, status, out, errs)
	}
	var f mailerFinding
	if err := json.Unmarshal(out, &f); err != nil {
		t.Fatalf("%v: %s%s", err, out, errs)
	}
	return f
}

// authority writes the certificate of the authority that signed a server's to a file.
func (m mailer) authority(t *testing.T, address string, roots *x509.CertPool) string {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	chain := conn.ConnectionState().VerifiedChains[0]
	return m.file(t, "authority.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw})))
}

func TestMailer_Postfix(t *testing.T) {
	p := realserver.StartPostfix(t, "message_size_limit = 20000")
	m := buildMailer(t)
	ca := m.authority(t, p.TLSAddr, p.RootCAs)
	password, wrong := m.file(t, "password", p.Password+"\n"), m.file(t, "wrong", "not it\n")
	const content = "From: me@example.com\r\nSubject: hi\r\n\r\n.\r\nHello.\r\n"
	mail := m.file(t, "mail.eml", content)
	required := []string{"-url", "smtp://" + p.Addr, "-tls", "required", "-ca", ca}
	from := func(more ...string) []string { return append([]string{"-from", "me@example.com"}, more...) }

	t.Run("0 delivered, authenticated under STARTTLS", func(t *testing.T) {
		r := m.send(t, 0, slices.Concat(required, from("-to", "alice@example.test", "-user", p.User, "-password-file", password, mail))...)[0]
		if r.Outcome != "delivered" || r.QueueID == "" || !strings.Contains(p.Log(), r.QueueID) || r.TLS == nil || !r.TLS.Verified ||
			!strings.HasPrefix(r.Mechanism, "SCRAM-SHA-256") || r.Server != p.Addr || r.Attempts != 1 {
			t.Errorf("got %+v", r)
		}
		if got, err := realserver.Content(p.WaitMessages(t, "alice@example.test", 1)[0]); string(got) != content || err != nil {
			t.Errorf("%q arrived, %v", got, err)
		}
	})
	t.Run("0 each mechanism", func(t *testing.T) {
		for _, mechanism := range []string{"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"} {
			r := m.send(t, 0, slices.Concat(required, from("-to", "mechanisms@example.test", "-mech", strings.ToLower(mechanism),
				"-user", p.ASCIIUser, "-password-file", m.file(t, "ascii", p.ASCIIPassword+"\n"), mail))...)[0]
			if r.Mechanism != mechanism {
				t.Errorf("it was %s instead of %s", r.Mechanism, mechanism)
			}
		}
	})
	t.Run("0 smtps, and DSN", func(t *testing.T) {
		r := m.send(t, 0, append(from("-to", "bob@example.test", mail), "-url", "smtps://"+p.TLSAddr, "-ca", ca, "-dsn", "NOTIFY=FAILURE RET=HDRS")...)[0]
		if r.TLS == nil || !r.TLS.Verified {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("0 without TLS on this machine", func(t *testing.T) {
		if r := m.send(t, 0, append(from("-to", "bob@example.test", mail), "-url", "smtp://"+p.PlainAddr)...)[0]; r.TLS != nil {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("75 and 69 of several recipients", func(t *testing.T) {
		r := m.send(t, 75, append(from("-url", "smtp://"+p.PlainAddr), "-to", realserver.RefusedRecipient, "-to", "carol@example.test", "-to", realserver.DeferredRecipient, mail)...)[0]
		if r.Outcome != "partial" || r.Recipients[0].Outcome != "refused" || r.Recipients[0].Code != 550 || r.Recipients[0].Enhanced != "5.1.1" ||
			r.Recipients[1].Outcome != "accepted" || r.Recipients[2].Outcome != "deferred" || r.Error.Stage != "rcpt" || r.Error.Code != 450 {
			t.Errorf("got %+v", r)
		}
		r = m.send(t, 69, append(from("-url", "smtp://"+p.PlainAddr), "-to", realserver.RefusedRecipient, mail)...)[0]
		if r.Outcome != "not_delivered" || r.Error.Class != "permanent" || r.QueueID != "" {
			t.Errorf("got %+v", r)
		}
	})
	for rule, c := range map[string]struct {
		status int
		stage  string
		args   []string
	}{
		"69 the sender is refused":                  {69, "mail", []string{"-url", "smtp://" + p.PlainAddr, "-from", realserver.RefusedSender, mail}},
		"69 the content is refused":                 {69, "content", from("-url", "smtp://"+p.PlainAddr, m.file(t, "unwanted.eml", realserver.RefusedField+"x\r\n\r\nhi\r\n"))},
		"69 the certificate does not verify":        {69, "tls", from("-url", "smtps://"+p.TLSAddr, mail)},
		"69 TLS is required and not offered":        {69, "tls", from("-url", "smtp://"+p.PlainAddr, "-tls", "required", mail)},
		"65 too large":                              {65, "policy", from("-url", "smtp://"+p.PlainAddr, m.file(t, "large.eml", "Subject: x\r\n\r\n"+strings.Repeat("hello\r\n", 4000)))},
		"77 the password is wrong":                  {77, "auth", append(from("-user", p.User, "-password-file", wrong, mail), required...)},
		"77 the mechanism is not offered":           {77, "auth", append(from("-mech", "anonymous", mail), required...)},
		"75 nobody listens":                         {75, "connect", from("-url", "smtp://127.0.0.1:1", mail)},
		"75 TLS on a port that does not answer 220": {75, "connect", from("-url", "smtp://"+p.TLSAddr, "-timeout", "300ms", mail)},
	} {
		t.Run(rule, func(t *testing.T) {
			r := m.send(t, c.status, append(c.args, "-to", "dave@example.test")...)[0]
			if r.Error == nil || r.Error.Stage != c.stage || r.Outcome != "not_delivered" {
				t.Errorf("got %+v, error %+v", r, r.Error)
			}
		})
	}
	t.Run("0 the envelope of the header, many files, one session", func(t *testing.T) {
		var files []string
		for i := range 100 {
			files = append(files, m.file(t, fmt.Sprintf("many%d.eml", i), fmt.Sprintf("From: me@example.com\r\nTo: Erin <erin@example.test>\r\nBcc: frank@example.test\r\nSubject: %d\r\n\r\nhi\r\n", i)))
		}
		results := m.send(t, 0, append([]string{"-url", "smtp://" + p.PlainAddr, "-header-envelope", "-depth", "16"}, files...)...)
		if len(results) != len(files) {
			t.Errorf("%d results", len(results))
		}
		p.Settle(t)
		for _, mailbox := range []string{"erin@example.test", "frank@example.test"} {
			messages := p.WaitMessages(t, mailbox, len(files))
			if bytes.Contains(messages[0], []byte("Bcc")) {
				t.Errorf("Bcc is in %s", messages[0])
			}
		}
	})
	for rule, c := range map[string]struct {
		args       []string
		under, tls bool // TLS can be begun; TLS is there
	}{
		"probe of STARTTLS":   {[]string{"-url", "smtp://" + p.Addr, "-ca", ca}, true, true},
		"probe of smtps":      {[]string{"-url", "smtps://" + p.TLSAddr, "-ca", ca}, false, true},
		"probe of clear text": {[]string{"-url", "smtp://" + p.PlainAddr}, false, false},
	} {
		t.Run(rule, func(t *testing.T) {
			f := m.probe(t, 0, c.args...)
			last := f.AfterTLS
			if !c.tls {
				last = f.BeforeTLS
			}
			if f.BeforeTLS.has("STARTTLS") != c.under || f.AfterTLS.has("STARTTLS") || (f.TLS != nil) != c.tls || f.Error != nil ||
				!last.has("PIPELINING", "SIZE", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING", "AUTH") || f.Limits["size"] != 20000 {
				t.Errorf("got %+v", f)
			}
			if c.tls && (!f.TLS.Verified || f.TLS.Version != "TLS 1.3" || !slices.Contains(f.TLS.Certificate.Names, "mail.example.test")) {
				t.Errorf("got %+v", f.TLS)
			}
			if f.Mechanism.Chosen != "SCRAM-SHA-256" || !slices.Contains(last.Mechanisms, "SCRAM-SHA-256") {
				t.Errorf("got %+v", f.Mechanism)
			}
		})
	}
	p.Settle(t)
}

// A run that is interrupted, and the rest sent afterwards: each message arrives once.
func TestMailer_PostfixInterrupted(t *testing.T) {
	p := realserver.StartPostfix(t)
	m := buildMailer(t)
	const n = 1000
	var files []string
	for i := range n {
		files = append(files, m.file(t, fmt.Sprintf("%d.eml", i), fmt.Sprintf("Subject: %d\r\n\r\nhi\r\n", i)))
	}
	args := []string{"-url", "smtp://" + p.PlainAddr, "-from", "me@example.com", "-to", "alice@example.test", "-depth", "8", "-concurrency", "2"}
	cmd := exec.CommandContext(t.Context(), m.program, slices.Concat([]string{"send", "-json"}, args, files)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var rest []string
	lines := 0
	for decoder := json.NewDecoder(stdout); decoder.More(); lines++ {
		var r mailerResult
		if err := decoder.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if lines == 50 {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
		switch r.Outcome {
		case "delivered":
		case "not_delivered":
			rest = append(rest, r.File)
		default:
			t.Errorf("%s is %s", r.File, r.Outcome)
		}
	}
	_ = cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 75 || lines != n || len(rest) == 0 {
		t.Fatalf("status %d, %d results, %d of them are to be sent", status, lines, len(rest))
	}
	m.send(t, 0, append(args, rest...)...)
	p.Settle(t)
	seen := map[string]bool{}
	for _, message := range p.WaitMessages(t, "alice@example.test", n) {
		content, err := realserver.Content(message)
		if err != nil {
			t.Fatal(err)
		}
		seen[string(content)] = true
	}
	if len(seen) != n {
		t.Errorf("%d different messages have arrived", len(seen))
	}
}

func TestMailer_Exim(t *testing.T) {
	e := realserver.StartExim(t)
	m := buildMailer(t)
	ca := m.authority(t, e.TLSAddr, e.RootCAs)
	key, err := x509.MarshalPKCS8PrivateKey(e.ClientCertificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate := m.file(t, "client.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.ClientCertificate.Certificate[0]}))+
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	for rule, url := range map[string]string{"STARTTLS": "smtp://" + e.Addr, "smtps": "smtps://" + e.TLSAddr} {
		t.Run(rule, func(t *testing.T) {
			f := m.probe(t, 0, "-url", url, "-ca", ca)
			if f.BeforeTLS.has("STARTTLS") != (rule == "STARTTLS") || !f.AfterTLS.has("SIZE", "8BITMIME", "PIPELINING", "CHUNKING", "PRDR", "SMTPUTF8") ||
				f.AfterTLS.has("AUTH") || !f.TLS.Verified || f.Limits["size"] != 128<<20 || f.Mechanism.Chosen != "" {
				t.Errorf("got %+v", f)
			}
			f = m.probe(t, 0, "-url", url, "-ca", ca, "-cert", certificate)
			if !f.AfterTLS.has("AUTH") || f.Mechanism.Chosen != "EXTERNAL" {
				t.Errorf("with a certificate: %+v", f)
			}
			// The user is an address, whose mail is for others only when it has authenticated.
			r := m.send(t, 0, "-url", url, "-ca", ca, "-cert", certificate, "-mech", "EXTERNAL", "-tls", "required",
				"-from", "me@example.com", "-to", "you@elsewhere.test", m.file(t, "mail.eml", "From: me@example.com\r\n\r\nhi\r\n"))[0]
			if r.Mechanism != "EXTERNAL" || r.QueueID == "" {
				t.Errorf("got %+v", r)
			}
			m.send(t, 69, "-url", url, "-ca", ca, "-from", "me@example.com", "-to", "you@elsewhere.test", m.file(t, "mail.eml", "\r\nhi\r\n"))
		})
	}
	m.probe(t, 69, "-url", "smtps://"+e.TLSAddr)
	e.Settle(t)
}

func TestMailer_Dovecot(t *testing.T) {
	d := realserver.StartDovecot(t)
	m := buildMailer(t)
	for _, url := range []string{"lmtp+unix://" + d.Socket, "lmtp://" + d.Addr} {
		f := m.probe(t, 0, "-url", url)
		if f.Protocol != "lmtp" || f.Greeting.Code != 220 || !f.BeforeTLS.has("8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "PIPELINING") || f.TLS != nil || f.AfterTLS != nil || f.Error != nil {
			t.Errorf("got %+v", f)
		}
		r := m.send(t, 75, "-url", url, "-from", "me@example.com", "-to", "alice@example.test", "-to", realserver.FullRecipient,
			"-to", realserver.BrokenRecipient, "-to", realserver.RefusedRecipient, m.file(t, "mail.eml", "Subject: hi\r\n\r\nhi\r\n"))[0]
		var outcomes []string
		for _, one := range r.Recipients {
			outcomes = append(outcomes, fmt.Sprintf("%s %d", one.Outcome, one.Code))
		}
		if got := strings.Join(outcomes, ", "); got != "accepted 250, refused 552, deferred 451, refused 550" || r.Outcome != "partial" {
			t.Errorf("got %s, %s", r.Outcome, got)
		}
		// Parameters that are not offered, and an address beyond ASCII.
		m.send(t, 65, "-url", url, "-from", "me@example.com", "-to", "alice@example.test", "-dsn", "NOTIFY=NEVER", m.file(t, "mail.eml", "Subject: hi\r\n\r\nhi\r\n"))
		m.send(t, 65, "-url", url, "-from", "me@example.com", "-to", "älice@example.test", m.file(t, "mail.eml", "Subject: hi\r\n\r\nhi\r\n"))
		// AUTH is not offered.
		m.send(t, 77, "-url", url, "-from", "me@example.com", "-to", "alice@example.test", "-user", "me", "-password-file", m.file(t, "password", "secret\n"), m.file(t, "mail.eml", "hi\r\n"))
	}
	d.WaitMessages(t, "alice@example.test", 2)
}

// OpenSMTPD's STARTTLS fails after 220, in Debian 12.
func TestMailer_OpenSMTPD(t *testing.T) {
	o := realserver.StartOpenSMTPD(t)
	m := buildMailer(t)
	mail := m.file(t, "mail.eml", "Subject: hi\r\n\r\nhi\r\n")
	url := "smtp://" + o.Addr
	f := m.probe(t, 75, "-url", url)
	if f.Greeting.Code != 220 || !f.BeforeTLS.has("8BITMIME", "ENHANCEDSTATUSCODES", "SIZE", "DSN", "STARTTLS") || f.BeforeTLS.has("PIPELINING") ||
		f.AfterTLS != nil || f.TLS != nil || f.Error == nil || f.Error.Stage != "tls" || f.Error.Class != "temporary" || f.Limits["size"] == 0 {
		t.Errorf("got %+v, error %+v", f, f.Error)
	}
	from := []string{"-url", url, "-from", "me@example.com", "-to", "alice@example.test"}
	// A server that offers TLS and then fails at it is not tried in clear text.
	if r := m.send(t, 75, append(from, mail)...)[0]; r.Error.Stage != "tls" || r.Recipients[0].Outcome != "deferred" {
		t.Errorf("got %+v, error %+v", r, r.Error)
	}
	m.probe(t, 0, "-url", url, "-tls", "off")
	if r := m.send(t, 0, append(from, "-tls", "off", mail)...)[0]; r.QueueID == "" || !strings.Contains(o.Log(), r.QueueID) {
		t.Errorf("got %+v", r)
	}
	if r := m.send(t, 69, append(from, "-tls", "off", "-to", "you@elsewhere.test", mail)...)[0]; r.Outcome != "partial" {
		t.Errorf("got %+v", r)
	}
}
