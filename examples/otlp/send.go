package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/middleware/ratelimit"
	"github.com/postrider/postrider/middleware/retry"
	"github.com/postrider/postrider/middleware/telemetry"
)

// send sends a message to the inbox.
func send(ctx context.Context, inbox *smtptest.Server, t *setup) (err error) {
	config := inbox.Config()
	config.TLSPolicy = core.TLSRequired
	config.Auth = []core.Mechanism{mechanisms.SCRAMSHA256(user, password), mechanisms.Plain(user, password)}
	if config.Interceptors, err = interceptors(t); err != nil {
		return err
	}
	client, err := core.NewClient(config)
	if err != nil {
		return err
	}
	_, err = client.Send(ctx, &core.Message{
		From: "orders@shop.example",
		To:   core.Recipients("warehouse@shop.example"),
		Body: core.String(fmt.Sprintf("From: <orders@shop.example>\r\nTo: <warehouse@shop.example>\r\n"+
			"Date: %s\r\nMessage-ID: <%s@shop.example>\r\nSubject: An order\r\n\r\nOne bicycle.\r\n",
			time.Now().Format("Mon, 02 Jan 2006 15:04:05 -0700"), rand.Text())),
	})
	return errors.Join(err, client.Close())
}

// interceptors assembles the pipeline, the outermost first.
func interceptors(t *setup) ([]core.Interceptor, error) {
	measured := telemetry.WithMeterProvider(t.meters)
	// The message stays in the house, so it may tell of the trace. Addresses are
	// hashed by a key that a real program keeps.
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	tracing, err := telemetry.New(telemetry.WithTracerProvider(t.tracers), measured, telemetry.WithTraceHeader(), telemetry.WithHashedAddresses(key))
	if err != nil {
		return nil, err
	}
	again, err := retry.New(retry.Config{InitialInterval: 20 * time.Millisecond, Randomization: -1})
	if err != nil {
		return nil, err
	}
	limit, err := ratelimit.New(ratelimit.Config{Messages: ratelimit.Rate{Count: 100, Per: time.Second}})
	if err == nil {
		limit, err = telemetry.LimitWait(limit, measured)
	}
	if err != nil {
		return nil, err
	}
	_, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	sign, err := dkim.New(dkim.Config{Signatures: []dkim.Signature{{Domain: "shop.example", Selector: "otlp", Signer: signer}}})
	return []core.Interceptor{tracing, again, limit, sign}, err
}
