package main

import (
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/middleware/ratelimit"
	"github.com/postrider/postrider/middleware/retry"
	"github.com/postrider/postrider/middleware/telemetry"
)

// interceptors assembles the pipeline, the outermost first.
func (j *job) interceptors(provider trace.TracerProvider, d *dialogue) ([]core.Interceptor, error) {
	tracing, err := telemetry.New(telemetry.WithTracerProvider(provider))
	if err != nil {
		return nil, err
	}
	retryConfig := j.retry
	retryConfig.Notify = d.pause
	again, err := retry.New(retryConfig)
	if err != nil {
		return nil, err
	}
	limit, err := ratelimit.New(ratelimit.Config{Messages: ratelimit.Rate{Count: 8, Per: time.Second}})
	if err != nil {
		return nil, err
	}
	list := []core.Interceptor{tracing, again, limit}
	if len(j.sign) > 0 {
		signature, err := dkim.New(dkim.Config{Signatures: j.sign})
		if err != nil {
			return nil, err
		}
		list = append(list, signature)
	}
	return append(list, d.interceptor()), nil
}

// showJob says what is about to happen.
func showJob(p *page, j *job, embedded bool) {
	what := fmt.Sprintf("Postrider sends one message to %s, through %s.", plural(len(j.message.To), "recipient"), j.config.Endpoint)
	p.paragraph(strong, what)
	if embedded {
		p.paragraph(plain, "The server is in this process, five milliseconds away. It wants TLS, a password "+
			"and a DKIM signature, and it puts one recipient off at first, so that there is something to try again.")
	}
}

// showPipeline names the interceptors, and what each is for.
func showPipeline(p *page, j *job, names []string) {
	about := map[string]string{
		"telemetry": "traces the delivery and its steps",
		"retry":     "tries the recipients again who were put off",
		"ratelimit": "lets 8 tries a second pass",
		"dialogue":  "writes down what is said on the wire",
	}
	for _, s := range j.sign {
		about["dkim"] = fmt.Sprintf("signs the content for %s with the key %q", s.Domain, s.Selector)
	}
	p.section("Pipeline", "what the message goes through, the outermost first")
	for i, name := range names {
		number := fmt.Sprintf("  %d  %s  ", i+1, pad(name, 9))
		for _, text := range wrap(about[name], width-len(number), 0) {
			p.line("%s%s", number, p.paint(faint, text))
			number = pad("", len(number))
		}
	}
}
