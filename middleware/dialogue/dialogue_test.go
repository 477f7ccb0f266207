package dialogue_test

import (
	"bytes"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/middleware/dialogue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const script = `
	S: 220 mx.example ready
	C: EHLO client.example
	S: 250-mx.example
	S: 250 AUTH PLAIN
	C: AUTH PLAIN AHJpZGVyAHNlc2FtZQ==
	S: 235 welcome
	C: MAIL FROM:<a@example.com>
	S: 250 ok
	C: RCPT TO:<b@example.com>
	S~ "250 \x1b[31mred\r\n"
	C: DATA
	S: 354 go on
	C: secret content
	C| .
	CLOSE
`

const written = `S: 220 mx.example ready
C: EHLO client.example
S: 250 mx.example / AUTH PLAIN
C: AUTH PLAIN [redacted]
S: 235 welcome
C: MAIL FROM:<a@example.com>
S: 250 ok
C: RCPT TO:<b@example.com>
S: 250 \x1b[31mred
C: DATA
S: 354 go on
C: [content, 16 octets] .
S: (content: no connection: the server closed the connection while waiting for the reply: EOF)
`

// send sends a message, with AUTH, to a server that hangs up behind the dot.
func send(t *testing.T, config dialogue.Config) {
	t.Helper()
	i, err := dialogue.New(config)
	if err != nil {
		t.Fatal(err)
	}
	c := smtptest.NewScript(t, script, smtptest.Options{}).Config()
	c.Auth, c.Interceptors = mechanisms.Password("rider", "sesame"), []core.Interceptor{i}
	client, err := core.NewClient(smtptest.AtDepth(c))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.Send(t.Context(), &core.Message{From: "a@example.com", To: core.Recipients("b@example.com"), Body: core.String("secret content\r\n")})
	if err == nil {
		t.Error("the message was accepted")
	}
}

func TestDialogue_isWrittenWithoutSecrets_48(t *testing.T) {
	var b bytes.Buffer
	send(t, dialogue.Config{Writer: &b})
	if b.String() != written {
		t.Errorf("wrote\n%s\nwant\n%s", b.String(), written)
	}
}

func TestDialogue_timesStandInFront_48(t *testing.T) {
	var b bytes.Buffer
	send(t, dialogue.Config{Writer: &b, Times: true})
	times := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{6} `)
	if got := times.ReplaceAllString(b.String(), ""); got != written || times.FindString(b.String()) == "" {
		t.Errorf("wrote\n%s", b.String())
	}
}

func TestDialogue_aLoggerGetsARecordALine_48(t *testing.T) {
	for level, want := range map[slog.Level]int{slog.LevelDebug: strings.Count(written, "\n"), slog.LevelInfo: 0} {
		var b bytes.Buffer
		send(t, dialogue.Config{Logger: slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: level}))})
		if n := strings.Count(b.String(), "\n"); n != want {
			t.Errorf("at level %s: %d records, want %d:\n%s", level, n, want, b.String())
		}
		if want > 0 && !strings.Contains(b.String(), `from=client line="AUTH PLAIN [redacted]" server.address=server.example`) {
			t.Errorf("logged\n%s", b.String())
		}
		if strings.Contains(b.String(), "sesame") || strings.Contains(b.String(), "AHJpZGVy") {
			t.Errorf("logged a secret:\n%s", b.String())
		}
	}
}

func TestNew_refusesTwoPlaces(t *testing.T) {
	if _, err := dialogue.New(dialogue.Config{Writer: os.Stderr, Logger: slog.Default()}); err == nil {
		t.Error("no error")
	}
}
