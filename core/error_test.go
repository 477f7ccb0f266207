package core

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"unicode"
	"unicode/utf8"
)

var kinds = []error{ErrConnect, ErrHello, ErrAuthentication, ErrSenderRefused, ErrRecipientRefused, ErrContentRefused}

// A refusal by the server is of one kind, that of the stage which it ended, as
// with the exceptions of Python's smtplib.
func TestError_aRefusalIsOfTheKindOfItsStage(t *testing.T) {
	want := map[Stage]error{
		StageConnect: ErrConnect, StageHello: ErrHello, StageAuth: ErrAuthentication,
		StageMail: ErrSenderRefused, StageRcpt: ErrRecipientRefused, StageContent: ErrContentRefused,
	}
	for stage := Stage(0); stage <= StageCommand; stage++ {
		for _, code := range []int{421, 450, 550} {
			err := fmt.Errorf("wrapped: %w", replyError(stage, Reply{Code: code}))
			for _, kind := range kinds {
				if got := errors.Is(err, kind); got != (kind == want[stage]) {
					t.Errorf("%d at %s: errors.Is(%v) is %t", code, stage, kind, got)
				}
			}
			if got := errors.Is(err, ErrDisconnected); got != (code == 421) {
				t.Errorf("%d at %s: errors.Is(ErrDisconnected) is %t (RFC 5321 §3.8)", code, stage, got)
			}
		}
		for _, kind := range kinds {
			if errors.Is(localError(stage, errSource, ""), kind) || errors.Is(protocolError(stage, "x"), kind) {
				t.Errorf("what is no refusal is of the kind %v at %s", kind, stage)
			}
		}
	}
}

func TestError_classOfAReply(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		stage Stage
		reply Reply
		want  Class
	}{
		{"4yz is temporary (RFC 5321 §4.2.1)", StageMail, Reply{Code: 450}, Temporary},
		{"5yz is permanent (RFC 5321 §4.2.1)", StageMail, Reply{Code: 550}, Permanent},
		{"B14 a code that nobody knows counts by its first digit (RFC 5321 §4.3.2)", StageRcpt, Reply{Code: 499}, Temporary},
		{"B14 the same of 5yz", StageRcpt, Reply{Code: 599}, Permanent},
		{"B10 the code decides where the enhanced code contradicts", StageRcpt, Reply{Code: 550, Enhanced: EnhancedCode{4, 1, 1}}, Permanent},
		{"B10 the same of 4yz", StageRcpt, Reply{Code: 450, Enhanced: EnhancedCode{5, 1, 1}}, Temporary},

		{"F5 552 to RCPT is too many recipients (RFC 5321 §4.5.3.1.10)", StageRcpt, Reply{Code: 552}, Temporary},
		{"trap 18: 552 5.5.3 says so itself (RFC 3463 §3.6)", StageRcpt, Reply{Code: 552, Enhanced: EnhancedCode{5, 5, 3}}, Temporary},
		{"trap 18: 552 4.5.3 says so twice", StageRcpt, Reply{Code: 552, Enhanced: EnhancedCode{4, 5, 3}}, Temporary},
		{"trap 18: 552 5.2.2 is a full mailbox (RFC 3463 §3.3)", StageRcpt, Reply{Code: 552, Enhanced: EnhancedCode{5, 2, 2}}, Permanent},
		{"trap 18: 552 to MAIL is a message too large", StageMail, Reply{Code: 552}, Permanent},
		{"trap 18: 552 to content is a message too large", StageContent, Reply{Code: 552}, Permanent},
		{"452 to RCPT is temporary", StageRcpt, Reply{Code: 452, Enhanced: EnhancedCode{4, 5, 3}}, Temporary},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			err := replyError(tt.stage, tt.reply)
			if err.Class != tt.want || err.Code() != tt.reply.Code || ClassOf(err) != tt.want {
				t.Errorf("%v is %s, want %s", err, err.Class, tt.want)
			}
		})
	}
}

// timeout is a net.Error of a kind that nobody knows.
type timeout bool

func (timeout) Error() string   { return "an error of a library" }
func (t timeout) Timeout() bool { return bool(t) }
func (timeout) Temporary() bool { return false }

func TestClassOf(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, tt := range []struct {
		rule string
		err  error
		want Class
	}{
		{"an *Error says so itself", &Error{Class: Permanent, Err: context.Canceled}, Permanent},
		{"an *Error says so through what wraps it", fmt.Errorf("audit: %w", &Error{Class: Temporary}), Temporary},
		{"a cancelled context is temporary", fmt.Errorf("x: %w", context.Canceled), Temporary},
		{"a deadline is temporary", context.DeadlineExceeded, Temporary},
		{"trap 25: a deadline of a connection is temporary", os.ErrDeadlineExceeded, Temporary},
		{"a lost connection is temporary", fmt.Errorf("x: %w", ErrDisconnected), Temporary},
		{"trap 25: a host that cannot be reached is temporary", refused, Temporary},
		{"a name that cannot be looked up is temporary", &net.DNSError{Err: "no such host", IsNotFound: true}, Temporary},
		{"a token service that cannot be reached is temporary", &url.Error{Op: "Post", URL: "https://x", Err: refused}, Temporary},
		{"trap 25: a timeout is temporary, whoever reports it", fmt.Errorf("x: %w", timeout(true)), Temporary},
		{"what an interceptor returns is this side's", errors.New("no"), Local},
		{"what a body returns is this side's", io.ErrUnexpectedEOF, Local},
		{"a panic is this side's", &PanicError{Value: "x"}, Local},
		{"a file that is not there is no network", &os.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}, Local},
		{"a lack of descriptors is temporary", &os.PathError{Op: "open", Path: "x", Err: syscall.EMFILE}, Temporary},
		{"a net.Error that is no timeout says nothing", timeout(false), Local},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if got := ClassOf(tt.err); got != tt.want {
				t.Errorf("%v is %s, want %s", tt.err, got, tt.want)
			}
		})
	}
}

