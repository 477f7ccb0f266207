package realserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A Postfix is a running Postfix.
//
// It takes mail for its domain from everybody, and for other domains from those who have authenticated; the latter it
// throws away. It offers what Postfix offers by default (PIPELINING, SIZE, VRFY, ETRN, STARTTLS,
// ENHANCEDSTATUSCODES, 8BITMIME, DSN, SMTPUTF8, CHUNKING) and AUTH with PLAIN, LOGIN, CRAM-MD5, DIGEST-MD5,
// SCRAM-SHA-1, SCRAM-SHA-256, XOAUTH2 and OAUTHBEARER, on every port. To refuse a password or a token takes it half a
// second, whatever it is told. A message may have 64 MiB.
//
// Its Dovecot wants a user from OAUTHBEARER, which RFC 7628 §3.1 does not. Under DIGEST-MD5 it hashes names and passwords
// as UTF-8 also where RFC 2831 §2.1.2.1 has ISO 8859-1: a client that goes by that is refused if one of the two has a
// character beyond ASCII and all of its characters are in ISO 8859-1.
//
// What it changes in the content of a message is described at [Content].
type Postfix struct {
	Addr      string // host and port of the listener that offers STARTTLS
	TLSAddr   string // host and port of the listener with implicit TLS
	PlainAddr string // host and port of the listener without TLS

	// RootCAs holds the authority that signed the certificate, which is for the names localhost and
	// mail.example.test and the addresses 127.0.0.1 and ::1.
	RootCAs *x509.CertPool

	User     string // who can authenticate
	Password string // the password, which has a letter beyond ASCII and a space

	// Others who can authenticate. The name and the password of the one are ASCII. Both of the other have letters beyond
	// that, the password also some beyond ISO 8859-1.
	ASCIIUser, ASCIIPassword     string
	UnicodeUser, UnicodePassword string

	Domain string // the domain in which every local part has a mailbox, but for the refused ones: example.test

	folder   string
	changes  []string     // of main.cf
	tokenKey []byte       // that tokens are signed with
	ports    []int        // those of Addr, TLSAddr and PlainAddr
	marks    atomic.Int64 // the lines that syncLog has written
}

// postfixNeeds is what StartPostfix cannot do without.
var postfixNeeds = server{name: "Postfix", programs: []string{"postconf", "dovecot"}, packages: "postfix dovecot-core"}

// StartPostfix starts a private Postfix, and a private Dovecot that checks its passwords, waits until it takes
// connections, and stops both when the test ends. When the test has failed it logs what the server has logged. Where
// the two are not installed it skips the test or fails it, as [RequireEnv] says.
//
// The changes are settings, each "name = value" as in main.cf, for a test that needs another value than this package
// sets.
func StartPostfix(t testing.TB, changes ...string) *Postfix {
	t.Helper()
	programs := postfixNeeds.require(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := checkDovecot(ctx, programs["dovecot"]); err != nil {
		Absent(t, err)
	}
	folder, err := newFolder(t, "postfix")
	if err != nil {
		t.Fatal(err)
	}
	p := &Postfix{
		User: "rider", Password: "pöst rider",
		ASCIIUser: "walker", ASCIIPassword: `open, "Sesame"`,
		UnicodeUser: "jürgen@example.test", UnicodePassword: "pässwörd łódź",
		Domain: domain, folder: folder, changes: changes, tokenKey: []byte(rand.Text()),
	}
	if err := p.start(ctx, t, programs); err != nil {
		t.Fatalf("starting Postfix: %v; its log:\n%s", err, p.Log())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of Postfix:\n%s", p.Log())
		}
	})
	return p
}

