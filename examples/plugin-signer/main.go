// Plugin-signer is a mailer that signs by a plugin: the DKIM key is in another
// process, which gets digests to sign and sees no message. The server verifies what it
// receives.
//
// The plugin is in the folder dkim-key; the server is in this process. The plugin is
// built first, by go build.
package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/transport"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run sends a signed message, and verifies it where it arrives.
func run(ctx context.Context, stdout io.Writer) (err error) {
	folder, err := os.MkdirTemp("", "plugin-signer")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	config, err := install(ctx, folder)
	if err != nil {
		return err
	}
	plugin, err := plugins.Start(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plugin.Close(context.WithoutCancel(ctx))) }()
	about := plugin.About()
	fmt.Fprintf(stdout, "The plugin %s %s has %v.\n", about.Name, about.Version, about.Signers)

	key, err := plugin.Signer("corp.example")
	if err != nil {
		return err
	}
	sign, err := dkim.New(dkim.Config{Signatures: []dkim.Signature{{Domain: "corp.example", Selector: "2026a", Signer: key}}})
	if err != nil {
		return err
	}
	record, err := dkim.Record(key.Public())
	if err != nil {
		return err
	}
	content, err := send(ctx, sign)
	if err != nil {
		return err
	}
	return verify(stdout, content, record)
}

// install builds the plugin and makes its key: what a package does on a real
// machine. It returns how the mailer declares the plugin.
func install(ctx context.Context, folder string) (plugins.Config, error) {
	binary, keyFile := filepath.Join(folder, "dkim-key"), filepath.Join(folder, "key.pem")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/postrider/postrider/examples/plugin-signer/dkim-key")
	if output, err := build.CombinedOutput(); err != nil {
		return plugins.Config{}, fmt.Errorf("%w: %s", errors.Join(ctx.Err(), err), output)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return plugins.Config{}, err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return plugins.Config{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return plugins.Config{}, err
	}
	return plugins.Config{
		Name:   "dkim-key",
		Path:   binary,
		SHA256: fmt.Sprintf("%x", sha256.Sum256(program)),
		Args:   []string{"-key", keyFile}, // the name of the file, and not the key
		Log:    slog.New(slog.DiscardHandler),
	}, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// send sends a message to a server in this process, and returns what that has got.
func send(ctx context.Context, sign core.Interceptor) (content []byte, err error) {
	server, err := smtptest.StartServer(smtptest.ServerOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	client, err := core.NewClient(core.Config{
		Endpoint: server.URL(), Transports: transport.Standard(), Interceptors: []core.Interceptor{sign},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if _, err = client.Send(ctx, &core.Message{
		From: "ann@corp.example",
		To:   core.Recipients("bob@example.net"),
		Body: core.String("From: ann@corp.example\r\nSubject: hello\r\n\r\nSigned elsewhere.\r\n"),
	}); err != nil {
		return nil, err
	}
	return server.Messages()[0].Content, nil
}

// verify prints who has signed. Other verifiers ask the DNS for the record.
func verify(stdout io.Writer, content []byte, record string) error {
	list, err := msgauth.VerifyWithOptions(bytes.NewReader(content), &msgauth.VerifyOptions{
		LookupTXT: func(string) ([]string, error) { return []string{record}, nil },
	})
	if err != nil {
		return err
	}
	for _, one := range list {
		if one.Err != nil {
			return one.Err
		}
		fmt.Fprintf(stdout, "The message is signed by %s.\n", one.Domain)
	}
	return nil
}
