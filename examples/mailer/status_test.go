package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/postrider/postrider/core"
)

// The classification of errors, one line of the contract a row.
func TestStatusOf(t *testing.T) {
	reply := func(stage core.Stage, code int) *core.Error {
		class := core.Permanent
		if code < 500 {
			class = core.Temporary
		}
		return &core.Error{Stage: stage, Class: class, Reply: core.Reply{Code: code}}
	}
	own := func(stage core.Stage, class core.Class, err error) *core.Error {
		return &core.Error{Stage: stage, Class: class, Err: err}
	}
	some := errors.New("some reason")
	for rule, tt := range map[string]struct {
		err    error
		user   bool
		status int
	}{
		"no error":                           {nil, true, 0},
		"a usage error":                      {usage("no"), false, 64},
		"an error of the configuration":      {misconfiguration("no"), false, 78},
		"one that a client finds":            {own(core.StageConfig, core.Local, some), false, 78},
		"a recipient refused":                {reply(core.StageRcpt, 550), false, 69},
		"a recipient put off":                {reply(core.StageRcpt, 450), false, 75},
		"a greeting 554":                     {reply(core.StageConnect, 554), false, 69},
		"a greeting 421":                     {reply(core.StageConnect, 421), false, 75},
		"no connection":                      {own(core.StageConnect, core.Temporary, core.ErrDisconnected), false, 75},
		"the protocol is broken":             {own(core.StageMail, core.Temporary, core.ErrProtocol), false, 75},
		"a certificate that is bad":          {own(core.StageTLS, core.Permanent, some), false, 69},
		"TLS is not offered":                 {own(core.StageTLS, core.Permanent, core.ErrTLSRequired), true, 69},
		"TLS is not there":                   {own(core.StageTLS, core.Local, core.ErrTLSRequired), true, 69},
		"STARTTLS 454":                       {reply(core.StageTLS, 454), false, 75},
		"AUTH 535":                           {reply(core.StageAuth, 535), true, 77},
		"AUTH 504":                           {reply(core.StageAuth, 504), true, 77},
		"AUTH 432":                           {reply(core.StageAuth, 432), true, 75},
		"AUTH 454":                           {reply(core.StageAuth, 454), true, 75},
		"a connection lost during AUTH":      {own(core.StageAuth, core.Temporary, core.ErrDisconnected), true, 75},
		"AUTH is not offered":                {own(core.StageAuth, core.Permanent, core.ErrNotSupported), true, 77},
		"PLAIN without TLS":                  {own(core.StageAuth, core.Local, core.ErrTLSRequired), true, 77},
		"the server is not authenticated":    {own(core.StageAuth, core.Permanent, some), true, 77},
		"MAIL 530":                           {reply(core.StageMail, 530), false, 77},
		"RCPT 530":                           {reply(core.StageRcpt, 530), false, 77},
		"no EHLO, with a user":               {reply(core.StageHello, 502), true, 77},
		"no EHLO, without a user":            {reply(core.StageHello, 502), false, 69},
		"EHLO 550":                           {reply(core.StageHello, 550), true, 69},
		"content that does not fit":          {own(core.StagePolicy, core.Local, some), false, 65},
		"a parameter that is not offered":    {own(core.StageMail, core.Local, core.ErrNotSupported), false, 65},
		"a file that cannot be opened":       {own(core.StageContent, core.Local, some), false, 65},
		"a policy that may pass":             {own(core.StagePolicy, core.Temporary, some), false, 75},
		"unknown":                            {own(core.StageContent, core.Temporary, fmt.Errorf("%w: EOF", core.ErrUnknownOutcome)), false, 76},
		"the core's error is wrapped":        {fmt.Errorf("message 1: %w", reply(core.StageRcpt, 550)), false, 69},
		"an error that the core has not had": {some, false, 65},
	} {
		t.Run(rule, func(t *testing.T) {
			if got := statusOf(tt.err, tt.user); got != tt.status {
				t.Errorf("got %d, want %d", got, tt.status)
			}
		})
	}
}

// Of several, the first that applies in the order 64, 78, 65, 77, 76, 75, 69.
func TestFirst(t *testing.T) {
	order := []int{64, 78, 65, 77, 76, 75, 69, 0}
	for i, a := range order {
		for _, b := range order[i:] {
			if first(a, b) != a || first(b, a) != a {
				t.Errorf("of %d and %d: %d, %d", a, b, first(a, b), first(b, a))
			}
		}
	}
}
