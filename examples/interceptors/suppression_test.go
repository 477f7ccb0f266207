package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// gone says that everybody named gone is on the list.
func gone(_ context.Context, address string) (bool, error) {
	return strings.HasPrefix(address, "gone@"), nil
}

func proveSuppression(t *testing.T, change func(*core.Config)) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	config := server.Config()
	change(&config)
	results := sendAll(t, newClient(t, config, suppression(gone)), func(n int) *core.Message {
		return letter(n, "ann@example.net", "Gone@example.net", "bob@example.net")
	})
	for _, r := range results {
		wantOutcomes(t, r.Receipt, core.Accepted, core.Refused, core.Accepted)
		if !errors.Is(r.Err, errSuppressed) {
			t.Errorf("got %v", r.Err)
		}
	}
	if got := len(server.Messages()); got != batch {
		t.Errorf("the server got %d messages", got)
	}
}

func TestSuppression(t *testing.T) {
	down := func(_ context.Context, address string) (bool, error) {
		return address == "postmaster", errors.New("the list is away")
	}
	for _, tt := range []struct {
		rule string
		list func(context.Context, string) (bool, error)
		to   string
		want core.Outcome
	}{
		{"where all are on the list nothing is opened", gone, "gone@example.net", core.Refused},
		{"where the list cannot be read nobody gets mail, and later somebody may", down, "Postmaster", core.Deferred},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			client := newClient(t, smtptest.NewServer(t, smtptest.ServerOptions{}).Config(), suppression(tt.list))
			receipt, _ := client.Send(t.Context(), letter(0, tt.to))
			wantOutcomes(t, receipt, tt.want)
			if s := client.Stats(); s.Opened != 0 {
				t.Errorf("%d sessions were opened", s.Opened)
			}
		})
	}
}
