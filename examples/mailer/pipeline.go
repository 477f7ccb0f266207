package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/transport"
)

// showPipeline is the command pipeline: it prints the interceptors that send
// would use, in order. It opens nothing, and starts plugins only to ask them.
func showPipeline(ctx context.Context, s *settings, sys *system) error {
	if len(s.files) > 0 {
		return usage("pipeline takes no file, and there is %q", s.files[0])
	}
	from := stock{w: sys.stderr}
	err := s.makeInterceptors(from)
	if err != nil {
		return err
	}
	if from.plugins, err = s.startPlugins(ctx, sys); err != nil {
		return err
	}
	defer from.plugins.close()
	list, err := s.pipeline(from)
	if err != nil {
		return err
	}
	// A client says what cannot stand behind what.
	client, err := core.NewClient(core.Config{Endpoint: "smtp://localhost", Transports: transport.Standard(), Interceptors: list})
	if err != nil {
		return s.blame(said(err), "interceptors")
	}
	_ = client.Close()
	if len(list) == 0 {
		_, err := fmt.Fprintln(sys.stdout, "no interceptors: a message goes to the server as it is, once")
		return written(err)
	}
	for n, one := range list {
		about := "a plugin's"
		if m, err := find(one.Name); err == nil {
			about = m.about
		}
		if _, err := fmt.Fprintf(sys.stdout, "%d  %-10s %s (%s)\n", n+1, one.Name, about, strings.Join(wraps(one), ", ")); err != nil {
			return written(err)
		}
	}
	return nil
}

// wraps lists the kinds of work that an interceptor wraps.
func wraps(i core.Interceptor) []string {
	var kinds []string
	for _, kind := range []struct {
		name  string
		wraps bool
	}{
		{"delivery", i.Delivery != nil}, {"attempt", i.Attempt != nil}, {"content", i.Content != nil},
		{"connect", i.Connect != nil}, {"exchange", i.Exchange != nil}, {"breaker", i.Breaker != nil},
	} {
		if kind.wraps {
			kinds = append(kinds, kind.name)
		}
	}
	return kinds
}
