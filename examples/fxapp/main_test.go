package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func TestValidateApp(t *testing.T) {
	for _, connect := range []bool{false, true} {
		if err := fx.ValidateApp(service(settings{endpoint: "smtps://mail.example.com", connect: connect, stopTimeout: time.Second}, quiet())); err != nil {
			t.Error(err)
		}
	}
}

func TestPipeline(t *testing.T) {
	var client *core.Client
	app, _ := start(t, settingsFor(smtptest.NewServer(t, smtptest.ServerOptions{})), fx.Populate(&client))
	app.RequireStop()
	if got, want := client.Pipeline(), []string{"telemetry", "telemetry.logging", "audience", "retry", "auto-submitted"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDemonstration(t *testing.T) {
	for _, args := range [][]string{nil, {"-demo"}} {
		var out, errs bytes.Buffer
		if status := run(args, func(string) string { return "" }, &out, &errs); status != 0 {
			t.Errorf("status %d", status)
		}
		for _, want := range []string{"200 OK\n", `"outcome": "accepted"`, `"reply": "550 5.1.1 No such mailbox"`} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in %s", want, &out)
			}
		}
		for _, want := range []string{"msg=listening", "postrider.auth.mechanism=SCRAM-SHA-256", "postrider.recipients.refused=1"} {
			if !strings.Contains(errs.String(), want) {
				t.Errorf("no %q in %s", want, &errs)
			}
		}
		if strings.Contains(out.String()+errs.String(), "horse") {
			t.Error("the password can be seen")
		}
	}
}

func TestRun_refuses(t *testing.T) {
	environment := map[string]string{"MAIL_ENDPOINT": "smtp://127.0.0.1", "MAIL_USER": "me"}
	getenv := func(name string) string { return environment[name] }
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"-x"}, "-h lists the flags"},
		{[]string{"-listen", "127.0.0.1:0", "x"}, `"x" is not a flag`},
		{[]string{"-endpoint", ""}, "-endpoint is missing"},
		{nil, "-user and -password-file go together"}, // the user is in the environment
		{[]string{"-user", "", "-listen", "0.0.0.0:8025"}, "no port of this machine"},
		{[]string{"-user", "", "-listen", ":8025"}, "no port of this machine"},
		{[]string{"-user", "", "-stop-timeout", "0s"}, "leaves no time"},
		{[]string{"-user", "", "-endpoint", "gopher://mail"}, `no transport for the scheme "gopher"`},
	} {
		var out, errs bytes.Buffer
		if status := run(tt.args, getenv, &out, &errs); status != 1 || !strings.Contains(errs.String(), tt.says) {
			t.Errorf("%v: status %d, %s, want %q", tt.args, status, &errs, tt.says)
		}
	}
	var out, errs bytes.Buffer
	if status := run([]string{"-h"}, getenv, &out, &errs); status != 0 || out.String() != usage {
		t.Errorf("-h: status %d, %s", status, &out)
	}
}

// With connect, a service that could not send does not start.
func TestConnect(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{StartTLS: true, Users: map[string]string{"ann": "correct horse"}, RequireAuth: true})
	s := settingsFor(server)
	s.user, s.passwordFile, s.connect = "ann", filepath.Join(t.TempDir(), "password"), true
	begin := func() error { return serve(service(s, quiet()), func(*fx.App) error { return nil }) }
	if err := begin(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a password file: %v", err)
	}
	for password, want := range map[string]error{"wrong": core.ErrAuthentication, "correct horse": nil} {
		if err := os.WriteFile(s.passwordFile, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := begin(); !errors.Is(err, want) || err != nil && strings.Contains(err.Error(), password) {
			t.Errorf("%s: %v, want %v", password, err, want)
		}
	}
}
