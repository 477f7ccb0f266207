package core_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/internal/realserver"
	"github.com/postrider/postrider/middleware/dkim"
)

// signedTexts are what signers and servers get wrong: the fields behind From and
// Subject, and the text. Each signed field has a space behind its colon: without
// one "opendkim -t" fails a simple signature, which dkimpy verifies.
var signedTexts = map[string]struct{ fields, text string }{
	"a plain message":       {"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n", "\r\nHello.\r\n"},
	"dots":                  {"", "\r\n.\r\n..\r\n.dot\r\nmid.dot\r\n\r\n.\r\n"},
	"octets above 127":      {"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", "\r\nGr\xc3\xbc\xc3\x9fe\r\n\xff\xfe\r\n"},
	"UTF-8 in a field":      {"To: J\xc3\xb6rg <joerg@example.net>\r\n", "\r\nHello.\r\n"},
	"lines of 998 octets":   {"X-Long: " + strings.Repeat("x", 990) + "\r\n", "\r\n" + strings.Repeat("y", 998) + "\r\n." + strings.Repeat("z", 997) + "\r\n"},
	"no text":               {"", "\r\n"},
	"no text, no end":       {"", ""},
	"only empty lines":      {"", "\r\n\r\n\r\n"},
	"only white space":      {"", "\r\n \t\r\n \r\n"},
	"empty lines at an end": {"", "\r\nHello.\r\n\r\n\r\n"},
	"no line end at an end": {"", "\r\nHello."},
	"white space":           {"X-Space:  \ta  b \t\r\n", "\r\n  a \t b  \r\n \r\n\t\r\nc\t \r\n"},
	"folded fields":         {"To: one@example.net,\r\n\ttwo@example.net,\r\n  three@example.net\r\nReferences: <1@a>\r\n <2@b>\r\n\t<3@c>\r\n", "\r\nHello.\r\n"},
	"fields that repeat":    {"List-Id: <1>\r\nX: y\r\nLIST-ID: <2>\r\n", "\r\nHello.\r\n"},
	"bare LF":               {"To: one@example.net,\n two@example.net\n", "\nHello.\n\n.\nBye.\n\n"},
	"bare CR":               {"", "\r\nHello.\rBye.\r\r\n"},
	"a long text":           {"", "\r\n" + strings.Repeat("A line of a text that is longer than what is written at once.\r\n.\r\n", 1500)},
}

// damages make another message of a stored one.
var damages = map[string]func(message []byte) []byte{
	"an octet of the text": func(message []byte) []byte {
		header, text, _ := bytes.Cut(message, []byte("\n\n"))
		if at := bytes.IndexFunc(text, func(r rune) bool { return r > ' ' && r <= '~' }); at >= 0 {
			text = bytes.Clone(text)
			text[at] ^= 1
		} else {
			text = append([]byte("x\n"), text...)
		}
		return bytes.Join([][]byte{header, text}, []byte("\n\n"))
	},
	"a signed field": func(message []byte) []byte {
		return bytes.Replace(message, []byte("\nSubject: "), []byte("\nSubject: Re: "), 1)
	},
	"a second From": func(message []byte) []byte { // on top, where a verifier looks last: RFC 6376 §5.4.2
		return bytes.Replace(message, []byte("\nFrom: "), []byte("\nFrom: Boss <boss@example.com>\nFrom: "), 1)
	},
	"a second Subject, behind": func(message []byte) []byte {
		return bytes.Replace(message, []byte("\n\n"), []byte("\nSubject: Pay\n\n"), 1)
	},
	"a Reply-To where there was none": func(message []byte) []byte {
		return bytes.Replace(message, []byte("\nSubject: "), []byte("\nReply-To: boss@example.org\nSubject: "), 1)
	},
}

