package realserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Addresses of example.test that Exim takes at RCPT. It does not take the content for them when the client has asked
// for PRDR and at least two recipients stand: each gets this reply after the content.
const (
	PRDRRefusedRecipient  = "spamhater@example.test" // 550 5.7.1
	PRDRDeferredRecipient = "undecided@example.test" // 450 4.7.1
)

// An Exim is a running Exim.
//
// It takes mail for its domain from everybody, and for other domains from those who have authenticated; the latter it
// throws away. It offers SIZE, 8BITMIME, DSN, VRFY, EXPN, PIPELINING, PIPECONNECT, CHUNKING, STARTTLS, PRDR, SMTPUTF8 and
// HELP on every port, and no ENHANCEDSTATUSCODES. To a client whose certificate it has verified, and to no other, it
// offers AUTH with EXTERNAL besides. A message may have 128 MiB. When a recipient is named twice the message arrives
// once. Without TLS it holds back its reply to QUIT for a fifth of a second, whatever it is told.
//
// When a large chunk of BDAT takes a message over the limit, Exim refuses it before it has read it all, and takes some of
// the rest for commands: mostly that ends the session with 554.
//
// PRDR takes place only when two recipients stand, else Exim answers the content as usual. When every recipient is
// turned away, but not each of them with 550, the final reply is nevertheless "250 … accepted for some recipients".
//
// What it changes in the content of a message is described at [Content].
type Exim struct {
	Addr    string // host and port of the listener that offers STARTTLS
	TLSAddr string // host and port of the listener with implicit TLS

	// RootCAs holds the authority that signed the certificate, which is for the names localhost and
	// mail.example.test and the addresses 127.0.0.1 and ::1.
	RootCAs *x509.CertPool

	User               string          // who can authenticate, an address
	ClientCertificate  tls.Certificate // the user's, signed by the authority in RootCAs
	UnknownCertificate tls.Certificate // one for the same name, of an authority that Exim does not know

	Domain string // the domain in which every local part has a mailbox, but for the refused ones: example.test

	folder  string
	changes []string // of the main settings
	ports   []int    // those of Addr and TLSAddr
	daemon  *process
}

// eximNeeds is what StartExim cannot do without. The packages of Exim and Postfix cannot be installed together.
var eximNeeds = server{
	name:     "Exim",
	programs: []string{"exim4"},
	packages: "exim4-daemon-light; beside Postfix as .ci/run does",
}

// StartExim starts a private Exim, waits until it takes connections, and stops it when the test ends. When the test has
// failed it logs what the server has logged. Where Exim is not installed, or lacks PRDR, SMTPUTF8 or EXTERNAL, it skips
// the test or fails it, as [RequireEnv] says.
//
// The changes are main settings, each "name = value", for a test that needs another value than this package sets. With
// "pipelining_connect_advertise_hosts =" Exim does not offer PIPECONNECT. Where it does, it lets every client go on
// without replies for which it has to wait, up to the first content of a session.
func StartExim(t testing.TB, changes ...string) *Exim {
	t.Helper()
	program := eximNeeds.require(t)["exim4"]
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	user, err := checkExim(ctx, program)
	if err != nil {
		Absent(t, err)
	}
	folder, err := newFolder(t, "exim")
	if err != nil {
		t.Fatal(err)
	}
	e := &Exim{User: "rider@" + domain, Domain: domain, folder: folder, changes: changes}
	if err := e.start(ctx, t, program, user); err != nil {
		t.Fatalf("starting Exim: %v; its log:\n%s", err, e.Log())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of Exim:\n%s", e.Log())
		}
	})
	return e
}

// start builds the instance in its folder and runs it. The user is the one that Exim was compiled for.
func (e *Exim) start(ctx context.Context, t testing.TB, program, user string) error {
	authority, err := newAuthority()
	if err != nil {
		return err
	}
	if err := e.certify(authority); err != nil {
		return err
	}
	ports, release, err := reservePorts(2)
	if err != nil {
		return err
	}
	t.Cleanup(release)
	e.ports = ports
	for i, addr := range []*string{&e.Addr, &e.TLSAddr} {
		*addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i]))
	}
	if err := e.build(program, user, authority); err != nil {
		return err
	}
	e.daemon, err = startProcess("Exim", e.path("console"), nil, program, "-C", e.path("exim.conf"), "-bdf")
	if err != nil {
		return err
	}
	// It listens on both ports before it serves the first client.
	return oversee(ctx, t, e.daemon, func() bool { return greets(ctx, "tcp", e.Addr) })
}

