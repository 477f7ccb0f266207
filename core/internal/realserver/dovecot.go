package realserver

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// dovecotAuth is what a private Dovecot needs that only checks passwords and tokens, for a server that has no way of its
// own.
type dovecotAuth struct {
	program  string
	socket   string            // where the other server asks
	owner    string            // the user whose processes may ask
	users    map[string]string // each with the password
	tokenKey []byte            // that tokens are signed with
}

// dovecotSettings are those of Dovecot 2.3. Penalties and delays for wrong passwords are off: they would slow tests.
const dovecotSettings = `
base_dir = FOLDER/run
state_dir = FOLDER/state
log_path = FOLDER/log
protocols =
listen = 127.0.0.1
ssl = no
auth_mechanisms = plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 xoauth2 oauthbearer
auth_failure_delay = 0
auth_username_chars =
passdb {
  driver = passwd-file
  mechanisms = plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256
  args = FOLDER/passwd
}
passdb {
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = FOLDER/oauth2
}
service auth {
  unix_listener SOCKET {
    mode = 0600
    user = OWNER
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`

// dovecotTokens are the settings for tokens, which Dovecot checks by itself with a key from a file: the first folder is
// the client that a token was made for, the second the algorithm, and "default" is what it says of neither.
const dovecotTokens = `
introspection_mode = local
local_validation_key_dict = fs:posix:prefix=FOLDER/keys/
username_attribute = sub
`

// checkDovecot returns an error unless the program is a Dovecot whose settings this package knows.
func checkDovecot(ctx context.Context, program string) error {
	version, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return fmt.Errorf("asking Dovecot for its version: %w", err)
	}
	if !strings.HasPrefix(string(version), "2.3.") {
		return fmt.Errorf("a test needs Dovecot 2.3, and this is %s", strings.TrimSpace(string(version)))
	}
	return nil
}

// start starts the private Dovecot, waits until it answers on its socket, and stops it when the test ends. The folder
// is its own.
func (d dovecotAuth) start(ctx context.Context, t testing.TB, folder string) error {
	if err := makeFolder(folder, root, 0o755); err != nil {
		return err
	}
	keys := filepath.Join(folder, "keys/default/HS256")
	if err := makeFolder(keys, root, 0o755); err != nil {
		return err
	}
	// The passwords are kept readable: the challenge-response mechanisms have to compute with them.
	var passwd strings.Builder
	for user, password := range d.users {
		fmt.Fprintf(&passwd, "%s:{PLAIN}%s\n", user, password)
	}
	config := filepath.Join(folder, "dovecot.conf")
	values := strings.NewReplacer("FOLDER", folder, "SOCKET", d.socket, "OWNER", d.owner)
	for path, content := range map[string]string{
		config:                          values.Replace(dovecotSettings),
		filepath.Join(folder, "oauth2"): values.Replace(dovecotTokens),
		filepath.Join(folder, "passwd"): passwd.String(),
		filepath.Join(keys, "default"):  base64.StdEncoding.EncodeToString(d.tokenKey),
	} {
		if err := writeFile(path, content, 0o644); err != nil {
			return err
		}
	}
	server, err := startProcess("Dovecot", filepath.Join(folder, "console"), nil, d.program, "-F", "-c", config)
	if err != nil {
		return err
	}
	return oversee(ctx, t, server, func() bool { return d.answers(ctx) })
}

// answers reports whether the socket is there and something behind it speaks Dovecot's protocol.
func (d dovecotAuth) answers(ctx context.Context) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", d.socket)
	if err != nil {
		return false
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return false
		}
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "VERSION\t")
}
