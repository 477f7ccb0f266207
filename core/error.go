package core

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"
)

// Stage is the part of a session in which an error happened.
type Stage uint8

// The stages, in the order of a session.
const (
	StageConfig  Stage = iota + 1 // assembling a client: nothing was opened
	StageConnect                  // dial and greeting
	StageHello                    // EHLO, HELO, LHLO
	StageTLS                      // STARTTLS and the handshake, also of implicit TLS
	StageAuth                     // AUTH
	StageMail                     // MAIL
	StageRcpt                     // RCPT
	StageContent                  // DATA or BDAT, the content, and the reply to it
	StagePolicy                   // refused on this side: by an interceptor, or as unfit to be sent
	StageCommand                  // any other command: RSET, NOOP, VRFY, QUIT, raw ones
)

var stageNames = [...]string{"unknown", "config", "connect", "hello", "tls", "auth", "mail", "rcpt", "content", "policy", "command"}

// String returns the stage's name in lower case: "connect", "hello", "tls",
// "auth", "mail", "rcpt", "content", "policy", "command", "config".
func (s Stage) String() string {
	if int(s) < len(stageNames) {
		return stageNames[s]
	}
	return stageNames[0]
}

// Class says what an error means for another try.
type Class uint8

const (
	// Temporary: the same may succeed later. 4yz replies, lost connections,
	// timeouts.
	Temporary Class = iota + 1
	// Permanent: the server will not accept this. 5yz replies, certificates
	// that do not verify.
	Permanent
	// Local: this side refused, before anything that matters was written. It
	// will do so again until the caller changes something.
	Local
)

// String returns "temporary", "permanent" or "local".
func (c Class) String() string {
	switch c {
	case Temporary:
		return "temporary"
	case Permanent:
		return "permanent"
	case Local:
		return "local"
	}
	return "unknown"
}

// Kinds of errors, for [errors.Is]. They correspond to the exceptions of
// Python's smtplib, and any [*Error] is of at most one of those below the first
// two.
var (
	// ErrDisconnected: there is no usable connection (smtplib's
	// SMTPServerDisconnected). It was never opened, was closed, was lost, or is
	// no longer used because the server broke the protocol on it.
	ErrDisconnected = errors.New("no connection")
	// ErrNotSupported: the server does not offer what the caller asked for
	// (SMTPNotSupportedError).
	ErrNotSupported = errors.New("not supported by the server")
	// ErrConnect: the server's greeting was 4yz or 5yz (SMTPConnectError).
	// Another one that is not 220 is of the kind ErrProtocol.
	ErrConnect = errors.New("connection refused by the server's greeting")
	// ErrHello: EHLO and HELO were refused (SMTPHeloError).
	ErrHello = errors.New("hello refused")
	// ErrAuthentication: AUTH was refused (SMTPAuthenticationError).
	ErrAuthentication = errors.New("authentication failed")
	// ErrSenderRefused: MAIL was refused (SMTPSenderRefused).
	ErrSenderRefused = errors.New("sender refused")
	// ErrRecipientRefused: RCPT was refused (SMTPRecipientsRefused).
	ErrRecipientRefused = errors.New("recipient refused")
	// ErrContentRefused: DATA, BDAT or the content itself was refused
	// (SMTPDataError).
	ErrContentRefused = errors.New("content refused")
)

// Why a server refused AUTH, as far as its code tells (RFC 4954 §6). Each error
// of these kinds is of the kind ErrAuthentication too; one that a server without
// TLS refuses with 530 or 538 is of the kind ErrTLSRequired.
var (
	// ErrCredentials: 535, the user name or the password is wrong, or the token
	// no longer good. The same will be refused again.
	ErrCredentials = errors.New("the server does not accept the credentials")
	// ErrMechanismRefused: 504 or 534, the server wants another mechanism, or a
	// stronger one.
	ErrMechanismRefused = errors.New("the server does not accept the mechanism")
)

// Other sentinels.
var (
	// ErrClosed: the client or session was closed by its owner.
	ErrClosed = errors.New("closed")
	// ErrBusy: a method of a Session was called while another one was running.
	ErrBusy = errors.New("session is in use by another goroutine")
	// ErrProtocol: the server sent what no server may send there. The
	// connection is closed.
	ErrProtocol = errors.New("protocol violation by the server")
	// ErrTLSRequired: the policy asks for TLS, and the session has none.
	ErrTLSRequired = errors.New("TLS is required")
	// ErrOneShot: a body that can be read only once was needed a second time.
	ErrOneShot = errors.New("the body can be read only once")
	// ErrUnknownOutcome: the content was written whole and no reply came: the
	// server may or may not have accepted the message (RFC 1047). Sending it
	// again may deliver it twice.
	ErrUnknownOutcome = errors.New("outcome unknown: the message may have been accepted")
	// ErrNextTwice: an interceptor called next more often than its kind of work
	// allows.
	ErrNextTwice = errors.New("next called twice")
	// ErrNextLate: an interceptor called next after it had returned.
	ErrNextLate = errors.New("next called after return")
	// ErrNextSkipped: an interceptor returned success without calling next.
	ErrNextSkipped = errors.New("returned success without calling next")
)

