package wire_test

import (
	"net"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/wire"
	transportv1 "github.com/postrider/postrider/plugins/proto/postrider/transport/v1"
)

func TestEndpoint(t *testing.T) {
	const url = "corp+tunnel://mail.example?gateway=1"
	for _, e := range []core.Endpoint{
		{URL: url},
		{URL: url, Network: "tcp", Address: "mail.example:587", ServerName: "mail.example", Security: core.ImplicitTLS},
		{URL: url, Network: "unix", Address: "/run/lmtp", Protocol: core.LMTP, Security: core.Protected, Local: true},
	} {
		var travelled transportv1.Endpoint
		travel(t, wire.Endpoint(e), &travelled)
		if got := wire.CoreEndpoint(url, &travelled); got != e {
			t.Errorf("%+v, want %+v", got, e)
		}
	}
}

// What the other side knows and this one does not protects nothing.
func TestCoreEndpoint_unknownValues(t *testing.T) {
	if got := wire.CoreEndpoint("x:", &transportv1.Endpoint{Protocol: 99, Security: 99}); got.Security != core.PlainText || got.Protocol != core.SMTP {
		t.Errorf("%+v", got)
	}
}

func TestAddr(t *testing.T) {
	if a, ok := wire.Addr("tcp", "[2001:db8::1]:25").(*net.TCPAddr); !ok || a.Port != 25 || a.String() != "[2001:db8::1]:25" {
		t.Errorf("%v", a)
	}
	for _, text := range []string{"", "mail.example:25", "\x00"} {
		if a := wire.Addr("tcp", text); a.Network() != "tcp" || a.String() != text {
			t.Errorf("%v", a)
		}
	}
	if a := wire.Addr("tunnel", "127.0.0.1:25"); a.Network() != "tunnel" || a.String() != "127.0.0.1:25" {
		t.Errorf("%v", a)
	}
}
