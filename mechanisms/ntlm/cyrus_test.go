package ntlm_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms/ntlm"
)

// requireEnv names the environment variable that says what happens where a
// server is missing: with the value "required" the test fails, with any other it
// is skipped.
const requireEnv = "POSTRIDER_REAL_SERVERS"

// cyrus is Cyrus SASL, which mail servers verify NTLM with where there is no
// Windows. It knows one user: "user" in the domain LOCALHOST.TEST, whose password
// is "Password".
type cyrus struct{ folder string }

func newCyrus(t *testing.T) cyrus {
	t.Helper()
	for _, program := range []string{"sasl-sample-server", "saslpasswd2", "stdbuf"} {
		if _, err := exec.LookPath(program); err != nil {
			reason := fmt.Sprintf("a test needs Cyrus SASL: install it (apt-get install sasl2-bin libsasl2-modules libsasl2-modules-db) and have its programs in PATH: %v (%s=required makes this a failure)", err, requireEnv)
			if os.Getenv(requireEnv) == "required" {
				t.Fatal(reason)
			}
			t.Skip(reason)
		}
	}
	c := cyrus{t.TempDir()}
	users := filepath.Join(c.folder, "users")
	settings := "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: " + users + "\n"
	for _, name := range []string{"sample.conf", "saslpasswd.conf"} {
		if err := os.WriteFile(filepath.Join(c.folder, name), []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	add := c.command(t.Context(), "saslpasswd2", "-p", "-c", "-f", users, "-u", "LOCALHOST.TEST", "user")
	add.Stdin = strings.NewReader("Password")
	if output, err := add.CombinedOutput(); err != nil {
		t.Fatalf("saslpasswd2: %v\n%s", err, output)
	}
	return c
}

func (c cyrus) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, program, args...)
	command.Env = append(os.Environ(), "SASL_CONF_PATH="+c.folder)
	return command
}

// authenticate returns what the server says at the end: the user, or why not.
func (c cyrus) authenticate(t *testing.T, m core.Mechanism) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // a watchdog
	defer cancel()
	server := c.command(ctx, "stdbuf", "-o0", "sasl-sample-server", "-s", "smtp", "-m", "NTLM", "-u", "LOCALHOST.TEST", "-d", "LOCALHOST.TEST")
	input, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	server.Stderr = server.Stdout
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = server.Wait() // it has said enough
	}()
	run, initial, err := m.Start(ctx, &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	said := 0
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if user, ok := strings.CutPrefix(lines.Text(), "Username: "); ok {
			return user
		}
		if why, ok := strings.CutPrefix(lines.Text(), "sasl-sample-server: "); ok {
			return why
		}
		challenge, ok := strings.CutPrefix(lines.Text(), "S: ")
		if !ok {
			continue // for people
		}
		response := append([]byte("NTLM\x00"), initial...) // to the list of mechanisms
		if said++; said > 1 {
			octets, err := base64.StdEncoding.DecodeString(challenge)
			if err != nil {
				t.Fatal(err)
			}
			if response, err = run.Next(ctx, octets); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := fmt.Fprintf(input, "C: %s\n", base64.StdEncoding.EncodeToString(response)); err != nil {
			t.Fatal(err)
		}
	}
	return "nothing"
}

func TestCyrusSASL_verifiesIt(t *testing.T) {
	c := newCyrus(t)
	for _, tt := range []struct{ rule, user, password, want string }{
		{"a name alone", "user", "Password", "user@LOCALHOST.TEST"},
		{"a domain", `LOCALHOST.TEST\user`, "Password", "user@LOCALHOST.TEST"},
		{"a principal name", "user@LOCALHOST.TEST", "Password", "user@LOCALHOST.TEST"},
		{"a wrong password", "user", "another", "incorrect NTLMv2 response"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if got := c.authenticate(t, ntlm.New(tt.user, tt.password)); !strings.HasSuffix(got, tt.want) {
				t.Errorf("it says %q, want %q", got, tt.want)
			}
		})
	}
}