// What arrives through a real Postfix, with the fields that it puts in front,
// verifies with other people's verifiers; what was changed on its way does not.
func TestDKIM_throughPostfix(t *testing.T) {
	p := realserver.StartPostfix(t)
	domains, records := signingDomains(t)
	sign, err := dkim.New(dkim.Config{Domains: domains})
	if err != nil {
		t.Fatal(err)
	}
	type parcel struct{ name, content, mailbox string }
	var parcels []parcel
	for _, way := range []struct {
		name   string
		masked []string
		depth  int
	}{
		{"BDAT", nil, 1},
		{"BDAT, depth 16", nil, 16},
		{"DATA, depth 16", []string{"CHUNKING"}, 16},
		{"DATA, one command at a time", []string{"CHUNKING", "PIPELINING"}, 1},
	} {
		var said contentCommands
		c := toPostfix(t, p, "smtp://"+p.PlainAddr, func(c *core.Config) {
			c.MaskExtensions, c.PipelineDepth, c.MaxSessions = way.masked, way.depth, 1
			c.Interceptors = []core.Interceptor{sign, said.interceptor()}
		})
		err := c.SendAll(t.Context(), func(yield func(*core.Message) bool) {
			for domain := range domains {
				for name, m := range signedTexts {
					content := "From: Me <me@" + domain + ">\r\nSubject: " + name + "\r\n" + m.fields + m.text
					if name == "bare LF" {
						content = strings.ReplaceAll(content, "\r\n", "\n")
					}
					mailbox := fmt.Sprintf("%d@%s", len(parcels), p.Domain)
					parcels = append(parcels, parcel{way.name + ", " + domain + ", " + name, content, mailbox})
					if !yield(&core.Message{From: "bounces@example.test", To: core.Recipients(mailbox), Body: core.String(content)}) {
						return
					}
				}
			}
		}, func(r core.Result) {
			if r.Err != nil {
				t.Errorf("%s: %s: %v", way.name, r.Message.To[0].Address, r.Err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if bdat, data := said.bdat.Load(), said.data.Load(); bdat > 0 == (data > 0) || bdat > 0 != strings.HasPrefix(way.name, "BDAT") {
			t.Errorf("%s: %d times BDAT, %d times DATA", way.name, bdat, data)
		}
		_ = c.Close()
	}
	p.Settle(t)
	mail, err := p.Mail()
	if err != nil {
		t.Fatal(err)
	}

	whole := map[string]string{} // names of messages, by file
	damaged := map[string]string{}
	folder := t.TempDir()
	keep := func(list map[string]string, name string, message []byte) {
		file := fmt.Sprint(len(whole) + len(damaged))
		if err := os.WriteFile(filepath.Join(folder, file), message, 0o600); err != nil {
			t.Fatal(err)
		}
		list[file] = name
	}
	for _, m := range parcels {
		if len(mail[m.mailbox]) != 1 {
			t.Fatalf("%s: %d messages have arrived", m.name, len(mail[m.mailbox]))
		}
		stored := mail[m.mailbox][0]
		content, err := realserver.Content(stored)
		if err != nil || !bytes.HasPrefix(content, []byte("DKIM-Signature:")) || !bytes.HasSuffix(content, []byte(onTheWire(m.content))) {
			t.Errorf("%s: what has arrived is not what was sent: %.2000q, %v", m.name, content, err)
		}
		keep(whole, m.name, stored)
		for what, damage := range damages {
			other := damage(stored)
			if bytes.Equal(other, stored) {
				t.Fatalf("%s: nothing was changed", what)
			}
			keep(damaged, m.name+", "+what, other)
		}
	}

	for _, verifier := range []struct {
		name       string
		verify     func(t *testing.T, folder string, records map[string]string, files []string) map[string]string
		pass, fail string
	}{
		{"OpenDKIM", openDKIM, "rsa:pass", "rsa:fail"}, // it speaks of one: the first that verifies, or the first
		{"dkimpy", dkimpy, "rsa:pass ed25519:pass", "rsa:fail ed25519:fail"},
	} {
		t.Run(verifier.name, func(t *testing.T) {
			files := slices.AppendSeq(slices.Collect(maps.Keys(whole)), maps.Keys(damaged))
			verdicts := verifier.verify(t, folder, records, files)
			if verdicts == nil {
				return
			}
			wrong := &limited{TB: t}
			for file, name := range whole {
				if verdicts[file] != verifier.pass {
					wrong.Errorf("%s: %q, want %q", name, verdicts[file], verifier.pass)
				}
			}
			for file, name := range damaged {
				if verdicts[file] != verifier.fail {
					wrong.Errorf("%s: %q, want %q", name, verdicts[file], verifier.fail)
				}
			}
			t.Logf("%d messages, %d that were changed", len(whole), len(damaged))
		})
	}
}

// contentCommands counts the commands that content goes out with.
type contentCommands struct{ bdat, data atomic.Int32 }

func (n *contentCommands) interceptor() core.Interceptor {
	return core.Interceptor{Name: "content commands", Exchange: func(next core.ExchangeFunc) core.ExchangeFunc {
		return func(ctx context.Context, x *core.Exchange) error {
			for i := range x.Commands {
				switch line := x.Commands[i].String(); {
				case strings.HasPrefix(line, "BDAT"):
					n.bdat.Add(1)
				case strings.HasPrefix(line, "DATA"):
					n.data.Add(1)
				}
			}
			return next(ctx, x)
		}
	}}
}

// signingDomains returns a domain for each pair of canonicalizations, which sign
// with an RSA and an Ed25519 key, and what is in the DNS for them.
func signingDomains(t *testing.T) (domains map[string][]dkim.Signature, records map[string]string) {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	domains, records = map[string][]dkim.Signature{}, map[string]string{}
	names := map[dkim.Canonicalization]string{dkim.Relaxed: "relaxed", dkim.Simple: "simple"}
	for header, headerName := range names {
		for body, bodyName := range names {
			domain := headerName + "-" + bodyName + ".example"
			for _, key := range []dkim.Key{{Selector: "rsa", Signer: rsaKey}, {Selector: "ed25519", Signer: edKey}} {
				domains[domain] = append(domains[domain], dkim.Signature{
					Domain: domain, Selector: key.Selector, Signer: key.Signer, HeaderCanonicalization: header, BodyCanonicalization: body,
				})
				if records[key.Selector+"._domainkey."+domain], err = dkim.Record(key.Signer.Public()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return domains, records
}

// onTheWire makes line ends right in the plainest way, and ends the header.
func onTheWire(content string) string {
	content = strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n").Replace(content)
	if !strings.HasSuffix(content, "\r\n") {
		content += "\r\n"
	}
	if !strings.Contains(content, "\r\n\r\n") {
		content += "\r\n"
	}
	return content
}

// openDKIM has OpenDKIM verify the files of a folder, without the DNS.
func openDKIM(t *testing.T, folder string, records map[string]string, files []string) map[string]string {
	program, err := exec.LookPath("opendkim")
	if err != nil {
		lacks(t, "OpenDKIM", "opendkim", err)
		return nil
	}
	var keys strings.Builder
	for name, record := range records {
		fmt.Fprintf(&keys, "%s %s\n", name, record)
	}
	for file, text := range map[string]string{"keys": keys.String(), "opendkim.conf": "Mode v\nTestPublicKeys keys\n"} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	verifier := exec.CommandContext(t.Context(), program, "-x", "opendkim.conf", "-v", "-t", strings.Join(files, ","))
	verifier.Dir = folder
	out, err := verifier.Output()
	if err != nil {
		t.Fatal(err)
	}
	verdicts := map[string]string{}
	for line := range strings.Lines(string(out)) {
		// opendkim: FILE: verification (s=SELECTOR, d=DOMAIN, 2048-bit key) succeeded
		file, verdict, found := strings.Cut(strings.TrimPrefix(line, "opendkim: "), ": verification (s=")
		if !found {
			continue
		}
		selector, _, _ := strings.Cut(strings.ReplaceAll(verdict, ",", " "), " ")
		switch {
		case strings.HasSuffix(verdict, ") succeeded\n"):
			verdicts[file] += selector + ":pass"
		case strings.HasSuffix(verdict, " failed: signature verification failed\n"):
			verdicts[file] += selector + ":fail"
		default:
			verdicts[file] += strings.TrimSpace(verdict)
		}
	}
	return verdicts
}

// dkimpyProgram takes the records and files from the standard input, and prints
// the verdicts.
const dkimpyProgram = `
import dkim, json, sys

task = json.load(sys.stdin)

def record(name, timeout=5):
    return task["records"][name.decode().rstrip(".")].encode()

def verdict(message, index):
    try:
        return "pass" if message.verify(idx=index, dnsfunc=record) else "fail"
    except dkim.ValidationError as e:
        return "fail" if "body hash mismatch" in str(e) else str(e)

verdicts = {}
for file in task["files"]:
    with open(file, "rb") as f:
        content = f.read()
    found = []
    for index in range(content.split(b"\n\n", 1)[0].count(b"\nDKIM-Signature:")):
        message = dkim.DKIM(content)
        result = verdict(message, index)
        found.append(message.signature_fields[b"s"].decode() + ":" + result)
    verdicts[file] = " ".join(sorted(found, reverse=True))
json.dump(verdicts, sys.stdout)
`

// dkimpy has dkimpy verify the files of a folder, without the DNS.
func dkimpy(t *testing.T, folder string, records map[string]string, files []string) map[string]string {
	const python = "/usr/bin/python3" // that of the operating system, which has its packages
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import dkim, nacl").CombinedOutput(); err != nil {
		lacks(t, "dkimpy", "python3-dkim", fmt.Errorf("%w: %s", err, out))
		return nil
	}
	task, err := json.Marshal(map[string]any{"records": records, "files": files})
	if err != nil {
		t.Fatal(err)
	}
	program := exec.CommandContext(t.Context(), python, "-c", dkimpyProgram)
	program.Dir = folder
	var complaints bytes.Buffer
	program.Stdin, program.Stderr = bytes.NewReader(task), &complaints
	out, err := program.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &complaints)
	}
	var verdicts map[string]string
	if err := json.Unmarshal(out, &verdicts); err != nil {
		t.Fatal(err)
	}
	return verdicts
}

// lacks ends a test whose verifier is missing, by the rule for servers.
func lacks(t *testing.T, name, packages string, err error) {
	t.Helper()
	realserver.Absent(t, fmt.Errorf("%s did not verify anything: install it (apt-get install %s): %w", name, packages, err))
}
