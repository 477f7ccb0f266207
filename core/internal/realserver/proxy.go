package realserver

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

// A Proxy is a running proxy that leads connections on to whatever it is asked for, if the client has the password.
type Proxy struct {
	Addr     string // host and port of the listener
	User     string
	Password string

	folder string
}

// microsocksNeeds and tinyproxyNeeds are what the two proxies cannot do without.
var (
	microsocksNeeds = server{name: "MicroSocks", programs: []string{"microsocks"}, packages: "microsocks", anyone: true}
	tinyproxyNeeds  = server{name: "Tinyproxy", programs: []string{"tinyproxy"}, packages: "tinyproxy-bin", anyone: true}
)

// tinyproxySettings are those of Tinyproxy 1.11. Without ConnectPort it connects to every port.
const tinyproxySettings = `
Listen 127.0.0.1
Port PORT
Allow 127.0.0.1
BasicAuth USER PASSWORD
Timeout 60
MaxClients 100
LogLevel Connect
`

// StartMicrosocks starts a private SOCKS 5 proxy (RFC 1928) that wants a user and a password (RFC 1929), waits until it
// takes connections, and stops it when the test ends. It looks names up by the rules of this machine. Where it is not
// installed it skips the test or fails it, as [RequireEnv] says.
func StartMicrosocks(t testing.TB) *Proxy {
	t.Helper()
	return startProxy(t, microsocksNeeds, "microsocks", func(p *Proxy, port string) ([]string, error) {
		return []string{"-i", "127.0.0.1", "-p", port, "-u", p.User, "-P", p.Password}, nil
	})
}

// StartTinyproxy starts a private HTTP proxy that serves CONNECT (RFC 9110 §9.3.6) to every port and wants a user and a
// password (RFC 7617), waits until it takes connections, and stops it when the test ends. It looks names up by the rules
// of this machine. Where it is not installed it skips the test or fails it, as [RequireEnv] says.
func StartTinyproxy(t testing.TB) *Proxy {
	t.Helper()
	return startProxy(t, tinyproxyNeeds, "tinyproxy", func(p *Proxy, port string) ([]string, error) {
		config := p.path("tinyproxy.conf")
		settings := strings.NewReplacer("PORT", port, "USER", p.User, "PASSWORD", p.Password).Replace(tinyproxySettings)
		return []string{"-d", "-c", config}, writeFile(config, settings, 0o644)
	})
}

// startProxy starts the proxy with the arguments that are made for its port.
func startProxy(t testing.TB, needs server, program string, arguments func(p *Proxy, port string) ([]string, error)) *Proxy {
	t.Helper()
	programs := needs.require(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	folder, err := newFolder(t, program)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{User: "mailer", Password: "open-sesame", folder: folder}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of %s:\n%s", needs.name, p.Log())
		}
	})
	start := func() error {
		ports, release, err := reservePorts(1)
		if err != nil {
			return err
		}
		t.Cleanup(release)
		port := strconv.Itoa(ports[0])
		p.Addr = net.JoinHostPort("127.0.0.1", port)
		args, err := arguments(p, port)
		if err != nil {
			return err
		}
		// Under a name in the folder its process can be told from others.
		link := p.path(program)
		if err := os.Symlink(programs[program], link); err != nil {
			return err
		}
		process, err := startProcess(needs.name, p.path("console"), nil, link, args...)
		if err != nil {
			return err
		}
		return oversee(ctx, t, process, func() bool { return listens(ctx, p.Addr) })
	}
	if err := start(); err != nil {
		t.Fatalf("starting %s: %v; its log:\n%s", needs.name, err, p.Log())
	}
	return p
}

// listens reports whether something takes connections at an address.
func listens(ctx context.Context, address string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	return err == nil && conn.Close() == nil
}

// URL returns the proxy's URL with user and password; its scheme is socks5 or http.
func (p *Proxy) URL(scheme string) string {
	return fmt.Sprintf("%s://%s:%s@%s", scheme, p.User, p.Password, p.Addr)
}

// path returns the path of something in the instance's folder.
func (p *Proxy) path(name string) string { return p.folder + "/" + name }

// Log returns what the proxy has logged so far. Its latest lines may still be on their way.
func (p *Proxy) Log() string { return readText(p.path("console")) }
