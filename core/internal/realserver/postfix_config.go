package realserver

import (
	"context"
	"fmt"
	"io/fs"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
)

// postfixMain is main.cf. FOLDER stands for the instance's folder, OWNER and GROUP for Postfix's own user and group.
const postfixMain = `
compatibility_level = 3.6
queue_directory = FOLDER/queue
data_directory = FOLDER/data
mail_owner = OWNER
setgid_group = GROUP
maillog_file = FOLDER/log/mail.log
maillog_file_prefixes = FOLDER/log

# Loopback only, and no name service: neither for the client's name nor for a recipient's domain.
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.1/32
myhostname = mail.example.test
mydomain = example.test
myorigin = example.test
disable_dns_lookups = yes
smtpd_peername_lookup = no

# Every address in the domain has a mailbox, and all share one maildir: virtual(8) takes no substitution in the name
# of a mailbox. Delivered-To tells whose a message is.
virtual_mailbox_domains = example.test
virtual_mailbox_base = FOLDER/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:MAILUID
virtual_gid_maps = static:MAILGID
virtual_minimum_uid = 1
virtual_mailbox_limit = 0
mydestination =
relay_domains =
local_recipient_maps =
alias_maps =
alias_database =
local_transport = error:5.1.1 there are no local users

# Who has authenticated may send to other domains, so that AUTH has an effect to test; that mail is thrown away.
default_transport = discard:
relay_transport = discard:
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_sender_restrictions = check_sender_access texthash:FOLDER/etc/senders
smtpd_recipient_restrictions = check_recipient_access texthash:FOLDER/etc/recipients
smtpd_delay_reject = no
header_checks = regexp:FOLDER/etc/header
notify_classes =

# What arrives is to be what was sent.
local_header_rewrite_clients =
remote_header_rewrite_domain =
always_add_missing_headers = no
message_drop_headers =
enable_original_recipient = no
enable_long_queue_ids = yes
cleanup_replace_stray_cr_lf = no
disable_mime_input_processing = yes
header_size_limit = 67108864
message_size_limit = 67108864
smtputf8_enable = yes
biff = no

smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_sasl_authenticated_header = yes
smtpd_tls_auth_only = no
smtpd_tls_chain_files = FOLDER/etc/chain.pem
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1

# A server defends itself by being slow and by counting; a test wants neither.
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 10000
smtpd_hard_error_limit = 10000
smtpd_junk_command_limit = 10000
smtpd_recipient_overshoot_limit = 10000
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_recipient_rate_limit = 0
smtpd_client_new_tls_session_rate_limit = 0
smtpd_client_auth_rate_limit = 0
smtpd_timeout = 300s
in_flow_delay = 0
`

// postfixMaster is master.cf. There is no smtp(8) client in it: nothing can leave this machine. There is no chroot:
// the instance's paths are those of the machine.
const postfixMaster = `
STARTTLSADDR inet n - n - - smtpd
TLSADDR      inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
PLAINADDR    inet n - n - - smtpd -o smtpd_tls_security_level=none
pickup     unix  n - n 60    1 pickup
cleanup    unix  n - n -     0 cleanup
qmgr       unix  n - n 300   1 qmgr
tlsmgr     unix  - - n 1000? 1 tlsmgr
rewrite    unix  - - n -     - trivial-rewrite
bounce     unix  - - n -     0 bounce
defer      unix  - - n -     0 bounce
trace      unix  - - n -     0 bounce
verify     unix  - - n -     1 verify
flush      unix  n - n 1000? 0 flush
proxymap   unix  - - n -     - proxymap
proxywrite unix  - - n -     1 proxymap
showq      unix  n - n -     - showq
error      unix  - - n -     - error
retry      unix  - - n -     - error
discard    unix  - - n -     - discard
virtual    unix  - n n -     - virtual
anvil      unix  - - n -     1 anvil
scache     unix  - - n -     1 scache
postlog    unix-dgram n - n - 1 postlogd
`

