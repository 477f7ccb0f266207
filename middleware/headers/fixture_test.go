package headers_test

import (
	"context"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/headers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is the time of the tests.
func noon() time.Time {
	return time.Date(2026, time.February, 3, 12, 0, 0, 0, time.FixedZone("", 3600))
}

const dateLine = "Date: Tue, 3 Feb 2026 12:00:00 +0100\r\n"

// idLine is the Message-ID of the tests, when hideIDs has been there.
const idLine = "Message-ID: <ID@sender.example>\r\n"

var ids = regexp.MustCompile(`<[A-Z2-7]{26}@`)

// hideIDs replaces what is different each time.
func hideIDs(content string) string { return ids.ReplaceAllString(content, "<ID@") }

func mustNew(t testing.TB, config headers.Config) core.Interceptor {
	t.Helper()
	if config.Now == nil {
		config.Now = noon
	}
	i, err := headers.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// sessions are those that a message may be sent on.
var sessions = []struct {
	name   string
	change func(*core.Config)
}{
	{"with PIPELINING and CHUNKING", func(c *core.Config) { c.PipelineDepth = 1 }},
	{"with PIPELINING alone", func(c *core.Config) { c.PipelineDepth, c.MaskExtensions = 1, []string{"CHUNKING"} }},
	{"with neither", func(c *core.Config) { c.PipelineDepth, c.MaskExtensions = 1, []string{"PIPELINING", "CHUNKING"} }},
	{"shared by 16, with CHUNKING", func(c *core.Config) { c.PipelineDepth, c.MaxSessions = 16, 1 }},
	{"shared by 16, without", func(c *core.Config) {
		c.PipelineDepth, c.MaxSessions, c.MaskExtensions = 16, 1, []string{"CHUNKING"}
	}},
}

// newClient returns a client of the server.
func newClient(t testing.TB, config core.Config, list ...core.Interceptor) *core.Client {
	t.Helper()
	config.Interceptors = append(config.Interceptors, list...)
	client, err := core.NewClient(smtptest.AtDepth(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func message(body core.Body) *core.Message {
	return &core.Message{From: "me@sender.example", To: core.Recipients("you@example.net"), Body: body}
}

// deliver sends content and returns what came of it, without what is random.
func deliver(t *testing.T, config headers.Config, body core.Body) (string, error) {
	t.Helper()
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	_, err := newClient(t, server.Config(), mustNew(t, config)).Send(t.Context(), message(body))
	if messages := server.Messages(); len(messages) > 0 {
		return hideIDs(string(messages[0].Content)), err
	}
	return "", err
}

// edit runs the content chain and returns what is left of it.
func edit(t testing.TB, i core.Interceptor, body core.Body) (core.Body, error) {
	t.Helper()
	c := &core.Content{Body: body}
	err := i.Content(func(context.Context, *core.Content) error { return nil })(t.Context(), c)
	return c.Body, err
}

// read returns the octets of a body.
func read(t testing.TB, body core.Body) string {
	t.Helper()
	src, err := body.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = src.Close() }()
	content, err := io.ReadAll(src)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// wantLocal checks that an error is this side's and says something.
func wantLocal(t *testing.T, err error, says string) {
	t.Helper()
	if err == nil || core.ClassOf(err) != core.Local || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want a local error that says %q", err, says)
	}
}
