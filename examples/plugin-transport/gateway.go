package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"
)

// gateway is an SSH server on this machine that forwards connections for those who
// have the mailer's key, and does nothing else.
type gateway struct {
	listener net.Listener
	config   *ssh.ServerConfig
	opened   func(address string)

	mu      sync.Mutex
	conns   map[io.Closer]bool
	closed  bool
	serving sync.WaitGroup
}

// startGateway makes the keys of both sides, writes those that the plugin needs into
// the folder, and serves. opened is called for each connection that is forwarded.
func startGateway(folder string, opened func(address string)) (*gateway, error) {
	client, err := newKey(filepath.Join(folder, "key.pem"))
	if err != nil {
		return nil, err
	}
	host, err := newKey(filepath.Join(folder, "host.pem"))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, "host.pub"), ssh.MarshalAuthorizedKey(host.PublicKey()), 0o600); err != nil {
		return nil, err
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(client.PublicKey().Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gateway{listener: listener, config: config, opened: opened, conns: make(map[io.Closer]bool)}
	g.serving.Go(g.serve)
	return g, nil
}

// newKey makes a key and writes it into a file.
func newKey(file string) (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, err
	}
	return signer, os.WriteFile(file, pem.EncodeToMemory(block), 0o600)
}

// Address returns where the gateway listens.
func (g *gateway) Address() string { return g.listener.Addr().String() }

// Close ends the gateway and what it forwards.
func (g *gateway) Close() error {
	err := g.listener.Close()
	g.mu.Lock()
	g.closed = true
	for c := range g.conns {
		_ = c.Close()
	}
	g.mu.Unlock()
	g.serving.Wait()
	return err
}

// keep has Close close a connection, until forget is called.
func (g *gateway) keep(c io.Closer) (forget func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[c] = true
	if g.closed {
		_ = c.Close()
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, c)
		_ = c.Close()
	}
}

func (g *gateway) serve() {
	for {
		conn, err := g.listener.Accept()
		if err != nil {
			return // it is closed
		}
		g.serving.Go(func() { g.admit(conn) })
	}
}

// admit lets a client in who has the key.
func (g *gateway) admit(conn net.Conn) {
	defer g.keep(conn)()
	_, channels, requests, err := ssh.NewServerConn(conn, g.config)
	if err != nil {
		return
	}
	g.serving.Go(func() { ssh.DiscardRequests(requests) })
	for request := range channels {
		g.serving.Go(func() { g.forward(request) })
	}
}

// forward opens a connection for a channel (RFC 4254 §7.2), and carries its octets.
func (g *gateway) forward(request ssh.NewChannel) {
	var to struct {
		Host     string
		Port     uint32
		FromHost string
		FromPort uint32
	}
	if err := ssh.Unmarshal(request.ExtraData(), &to); err != nil || request.ChannelType() != "direct-tcpip" {
		_ = request.Reject(ssh.UnknownChannelType, "it only forwards")
		return
	}
	address := net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port)))
	conn, err := net.Dial("tcp", address)
	if err != nil {
		_ = request.Reject(ssh.ConnectionFailed, fmt.Sprint(err))
		return
	}
	defer g.keep(conn)()
	channel, requests, err := request.Accept()
	if err != nil {
		return
	}
	g.opened(address)
	g.serving.Go(func() { ssh.DiscardRequests(requests) })
	g.serving.Go(func() {
		_, _ = io.Copy(conn, channel)
		_ = conn.Close()
	})
	_, _ = io.Copy(channel, conn)
	_ = channel.Close()
}
