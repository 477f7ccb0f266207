package wire

import (
	"net"
	"net/netip"

	"github.com/postrider/postrider/core"
	transportv1 "github.com/postrider/postrider/plugins/proto/postrider/transport/v1"
)

// Endpoint returns an endpoint as it travels. Its URL travels beside it.
func Endpoint(e core.Endpoint) *transportv1.Endpoint {
	p := &transportv1.Endpoint{
		Network: text(e.Network), Address: text(e.Address), ServerName: text(e.ServerName), Local: e.Local,
		Protocol: transportv1.Protocol_PROTOCOL_SMTP, Security: transportv1.Security_SECURITY_PLAIN_TEXT,
	}
	if e.Protocol == core.LMTP {
		p.Protocol = transportv1.Protocol_PROTOCOL_LMTP
	}
	switch e.Security {
	case core.ImplicitTLS:
		p.Security = transportv1.Security_SECURITY_IMPLICIT_TLS
	case core.Protected:
		p.Security = transportv1.Security_SECURITY_PROTECTED
	}
	return p
}

// CoreEndpoint returns the endpoint of a URL. What is not known is read as what
// protects nothing.
func CoreEndpoint(url string, p *transportv1.Endpoint) core.Endpoint {
	e := core.Endpoint{
		URL: url, Network: p.GetNetwork(), Address: p.GetAddress(), ServerName: p.GetServerName(), Local: p.GetLocal(),
	}
	if p.GetProtocol() == transportv1.Protocol_PROTOCOL_LMTP {
		e.Protocol = core.LMTP
	}
	switch p.GetSecurity() {
	case transportv1.Security_SECURITY_IMPLICIT_TLS:
		e.Security = core.ImplicitTLS
	case transportv1.Security_SECURITY_PROTECTED:
		e.Security = core.Protected
	}
	return e
}

// Opened returns what was opened.
func Opened(conn net.Conn) *transportv1.Opened {
	o := &transportv1.Opened{}
	if a := conn.LocalAddr(); a != nil {
		o.LocalNetwork, o.LocalAddress = text(a.Network()), text(a.String())
	}
	if a := conn.RemoteAddr(); a != nil {
		o.RemoteNetwork, o.RemoteAddress = text(a.Network()), text(a.String())
	}
	return o
}

// Addr returns an address: of TCP as package net has it, of another network as it
// was said.
func Addr(network, text string) net.Addr {
	if network == "tcp" {
		if at, err := netip.ParseAddrPort(text); err == nil {
			return net.TCPAddrFromAddrPort(at)
		}
	}
	return addr{network, text}
}

type addr struct{ network, text string }

func (a addr) Network() string { return a.network }
func (a addr) String() string  { return a.text }
