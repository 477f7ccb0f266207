package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestReceipt_QueueID(t *testing.T) {
	for _, tt := range []struct{ rule, text, want string }{
		{"Postfix", "2.0.0 Ok: queued as 4XyZ0q2RkFz1w3", "4XyZ0q2RkFz1w3"},
		{"Postfix with short names", "2.0.0 Ok: queued as 7F3C41A0B2", "7F3C41A0B2"},
		{"Postfix behind a content filter", "2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 1B2C3D4E5F", "1B2C3D4E5F"},
		{"Exim", "OK id=1sXyZa-00000001Ab2-3cDe", "1sXyZa-00000001Ab2-3cDe"},
		{"Exim with CHUNKING", " 4 byte chunk, total 4\nOK id=1qAbCd-0001Xy-2Z", "1qAbCd-0001Xy-2Z"},
		{"Sendmail", "2.0.0 4BN7x1Qm012345 Message accepted for delivery", "4BN7x1Qm012345"},
		{"Sendmail without enhanced codes", "RAA01234 Message accepted for delivery", "RAA01234"},
		{"OpenSMTPD", "2.0.0 1a2b3c4d Message accepted for delivery", "1a2b3c4d"},
		{"another one in Postfix's words", "Ok: Queued As abc-123", "abc-123"},

		{"none: Dovecot's LMTP with a session, not a queue", "2.0.0 <bob> 0J8hEVs1Y2d Saved", ""},
		{"none: Google", "2.0.0 OK  1700000000 a1-20020a0101020304 - gsmtp", ""},
		{"none: the enhanced code is no name", "2.0.0 Message accepted for delivery", ""},
		{"none: OK is no name", "OK Message accepted for delivery", ""},
		{"none: nothing in front of the words", "Message accepted for delivery", ""},
		{"none: nothing behind the words", "2.0.0 Ok: queued as", ""},
		{"none: nothing behind id=", "OK id=", ""},
		{"none: words in between", "Message queued for delivery as soon as possible", ""},
		{"none: a bare OK", "OK", ""},
		{"none: no text", "", ""},
		{"B6 none: what cannot be printed is no name", "Ok: queued as 4X\x1b[31mZ", ""},
		{"B6 none: what is not ASCII is no name", "OK id=\xff\u202e", ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			r := Receipt{Reply: Reply{Code: 250, Text: tt.text}}
			if strings.HasPrefix(tt.text, "2.0.0 ") {
				r.Reply.Enhanced = EnhancedCode{2, 0, 0}
			}
			if got := r.QueueID(); got != tt.want {
				t.Errorf("%q: got %q, want %q", tt.text, got, tt.want)
			}
			r.Reply.Code = 451
			if got := r.QueueID(); got != "" {
				t.Errorf("a refusal has the queue id %q", got)
			}
		})
	}
}

func TestReceipt_Count(t *testing.T) {
	r := Receipt{Recipients: []RecipientResult{{Outcome: Accepted}, {Outcome: Deferred}, {Outcome: Accepted}, {Outcome: Unknown}}}
	for o, want := range map[Outcome]int{Accepted: 2, Deferred: 1, Unknown: 1, Refused: 0, Pending: 0} {
		if got := r.Count(o); got != want {
			t.Errorf("%d %s, want %d", got, o, want)
		}
	}
	if got := Outcome(99).String(); got != "unknown" {
		t.Errorf("an outcome that does not exist is %q", got)
	}
}

func TestReceipt_theErrorIsNilOnlyIfAllWereAccepted(t *testing.T) {
	r := &Receipt{Recipients: []RecipientResult{{Outcome: Accepted}, {Outcome: Accepted}}}
	if err := r.err(); err != nil {
		t.Error(err)
	}
	for _, o := range []Outcome{Pending, Refused, Deferred, Unknown} {
		r.Recipients[1].Outcome = o
		if e, ok := errors.AsType[*DeliveryError](r.err()); !ok || e.Receipt != r {
			t.Errorf("%s: %v does not lead to the receipt", o, r.err())
		}
	}
}