// start builds the instance in its folder and runs it.
func (p *Postfix) start(ctx context.Context, t testing.TB, programs map[string]string) error {
	install, err := findPostfix(ctx, programs["postconf"])
	if err != nil {
		return err
	}
	mailUser, err := findAccount("nobody")
	if err != nil {
		return err
	}
	authority, err := newAuthority()
	if err != nil {
		return err
	}
	p.RootCAs = authority.pool()
	chain, err := authority.server()
	if err != nil {
		return err
	}
	if err := p.makeFolders(install, mailUser); err != nil {
		return err
	}
	if err := p.writeSettings(install, mailUser, chain); err != nil {
		return err
	}
	auth := dovecotAuth{
		program: programs["dovecot"], socket: p.path("queue/private/auth"), owner: install.owner,
		users:    map[string]string{p.User: p.Password, p.ASCIIUser: p.ASCIIPassword, p.UnicodeUser: p.UnicodePassword},
		tokenKey: p.tokenKey,
	}
	if err := auth.start(ctx, t, p.path("dovecot")); err != nil {
		return err
	}
	return p.startMaster(ctx, t, filepath.Join(install.daemons, "master"))
}

// startMaster starts Postfix's first process on three free ports and waits until a client is greeted.
func (p *Postfix) startMaster(ctx context.Context, t testing.TB, master string) error {
	ports, release, err := reservePorts(3)
	if err != nil {
		return err
	}
	t.Cleanup(release)
	p.ports = ports
	for i, addr := range []*string{&p.Addr, &p.TLSAddr, &p.PlainAddr} {
		*addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i]))
	}
	if err := p.writeMaster(); err != nil {
		return err
	}
	// Until its own logger runs, master would log to the system's, which need not be there; the command postfix(1)
	// tells it otherwise with these variables, and so does this.
	logger := []string{"POSTLOG_SERVICE=" + p.path("queue/public/postlog"), "POSTLOG_HOSTNAME=mail.example.test"}
	server, err := startProcess("Postfix", p.path("log/console"), logger, master, "-c", p.path("etc"))
	if err != nil {
		return err
	}
	// Master listens on every port before it serves the first client.
	return oversee(ctx, t, server, func() bool { return greets(ctx, "tcp", p.PlainAddr) })
}

// path returns the path of something in the instance's folder.
func (p *Postfix) path(name string) string { return filepath.Join(p.folder, name) }

// Log returns everything that the server has logged so far.
func (p *Postfix) Log() string {
	ctx, cancel := context.WithTimeout(context.Background(), patience/3)
	defer cancel()
	_ = p.syncLog(ctx) // of a server that does not run this is all that there is
	var log strings.Builder
	for _, name := range []string{"log/console", "log/mail.log", "dovecot/log"} {
		for line := range strings.Lines(readText(p.path(name))) {
			if !strings.HasPrefix(line, logMark) {
				log.WriteString(line)
			}
		}
	}
	return log.String()
}

// logMark begins the lines that syncLog writes.
const logMark = "postrider mark "

// syncLog waits until everything that the server's processes have logged is in the file. They send their lines to
// postlogd(8), which takes them in order, and so does this with a line of its own.
func (p *Postfix) syncLog(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unixgram", p.path("queue/public/postlog"))
	if err != nil {
		return fmt.Errorf("reaching postlogd: %w", err)
	}
	defer conn.Close()
	mark := fmt.Sprintf("%s%d", logMark, p.marks.Add(1))
	if _, err := conn.Write([]byte(mark)); err != nil {
		return fmt.Errorf("reaching postlogd: %w", err)
	}
	return await(ctx, func() (bool, error) {
		return strings.Contains(readText(p.path("log/mail.log")), mark+"\n"), nil
	})
}

// Token returns a bearer token (RFC 6750) for one of the users, with which XOAUTH2 and OAUTHBEARER authenticate. It is
// good for its lifetime, in whole seconds; a negative one makes a token that has expired.
func (p *Postfix) Token(user string, lifetime time.Duration) (string, error) {
	return newToken(p.tokenKey, user, time.Now().Add(lifetime))
}

// Messages returns the messages that have arrived for an address, which is to be written as the client wrote it in
// RCPT. Each is as it lies in the maildir: with the lines that Postfix has prepended and with LF as line end; [Content]
// gives back what was sent. The order is that of arrival, which need not be that of sending: Postfix delivers several
// messages at once. There may be more in the queue: see WaitMessages and Settle.
func (p *Postfix) Messages(mailbox string) ([][]byte, error) {
	if err := checkMailbox(mailbox); err != nil {
		return nil, err
	}
	messages, err := readMaildir(p.path("mail/all"), func(message []byte) bool {
		return deliveredTo(message) == mailbox
	})
	if err != nil {
		return nil, fmt.Errorf("reading the mail of %s: %w", mailbox, err)
	}
	return messages, nil
}

