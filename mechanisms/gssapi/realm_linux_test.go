package gssapi_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/transport"
)

// requireEnv names the environment variable that says what happens where a
// server is missing: with the value "required" the test fails, with any other it
// is skipped.
const requireEnv = "POSTRIDER_REAL_SERVERS"

// needs is what the tests need to be installed.
const needs = "krb5-kdc krb5-admin-server krb5-user dovecot-core dovecot-submissiond dovecot-gssapi"

// missing says what is not there of what a realm needs.
func missing() error {
	for _, program := range []string{"krb5kdc", "kdb5_util", "kadmin.local", "kinit", "dovecot", "doveconf"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("a test needs Kerberos and Dovecot: install them (apt-get install %s) and have their programs in PATH: %w", needs, err)
		}
	}
	version, err := exec.Command("dovecot", "--version").Output()
	if err != nil || !strings.HasPrefix(string(version), "2.3.") {
		return fmt.Errorf("a test needs Dovecot 2.3, and this is %s (%w)", version, err)
	}
	folder, err := exec.Command("doveconf", "-c", os.DevNull, "-h", "libexec_dir").Output()
	if err != nil {
		return fmt.Errorf("asking Dovecot for its folder: %w", err)
	}
	for _, file := range []string{"submission-login", "modules/auth/libmech_gssapi.so"} {
		if _, err := os.Stat(filepath.Join(strings.TrimSpace(string(folder)), file)); err != nil {
			return fmt.Errorf("a test needs all of Dovecot: install it (apt-get install %s): %w", needs, err)
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("a test needs Dovecot, which only root can start: run it as root")
	}
	return nil
}

// A realm is EXAMPLE.TEST: an MIT KDC with the user alice, whose password is
// sesame, and a Dovecot that takes mail from those whom the KDC knows. They are
// private to the test and on loopback. All that they have lies in a folder in
// /tmp, where the servers' own users can enter it.
type realm struct {
	folder string
	port   string // Dovecot's
	relay  *smtptest.Server
}

const kerberosSettings = `
[libdefaults]
default_realm = EXAMPLE.TEST
dns_lookup_kdc = false
dns_lookup_realm = false
udp_preference_limit = 1
default_tkt_enctypes = KEYS
default_tgs_enctypes = KEYS
permitted_enctypes = KEYS
[realms]
EXAMPLE.TEST = {
kdc = 127.0.0.1:KDC
}
`

const kdcSettings = `
[kdcdefaults]
kdc_listen = ""
kdc_tcp_listen = 127.0.0.1:KDC
[realms]
EXAMPLE.TEST = {
database_name = FOLDER/principal
key_stash_file = FOLDER/stash
acl_file = FOLDER/acl
supported_enctypes = KEYS
master_key_type = KEYS
}
`

// dovecotSettings are those of Dovecot 2.3. It gives what it is sent to another
// server.
const dovecotSettings = `
base_dir = FOLDER/run
state_dir = FOLDER/state
log_path = FOLDER/dovecot.log
auth_verbose = yes
protocols = submission
listen = 127.0.0.1
ssl = no
hostname = mail.example.test
mail_location = maildir:FOLDER/mail/%u
submission_relay_host = 127.0.0.1
submission_relay_port = RELAY
import_environment = KRB5_CONFIG=FOLDER/krb5.conf KRB5RCACHEDIR=FOLDER/replays
auth_mechanisms = gssapi
auth_gssapi_hostname = "$ALL"
auth_krb5_keytab = FOLDER/smtp.keytab
auth_failure_delay = 0
# Who the KDC knows has a mailbox.
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}
service submission-login {
  inet_listener submission {
    port = PORT
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`

// startRealm starts a realm with keys of one type.
func startRealm(t *testing.T, keys string) *realm {
	t.Helper()
	if err := missing(); err != nil {
		if os.Getenv(requireEnv) == "required" {
			t.Fatalf("%v (%s=required makes this a failure)", err, requireEnv)
		}
		t.Skipf("%v (%s=required makes this a failure)", err, requireEnv)
	}
	folder, err := os.MkdirTemp("/tmp", "postrider-realm-")
	if err != nil {
		t.Fatal(err)
	}
	r := &realm{folder: folder, port: reservePort(t), relay: smtptest.NewServer(t, smtptest.ServerOptions{})}
	t.Cleanup(func() {
		if t.Failed() {
			for _, log := range []string{"kdc.log", "dovecot.log"} {
				text, _ := os.ReadFile(r.path(log)) // the test has failed anyhow
				t.Logf("%s:\n%s", log, text)
			}
		}
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	kdc := reservePort(t)
	_, relay, _ := strings.Cut(r.relay.URL(), "127.0.0.1:")
	fill := strings.NewReplacer("FOLDER", folder, "KDC", kdc, "KEYS", keys, "RELAY", relay, "PORT", r.port)
	for name, settings := range map[string]string{"krb5.conf": kerberosSettings, "kdc.conf": kdcSettings, "dovecot.conf": dovecotSettings, "acl": ""} {
		if err := os.WriteFile(r.path(name), []byte(fill.Replace(settings)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r.run(t, "", "kdb5_util", "create", "-s", "-r", "EXAMPLE.TEST", "-P", "master")
	r.run(t, fill.Replace(`
addprinc -pw sesame +requires_preauth alice
addprinc -pw sesame -requires_preauth trusting
addprinc -randkey smtp/localhost
addprinc -randkey imap/localhost
ktadd -k FOLDER/smtp.keytab smtp/localhost
ktadd -norandkey -k FOLDER/alice.keytab alice
`), "kadmin.local", "-r", "EXAMPLE.TEST")
	if err := os.Mkdir(r.path("replays"), 0o777); err != nil {
		t.Fatal(err)
	}
	// Dovecot's users are others.
	for path, mode := range map[string]os.FileMode{folder: 0o755, r.path("smtp.keytab"): 0o644, r.path("replays"): 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	startProcess(t, r.path("kdc.log"), r.env(), func() bool { return listens(kdc) }, "krb5kdc", "-n")
	startProcess(t, r.path("dovecot.log"), nil, func() bool { return greets(r.port) }, "dovecot", "-F", "-c", r.path("dovecot.conf"))
	return r
}

func (r *realm) path(name string) string { return filepath.Join(r.folder, name) }

func (r *realm) env() []string {
	return []string{"KRB5_CONFIG=" + r.path("krb5.conf"), "KRB5_KDC_PROFILE=" + r.path("kdc.conf")}
}

// run runs a program of Kerberos.
func (r *realm) run(t *testing.T, input, program string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), program, args...)
	c.Env = append(os.Environ(), r.env()...)
	c.Stdin = strings.NewReader(input)
	if output, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, output)
	}
}

// config returns the configuration of a client that sends by Dovecot.
func (r *realm) config(m core.Mechanism) core.Config {
	return core.Config{
		Endpoint:   "smtp://localhost:" + r.port,
		Transports: transport.Standard(),
		TLSPolicy:  core.TLSOff,
		LocalName:  "client.example",
		Auth:       []core.Mechanism{m},
	}
}

func listens(port string) bool {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// greets reports whether a server greets.
func greets(port string) bool {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return false
	}
	defer conn.Close()
	greeting, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.HasPrefix(greeting, "220 ")
}
