package realserver

import (
	"context"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// An OpenSMTPD is a running OpenSMTPD.
//
// It takes mail for its domain from everybody, and keeps it in its queue: nothing is delivered. It offers 8BITMIME,
// ENHANCEDSTATUSCODES, SIZE, DSN, STARTTLS and HELP. Of the extensions that others have it lacks PIPELINING, and closes
// the connection when a command comes early. Debian 12's answers STARTTLS with 220 and then ends the handshake with an
// alert: internal error.
type OpenSMTPD struct {
	Addr string // host and port of the listener

	// RootCAs holds the authority that signed the certificate, which is for the names localhost and
	// mail.example.test and the addresses 127.0.0.1 and ::1.
	RootCAs *x509.CertPool

	Domain string // the domain that mail is taken for: example.test

	folder string
	daemon *process
}

// openSMTPDNeeds is what StartOpenSMTPD cannot do without. The package cannot be installed beside Postfix.
var openSMTPDNeeds = server{
	name:     "OpenSMTPD",
	programs: []string{"smtpd", "chroot", "ldd"},
	packages: "opensmtpd; beside Postfix as .ci/run does",
}

// openSMTPDConfig is smtpd.conf. What is accepted goes on to a port where nobody listens, so that it stays in the queue.
const openSMTPDConfig = `
pki mail cert "/etc/chain.pem"
pki mail key "/etc/chain.pem"
listen on 127.0.0.1 port PORT hostname mail.example.test tls pki mail
action keep relay host smtp://127.0.0.1:1
match from any for domain "DOMAIN" action keep
`

// openSMTPDUsers and openSMTPDGroups are those that the program was compiled for. They are in its folder alone.
const openSMTPDUsers = `root:x:0:0::/root:/bin/false
opensmtpd:x:65530:65530::/nonexistent:/bin/false
opensmtpq:x:65531:65531::/nonexistent:/bin/false
`

const openSMTPDGroups = `root:x:0:
opensmtpd:x:65530:
opensmtpq:x:65531:
`

// StartOpenSMTPD starts a private OpenSMTPD, waits until it takes connections, and stops it when the test ends. When the
// test has failed it logs what the server has logged. Where it is not installed it skips the test or fails it, as
// [RequireEnv] says.
//
// The paths of its queue and its socket are compiled into the program, so it runs with its folder as root.
func StartOpenSMTPD(t testing.TB) *OpenSMTPD {
	t.Helper()
	programs := openSMTPDNeeds.require(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, programs["smtpd"], "-h").CombinedOutput(); !strings.Contains(string(out), "OpenSMTPD") {
		Absent(t, fmt.Errorf("a test needs OpenSMTPD, and %s is not: install it (apt-get install %s): %v", programs["smtpd"], openSMTPDNeeds.packages, err))
	}
	folder, err := newFolder(t, "opensmtpd")
	if err != nil {
		t.Fatal(err)
	}
	o := &OpenSMTPD{Domain: domain, folder: folder}
	if err := o.start(ctx, t, programs); err != nil {
		t.Fatalf("starting OpenSMTPD: %v; its log:\n%s", err, o.Log())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of OpenSMTPD:\n%s", o.Log())
		}
	})
	return o
}

// start builds the instance in its folder and runs it.
func (o *OpenSMTPD) start(ctx context.Context, t testing.TB, programs map[string]string) error {
	authority, err := newAuthority()
	if err != nil {
		return err
	}
	o.RootCAs = authority.pool()
	chain, err := authority.server()
	if err != nil {
		return err
	}
	ports, release, err := reservePorts(1)
	if err != nil {
		return err
	}
	t.Cleanup(release)
	port := strconv.Itoa(ports[0])
	o.Addr = net.JoinHostPort("127.0.0.1", port)
	for path, mode := range map[string]fs.FileMode{
		"": 0o755, "etc": 0o755, "tmp": 0o700, "var/run": 0o755, "var/spool/smtpd": 0o711, "var/lib/opensmtpd/empty": 0o755,
	} {
		if err := makeFolder(o.path(path), root, mode); err != nil {
			return err
		}
	}
	for path, file := range map[string]struct {
		content string
		mode    fs.FileMode
	}{
		"etc/passwd":     {openSMTPDUsers, 0o644},
		"etc/group":      {openSMTPDGroups, 0o644},
		"etc/chain.pem":  {chain, 0o600},
		"etc/smtpd.conf": {strings.NewReplacer("PORT", port, "DOMAIN", domain).Replace(openSMTPDConfig), 0o600},
	} {
		if err := writeFile(o.path(path), file.content, file.mode); err != nil {
			return err
		}
	}
	if err := o.install(ctx, programs); err != nil {
		return err
	}
	o.daemon, err = startProcess("OpenSMTPD", o.path("log"), nil, programs["chroot"], o.folder, programs["smtpd"], "-d", "-f", "/etc/smtpd.conf")
	if err != nil {
		return err
	}
	return oversee(ctx, t, o.daemon, func() bool { return greets(ctx, "tcp", o.Addr) })
}

// install copies the program, and the libraries that it is linked with, to where it finds them with the folder as root.
func (o *OpenSMTPD) install(ctx context.Context, programs map[string]string) error {
	list, err := exec.CommandContext(ctx, programs["ldd"], programs["smtpd"]).Output()
	if err != nil {
		return fmt.Errorf("looking for the libraries of OpenSMTPD: %w", err)
	}
	paths := []string{programs["smtpd"]}
	for word := range strings.FieldsSeq(string(list)) {
		if filepath.IsAbs(word) {
			paths = append(paths, word)
		}
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(o.path(filepath.Dir(path)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(o.path(path), content, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// path returns the path of something in the instance's folder.
func (o *OpenSMTPD) path(name string) string { return filepath.Join(o.folder, name) }

// Log returns everything that the server has logged so far.
func (o *OpenSMTPD) Log() string { return readText(o.path("log")) }
