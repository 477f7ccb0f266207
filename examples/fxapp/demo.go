package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// The account at the demonstration's mail server.
const (
	demoUser     = "orders"
	demoPassword = "correct horse battery staple"
)

// demonstrate runs the service against a mail server in this process, which wants
// TLS and a password, and posts one letter.
func demonstrate(stdout io.Writer, log *slog.Logger) (err error) {
	server, err := smtptest.StartServer(smtptest.ServerOptions{
		StartTLS: true, Users: map[string]string{demoUser: demoPassword}, SCRAM: []string{"SCRAM-SHA-256"}, RequireAuth: true,
		Rcpt: func(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply {
			if to.Address == "nobody@example.net" {
				return smtptest.Reply("550 5.1.1 No such mailbox")
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	folder, err := os.MkdirTemp("", "fxapp-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	s := settings{
		endpoint: server.URL(), tls: server.Config().TLS, user: demoUser, passwordFile: filepath.Join(folder, "password"),
		listen: "127.0.0.1:0", connect: true, stopTimeout: 10 * time.Second,
	}
	if err := os.WriteFile(s.passwordFile, []byte(demoPassword+"\n"), 0o600); err != nil {
		return err
	}
	var a *api
	return serve(fx.Options(service(s, log), fx.Populate(&a)), func(*fx.App) error {
		return post(stdout, "http://"+a.address+"/send", letter{
			From: "orders@example.com", To: []string{"ann@example.net", "nobody@example.net"},
			Body: "From: orders@example.com\r\nSubject: Your order\r\n\r\nThank you.\r\n",
		})
	})
}

// post posts a letter and prints it and the answer.
func post(stdout io.Writer, url string, l letter) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Post(url, "application/json", bytes.NewReader(text))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, bytes.TrimSpace(body), "", "  "); err != nil {
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	_, err = fmt.Fprintf(stdout, "POST %s\n%s\n\n%s\n%s\n", url, text, response.Status, &indented)
	return err
}
