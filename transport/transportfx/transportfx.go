// Package transportfx adds the standard transports to a client that
// [corefx.Module] assembles.
//
// [Module] adds all of transport.Standard. [SMTP] and [SMTPS] add one alone, for
// an application that is to reach nothing else, or that configures its TCP
// connections by providing a transport.TCP. Use either the module or those.
package transportfx

import (
	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/transport"
)

// Module adds the transports of transport.Standard.
var Module = fx.Module("postrider.transports", corefx.AsTransport(transport.Standard))

// SMTP adds the transport for smtp URLs.
var SMTP = corefx.AsTransport(NewSMTP)

// SMTPS adds the transport for smtps URLs.
var SMTPS = corefx.AsTransport(NewSMTPS)

// Params are the parameters of [NewSMTP] and [NewSMTPS].
type Params struct {
	fx.In

	// TCP says how connections are opened. An application need not provide it.
	TCP transport.TCP `optional:"true"`
}

// NewSMTP returns the transport for smtp URLs.
func NewSMTP(p Params) core.Transport { return transport.SMTP(p.TCP) }

// NewSMTPS returns the transport for smtps URLs.
func NewSMTPS(p Params) core.Transport { return transport.SMTPS(p.TCP) }
