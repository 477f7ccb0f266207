package realserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// eximSettings are those of Exim 4.96. FOLDER stands for the instance's folder, PROGRAM for Exim itself, PORT and
// TLSPORT for the ports, and USER for Exim's own user, who also delivers.
const eximSettings = `
exim_path = PROGRAM
spool_directory = FOLDER/spool
log_file_path = FOLDER/log/%slog
pid_file_path = FOLDER/log/pid
notifier_socket =
log_selector = +smtp_connection +smtp_incomplete_transaction +smtp_protocol_error +smtp_syntax_error \
	+received_recipients
write_rejectlog = no
keep_environment =

# Loopback only, and no name service: neither for the client's name nor for anything else. Nothing is sent away: there
# is no transport that could.
local_interfaces = 127.0.0.1
daemon_smtp_ports = PORT : TLSPORT
tls_on_connect_ports = TLSPORT
disable_ipv6 = yes
primary_hostname = mail.example.test
qualify_domain = example.test
host_lookup =
helo_lookup_domains =
rfc1413_hosts =

tls_certificate = FOLDER/chain.pem
tls_verify_certificates = FOLDER/authority.pem
tls_try_verify_hosts = *
prdr_enable = yes
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
message_size_limit = 128M

acl_smtp_vrfy = accept
acl_smtp_expn = accept
acl_smtp_mail = sender
acl_smtp_rcpt = recipient
acl_smtp_data_prdr = content_for_recipient
acl_smtp_data = content

# What arrives is to be what was sent.
return_path_remove = no
envelope_to_remove = no
delivery_date_remove = no
header_maxsize = 128M

# A server defends itself by counting and by postponing; a test wants neither.
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
smtp_accept_max_nonmail = 1000000
smtp_max_synprot_errors = 1000000
smtp_max_unknown_commands = 1000000
check_spool_space = 0
check_spool_inodes = 0
deliver_drop_privilege = yes

begin acl

sender:
	deny    senders = ` + RefusedSender + `
	        message = 550 5.7.1 This sender is not wanted
	accept

recipient:
	deny    recipients = ` + RefusedRecipient + `
	        message = 550 5.1.1 No such mailbox
	defer   recipients = ` + DeferredRecipient + `
	        message = 450 4.2.0 Mailbox busy
	accept  authenticated = *
	deny    ! domains = ` + domain + `
	        message = 550 5.7.1 This is no relay
	accept

content_for_recipient:
	deny    condition = ${if eqi{$local_part@$domain}{` + PRDRRefusedRecipient + `}}
	        message = 550 5.7.1 This recipient does not want such content
	defer   condition = ${if eqi{$local_part@$domain}{` + PRDRDeferredRecipient + `}}
	        message = 450 4.7.1 This recipient wants such content later
	accept

content:
	deny    condition = ${if def:h_REFUSEDFIELD}
	        message = 554 5.6.0 Nobody here wants such content
	accept

begin authenticators

# RFC 4422 Appendix A: the address in the certificate is who the client is, whether it says so or not.
certificate:
	driver = external
	public_name = EXTERNAL
	server_advertise_condition = $tls_in_certificate_verified
	server_param2 = ${certextract{subj_altname,mail}{$tls_in_peercert}}
	server_condition = ${if or{{eq{$auth1}{}}{eq{$auth1}{$auth2}}}}
	server_set_id = $auth2

begin routers

# Reports go to a sender of this domain. Mail for others is thrown away: reports, and what those send who have
# authenticated.
here:
	driver = accept
	domains = ` + domain + `
	transport = maildir

elsewhere:
	driver = redirect
	data = :blackhole:

begin transports

# All addresses share one maildir: Exim puts no address that a client has sent into the name of a file. Envelope-to
# tells whose a message is.
maildir:
	driver = appendfile
	maildir_format
	directory = FOLDER/mail/all
	user = USER
	return_path_add
	envelope_to_add
`

// checkExim returns the user that Exim was compiled for, and an error unless it can do what this package wants of it.
func checkExim(ctx context.Context, program string) (user string, err error) {
	ask := func(args ...string) (string, error) {
		// The settings of this machine play no part.
		answer, err := exec.CommandContext(ctx, program, append([]string{"-C", os.DevNull}, args...)...).Output()
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			// Without its user it cannot even say what it is.
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(failed.Stderr)))
		}
		if err != nil {
			return "", fmt.Errorf("a test needs Exim, which is to be installed as .ci/run does; it fails: %w", err)
		}
		return string(answer), nil
	}
	version, err := ask("-bV")
	if err != nil {
		return "", err
	}
	words := strings.Fields(version)
	for _, feature := range []string{"I18N", "PRDR", "external"} {
		if !slices.Contains(words, feature) {
			return "", fmt.Errorf("a test needs Exim with %s, and this one lacks it: %s", feature, version)
		}
	}
	setting, err := ask("-bP", "exim_user")
	if err != nil {
		return "", err
	}
	user, found := strings.CutPrefix(strings.TrimSpace(setting), "exim_user = ")
	if !found {
		return "", fmt.Errorf("asking Exim for its user: it says %q", setting)
	}
	return user, nil
}

// build makes the instance's folders and files.
func (e *Exim) build(program, user string, authority *authority) error {
	owner, err := findAccount(user)
	if err != nil {
		return err
	}
	chain, err := authority.server()
	if err != nil {
		return err
	}
	for _, name := range []string{"spool", "log", "mail"} {
		if err := makeFolder(e.path(name), owner, 0o700); err != nil {
			return err
		}
	}
	settings := strings.NewReplacer("FOLDER", e.folder, "TLSPORT", strconv.Itoa(e.ports[1]), "PORT", strconv.Itoa(e.ports[0]),
		"PROGRAM", program, "USER", user, "REFUSEDFIELD", strings.TrimSpace(RefusedField)).Replace(change(eximSettings, e.changes))
	if err := writeFile(e.path("exim.conf"), settings, 0o644); err != nil {
		return err
	}
	if err := writeFile(e.path("authority.pem"), authority.pem(), 0o644); err != nil {
		return err
	}
	// The process that serves a client reads it, and that is no longer root.
	if err := writeFile(e.path("chain.pem"), chain, 0o600); err != nil {
		return err
	}
	return os.Chown(e.path("chain.pem"), owner.uid, owner.gid)
}
