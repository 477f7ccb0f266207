package main

import (
	"crypto/tls"
	"net/url"
	"strings"

	"github.com/postrider/postrider/core"
)

// The outcomes of a message.
const (
	delivered    = "delivered"     // all recipients were accepted
	partial      = "partial"       // some were
	notDelivered = "not_delivered" // none was
	inDoubt      = "unknown"       // of one it is not known
)

// result is what became of one message: a line of -json. What does not apply is
// absent.
type result struct {
	File       string            `json:"file"`
	Recipients []recipientResult `json:"recipients"`
	Server     string            `json:"server,omitempty"`
	QueueID    string            `json:"queue_id,omitempty"`
	TLS        *tlsResult        `json:"tls,omitempty"`
	Mechanism  string            `json:"mechanism,omitempty"`
	Attempts   int               `json:"attempts,omitempty"`
	Outcome    string            `json:"outcome"`
	Error      *errorResult      `json:"error,omitempty"`

	status int
}

// recipientResult is what became of one recipient. There is no code without a
// reply.
type recipientResult struct {
	Address  string `json:"address"`
	Outcome  string `json:"outcome"`
	Code     int    `json:"code,omitempty"`
	Enhanced string `json:"enhanced,omitempty"`
	Text     string `json:"text,omitempty"`
}

// tlsResult is the TLS that a message was sent under.
type tlsResult struct {
	Version  string `json:"version"`
	Cipher   string `json:"cipher"`
	Verified bool   `json:"verified"`

	problem string // why it did not verify
}

// errorResult is what went wrong first, by the order of the exit statuses.
type errorResult struct {
	Stage    string `json:"stage"`
	Code     int    `json:"code,omitempty"`
	Enhanced string `json:"enhanced,omitempty"`
	Class    string `json:"class"`
	Text     string `json:"text"`
}

// newResult returns the result of a message that was given to the client.
// failed is the server that a session could not be opened with, or nil.
func (p *reporter) newResult(name string, tries int, failed *core.Peer, receipt *core.Receipt) *result {
	r := &result{File: name, Recipients: []recipientResult{}, QueueID: p.secrets.redact(receipt.QueueID()), Attempts: max(tries, receipt.Attempts)}
	if strings.Contains(r.QueueID, "[redacted]") {
		r.QueueID = ""
	}
	peer := receipt.Peer
	if peer == nil && notOpened(receipt) {
		peer = failed
	}
	if peer != nil {
		r.Server, r.Mechanism, r.TLS = serverName(peer.Endpoint), peer.Mechanism, newTLSResult(peer)
	}
	for i := range receipt.Recipients {
		one := &receipt.Recipients[i]
		to := recipientResult{Address: one.Address, Outcome: one.Outcome.String(), Code: one.Reply.Code, Enhanced: one.Reply.Enhanced.String(), Text: p.secrets.replyText(one.Reply)}
		if one.Err != nil {
			if to.Code == 0 {
				to.Text = p.secrets.errorText(asError(one.Err))
			}
			p.blame(r, one.Err)
		}
		r.Recipients = append(r.Recipients, to)
	}
	accepted := receipt.Count(core.Accepted)
	switch {
	case receipt.Count(core.Unknown) > 0:
		r.Outcome = inDoubt
	case accepted == len(receipt.Recipients):
		r.Outcome = delivered
	case accepted > 0:
		r.Outcome = partial
	default:
		r.Outcome = notDelivered
	}
	return r
}

// notOpened reports whether there was a server that did not let a session be opened.
func notOpened(receipt *core.Receipt) bool {
	for i := range receipt.Recipients {
		if err := receipt.Recipients[i].Err; err != nil {
			e := asError(err)
			return e.Stage > core.StageConnect && e.Stage <= core.StageAuth || e.Stage == core.StageConnect && e.Code() != 0
		}
	}
	return false
}

// unsentResult returns the result of a message that was not given to the client,
// for the recipients that are known.
func (p *reporter) unsentResult(name string, to []core.Recipient, err *core.Error) *result {
	r := &result{File: name, Recipients: []recipientResult{}, Outcome: notDelivered}
	outcome := core.Refused
	if err.Class == core.Temporary {
		outcome = core.Deferred
	}
	for _, one := range to {
		r.Recipients = append(r.Recipients, recipientResult{Address: one.Address, Outcome: outcome.String(), Text: p.secrets.errorText(err)})
	}
	p.blame(r, err)
	return r
}

// blame puts an error into the result if it comes before the one that is there.
func (p *reporter) blame(r *result, err error) {
	status := statusOf(err, p.user)
	if r.Error != nil && first(r.status, status) == r.status {
		return
	}
	e := asError(err)
	r.status = status
	r.Error = &errorResult{Stage: stageName(e.Stage), Code: e.Code(), Enhanced: e.Reply.Enhanced.String(), Class: e.Class.String(), Text: p.secrets.errorText(e)}
}

// stageName is one of connect, hello, tls, auth, mail, rcpt, content and policy.
func stageName(s core.Stage) string {
	if s < core.StageConnect || s > core.StagePolicy {
		s = core.StagePolicy
	}
	return s.String()
}

// serverName returns what a URL names: host and port, or the path of a socket.
func serverName(endpoint string) string {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return endpoint
	case u.Host == "":
		return u.Path
	}
	return u.Host
}

// newTLSResult returns what is known of a session's TLS, or nil.
func newTLSResult(peer *core.Peer) *tlsResult {
	if peer.TLS == nil {
		return nil
	}
	t := &tlsResult{Version: tls.VersionName(peer.TLS.Version), Cipher: tls.CipherSuiteName(peer.TLS.CipherSuite), Verified: peer.TLSError == nil}
	if peer.TLSError != nil {
		t.problem = oneLine(peer.TLSError.Error())
	}
	return t
}
