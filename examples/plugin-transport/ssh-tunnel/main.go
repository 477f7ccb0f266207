// Ssh-tunnel is a plugin for URLs "smtp+ssh://HOST:PORT": it reaches the server HOST
// through an SSH gateway, which sees the connection come from itself. The key for the
// gateway does not leave this process. The mailer speaks TLS with the server as ever:
// the gateway and this plugin see what is on the wire.
package main

import (
	"context"
	"errors"
	"flag"
	"net"
	"net/url"
	"os"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/sdk"
)

func main() {
	gateway := flag.String("gateway", "", "the gateway, HOST:PORT")
	user := flag.String("user", "mailer", "who the mailer is there")
	key := flag.String("key", "", "the file that holds the user's private key")
	host := flag.String("host-key", "", "the file that holds the gateway's public key")
	flag.Parse()
	config, err := configure(*user, *key, *host)
	if err != nil {
		sdk.Logger().Error("the tunnel has no keys", "error", err)
		os.Exit(1)
	}
	sdk.Serve(sdk.Info("ssh-tunnel", "1.0.0"), sdk.Transport(&tunnel{gateway: *gateway, config: config}))
}

func configure(user, keyFile, hostFile string) (*ssh.ClientConfig, error) {
	private, keyErr := os.ReadFile(keyFile)
	public, hostErr := os.ReadFile(hostFile)
	if err := errors.Join(keyErr, hostErr); err != nil {
		return nil, err
	}
	signer, keyErr := ssh.ParsePrivateKey(private)
	host, _, _, _, hostErr := ssh.ParseAuthorizedKey(public)
	if err := errors.Join(keyErr, hostErr); err != nil {
		return nil, err
	}
	return &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(host)}, nil
}

// tunnel is a transport. Its connections are channels of one connection to the
// gateway, which is opened when it is needed.
type tunnel struct {
	gateway string
	config  *ssh.ClientConfig

	mu     sync.Mutex
	client *ssh.Client
}

func (*tunnel) Scheme() string { return "smtp+ssh" }

func (*tunnel) Endpoint(u *url.URL) (core.Endpoint, error) {
	if u.Hostname() == "" {
		return core.Endpoint{}, errors.New("write the server behind the gateway as smtp+ssh://HOST:PORT")
	}
	port := u.Port()
	if port == "" {
		port = "587"
	}
	return core.Endpoint{Network: "tcp", Address: net.JoinHostPort(u.Hostname(), port), ServerName: u.Hostname()}, nil
}

func (t *tunnel) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	client, err := t.connected(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := client.DialContext(ctx, e.Network, e.Address)
	if refused := (*ssh.OpenChannelError)(nil); err != nil && !errors.As(err, &refused) && ctx.Err() == nil {
		t.drop(client) // it is the gateway that is gone
	}
	return conn, err
}

// connected returns the connection to the gateway.
func (t *tunnel) connected(ctx context.Context) (*ssh.Client, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client != nil {
		return t.client, nil
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.gateway)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	client, channels, requests, err := ssh.NewClientConn(conn, t.gateway, t.config)
	if err != nil {
		return nil, errors.Join(err, ctx.Err(), conn.Close())
	}
	t.client = ssh.NewClient(client, channels, requests)
	return t.client, nil
}

// drop has the next connection begin with another one to the gateway.
func (t *tunnel) drop(client *ssh.Client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client == client {
		t.client = nil
	}
	_ = client.Close()
}