func TestRecipientResult_outcomeOfAnError(t *testing.T) {
	for _, tt := range []struct {
		rule string
		err  error
		want Outcome
	}{
		{"4yz defers", replyError(StageRcpt, Reply{Code: 450}), Deferred},
		{"5yz refuses", replyError(StageRcpt, Reply{Code: 550}), Refused},
		{"552 to RCPT defers (RFC 5321 §4.5.3.1.10)", replyError(StageRcpt, Reply{Code: 552}), Deferred},
		{"what this side refused is refused", localError(StagePolicy, errSource, ""), Refused},
		{"a lost connection defers", protocolError(StageMail, "x"), Deferred},
		{"a cancelled context defers", context.Canceled, Deferred},
		{"no reply to the whole content leaves it unknown (RFC 1047)", &Error{Stage: StageContent, Class: Temporary, Err: fmt.Errorf("%w: %w", ErrUnknownOutcome, context.Canceled)}, Unknown},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			var r RecipientResult
			r.fail(tt.err)
			if r.Outcome != tt.want || r.Err != tt.err {
				t.Errorf("%s with %v, want %s", r.Outcome, r.Err, tt.want)
			}
			if e, ok := errors.AsType[*Error](tt.err); ok && r.Reply.Code != e.Code() {
				t.Errorf("the deciding reply is %v", r.Reply)
			}
		})
	}
}

func TestDeliveryError(t *testing.T) {
	shared := replyError(StageContent, Reply{Code: 554, Text: "spam"})
	gone := replyError(StageRcpt, Reply{Code: 550, Text: "5.1.1 unknown", Enhanced: EnhancedCode{5, 1, 1}})
	full := replyError(StageRcpt, Reply{Code: 452, Text: "4.2.2 full", Enhanced: EnhancedCode{4, 2, 2}})
	doubt := &Error{Stage: StageContent, Class: Temporary, Err: ErrUnknownOutcome}
	for _, tt := range []struct {
		rule    string
		errs    []error // of the recipients; nil: accepted
		unwrap  []error
		message string
	}{
		{"each outcome is counted, and the first reason stands for all", []error{nil, gone, full, doubt}, []error{gone, full, doubt},
			"1 of 4 recipients accepted, 1 refused, 1 deferred, 1 unknown: rcpt: 550 5.1.1 unknown; ..."},
		{"one reason is the whole message", []error{nil, full}, []error{full}, "1 of 2 recipients accepted, 1 deferred: rcpt: 452 4.2.2 full"},
		{"what ended a whole transaction is one reason", []error{shared, shared, shared}, []error{shared}, "0 of 3 recipients accepted, 3 refused: content: 554 spam"},
		{"also if others were refused in between", []error{shared, gone, shared, nil, full, shared}, []error{shared, gone, full},
			"1 of 6 recipients accepted, 4 refused, 1 deferred: content: 554 spam; ..."},
		{"errors that are alike are still several", []error{gone, replyError(StageRcpt, gone.Reply)}, []error{gone, gone},
			"0 of 2 recipients accepted, 2 refused: rcpt: 550 5.1.1 unknown; ..."},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			r := &Receipt{Recipients: make([]RecipientResult, len(tt.errs))}
			for i, err := range tt.errs {
				if r.Recipients[i].Outcome = Accepted; err != nil {
					r.Recipients[i].fail(err)
				}
			}
			err := &DeliveryError{Receipt: r}
			same := func(a, b error) bool { return a.Error() == b.Error() }
			if got := err.Unwrap(); !slices.EqualFunc(got, tt.unwrap, same) {
				t.Errorf("Unwrap: %v, want %v", got, tt.unwrap)
			}
			if got := err.Error(); got != tt.message {
				t.Errorf("message %q, want %q", got, tt.message)
			}
			for _, e := range tt.errs {
				if e != nil && !errors.Is(err, e) {
					t.Errorf("%v cannot be reached", e)
				}
			}
		})
	}
	r := &Receipt{Recipients: []RecipientResult{{Outcome: Refused, Err: gone}, {Outcome: Refused, Err: errSource}}}
	if err := error(&DeliveryError{r}); !errors.Is(err, ErrRecipientRefused) || !errors.Is(err, errSource) || errors.Is(err, ErrContentRefused) {
		t.Errorf("kinds of %v", err)
	}
}

func TestRecipientResult_After(t *testing.T) {
	temporary, unknown := &Error{Class: Temporary}, &Error{Class: Temporary, Err: ErrUnknownOutcome}
	settled := errors.New("settled")
	for rule, tt := range map[string]struct {
		result RecipientResult
		err    error
		want   Outcome
		why    error
	}{
		"one that is settled stays so":    {RecipientResult{Outcome: Refused, Err: settled}, temporary, Refused, settled},
		"a temporary error defers":        {RecipientResult{}, temporary, Deferred, temporary},
		"one about the outcome leaves it": {RecipientResult{}, unknown, Unknown, unknown},
		"any other refuses":               {RecipientResult{}, settled, Refused, settled},
		"next was not called":             {RecipientResult{}, nil, Refused, ErrNextSkipped},
	} {
		if got, why := tt.result.After(tt.err); got != tt.want || why != tt.why {
			t.Errorf("%s: %v, %v", rule, got, why)
		}
	}
}
