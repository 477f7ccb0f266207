package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// binary is the program, built once.
var binary string

func TestMain(m *testing.M) {
	if mode, ok := os.LookupEnv(pluginMode); ok {
		servePlugin(mode) // the test is the plugin that it declares
		return
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	folder, err := os.MkdirTemp("", "mailer-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	binary = filepath.Join(folder, "mailer")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// ran is how a run of the program ended.
type ran struct {
	status         int
	stdout, stderr string
	results        []result // the lines of -json
}

// mailer runs the program.
func mailer(t *testing.T, args ...string) ran { return mailerWith(t, "", nil, args...) }

// mailerWith runs the program with standard input and variables of the
// environment besides.
func mailerWith(t *testing.T, stdin string, env []string, args ...string) ran {
	t.Helper()
	cmd := command(t, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(cmd.Env, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	r := ran{status: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	if len(args) > 0 && args[0] == "send" {
		r.results = parse(t, r.stdout, args)
	}
	if strings.Contains(r.stderr, "goroutine ") {
		t.Errorf("a stack trace:\n%s", r.stderr)
	}
	if n := strings.Count(r.stderr, "\n"); n > 1 {
		t.Errorf("%d lines on standard error:\n%s", n, r.stderr)
	}
	if (r.stderr != "") != (r.status != 0) {
		t.Errorf("status %d, and on standard error %q", r.status, r.stderr)
	}
	return r
}

func command(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), binary, args...)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "POSTRIDER_") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	return cmd
}

// parse reads the lines of -json: with it there is nothing else.
func parse(t *testing.T, stdout string, args []string) []result {
	t.Helper()
	var results []result
	if !strings.Contains(strings.Join(args, " "), "-json") {
		return nil
	}
	for line := range strings.Lines(stdout) {
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		var r result
		if err := decoder.Decode(&r); err != nil {
			t.Fatalf("%v in the line %q", err, line)
		}
		results = append(results, r)
	}
	return results
}

// one returns the only result.
func (r ran) one(t *testing.T) result {
	t.Helper()
	if len(r.results) != 1 {
		t.Fatalf("%d results, status %d, output %q, errors %q", len(r.results), r.status, r.stdout, r.stderr)
	}
	return r.results[0]
}

// ends checks how a run ended.
func (r ran) ends(t *testing.T, status int, says ...string) {
	t.Helper()
	if r.status != status {
		t.Errorf("status %d, want %d; output %q, errors %q", r.status, status, r.stdout, r.stderr)
	}
	for _, want := range says {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("the error does not say %q: %q", want, r.stderr)
		}
	}
}

// file makes a file and returns its name.
func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "mail.eml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const mail = "From: me@example.com\r\nTo: you@example.net\r\nSubject: hi\r\n\r\nHello.\r\n"

// envelope is the flags for a message with one recipient.
var envelope = []string{"-from", "me@example.com", "-to", "you@example.net", "-json"}

// to returns the arguments that send a message to a server.
func to(url string, more ...string) []string {
	return append(append([]string{"send", "-url", url, "-helo", "client.example"}, envelope...), more...)
}

// script serves a scripted dialogue on a socket and returns its address. A
// message follows the greeting, the hello and what stands in the dialogue.
func script(t *testing.T, dialogue string, options smtptest.Options) string {
	t.Helper()
	options.OverTCP = true
	s := smtptest.NewScript(t, dialogue, options)
	transport := s.Config().Transports[0]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go relay(t.Context(), transport, client)
		}
	}()
	return l.Addr().String()
}

// relay joins a connection to the script.
func relay(ctx context.Context, transport core.Transport, client net.Conn) {
	e, err := transport.Endpoint(&url.URL{Scheme: "script", Host: "server.example"})
	if err != nil {
		_ = client.Close()
		return
	}
	server, err := transport.Dial(context.WithoutCancel(ctx), e)
	if err != nil {
		_ = client.Close()
		return
	}
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	_, _ = io.Copy(client, server)
	_ = client.Close()
}

const hello = "S: 220 mx.example\nC: EHLO client.example\nS: 250-mx.example\n"

// lockedBuffer is a buffer that a server's connections write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
