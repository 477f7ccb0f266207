// Package transportfx adds the standard transports to a client that
// [corefx.Module] assembles.
//
// [Module] adds all of transport.Standard. [SMTP], [SMTPS] and [LMTP] add one
// alone, for an application that is to reach nothing else. Use either the module
// or those. An application says how TCP connections are opened, through a proxy
// for example, by providing a transport.TCP.
package transportfx

import (
	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/transport"
)

// Module adds the transports of transport.Standard.
var Module = fx.Module("postrider.transports", corefx.AsTransport(New))

// SMTP adds the transport for smtp URLs.
var SMTP = corefx.AsTransport(NewSMTP)

// SMTPS adds the transport for smtps URLs.
var SMTPS = corefx.AsTransport(NewSMTPS)

// LMTP adds the transport for lmtp URLs.
var LMTP = corefx.AsTransport(NewLMTP)

// Params are the parameters of the constructors.
type Params struct {
	fx.In

	// TCP says how connections are opened. An application need not provide it.
	TCP transport.TCP `optional:"true"`
}

// New returns the transports of transport.Standard.
func New(p Params) []core.Transport { return transport.With(p.TCP) }

// NewSMTP returns the transport for smtp URLs.
func NewSMTP(p Params) core.Transport { return transport.SMTP(p.TCP) }

// NewSMTPS returns the transport for smtps URLs.
func NewSMTPS(p Params) core.Transport { return transport.SMTPS(p.TCP) }

// NewLMTP returns the transport for lmtp URLs.
func NewLMTP(p Params) core.Transport { return transport.LMTP(p.TCP) }
