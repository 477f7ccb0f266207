//go:build unix

package plugins_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/plugins/sdk"
)

// modeVariable has the test binary be a plugin. Its value says which.
const modeVariable = "TEST_PLUGIN"

// What go-plugin puts other files in place of.
var realStdout, realStderr = os.Stdout, os.Stderr

// serve is the main function of the plugin.
func serve(mode string) {
	switch mode {
	case "well":
		sdk.Serve(sdk.Info("well", "1"), sdk.Mechanism(tester{}), sdk.Transport(tunnel{}),
			sdk.Signer("key", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))))
	case "policy":
		sdk.Serve(sdk.Info("policy", "1"), sdk.Interceptor("policy", policy{}))
	case "quiet":
		sdk.Serve(sdk.Interceptor("admits", sdk.AdmitFunc(quiet{}.Admit)), sdk.Interceptor("hears", quiet{}))
	case "secrets":
		serveSecrets()
	case "counted":
		sdk.Serve(sdk.Info("counted", countStart()), sdk.Mechanism(tester{}))
	case "host":
		host()
	case "child": // of a plugin
		block()
	case "dies":
		fmt.Fprintln(os.Stderr, "the password is hunter2")
		os.Exit(7)
	case "silent":
		block()
	case "deaf":
		fmt.Println("1|1|unix|" + os.Getenv("PLUGIN_UNIX_SOCKET_DIR") + "/none|grpc|" + strings.Repeat("A", 60))
		block()
	case "noise": // where TLS is due
		noise()
	case "endless": // a line that does not end
		for {
			if _, err := os.Stdout.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
				os.Exit(1)
			}
		}
	default: // what it prints instead of a handshake
		fmt.Println(strings.ReplaceAll(mode, "DIR", os.Getenv("PLUGIN_UNIX_SOCKET_DIR")))
		block()
	}
}

// noise serves what nobody understands, behind a handshake that is right.
func noise() {
	path := os.Getenv("PLUGIN_UNIX_SOCKET_DIR") + "/s"
	listener, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	fmt.Println("1|1|unix|" + path + "|grpc|" + base64.RawStdEncoding.EncodeToString(certificate))
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write(bytes.Repeat([]byte("noise "), 1000))
		_ = conn.Close()
	}
}

// host is a program that has a plugin.
func host() {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	p, err := plugins.Start(context.Background(), plugins.Config{
		Path: self, Env: []string{modeVariable + "=well"}, RuntimeDir: os.Getenv("TEST_RUNTIME"),
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(p.Status().PID)
	block()
}

// block waits for the end of the host, or for a signal.
func block() { _, _ = io.Copy(io.Discard, os.Stdin); select {} }

// countStart returns how often the plugin was started, by a file.
func countStart() string {
	f, err := os.OpenFile(os.Getenv("TEST_COUNT"), os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err.Error()
	}
	_, _ = f.WriteString("x")
	all, _ := os.ReadFile(f.Name())
	return fmt.Sprint(len(all))
}

// tester is a mechanism that does what the challenge says.
type tester struct{}

func (tester) Name() string { return "X-TEST" }

func (tester) KeepsSecret() bool { return true }

func (tester) CheckPeer(peer *core.Peer) error {
	if peer.Domain == "unsuited.example" {
		return fmt.Errorf("%w: not this one", core.ErrNotSupported)
	}
	return nil
}

func (tester) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return &testerRun{}, nil, nil
}

type testerRun struct{}

func (*testerRun) Next(ctx context.Context, challenge []byte) ([]byte, error) {
	what, rest, _ := strings.Cut(string(challenge), " ")
	switch what {
	case "crash":
		os.Exit(3)
	case "panic":
		panic("oh")
	case "hang":
		select {}
	case "late":
		<-ctx.Done()
		fmt.Fprintln(os.Stderr, "answering late")
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		<-ctx.Done() // it does not stop at once
	case "flood":
		for n := range 200_000 {
			fmt.Fprintln(os.Stderr, "line", n)
			fmt.Println("line", n)
		}
	case "print":
		sdk.Logger().Error(rest, "n", 1)
		fmt.Println(rest)
		fmt.Fprintln(os.Stderr, rest)
	case "large":
		return make([]byte, 100<<20), nil
	case "environment":
		return []byte(strings.Join(os.Environ(), "\x00")), nil
	case "fork", "fork-away":
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), modeVariable+"=child")
		child.Stdout, child.Stderr = realStdout, realStderr
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: what == "fork-away"}
		if err := child.Start(); err != nil {
			return nil, err
		}
		return []byte(fmt.Sprint(child.Process.Pid)), nil
	case "fail":
		return nil, &core.Error{Class: core.Permanent, Hint: "do better", Err: fmt.Errorf("%w: %s", core.ErrCredentials, rest)}
	case "refuse":
		return nil, errors.New(rest)
	}
	return challenge, nil
}

func (*testerRun) Done(context.Context) error { return nil }