// What a server wrote, or a library, must not forge log lines or control a
// terminal (B5, B6).
func TestError_isOneLineWithoutControlCharacters(t *testing.T) {
	const evil = "a\r\nb\x00c\x1b[31md\x7fe\u0085f\u202eg\xffh\ni"
	shared := &Error{Stage: StageContent, Class: Permanent, Reply: Reply{Code: 550, Text: evil}}
	for name, err := range map[string]error{
		"reply":        shared,
		"cause":        &Error{Stage: StageConnect, Class: Temporary, Err: errors.New(evil)},
		"hint":         &Error{Stage: StageConnect, Class: Temporary, Hint: evil},
		"all":          &Error{Stage: StageConnect, Reply: Reply{Code: 550, Text: evil}, Err: errors.Join(errors.New(evil), errSource), Hint: "try"},
		"address":      func() error { _, err := checkPath(evil); return localError(StageMail, err, "") }(),
		"panic":        &PanicError{Where: "interceptor", Value: evil},
		"panic within": &Error{Stage: StagePolicy, Err: &PanicError{Where: "interceptor", Value: evil}},
		"delivery": &DeliveryError{Receipt: &Receipt{Recipients: []RecipientResult{
			{Outcome: Refused, Err: fmt.Errorf("%s: %w", evil, shared)}, {Outcome: Refused, Err: shared}}}},
	} {
		if s := err.Error(); strings.ContainsFunc(s, unicode.IsControl) || strings.Contains(s, "\u202e") || !utf8.ValidString(s) || !strings.Contains(s, "a") {
			t.Errorf("%s: %q", name, s)
		}
	}
}

func TestError_says(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&Error{Stage: StageRcpt, Reply: Reply{Code: 550, Enhanced: EnhancedCode{5, 1, 1}, Text: "5.1.1 no\nsuch user"}}, "rcpt: 550 5.1.1 no / such user"},
		{&Error{Stage: StageConnect, Err: errSource}, "connect: the source failed"},
		{&Error{Stage: StageTLS, Err: errSource, Reply: Reply{Code: 454}, Hint: "try later"}, "tls: the source failed: 454 (try later)"},
		{&Error{Stage: StageMail, Err: errors.New(`address "bücher@example.com" is bad`)}, `mail: address "bücher@example.com" is bad`},
		{&Error{Stage: StageConfig, Err: errors.Join(errors.New("one"), errors.New("two"))}, "config: one / two"},
		{&Error{Stage: 99}, "unknown"},
		{&PanicError{Where: `interceptor "audit" (attempt)`, Value: "oh"}, `panic in interceptor "audit" (attempt): oh`},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestError_reachesItsCause(t *testing.T) {
	bad := x509.HostnameError{Host: "x", Certificate: &x509.Certificate{}}
	err := fmt.Errorf("wrapped: %w", &Error{Stage: StageTLS, Class: Permanent, Err: fmt.Errorf("handshake: %w", bad)})
	if _, ok := errors.AsType[x509.HostnameError](err); !ok {
		t.Error("the certificate's error cannot be reached")
	}
	if e, ok := errors.AsType[*Error](err); !ok || e.Code() != 0 {
		t.Errorf("got %v, %t", e, ok)
	}
	for cause, want := range map[error]bool{os.ErrDeadlineExceeded: true, context.DeadlineExceeded: true, context.Canceled: false, io.EOF: false} {
		if got := (&Error{Err: fmt.Errorf("x: %w", cause)}).Timeout(); got != want {
			t.Errorf("Timeout of %v is %t", cause, got)
		}
	}
	if (&Error{}).Timeout() {
		t.Error("an error without a cause is a timeout")
	}
}

func TestPanicError_reachesAnErrorThatWasThePanic(t *testing.T) {
	run := func(v any) (err error) {
		defer contain("here", &err)
		panic(v)
	}
	err := run(errSource)
	p, ok := errors.AsType[*PanicError](err)
	if !ok || !errors.Is(err, errSource) || p.Where != "here" || !strings.Contains(string(p.Stack), "TestPanicError") {
		t.Errorf("got %v", err)
	}
	if err := run("text"); errors.Unwrap(err) != nil {
		t.Errorf("text became an error: %v", errors.Unwrap(err))
	}
}

func TestStage_String(t *testing.T) {
	seen := map[string]bool{}
	for s := StageConfig; s <= StageCommand; s++ {
		if name := s.String(); name == "unknown" || seen[name] || name != strings.ToLower(name) {
			t.Errorf("stage %d is named %q", s, name)
		}
		seen[s.String()] = true
	}
	for c, want := range map[Class]string{Temporary: "temporary", Permanent: "permanent", Local: "local", 0: "unknown", 9: "unknown"} {
		if got := c.String(); got != want {
			t.Errorf("class %d is named %q", c, got)
		}
	}
}
