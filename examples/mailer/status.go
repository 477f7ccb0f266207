package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/postrider/postrider/core"
)

// The exit statuses, those of sysexits.h where it has one that fits.
const (
	allAccepted   = 0
	badlyInvoked  = 64 // a flag or a command that cannot be
	unfit         = 65 // a message that cannot be sent as it is
	refused       = 69 // for good
	deferred      = 75 // for a reason that may pass
	unknown       = 76 // the message may have been accepted, or not
	unauthorised  = 77 // authentication was refused, is required, or is not offered
	misconfigured = 78 // a file or a variable of the environment that cannot be
)

// precedence is the order in which one of several statuses is chosen.
var precedence = []int{badlyInvoked, misconfigured, unfit, unauthorised, unknown, deferred, refused, allAccepted}

// first returns the one of two statuses that comes first.
func first(a, b int) int {
	if slices.Index(precedence, a) <= slices.Index(precedence, b) {
		return a
	}
	return b
}

// statuses says what an error means for the exit status: the first row that
// applies does. "user" is whether credentials were given.
var statuses = []struct {
	status  int
	applies func(e *core.Error, user bool) bool
}{
	{unknown, func(e *core.Error, _ bool) bool { return errors.Is(e, core.ErrUnknownOutcome) }},
	{misconfigured, func(e *core.Error, _ bool) bool { return e.Stage == core.StageConfig && e.Class != core.Temporary }},
	// "530 Authentication required" may be the reply to any command, RFC 4954 §6.
	{unauthorised, func(e *core.Error, _ bool) bool { return e.Code() == 530 }},
	{unauthorised, func(e *core.Error, _ bool) bool { return e.Stage == core.StageAuth && e.Class != core.Temporary }},
	// A server that does not know EHLO has no AUTH.
	{unauthorised, func(e *core.Error, user bool) bool {
		return user && e.Stage == core.StageHello && (e.Code() == 500 || e.Code() == 502 || e.Code() == 504)
	}},
	// What this side finds of the connection, TLS that is not offered say, is not
	// the message's fault.
	{unfit, func(e *core.Error, _ bool) bool { return e.Class == core.Local && e.Stage > core.StageAuth }},
	{deferred, func(e *core.Error, _ bool) bool { return e.Class == core.Temporary }},
	{refused, func(*core.Error, bool) bool { return true }},
}

// statusOf returns the exit status for an error; for nil that is 0.
func statusOf(err error, user bool) int {
	if err == nil {
		return allAccepted
	}
	if e, ok := errors.AsType[*ended](err); ok {
		return e.status
	}
	e := asError(err)
	for _, row := range statuses {
		if row.applies(e, user) {
			return row.status
		}
	}
	return refused
}

// asError returns the core's error in err, or makes one that says the same.
func asError(err error) *core.Error {
	if e, ok := errors.AsType[*core.Error](err); ok {
		return e
	}
	return &core.Error{Stage: core.StagePolicy, Class: core.ClassOf(err), Err: err}
}

// ended is an error that has its exit status already.
type ended struct {
	status int
	err    error
}

func (e *ended) Error() string { return e.err.Error() }

func (e *ended) Unwrap() error { return e.err }

// usage is an error of the command line.
func usage(format string, args ...any) error {
	return &ended{badlyInvoked, fmt.Errorf(format, args...)}
}

// misconfiguration is an error of the configuration.
func misconfiguration(format string, args ...any) error {
	return &ended{misconfigured, fmt.Errorf(format, args...)}
}

// written is the error of what was printed on standard output, if there was one.
func written(err error) error {
	if err == nil {
		return nil
	}
	return &ended{deferred, fmt.Errorf("the result could not be written: %w", err)}
}

// oneLine makes text from anywhere fit for a line of a terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}
