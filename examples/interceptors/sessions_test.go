package main

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/postrider/postrider/core"
)

// batch is how many messages are sent at the same time.
const batch = 32

// Each of them does its work on every kind of session, for many messages at the
// same time.
func TestOnEverySession(t *testing.T) {
	without := []string{"PIPELINING", "CHUNKING"}
	for _, session := range []struct {
		name   string
		change func(*core.Config)
	}{
		{"with PIPELINING and CHUNKING", func(c *core.Config) { c.PipelineDepth = 1 }},
		{"with neither", func(c *core.Config) { c.PipelineDepth, c.MaskExtensions = 1, without }},
		{"shared by 16", func(c *core.Config) { c.PipelineDepth, c.MaxSessions = 16, 1 }},
		{"shared by 16, without CHUNKING", func(c *core.Config) { c.PipelineDepth, c.MaxSessions, c.MaskExtensions = 16, 1, without[1:] }},
	} {
		for _, of := range []struct {
			name  string
			prove func(t *testing.T, change func(*core.Config))
		}{
			{"policy", provePolicy},
			{"suppression", proveSuppression},
			{"idempotency", proveIdempotency},
			{"journal", proveJournal},
			{"capture", proveCapture},
		} {
			t.Run(of.name+" "+session.name, func(t *testing.T) { of.prove(t, session.change) })
		}
	}
}

// newClient returns a client with these interceptors for the time of the test.
func newClient(t *testing.T, config core.Config, list ...core.Interceptor) *core.Client {
	t.Helper()
	config.Interceptors = list
	client, err := core.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return client
}

// sendAll sends a batch of messages and returns their results, in order.
func sendAll(t *testing.T, client *core.Client, message func(n int) *core.Message) []core.Result {
	t.Helper()
	results := make([]core.Result, batch)
	_ = client.SendAll(t.Context(), func(yield func(*core.Message) bool) {
		for n := range batch {
			if !yield(message(n)) {
				return
			}
		}
	}, func(r core.Result) { results[r.Index] = r }) // they have the errors
	return results
}

// letter returns the n-th message, which differs from the others.
func letter(n int, to ...string) *core.Message {
	return &core.Message{
		From: "shop@example.com", To: core.Recipients(to...),
		Body: core.String(fmt.Sprintf("Subject: number %d\r\n\r\n.\r\nHello.\r\n", n)),
	}
}

// wantOutcomes compares the outcomes of a delivery.
func wantOutcomes(t *testing.T, receipt *core.Receipt, want ...core.Outcome) {
	t.Helper()
	var got []core.Outcome
	for _, r := range receipt.Recipients {
		got = append(got, r.Outcome)
	}
	if !slices.Equal(got, want) {
		t.Errorf("outcomes %v, want %v; %v", got, want, receipt.Recipients)
	}
}
