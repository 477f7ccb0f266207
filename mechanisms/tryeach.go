package mechanisms

import (
	"context"
	"errors"

	"github.com/postrider/postrider/core"
)

// TryEach authenticates a session with the first of the mechanisms that the
// server offers and accepts, in the order given: what login does in Python's
// smtplib, with CRAMMD5, Plain and Login. It shows the password to a server that
// has just refused it in a better mechanism, which core.Config.Auth never does.
//
// The error is that of the last mechanism tried. A temporary failure and the end
// of the connection end it at once; if none is offered the error is of the kind
// core.ErrNotSupported.
func TryEach(ctx context.Context, s *core.Session, list ...core.Mechanism) error {
	err := error(&core.Error{Stage: core.StageAuth, Class: core.Local, Err: errors.New("no mechanism was given")})
	for _, m := range list {
		e := s.Auth(ctx, m)
		switch {
		case e == nil:
			return nil
		case errors.Is(e, core.ErrNotSupported):
			if !errors.Is(err, core.ErrAuthentication) {
				err = e
			}
			continue
		}
		err = e
		if !errors.Is(e, core.ErrAuthentication) || core.ClassOf(e) != core.Permanent {
			break
		}
	}
	return err
}