// postfixRecipients and postfixSenders are access(5) tables, and postfixHeader is one of header_checks(5).
const (
	postfixRecipients = RefusedRecipient + " 550 5.1.1 No such mailbox\n" +
		DeferredRecipient + " 450 4.2.0 Mailbox busy\n"
	postfixSenders = RefusedSender + " 550 5.7.1 This sender is not wanted\n"
	postfixHeader  = "/^" + RefusedField + "/ REJECT Nobody here wants such content\n"
)

// postfixInstall is what this machine's Postfix was compiled with.
type postfixInstall struct {
	daemons string // the folder of master
	owner   string // the user that its processes run as
	group   string // the group of who may put mail into the queue
}

// findPostfix asks postconf for the compiled-in values: the main.cf of this machine plays no part.
func findPostfix(ctx context.Context, postconf string) (postfixInstall, error) {
	output, err := exec.CommandContext(ctx, postconf, "-dh", "daemon_directory", "mail_owner", "setgid_group").Output()
	if err != nil {
		return postfixInstall{}, fmt.Errorf("asking postconf: %w", err)
	}
	values := strings.Fields(string(output))
	if len(values) != 3 {
		return postfixInstall{}, fmt.Errorf("asking postconf: three values were expected, it says %q", output)
	}
	return postfixInstall{daemons: values[0], owner: values[1], group: values[2]}, nil
}

// makeFolders makes what "postfix check" would make, only faster, and the maildir.
func (p *Postfix) makeFolders(install postfixInstall, mailUser account) error {
	owner, err := findAccount(install.owner)
	if err != nil {
		return err
	}
	group, err := user.LookupGroup(install.group)
	if err != nil {
		return fmt.Errorf("looking for the group %s: %w", install.group, err)
	}
	drop := account{uid: owner.uid}
	if drop.gid, err = strconv.Atoi(group.Gid); err != nil {
		return fmt.Errorf("looking for the group %s: %w", install.group, err)
	}
	for _, folders := range []struct {
		names string
		owner account
		mode  fs.FileMode
	}{
		{"etc log queue queue/pid", root, 0o755},
		{"queue/active queue/bounce queue/corrupt queue/defer queue/deferred queue/flush queue/hold", owner, 0o700},
		{"queue/incoming queue/private queue/saved queue/trace data", owner, 0o700},
		{"queue/public", drop, 0o710},
		{"queue/maildrop", drop, 0o730},
		{"mail", mailUser, 0o700},
	} {
		for name := range strings.FieldsSeq(folders.names) {
			if err := makeFolder(p.path(name), folders.owner, folders.mode); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeSettings writes everything that does not depend on the ports. The chain is a key and a certificate in PEM.
func (p *Postfix) writeSettings(install postfixInstall, mailUser account, chain string) error {
	main := strings.NewReplacer("FOLDER", p.folder, "OWNER", install.owner, "GROUP", install.group,
		"MAILUID", strconv.Itoa(mailUser.uid), "MAILGID", strconv.Itoa(mailUser.gid)).Replace(change(postfixMain, p.changes))
	for _, file := range []struct {
		name, content string
		mode          fs.FileMode
	}{
		{"etc/main.cf", main, 0o644},
		{"etc/recipients", postfixRecipients, 0o644},
		{"etc/senders", postfixSenders, 0o644},
		{"etc/header", postfixHeader, 0o644},
		{"etc/chain.pem", chain, 0o600},
	} {
		if err := writeFile(p.path(file.name), file.content, file.mode); err != nil {
			return err
		}
	}
	return nil
}

// writeMaster writes master.cf, for which the ports must be known.
func (p *Postfix) writeMaster() error {
	master := strings.NewReplacer("STARTTLSADDR", p.Addr, "TLSADDR", p.TLSAddr, "PLAINADDR", p.PlainAddr).Replace(postfixMaster)
	return writeFile(p.path("etc/master.cf"), master, 0o644)
}
