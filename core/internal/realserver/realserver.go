// Package realserver starts real mail servers on loopback for the tests that prove the client on them.
//
// Every server is private to the test that starts it: its configuration, queue, mail and log lie in a temporary
// folder, its ports are free ones of the operating system, and nothing of it is left when the test ends. No server
// uses the name service or sends anything away from this machine.
//
// The servers are the packages of the operating system, started as root on Linux. Where one is missing its tests are
// skipped, unless [RequireEnv] asks for a failure instead.
//
// Each server has a file of its own: [StartPostfix] is in postfix.go, [StartExim] in exim.go, and [StartDovecot] in
// dovecot_lmtp.go, [StartOpenSMTPD] in opensmtpd.go; the proxies that a client may have to go through, [StartMicrosocks] and [StartTinyproxy], are in
// proxy.go. What they share is here and in system_linux.go, authority.go and content.go: the rule for a missing
// server, the addresses that are refused, processes and ports, certificates, waiting, and reading what has arrived.
package realserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// RequireEnv names the environment variable that says what happens where a server is missing: with the value
// "required" the test fails, with any other the test is skipped.
const RequireEnv = "POSTRIDER_REAL_SERVERS"

// patience bounds every wait in this package. It is a watchdog, not a measure: what is awaited takes milliseconds.
const patience = 30 * time.Second

// Addresses of example.test that the servers do not take, each with the replies.
const (
	RefusedRecipient  = "nobody@example.test" // to RCPT: 550 5.1.1
	DeferredRecipient = "busy@example.test"   // to RCPT: 450 4.2.0 by Postfix and Exim, 451 4.3.0 by Dovecot
	RefusedSender     = "banned@example.test" // to MAIL: 550 5.7.1 by Postfix and Exim
)

// RefusedField begins a header field. Content with this field is refused for all recipients: by Postfix with 550 5.7.1,
// by Exim with 554 5.6.0. With PRDR that is in Exim's final reply, after it may have accepted the content for each of
// them.
const RefusedField = "X-Unwanted: "

// domain is the one that every server has mailboxes in.
const domain = "example.test"

// A server is what a mail server needs of this machine.
type server struct {
	name     string   // as in a sentence: "Postfix"
	programs []string // what must be in PATH
	packages string   // what to install for them, in Debian's words
	anyone   bool     // need not be root to start it
}

// require returns the paths of the server's programs by name. Where the server cannot run it does not return: it
// fails or skips the test with a sentence that says what to do.
func (s server) require(t testing.TB) map[string]string {
	t.Helper()
	paths, err := s.find()
	if err != nil {
		Absent(t, err)
	}
	return paths
}

// find looks for everything that the server needs.
func (s server) find() (map[string]string, error) {
	if !supported {
		return nil, fmt.Errorf("a test needs %s, which this package can start on Linux only", s.name)
	}
	paths := make(map[string]string, len(s.programs))
	for _, program := range s.programs {
		path, err := exec.LookPath(program)
		if err != nil {
			return nil, fmt.Errorf("a test needs %s: install it (apt-get install %s) and have its programs in PATH: %w",
				s.name, s.packages, err)
		}
		paths[program] = path
	}
	if !s.anyone && os.Geteuid() != 0 {
		return nil, fmt.Errorf("a test needs %s, which only root can start: run it as root", s.name)
	}
	return paths, nil
}

// Absent ends a test whose server, or another program that it needs, cannot run, by the rule of [RequireEnv].
func Absent(t testing.TB, reason error) {
	t.Helper()
	if os.Getenv(RequireEnv) == "required" {
		t.Fatalf("%v (%s=required makes this a failure)", reason, RequireEnv)
	}
	t.Skipf("%v (%s=required makes this a failure)", reason, RequireEnv)
}

// newFolder makes the temporary folder of a server and removes it when the test ends. It lies in /tmp and not in
// t.TempDir(): the servers' own users must be able to enter it, and the path of a Unix socket may have 107 octets at
// most.
func newFolder(t testing.TB, name string) (string, error) {
	folder, err := os.MkdirTemp("/tmp", "postrider-"+name+"-")
	if err != nil {
		return "", fmt.Errorf("making a folder for %s: %w", name, err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Errorf("removing the folder of %s: %v", name, err)
		}
	})
	return folder, os.Chmod(folder, 0o755)
}

// An account is a user of this machine, by number.
type account struct{ uid, gid int }

// root is who starts everything.
var root = account{0, 0}

// findAccount looks for a user and its group by the user's name.
func findAccount(name string) (account, error) {
	found, err := user.Lookup(name)
	if err != nil {
		return account{}, fmt.Errorf("looking for the user %s: %w", name, err)
	}
	uid, err := strconv.Atoi(found.Uid)
	if err != nil {
		return account{}, fmt.Errorf("looking for the user %s: %w", name, err)
	}
	gid, err := strconv.Atoi(found.Gid)
	if err != nil {
		return account{}, fmt.Errorf("looking for the user %s: %w", name, err)
	}
	return account{uid, gid}, nil
}

// makeFolder makes one folder with exactly this owner and mode, whatever the umask is.
func makeFolder(path string, owner account, mode fs.FileMode) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	if err := os.Chown(path, owner.uid, owner.gid); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// writeFile writes one file of a server's configuration with exactly this mode, whatever the umask is.
func writeFile(path, content string, mode fs.FileMode) error {
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		return err
	}
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	// Postfix takes a file that is younger than a second or two for one still being written, and waits.
	past := time.Now().Add(-time.Minute)
	return os.Chtimes(path, past, past)
}

