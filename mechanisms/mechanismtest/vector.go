package mechanismtest

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/postrider/postrider/core"
)

func (k *kit) checkVectors() error {
	var errs []error
	for _, v := range k.Vectors {
		if err := k.checkVector(v); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", v.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (k *kit) checkVector(v Vector) error {
	if v.New == nil {
		v.New = k.New
	}
	if v.Peer == nil {
		v.Peer = &core.Peer{Endpoint: "smtp://server.example", ServerName: "server.example", Local: true}
	}
	ctx := k.t.Context()
	a, initial, err := start(ctx, k.Patience, v.New(k.t), v.Peer)
	switch {
	case err != nil:
		return fmt.Errorf("Start: %w", err)
	case a == nil:
		return errors.New("Start returned no Authentication, and no error")
	case !bytes.Equal(initial, v.Initial) || (initial == nil) != (v.Initial == nil):
		return fmt.Errorf("the initial response is %s, and not %s", shown(initial), shown(v.Initial))
	}
	for n, r := range v.Rounds {
		response, err := next(ctx, k.Patience, a, bytes.Clone(r.Challenge))
		if err != nil {
			return fmt.Errorf("challenge %d, %q: %w", n+1, r.Challenge, err)
		}
		if !bytes.Equal(response, r.Response) {
			return fmt.Errorf("challenge %d, %q: the response is %q, and not %q", n+1, r.Challenge, response, r.Response)
		}
	}
	if err := done(ctx, k.Patience, a); err != nil {
		return fmt.Errorf("the server's success is not accepted: %w", err)
	}
	return nil
}

// shown shows an initial response.
func shown(initial []byte) string {
	switch {
	case initial == nil:
		return "none (nil)"
	case len(initial) == 0:
		return "an empty one"
	}
	return fmt.Sprintf("%q", initial)
}