// Error is what went wrong in a session: where, what it means, and what the
// server said.
type Error struct {
	// Stage is where it happened.
	Stage Stage
	// Class says whether another try can help.
	Class Class
	// Reply is the server's reply that caused the error; its Code is zero when
	// it was not a reply.
	Reply Reply
	// Hint says what to do next, when that is knowable.
	Hint string
	// Err is the cause. It is nil when the reply says it all.
	Err error
}

// Error returns stage, cause, reply and hint on one line. It never holds a
// credential or content.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Stage.String())
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	if e.Reply.Code != 0 {
		b.WriteString(": ")
		b.WriteString(e.Reply.String())
	}
	if e.Hint != "" {
		b.WriteString(" (")
		b.WriteString(e.Hint)
		b.WriteString(")")
	}
	return oneLine(b.String())
}

// oneLine makes text that comes from anywhere fit for a log and a terminal: line
// ends become " / ", and what cannot be printed is escaped.
func oneLine(s string) string {
	bad := func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError }
	if strings.IndexFunc(s, bad) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\n':
			b.WriteString(" / ")
		case bad(r):
			q := strconv.QuoteToASCII(s[:n])
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Code returns the reply code, or zero.
func (e *Error) Code() int { return e.Reply.Code }

// Is makes errors.Is work with the kinds: a refusal is of the kind of the stage
// that it ended.
func (e *Error) Is(target error) bool {
	if e.Reply.Code == 0 {
		return false
	}
	switch e.Stage {
	case StageConnect:
		return target == ErrConnect
	case StageHello:
		return target == ErrHello
	case StageAuth:
		return target == ErrAuthentication
	case StageMail:
		return target == ErrSenderRefused
	case StageRcpt:
		return target == ErrRecipientRefused
	case StageContent:
		return target == ErrContentRefused
	}
	return false
}

// Timeout reports whether the cause is a deadline, the caller's or a stage's.
func (e *Error) Timeout() bool {
	return errors.Is(e.Err, os.ErrDeadlineExceeded) || errors.Is(e.Err, context.DeadlineExceeded)
}

// replyError is a refusal by the server.
func replyError(stage Stage, reply Reply) *Error {
	class := Permanent
	if reply.Temporary() || stage == StageRcpt && tooManyRecipients(reply) {
		class = Temporary
	}
	e := &Error{Stage: stage, Class: class, Reply: reply}
	if reply.Code == 421 { // RFC 5321 §3.8
		e.Err = fmt.Errorf("%w: the server is closing the connection", ErrDisconnected)
	}
	return e
}

// tooManyRecipients reports whether a reply to RCPT says that the transaction has
// enough of them: 452, or in its old form 552 (RFC 5321 §4.5.3.1.10). With an enhanced code of its own (5.2.2, a full mailbox, say)
// it means what that says; X.5.3 is too many recipients again (RFC 3463 §3.6).
func tooManyRecipients(reply Reply) bool {
	return (reply.Code == 452 || reply.Code == 552) && (reply.Enhanced == EnhancedCode{} || reply.Enhanced[1] == 5 && reply.Enhanced[2] == 3)
}

// localError is a refusal on this side.
func localError(stage Stage, err error, hint string) *Error {
	return &Error{Stage: stage, Class: Local, Err: err, Hint: hint}
}

// protocolError says that the server broke the protocol.
func protocolError(stage Stage, format string, args ...any) *Error {
	return &Error{Stage: stage, Class: Temporary, Err: fmt.Errorf("%w: %w: "+format, append([]any{ErrProtocol, ErrDisconnected}, args...)...)}
}

// ClassOf returns what any error means for another try: an [*Error] says so
// itself, an end of the context or of the network is temporary, and so is a
// violation of the protocol by the server, and whatever
// else an interceptor or a body returns is this side's.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrDisconnected) || errors.Is(err, ErrProtocol) {
		return Temporary
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok && e.Temporary() {
		return Temporary // there are too many open files, say
	}
	// Not any net.Error: a file that does not exist is one too.
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return Temporary
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return Temporary
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return Temporary
	}
	return Local
}

// A PanicError is a panic in code that the core called: an interceptor, a body,
// a mechanism, a transport.
type PanicError struct {
	// Where names what panicked: `interceptor "audit" (attempt)`.
	Where string
	// Value is what it panicked with.
	Value any
	// Stack is the goroutine's stack at the panic, for the log.
	Stack []byte
}

// Error names what panicked, and with what.
func (e *PanicError) Error() string { return oneLine(fmt.Sprintf("panic in %s: %v", e.Where, e.Value)) }

// Unwrap returns the panic's value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