// certify makes the certificates that a client needs.
func (e *Exim) certify(known *authority) error {
	unknown, err := newAuthority()
	if err != nil {
		return err
	}
	e.RootCAs = known.pool()
	if e.ClientCertificate, err = known.client(e.User); err != nil {
		return err
	}
	e.UnknownCertificate, err = unknown.client(e.User)
	return err
}

// path returns the path of something in the instance's folder.
func (e *Exim) path(name string) string { return filepath.Join(e.folder, name) }

// Log returns everything that the server has logged so far.
func (e *Exim) Log() string {
	return readText(e.path("console")) + readText(e.path("log/paniclog")) + readText(e.path("log/mainlog"))
}

// Messages returns the messages that have arrived for an address, which is to be written as the client wrote it in
// RCPT. Each is as it lies in the maildir: with the lines that Exim has prepended and with LF as line end; [Content]
// gives back what was sent. The order is that of arrival, which need not be that of sending. There may be more in the
// queue: see WaitMessages and Settle.
func (e *Exim) Messages(mailbox string) ([][]byte, error) {
	if err := checkMailbox(mailbox); err != nil {
		return nil, err
	}
	messages, err := readMaildir(e.path("mail/all"), func(message []byte) bool {
		return envelopeTo(message) == mailbox
	})
	if err != nil {
		return nil, fmt.Errorf("reading the mail of %s: %w", mailbox, err)
	}
	return messages, nil
}

// Mail returns all messages that have arrived, by the address that they have arrived for, as Messages does for one.
func (e *Exim) Mail() (map[string][][]byte, error) { return readMail(e.path("mail/all"), envelopeTo) }

// Complaints returns the lines of the log in which Exim finds fault with what a client has said, or with when: of
// commands that came before the reply that they had to wait for it says "synchronization error", and hangs up; for those
// at the beginning of a session it does so only if it does not offer PIPECONNECT. Connections that have ended without
// QUIT are among them, and so is whatever it panics about.
func (e *Exim) Complaints() []string {
	complaints := linesWith(readText(e.path("log/mainlog")), []string{
		"synchronization error", "SMTP protocol error", "SMTP syntax error", "too many", "dropped", "timeout", "unexpected", " lost",
	}, nil)
	return slices.AppendSeq(complaints, strings.Lines(readText(e.path("log/paniclog"))))
}

// WaitMessages waits until n messages have arrived for an address and returns them as Messages does. It fails the
// test when there are more, and when they do not arrive in half a minute.
func (e *Exim) WaitMessages(t testing.TB, mailbox string, n int) [][]byte {
	t.Helper()
	return waitMessages(t, e.Messages, mailbox, n)
}

// Settle waits until the server is at rest: every connection has ended and nothing is in the queue. What has not
// arrived by then never will. The caller closes its own connections first: one that stays open fails the test after
// half a minute, and so does mail that stays in the queue.
func (e *Exim) Settle(t testing.TB) {
	t.Helper()
	// A client has been greeted by a process that lives as long as its session, also when the connection is gone. That
	// process puts a message into the queue before it starts another to deliver it, and this one takes it out when it
	// has arrived.
	settle(t, "Exim", func() ([]string, error) { return connections(e.ports) }, e.daemon.others, e.queued)
}

// queued lists what lies in the queue. A message has two files there, of which the one with the envelope comes last. The
// other, with the content, stays for ever when PRDR has turned away every recipient.
func (e *Exim) queued() ([]string, error) {
	entries, err := os.ReadDir(e.path("spool/input"))
	if err != nil {
		if os.IsNotExist(err) {
			return nil, nil // the first message makes it
		}
		return nil, fmt.Errorf("reading the queue: %w", err)
	}
	var queued []string
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), "-H") {
			queued = append(queued, entry.Name())
		}
	}
	return queued, nil
}

// envelopeTo returns the address that a message was delivered to, which Exim has written into its first lines, and that
// as often as the client has named it, each in a line.
func envelopeTo(message []byte) string {
	_, rest, _ := bytes.Cut(message, []byte("\n")) // Return-path
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	address, found := bytes.CutPrefix(line, []byte("Envelope-to: "))
	if !found {
		return ""
	}
	return string(bytes.TrimSuffix(address, []byte(",")))
}
