package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/core"
)

// finding is what was found of a server: the line of probe -json. What does not
// apply is absent.
type finding struct {
	URL       string         `json:"url"`
	Address   string         `json:"address,omitempty"`
	Protocol  string         `json:"protocol,omitempty"`
	Greeting  *replyFound    `json:"greeting,omitempty"`
	BeforeTLS *helloFound    `json:"before_tls,omitempty"`
	TLS       *tlsFound      `json:"tls,omitempty"`
	AfterTLS  *helloFound    `json:"after_tls,omitempty"`
	Mechanism *choiceFound   `json:"mechanism,omitempty"`
	Limits    map[string]int `json:"limits,omitempty"`
	Error     *errorResult   `json:"error,omitempty"`
}

// replyFound is a reply.
type replyFound struct {
	Code int    `json:"code"`
	Text string `json:"text"`
}

// helloFound is what a server says of itself in its reply to EHLO or LHLO.
type helloFound struct {
	Domain     string           `json:"domain,omitempty"`
	Extensions []extensionFound `json:"extensions"`
	Mechanisms []string         `json:"mechanisms"`
}

type extensionFound struct {
	Keyword    string `json:"keyword"`
	Parameters string `json:"parameters,omitempty"`
}

// tlsFound is the TLS of the session.
type tlsFound struct {
	Version     string            `json:"version"`
	Cipher      string            `json:"cipher"`
	Verified    bool              `json:"verified"`
	Problem     string            `json:"problem,omitempty"`
	Certificate *certificateFound `json:"certificate,omitempty"`
}

// certificateFound is the server's own certificate.
type certificateFound struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Names     []string  `json:"names"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"`
}

// choiceFound is which mechanism would be used.
type choiceFound struct {
	Offered []string `json:"offered"`
	Chosen  string   `json:"chosen,omitempty"`
	Why     string   `json:"why"`
}

// finding puts together what was found.
func (p *probing) finding(failure error) *finding {
	f := &finding{URL: p.s.url}
	if failure != nil {
		e := asError(failure)
		f.Error = &errorResult{Stage: stageName(e.Stage), Code: e.Code(), Enhanced: e.Reply.Enhanced.String(), Class: e.Class.String(), Text: p.secrets.errorText(e)}
	}
	peer := p.peer()
	if peer == nil {
		return f
	}
	f.Address, f.Protocol = peer.Addr.String(), peer.Protocol.String()
	if peer.Greeting.Code != 0 {
		f.Greeting = &replyFound{peer.Greeting.Code, p.secrets.replyText(peer.Greeting)}
	}
	if p.before.TLS == nil {
		f.BeforeTLS = p.hello(p.before)
		if p.after != nil {
			f.AfterTLS = p.hello(p.after)
		}
	} else {
		f.AfterTLS = p.hello(p.before)
	}
	f.TLS = newTLSFound(peer)
	if p.choice.Candidates != nil {
		f.Mechanism = &choiceFound{Offered: printable(p.choice.Offered), Why: p.choice.String()}
		if p.choice.Mechanism != nil {
			f.Mechanism.Chosen = p.choice.Mechanism.Name()
		}
	}
	f.Limits = limits(&peer.Extensions)
	return f
}

// hello returns what the server has said in its reply to EHLO, or nil if it did
// not come to that.
func (p *probing) hello(peer *core.Peer) *helloFound {
	h := &helloFound{Domain: oneLine(peer.Domain), Extensions: []extensionFound{}, Mechanisms: printable(peer.Extensions.Mechanisms())}
	for keyword, parameters := range peer.Extensions.All() {
		h.Extensions = append(h.Extensions, extensionFound{oneLine(keyword), oneLine(parameters)})
	}
	if h.Domain == "" && len(h.Extensions) == 0 {
		return nil
	}
	return h
}

func newTLSFound(peer *core.Peer) *tlsFound {
	t := newTLSResult(peer)
	if t == nil {
		return nil
	}
	f := &tlsFound{Version: t.Version, Cipher: t.Cipher, Verified: t.Verified, Problem: t.problem}
	if len(peer.TLS.PeerCertificates) > 0 {
		c := peer.TLS.PeerCertificates[0]
		hash := sha256.Sum256(c.Raw)
		f.Certificate = &certificateFound{
			Subject: oneLine(c.Subject.String()), Issuer: oneLine(c.Issuer.String()), Names: printable(c.DNSNames),
			NotBefore: c.NotBefore, NotAfter: c.NotAfter, SHA256: hex.EncodeToString(hash[:]),
		}
		for _, ip := range c.IPAddresses {
			f.Certificate.Names = append(f.Certificate.Names, ip.String())
		}
	}
	return f
}

// limits returns those that the server announces: "size" in octets, RFC 1870, and
// in lower case those of LIMITS, RFC 9422 §3.
func limits(extensions *core.Extensions) map[string]int {
	found := map[string]int{}
	if octets, ok := extensions.SizeLimit(); ok {
		found["size"] = int(octets)
	}
	text, _ := extensions.Param("LIMITS")
	for _, one := range strings.Fields(text) {
		name, value, _ := strings.Cut(one, "=")
		if n, err := strconv.Atoi(value); err == nil {
			found[strings.ToLower(oneLine(name))] = n
		}
	}
	return found
}

// printable returns a list of what a server said, never nil.
func printable(list []string) []string {
	shown := make([]string, 0, len(list))
	for _, s := range list {
		shown = append(shown, oneLine(s))
	}
	return shown
}

// print prints what was found.
func (p *probing) print(w io.Writer, failure error) error {
	f := p.finding(failure)
	if p.s.json {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(f)
	}
	_, err := io.WriteString(w, f.text())
	return err
}

// text is the finding for people.
func (f *finding) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s", oneLine(f.URL))
	if f.Address != "" {
		line("address      %s, %s", f.Address, f.Protocol)
	}
	if f.Greeting != nil {
		line("greeting     %d %s", f.Greeting.Code, f.Greeting.Text)
	}
	f.BeforeTLS.text("before TLS", line)
	if t := f.TLS; t != nil {
		verified := "verified"
		if !t.Verified {
			verified = "not verified: " + t.Problem
		}
		line("TLS          %s, %s, %s", t.Version, t.Cipher, verified)
		if c := t.Certificate; c != nil {
			line("certificate  %s, from %s to %s", c.Subject, c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
			line("             for %s", strings.Join(c.Names, ", "))
			line("             by %s", c.Issuer)
			line("             SHA-256 %s", c.SHA256)
		}
	} else if f.Error != nil && f.Error.Stage == core.StageTLS.String() {
		line("TLS          failed: %s", strings.TrimSpace(code(f.Error.Code)+" "+f.Error.Text))
	} else if f.BeforeTLS != nil {
		line("TLS          none")
	}
	f.AfterTLS.text("under TLS", line)
	if m := f.Mechanism; m != nil {
		line("mechanism    %s", m.Why)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Limits)) {
		line("limit        %s %d", name, f.Limits[name])
	}
	return b.String()
}

func (h *helloFound) text(when string, line func(format string, args ...any)) {
	if h == nil {
		return
	}
	line("%-12s %s", when, h.Domain)
	for _, e := range h.Extensions {
		line("             %s", strings.TrimSpace(e.Keyword+" "+e.Parameters))
	}
}