// Mail returns all messages that have arrived, by the address that they have arrived for, as Messages does for one.
func (p *Postfix) Mail() (map[string][][]byte, error) {
	return readMail(p.path("mail/all"), deliveredTo)
}

// Complaints returns the lines of the log in which Postfix finds fault with what a client has said, or with when: of
// commands that came before the reply that they had to wait for it says "improper command pipelining", once for each
// session, and goes on as if they had not. Connections that have ended without QUIT are among them, and so is whatever
// else went wrong but for messages that were over the limit of size.
func (p *Postfix) Complaints() []string {
	return linesWith(p.Log(), []string{
		"improper command pipelining", "non-SMTP command", " unknown=", "bare <LF>", "too many errors",
		"lost connection after", "timeout after", "warning:", "error:", "fatal:", "panic:", "Error:",
	}, []string{"queue file size limit exceeded", "mail_stream_cleanup: close error", "exceeds message size limit"})
}

// WaitMessages waits until n messages have arrived for an address and returns them as Messages does. It fails the
// test when there are more, and when they do not arrive in half a minute.
func (p *Postfix) WaitMessages(t testing.TB, mailbox string, n int) [][]byte {
	t.Helper()
	return waitMessages(t, p.Messages, mailbox, n)
}

// Settle waits until the server is at rest: every connection has ended and nothing is in the queue. What has not
// arrived by then never will. The caller closes its own connections first: one that stays open fails the test after
// half a minute, and so does mail that stays in the queue.
func (p *Postfix) Settle(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	busy := "connections"
	err := p.awaitEnd(ctx, &busy)
	if err != nil {
		t.Fatalf("Postfix does not come to rest: %v; it still has %s", err, busy)
	}
}

// awaitEnd does what Settle says, and keeps in busy what it is waiting for.
func (p *Postfix) awaitEnd(ctx context.Context, busy *string) error {
	// The system's table has the connections that no process has taken yet.
	err := await(ctx, func() (bool, error) {
		open, err := connections(p.ports)
		*busy = strings.Join(open, ", ")
		return len(open) == 0, err
	})
	if err != nil {
		return err
	}
	// One that the client has reset is in that table no more, while its process may still be reading what came before.
	// The log has it since before the client was greeted.
	if err := p.syncLog(ctx); err != nil {
		return err
	}
	return await(ctx, func() (bool, error) {
		if open := p.openSessions(); open > 0 {
			*busy = fmt.Sprintf("%d sessions", open)
			return false, nil
		}
		queued, err := p.queued()
		*busy = strings.Join(queued, ", ")
		return len(queued) == 0, err
	})
}

// openSessions counts the sessions that have begun and not ended by the log.
func (p *Postfix) openSessions() int {
	log := readText(p.path("log/mail.log"))
	return strings.Count(log, "]: connect from ") - strings.Count(log, "]: disconnect from ")
}

// queued lists what lies in the queue. It looks in the order in which mail goes through it, so that it does not miss
// what moves on meanwhile.
func (p *Postfix) queued() ([]string, error) {
	var queued []string
	for _, queue := range []string{"maildrop", "incoming", "active", "deferred"} {
		err := filepath.WalkDir(p.path("queue/"+queue), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it has moved on since the folder was read
			}
			if err == nil && !entry.IsDir() {
				queued = append(queued, queue+"/"+entry.Name())
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading the queue: %w", err)
		}
	}
	return queued, nil
}

// deliveredTo returns the address that a message was delivered to, which virtual(8) has written into its first lines.
func deliveredTo(message []byte) string {
	for line := range bytes.Lines(message) {
		if value, ok := bytes.CutPrefix(line, []byte("Delivered-To: ")); ok {
			return string(bytes.TrimSuffix(value, []byte("\n")))
		}
		if !bytes.HasPrefix(line, []byte("Return-Path: ")) {
			break
		}
	}
	return ""
}
