package transport_test

import (
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		rule, url     string
		network, name string
		local         bool
		address       string
	}{
		{"servername is the certificate's name, and not dialled", "smtp://192.0.2.1?servername=mail.example.com", "tcp", "mail.example.com", false, "192.0.2.1:25"},
		{"it may be an address", "smtp://mail.example.com?servername=2001:DB8::1", "tcp", "2001:db8::1", false, "mail.example.com:25"},
		{"its A-labels are what a certificate has (RFC 5891 §5)", "smtp://192.0.2.1?servername=b%C3%BCcher.example", "tcp", "xn--bcher-kva.example", false, "192.0.2.1:25"},
		{"a dot at the end stays out", "smtps://192.0.2.1?servername=mail.example.com.", "tcp", "mail.example.com", false, "192.0.2.1:465"},
		{"a server of another name behind a local port is not this machine", "smtp://127.0.0.1:2525?servername=mail.example.com", "tcp", "mail.example.com", false, "127.0.0.1:2525"},
		{"one that is called localhost is", "smtp://127.0.0.1?servername=localhost", "tcp", "localhost", true, "127.0.0.1:25"},
		{"nor is it behind a socket", "lmtp+unix:///run/lmtp?servername=mail.example.com", "unix", "mail.example.com", false, "/run/lmtp"},
		{"family is the version of IP", "smtp://mail.example.com?family=4", "tcp4", "mail.example.com", false, "mail.example.com:25"},
		{"both", "smtp://mail.example.com?family=6&servername=x.example", "tcp6", "x.example", false, "mail.example.com:25"},
		{"an empty query is none", "smtp://localhost?", "tcp", "localhost", true, "localhost:25"},
		{"a host is looked up in A-labels too", "smtp://b%C3%BCcher.example", "tcp", "xn--bcher-kva.example", false, "xn--bcher-kva.example:25"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got, err := read(t, tt.url)
			if err != nil {
				t.Fatal(err)
			}
			if got.Network != tt.network || got.ServerName != tt.name || got.Local != tt.local || got.Address != tt.address {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestOptions_refuses(t *testing.T) {
	for _, tt := range []struct{ rule, url, says string }{
		{"one that does not exist", "smtps://mail.example.com?tls=off", `the option "tls" does not exist: there are servername, family`},
		{"one that a socket does not have", "lmtp+unix:///run/lmtp?family=4", `the option "family" does not exist: there are servername`},
		{"another case", "smtp://mail.example.com?ServerName=x", "does not exist"},
		{"one that stands there twice", "smtp://mail.example.com?family=4&family=6", "2 times"},
		{"no name", "smtp://mail.example.com?servername=", "no certificate can be for"},
		{"a name with a port", "smtp://mail.example.com?servername=x.example:25", "without a port"},
		{"a name with an empty label", "smtp://mail.example.com?servername=x..example", "no certificate"},
		{"a name with a space", "smtp://mail.example.com?servername=x%20y", "no certificate"},
		{"a name that is too long", "smtp://mail.example.com?servername=" + strings.Repeat("a.", 127) + "a", "no certificate"},
		{"a label that is too long", "smtp://mail.example.com?servername=" + strings.Repeat("a", 64), "no certificate"},
		{"an address with a zone", "smtp://mail.example.com?servername=fe80::1%25eth0", "no certificate"},
		{"another family", "smtp://mail.example.com?family=5", "use 4 or 6"},
		{"what is no query", "smtp://mail.example.com?servername=%zz", "cannot be read"},
		{"a host that is no name", "smtp://%FF%FE.example", "no domain name"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if got, err := read(t, tt.url); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %+v, %v, want an error with %q", got, err, tt.says)
			}
		})
	}
}
