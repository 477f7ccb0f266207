package realserver

import (
	"context"
	"errors"
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

// Addresses of example.test that Dovecot takes at RCPT, but whose mailboxes take nothing. Each gets this reply after
// the content.
const (
	FullRecipient   = "full@example.test"   // 552 5.2.2
	BrokenRecipient = "broken@example.test" // 451 4.2.0
)

// A Dovecot is a running Dovecot that speaks LMTP.
//
// It takes mail for its domain from everybody and no other mail: where the others are refused at RCPT with 550 5.1.1,
// as [RefusedRecipient] is. It offers 8BITMIME, CHUNKING, ENHANCEDSTATUSCODES and PIPELINING, and no TLS. It refuses
// every parameter of MAIL but BODY with 555, every parameter of RCPT too, and an address beyond ASCII with 501. When a
// recipient is named twice there are two replies after the content, and the message arrives once.
//
// What it changes in the content of a message is described at [Content].
type Dovecot struct {
	Addr   string // host and port of the listener on TCP
	Socket string // path of the listener's Unix socket

	Domain string // the domain in which every local part has a mailbox, but for the refused ones: example.test

	folder string
	port   int // that of Addr
	master *process
}

// dovecotNeeds is what StartDovecot cannot do without.
var dovecotNeeds = server{
	name:     "Dovecot",
	programs: []string{"dovecot", "doveconf"},
	packages: "dovecot-core dovecot-lmtpd",
}

// lmtpSettings are those of Dovecot 2.3. FOLDER stands for the instance's folder, PORT for the port, and UID and GID for
// who owns the mail.
const lmtpSettings = `
base_dir = FOLDER/run
state_dir = FOLDER/state
log_path = FOLDER/log
mail_temp_dir = FOLDER/tmp
protocols = lmtp
ssl = no
hostname = mail.example.test

# Every address has a mailbox, and case makes no difference. What follows a + or has an odd character is no exception.
mail_location = maildir:FOLDER/mail/%u
mail_fsync = never
first_valid_uid = 1
recipient_delimiter =
auth_username_chars =

# LMTP asks for no password, but who has none is unknown. The second of these knows nobody. Who is passed over by both
# gets a temporary error.
passdb {
  driver = static
  args = nopassword=y
  username_filter = *@DOMAIN !REFUSED !DEFERRED
}
passdb {
  driver = passwd-file
  args = FOLDER/empty
  username_filter = !DEFERRED
}
userdb {
  driver = passwd-file
  args = FOLDER/users
}
userdb {
  driver = static
  args = uid=UID gid=GID home=/nonexistent
}

mail_plugins = quota
plugin {
  quota = count:user
  quota_vsizes = yes
}

# A process serves one session, so that its end shows that the session is over.
service lmtp {
  service_count = 1
  process_limit = 1000
  inet_listener lmtp {
    address = 127.0.0.1
    port = PORT
  }
  unix_listener FOLDER/lmtp {
    mode = 0600
  }
}
`

// lmtpUsers are the mailboxes with settings of their own: one has room for a single octet, and the path of the other
// leads through a file.
const lmtpUsers = FullRecipient + "::UID:GID::/nonexistent::userdb_quota_rule=*:bytes=1\n" +
	BrokenRecipient + "::UID:GID::/nonexistent::userdb_mail=maildir:FOLDER/empty/broken\n"

// StartDovecot starts a private Dovecot that takes mail by LMTP, waits until it takes connections, and stops it when
// the test ends. When the test has failed it logs what the server has logged. Where it is not installed it skips the
// test or fails it, as [RequireEnv] says.
func StartDovecot(t testing.TB) *Dovecot {
	t.Helper()
	programs := dovecotNeeds.require(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := checkDovecot(ctx, programs["dovecot"]); err != nil {
		Absent(t, err)
	}
	if err := checkLMTP(ctx, programs["doveconf"]); err != nil {
		Absent(t, err)
	}
	folder, err := newFolder(t, "dovecot")
	if err != nil {
		t.Fatal(err)
	}
	d := &Dovecot{Domain: domain, folder: folder, Socket: filepath.Join(folder, "lmtp")}
	if err := d.start(ctx, t, programs["dovecot"]); err != nil {
		t.Fatalf("starting Dovecot: %v; its log:\n%s", err, d.Log())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of Dovecot:\n%s", d.Log())
		}
	})
	return d
}

// checkLMTP returns an error unless Dovecot's LMTP server, which is a package of its own, is there.
func checkLMTP(ctx context.Context, doveconf string) error {
	folder, err := exec.CommandContext(ctx, doveconf, "-c", os.DevNull, "-h", "libexec_dir").Output()
	if err != nil {
		return fmt.Errorf("asking Dovecot for its folder: %w", err)
	}
	if _, err := os.Stat(filepath.Join(strings.TrimSpace(string(folder)), "lmtp")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("a test needs Dovecot's LMTP server: install it (apt-get install dovecot-lmtpd): %w", err)
	}
	return nil
}

