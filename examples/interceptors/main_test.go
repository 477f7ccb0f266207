package main

import (
	"bytes"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	const rest = `
  the same, again
    refused   ann@example.net         policy: a message with this key was accepted before: nothing was sent
  one to a domain that gets none
    accepted  bob@example.net         ACCEPTED
    refused   eve@competitor.example  policy: nobody at competitor.example gets mail
  a large one
    refused   ann@example.net         policy: 1152 octets, and 1000 are allowed
  one to too many
    refused   a@example.net           policy: 4 recipients, and 3 are allowed
    refused   b@example.net           policy: 4 recipients, and 3 are allowed
    refused   c@example.net           policy: 4 recipients, and 3 are allowed
    refused   d@example.net           policy: 4 recipients, and 3 are allowed
  one that needs TLS 1.3
`
	want := `
A server: policy, suppression, idempotency, journal
  an order
    accepted  ann@example.net         250 2.0.0 queued as Q1
    refused   Gone@Example.NET        policy: on the suppression list` + strings.Replace(rest, "ACCEPTED", "250 2.0.0 queued as Q2", 1) +
		`    refused   ann@example.net         policy: the session has TLS 1.2, and the message needs TLS 1.3

The journal has 2 messages:
  from shop@example.com to ann@example.net, 59 octets
  from shop@example.com to bob@example.net, 81 octets

A folder in place of the server: policy, suppression, idempotency, journal
  an order
    accepted  ann@example.net         250 2.0.0 OK: queued
    refused   Gone@Example.NET        policy: on the suppression list` + strings.Replace(rest, "ACCEPTED", "250 2.0.0 OK: queued", 1) +
		`    accepted  ann@example.net         250 2.0.0 OK: queued

The folder has 3 messages:
  from shop@example.com to ann@example.net, 59 octets
  from shop@example.com to bob@example.net, 81 octets
  from salaries@example.com to ann@example.net, 78 octets

The server has got 2 messages.
`
	if out.String() != want {
		t.Errorf("got %s\nwant %s", &out, want)
	}
}
