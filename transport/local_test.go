package transport

import (
	"net"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
)

// TLS is not required of an endpoint on this machine, so whatever the name
// resolves to has to be on this machine.
func TestCheckLocal(t *testing.T) {
	here, there := &net.TCPAddr{IP: net.IPv6loopback, Port: 25}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25}
	for _, tt := range []struct {
		rule    string
		local   bool
		remote  net.Addr
		refused bool
	}{
		{"a local name that leads here", true, here, false},
		{"a local name that leads elsewhere", true, there, true},
		{"a local name that leads to who knows what", true, &net.UnixAddr{Name: "x"}, true},
		{"another name that leads elsewhere", false, there, false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			err := checkLocal(core.Endpoint{Address: "localhost:25", Local: tt.local}, tt.remote)
			if (err != nil) != tt.refused || err != nil && !strings.Contains(err.Error(), "name the host instead") {
				t.Error(err)
			}
		})
	}
}
