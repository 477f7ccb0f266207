package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/core/smtptest"
)

func TestPipeline(t *testing.T) {
	config := file(t, `{"interceptors":["logging","headers",{"name":"ratelimit","messages":"10/s"},{"name":"breaker","failures":2,"rest":"5s"},"dialogue"]}`)
	for rule, tt := range map[string]struct {
		args []string
		want string
	}{
		"none":                       {nil, "no interceptors: a message goes to the server as it is, once\n"},
		"in the order of the flag":   {[]string{"-interceptors", "headers,dialogue"}, "headers dialogue"},
		"in the order of the file":   {[]string{"-config", config}, "logging headers ratelimit breaker dialogue"},
		"-retries behind telemetry":  {[]string{"-interceptors", "telemetry,breaker", "-retries", "2"}, "telemetry retry breaker"},
		"-retries behind the header": {[]string{"-config", config, "-retries", "2"}, "logging headers retry ratelimit breaker dialogue"},
		"several servers":            {[]string{"-endpoints", "smtp://a", "-endpoints", "smtp://b", "-retries", "1"}, "retry breaker"},
	} {
		t.Run(rule, func(t *testing.T) {
			r := mailer(t, append([]string{"pipeline"}, tt.args...)...)
			r.ends(t, 0)
			var names []string
			for line := range strings.Lines(r.stdout) {
				names = append(names, strings.Fields(line)[1])
			}
			if got := strings.Join(names, " "); got != tt.want && r.stdout != tt.want {
				t.Errorf("got %s", r.stdout)
			}
		})
	}
}

// All of them at work.
func TestPipeline_isUsed(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyFile := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	config := file(t, fmt.Sprintf(`{"interceptors":[{"name":"logging","format":"json","addresses":true},{"name":"headers","domain":"id.example"},`+
		`{"name":"retry","attempts":2,"initial-interval":"1ms"},{"name":"ratelimit","messages":"1000/s","recipients":"500/m","adaptive":true},`+
		`{"name":"dkim","domain":"example.com","selector":"s","key-file":%q},{"name":"dialogue","times":true}]}`, keyFile))
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	cmd := command(t, "send", "-url", s.URL(), "-from", "me@example.com", "-to", "you@example.net", "-config", config, file(t, mail))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{`"msg":"smtp delivery"`, "C: MAIL FROM:<me@example.com>"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
	for _, want := range []string{"DKIM-Signature: ", "@id.example>", "Date: "} {
		if got := string(s.Messages()[0].Content); !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	// One that changes content cannot stand behind one that signs it.
	bad := file(t, fmt.Sprintf(`{"interceptors":[{"name":"dkim","domain":"example.com","selector":"s","key-file":%q},"headers"]}`, keyFile))
	mailer(t, "pipeline", "-config", bad).ends(t, 78, "headers")
	mailer(t, "send", "-url", s.URL(), "-from", "me@example.com", "-to", "you@example.net", "-config", bad, file(t, mail)).ends(t, 78, "headers")
}