// oversee stops a server when the test ends, and waits until it is ready.
func oversee(ctx context.Context, t testing.TB, server *process, ready func() bool) error {
	t.Cleanup(func() {
		if err := server.stop(); err != nil {
			t.Error(err)
		}
	})
	return await(ctx, func() (bool, error) {
		if !server.running() {
			return false, fmt.Errorf("the first process of %s has ended", server.name)
		}
		return ready(), nil
	})
}

// greets reports whether a client is greeted at an address.
func greets(ctx context.Context, network, address string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return false
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return false
		}
	}
	text := textproto.NewConn(conn)
	if _, _, err := text.ReadResponse(220); err != nil {
		return false
	}
	if err := text.PrintfLine("QUIT"); err != nil {
		return false
	}
	_, _, err = text.ReadResponse(221)
	return err == nil
}

// await asks again and again whether something is done, until it is, fails, or the context ends.
func await(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// readMaildir returns the messages in the folder new of a maildir that keep wants, in the order of their arrival as far
// as the clock of the file system tells.
func readMaildir(maildir string, keep func(message []byte) bool) ([][]byte, error) {
	folder := filepath.Join(maildir, "new")
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the first delivery makes it
	}
	if err != nil {
		return nil, err
	}
	type arrival struct {
		at      time.Time
		message []byte
	}
	var arrivals []arrival
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return nil, err
		}
		message, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return nil, err
		}
		if keep(message) {
			arrivals = append(arrivals, arrival{info.ModTime(), message})
		}
	}
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return a.at.Compare(b.at) })
	messages := make([][]byte, len(arrivals))
	for i := range arrivals {
		messages[i] = arrivals[i].message
	}
	return messages, nil
}

// readMail returns every message in the folder new of a maildir by its address, each list as [readMaildir] has it. A
// message without an address is an error.
func readMail(maildir string, address func(message []byte) string) (map[string][][]byte, error) {
	messages, err := readMaildir(maildir, func([]byte) bool { return true })
	if err != nil {
		return nil, fmt.Errorf("reading the mail: %w", err)
	}
	mail := make(map[string][][]byte, len(messages))
	for _, message := range messages {
		mailbox := address(message)
		if mailbox == "" {
			return nil, fmt.Errorf("reading the mail: nobody's address is in %.200q", message)
		}
		mail[mailbox] = append(mail[mailbox], message)
	}
	return mail, nil
}

// checkMailbox returns an error unless something is an address in the servers' domain. Without it, a slip of the pen in
// a test would look like mail that has not arrived.
func checkMailbox(mailbox string) error {
	if !strings.HasSuffix(strings.ToLower(mailbox), "@"+domain) {
		return fmt.Errorf("%q is no mailbox here: it must be an address, something@%s", mailbox, domain)
	}
	return nil
}

// waitMessages does what WaitMessages says of a server, whose function Messages it is given.
func waitMessages(t testing.TB, read func(mailbox string) ([][]byte, error), mailbox string, n int) [][]byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var messages [][]byte
	err := await(ctx, func() (_ bool, err error) {
		messages, err = read(mailbox)
		return len(messages) >= n, err
	})
	if err != nil {
		t.Fatalf("waiting for %d messages for %s, of which %d are there: %v", n, mailbox, len(messages), err)
	}
	if len(messages) > n {
		t.Fatalf("%d messages have arrived for %s instead of %d", len(messages), mailbox, n)
	}
	return messages
}

// settle waits until each of several functions, asked in their order, has found nothing that the server is still busy
// with. It fails the test when that takes half a minute.
func settle(t testing.TB, name string, busy ...func() ([]string, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var with []string
	err := await(ctx, func() (bool, error) {
		for _, ask := range busy {
			var err error
			if with, err = ask(); len(with) > 0 || err != nil {
				return false, err
			}
		}
		return true, nil
	})
	if err != nil {
		t.Fatalf("%s does not come to rest: %v; it still has %s", name, err, strings.Join(with, ", "))
	}
}

// readText returns what a file holds, if it is there, and of one that cannot be read the reason: it serves logs.
func readText(path string) string {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("(%v)\n", err)
	}
	return strings.ToValidUTF8(string(text), "?")
}

// change replaces lines of a server's settings: each of the changes is a line "name = value", which takes the place of
// the one that sets the same name, or comes first if there is none.
func change(settings string, changes []string) string {
	for _, line := range changes {
		name, _, _ := strings.Cut(line, " =")
		start := strings.Index(settings, "\n"+name+" =") + 1 // of its line, or of everything
		rest := settings[start:]
		if start > 0 {
			_, rest, _ = strings.Cut(rest, "\n")
		}
		settings = settings[:start] + line + "\n" + rest
	}
	return settings
}

// linesWith returns the lines of a text that hold any of these words and none of those that excuse them.
func linesWith(text string, words, excuses []string) []string {
	holds := func(line string, any []string) bool {
		return slices.ContainsFunc(any, func(word string) bool { return strings.Contains(line, word) })
	}
	var lines []string
	for line := range strings.Lines(text) {
		if holds(line, words) && !holds(line, excuses) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}