// start builds the instance in its folder and runs it.
func (d *Dovecot) start(ctx context.Context, t testing.TB, program string) error {
	ports, release, err := reservePorts(1)
	if err != nil {
		return err
	}
	t.Cleanup(release)
	d.port = ports[0]
	d.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(d.port))
	if err := d.build(); err != nil {
		return err
	}
	d.master, err = startProcess("Dovecot", d.path("console"), nil, program, "-F", "-c", d.path("dovecot.conf"))
	if err != nil {
		return err
	}
	return oversee(ctx, t, d.master, func() bool {
		return greets(ctx, "tcp", d.Addr) && greets(ctx, "unix", d.Socket)
	})
}

// build makes the instance's folders and files.
func (d *Dovecot) build() error {
	owner, err := findAccount("nobody")
	if err != nil {
		return err
	}
	for _, name := range []string{"mail", "tmp"} {
		if err := makeFolder(d.path(name), owner, 0o700); err != nil {
			return err
		}
	}
	values := strings.NewReplacer("FOLDER", d.folder, "PORT", strconv.Itoa(d.port), "UID", strconv.Itoa(owner.uid),
		"GID", strconv.Itoa(owner.gid), "DOMAIN", d.Domain, "REFUSED", RefusedRecipient, "DEFERRED", DeferredRecipient)
	for name, content := range map[string]string{"dovecot.conf": lmtpSettings, "users": lmtpUsers, "empty": ""} {
		if err := writeFile(d.path(name), values.Replace(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// path returns the path of something in the instance's folder.
func (d *Dovecot) path(name string) string { return filepath.Join(d.folder, name) }

// Log returns what the server has logged so far. Its latest lines may still be on their way.
func (d *Dovecot) Log() string { return readText(d.path("console")) + readText(d.path("log")) }

// Messages returns the messages that have arrived for an address, in which case makes no difference and no character is
// quoted. Each is as it lies in the maildir: with the lines that Dovecot has prepended and with LF as line end;
// [Content] gives back what was sent. The order is that of arrival. What the client was told is accepted has arrived.
func (d *Dovecot) Messages(mailbox string) ([][]byte, error) {
	if err := checkMailbox(mailbox); err != nil {
		return nil, err
	}
	messages, err := readMaildir(d.path("mail/"+strings.ToLower(mailbox)), func([]byte) bool { return true })
	if err != nil {
		return nil, fmt.Errorf("reading the mail of %s: %w", mailbox, err)
	}
	return messages, nil
}

// Mail returns all messages that have arrived, by the address that they have arrived for, as Messages does for one.
func (d *Dovecot) Mail() (map[string][][]byte, error) {
	mailboxes, err := os.ReadDir(d.path("mail"))
	if err != nil {
		return nil, fmt.Errorf("reading the mail: %w", err)
	}
	mail := make(map[string][][]byte, len(mailboxes))
	for _, mailbox := range mailboxes {
		messages, err := d.Messages(mailbox.Name())
		if err != nil {
			return nil, err
		}
		if len(messages) > 0 { // it makes the mailbox first, and looks whether it is full then
			mail[mailbox.Name()] = messages
		}
	}
	return mail, nil
}

// Complaints returns the lines of the log in which Dovecot finds fault with what a client has said. It does not mind when
// that was: every command waits for its turn. Of a wrong command it says nothing, and after ten of them in a row it hangs
// up with "Too many invalid commands". Connections that have ended without QUIT are among the lines, and so is whatever
// else went wrong but for the addresses that have it go wrong. The latest lines may still be on their way.
func (d *Dovecot) Complaints() []string {
	log := d.Log()
	return append(linesWith(log, []string{"Disconnect from "}, []string{": Logged out ("}),
		linesWith(log, []string{"Warning:", "Error:", "Fatal:", "Panic:"},
			[]string{DeferredRecipient, BrokenRecipient, "All password databases were skipped"})...)
}

// WaitMessages waits until n messages have arrived for an address and returns them as Messages does. It fails the
// test when there are more, and when they do not arrive in half a minute.
func (d *Dovecot) WaitMessages(t testing.TB, mailbox string, n int) [][]byte {
	t.Helper()
	return waitMessages(t, d.Messages, mailbox, n)
}

// Settle waits until the server is at rest: every session has ended, over TCP and over the Unix socket. What has not
// arrived by then never will. The caller closes its own connections first: one that stays open fails the test after
// half a minute. What was logged is in the log then.
func (d *Dovecot) Settle(t testing.TB) {
	t.Helper()
	rest := func() {
		t.Helper()
		settle(t, "Dovecot", func() ([]string, error) { return connections([]int{d.port}) }, d.sessions)
	}
	rest()
	// Its processes log through another one, which has been seen to write nothing until the next session came, half a
	// minute later. So there is one more, and its line is waited for.
	const line = ": Logged out (state=GREETING)"
	before := strings.Count(d.Log(), line)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := await(ctx, func() (bool, error) {
		return greets(ctx, "tcp", d.Addr) && strings.Count(d.Log(), line) > before, nil
	})
	if err != nil {
		t.Errorf("Dovecot does not log: %v", err)
	}
	rest()
}

// sessions lists the processes that serve clients. A client has been greeted by one, which lives as long as its session,
// also when the connection is gone.
func (d *Dovecot) sessions() ([]string, error) {
	processes, err := d.master.others()
	var sessions []string
	for _, process := range processes {
		if strings.Contains(process, "dovecot/lmtp") {
			sessions = append(sessions, process)
		}
	}
	return sessions, err
}
