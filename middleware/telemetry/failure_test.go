package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/telemetry"
)

type errorCase struct {
	err   error
	stage core.Stage
	kind  string
}

// errorCases has an error for each value of error.type, and some more.
func errorCases() []errorCase {
	e := func(stage core.Stage, class core.Class, code int, err error) error {
		return fmt.Errorf("wrapped: %w", &core.Error{Stage: stage, Class: class, Reply: core.Reply{Code: code}, Err: err})
	}
	lost := fmt.Errorf("%w: %w", core.ErrDisconnected, io.EOF)
	return []errorCase{
		{&core.PanicError{Value: errors.New("x")}, core.StagePolicy, "panic"},
		{&core.PanicError{Value: context.Canceled}, core.StagePolicy, "panic"},
		{e(core.StageContent, core.Temporary, 0, fmt.Errorf("%w: %w", core.ErrUnknownOutcome, context.Canceled)), core.StagePolicy, "delivery_unknown"},
		{e(core.StageRcpt, core.Permanent, 550, nil), core.StagePolicy, "550"},
		{e(core.StageMail, core.Temporary, 421, lost), core.StagePolicy, "421"},
		{context.Canceled, core.StagePolicy, "canceled"},
		{e(core.StageMail, core.Temporary, 0, context.Canceled), core.StagePolicy, "canceled"},
		{context.DeadlineExceeded, core.StagePolicy, "timeout"},
		{e(core.StageTLS, core.Temporary, 0, os.ErrDeadlineExceeded), core.StagePolicy, "timeout"},
		{e(core.StageConnect, core.Temporary, 0, &net.DNSError{IsTimeout: true}), core.StagePolicy, "timeout"},
		{e(core.StageMail, core.Temporary, 0, fmt.Errorf("%w: %w", core.ErrProtocol, core.ErrDisconnected)), core.StagePolicy, "protocol"},
		{e(core.StageTLS, core.Permanent, 0, lost), core.StagePolicy, "tls"},
		{e(core.StageMail, core.Local, 0, core.ErrTLSRequired), core.StagePolicy, "tls"},
		{e(core.StageAuth, core.Permanent, 0, core.ErrNotSupported), core.StagePolicy, "not_supported"},
		{e(core.StagePolicy, core.Local, 0, fmt.Errorf("SMTPUTF8 is %w", core.ErrNotSupported)), core.StagePolicy, "not_supported"},
		{e(core.StageConnect, core.Temporary, 0, lost), core.StagePolicy, "connection_failed"},
		{&net.OpError{Err: errors.New("refused")}, core.StageConnect, "connection_failed"},
		{e(core.StageHello, core.Temporary, 0, lost), core.StagePolicy, "connection_lost"},
		{&net.OpError{Err: errors.New("refused")}, core.StagePolicy, "local"}, // of an interceptor's database, say
		{errors.New("suppressed"), core.StagePolicy, "local"},
		{e(core.StagePolicy, core.Temporary, 0, errors.New("no token")), core.StagePolicy, "local"},
		{e(core.StageAuth, core.Permanent, 0, errors.New("the server was not authenticated")), core.StagePolicy, "_OTHER"},
		{e(core.StageAuth, core.Temporary, 0, &net.OpError{Err: errors.New("no token service")}), core.StagePolicy, "_OTHER"},
	}
}

func TestErrorTypeIsTheReplyCodeOrOneOfAFewWords(t *testing.T) {
	for _, c := range errorCases() {
		if kind := telemetry.ErrorType(c.err, c.stage); kind != c.kind {
			t.Errorf("%v: error.type is %q, want %q", c.err, kind, c.kind)
		}
	}
}

func TestTheTableOfErrorTypesIsComplete(t *testing.T) {
	have := []string{"*code*"}
	for _, c := range errorCases() {
		if c.kind[0] > '9' && !slices.Contains(have, c.kind) {
			have = append(have, c.kind)
		}
	}
	var want []string
	for _, row := range docTable(t, "error.type") {
		want = append(want, row["error.type"])
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("docs/telemetry.md has %q, the code %q", want, have)
	}
}
