package realserver

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// dovecotAuth is what a private Dovecot needs that only checks passwords, for a server that has no way of its own.
type dovecotAuth struct {
	program  string
	socket   string // where the other server asks
	owner    string // the user whose processes may ask
	user     string
	password string
}

// dovecotSettings are those of Dovecot 2.3. Penalties and delays for wrong passwords are off: they would slow tests.
const dovecotSettings = `
base_dir = FOLDER/run
state_dir = FOLDER/state
log_path = FOLDER/log
protocols =
listen = 127.0.0.1
ssl = no
auth_mechanisms = plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256
auth_failure_delay = 0
passdb {
  driver = passwd-file
  args = FOLDER/passwd
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
	settings := strings.NewReplacer("FOLDER", folder, "SOCKET", d.socket, "OWNER", d.owner).Replace(dovecotSettings)
	config := filepath.Join(folder, "dovecot.conf")
	if err := writeFile(config, settings, 0o644); err != nil {
		return err
	}
	// The password is kept readable: the challenge-response mechanisms have to compute with it.
	passwd := fmt.Sprintf("%s:{PLAIN}%s\n", d.user, d.password)
	if err := writeFile(filepath.Join(folder, "passwd"), passwd, 0o644); err != nil {
		return err
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
