package main

const helpAll = `Mailer sends messages over SMTP and LMTP, says what becomes of each recipient,
and tells what a server offers.

  mailer send      sends messages
  mailer probe     says what a server offers, and what send would use of it
  mailer pipeline  shows the interceptors that send would use, in order
  mailer plugin    lists plugins, and verifies one before it is declared
  mailer help COMMAND

To send one message, and to see what the server has to say:

  mailer send -url smtp://localhost:25 -from me@example.com -to you@example.net mail.eml
  mailer probe -url smtps://mail.example.com

What can be given as a flag can stand in the environment too, or in a file: -user
is POSTRIDER_USER, and "user" in the JSON object of the file that -config names.
A flag comes before the environment, and that before the file. The file has a place
for more: settings of interceptors, and of plugins.

Exit status:
   0  all recipients were accepted
  64  the command line cannot be
  65  a message cannot be sent as it is: it cannot be read, is too large, or has
      8-bit content or an address beyond ASCII that the server does not take
  69  refused for good; also: the certificate does not verify, TLS is required
      and not offered
  75  not now; also: the connection failed or the server broke the protocol
  76  it is unknown whether the message was accepted: do not just send it again
  77  authentication was refused, is required, or is not offered
  78  the configuration cannot be: a file, or a variable of the environment
Of several, the first counts in the order 64, 78, 65, 77, 76, 75, 69.
`

const helpConnection = `
The server:
  -url URL            smtp://host:587, smtps://host, lmtp://host:24,
                      smtp+unix:///path, lmtp+unix:///path
  -helo NAME          this side's name in EHLO
  -tls required       TLS with a certificate that verifies; as without -tls, but
                      on this machine (loopback, Unix sockets)
  -tls opportunistic  TLS if the server offers it, whatever its certificate; as
                      without -tls on this machine
  -tls off            no STARTTLS
  -ca FILE            a further authority for certificates (PEM)
  -cert FILE          a client certificate (PEM), and
  -key FILE           its key, if that is in a file of its own
  -timeout TIME       for each stage: 30s, 2m
  -deadline TIME      for everything

Authentication:
  -user NAME          and
  -password-file FILE the file with the password; a line end behind it is left out
  -token-file FILE    an OAuth access token in the place of a password
  -mech NAME          this mechanism and no other; EXTERNAL, ANONYMOUS and those of
                      plugins need no password
  -plugins PATH       a plugin, whose mechanisms and transports can be used; with
                      @sha256:SUM behind it no other binary. More in the file
  -plugin-log         what plugins log, on standard error
`

const helpSend = `mailer send -url URL -from ADDRESS -to ADDRESS [-to ADDRESS...] [flags] [FILE...]

Sends each file as a message, over sessions that are kept. "-", or no file, is
standard input.

  mailer send -url smtps://mail.example.com -user me -password-file secret \
      -from me@example.com -to you@example.net mail.eml
  mailer send -url smtp://localhost:25 -header-envelope -json outbox/*.eml

The envelope:
  -from ADDRESS       the sender; "<>" for none
  -to ADDRESS         a recipient; once for each
  -header-envelope    sender and recipients from the header of the message, where
                      -from and -to are not given; Bcc is taken out of it
  -dsn TEXT           reports of delivery (RFC 3461): "NOTIFY=SUCCESS,FAILURE,DELAY
                      RET=HDRS ENVID=id42", or some of it; NOTIFY=NEVER; RET=FULL
` + helpConnection + `
How it is sent:
  -retries N          further attempts for what was put off (default 0)
  -concurrency N      sessions at a time (default 1)
  -depth N            messages under way at a time on a session (default 1, at most
                      100); with more, one does not wait for the replies to others
  -chunking off       DATA, also where the server offers CHUNKING
  -endpoints URL      in the place of -url, once for each of several servers
  -endpoint-policy P  fail-over (default), round-robin or least-loaded
  -interceptors LIST  what stands around it, the outermost first: logging,
                      telemetry, headers, retry, breaker, ratelimit, dkim,
                      dialogue, and those of plugins
  -config FILE        a JSON object with any of these settings
  -json               on standard output, a line of JSON for each message

The first interrupt (Ctrl-C) begins no further message and ends when those under
way are done; the second ends at once. What was not sent is listed.
`

const helpProbe = `mailer probe -url URL [flags]

Opens a session as send would, and says what the server offers: its greeting, the
extensions before and under TLS, the TLS and the certificate, the mechanisms and
which of them would be chosen and why, and limits. Nobody is authenticated and
nothing is sent. The exit status is that with which send would fail, or 0.
` + helpConnection + `
  -config FILE        a JSON object with any of these settings
  -json               one line of JSON
`

const helpPipeline = `mailer pipeline [-interceptors LIST] [-retries N] [-endpoints URL...]
                [-plugins PATH...] [-plugin-log] [-config FILE]

Shows the interceptors that send would use, the outermost first, and the kinds of
work that each of them wraps. No server is asked; plugins are started and ended.
`

const helpPlugin = `mailer plugin list [-plugins PATH...] [-plugin-log] [-config FILE] [-json]
mailer plugin verify PATH [-sha256 SUM] [-name NAME] [-env NAME=VALUE...] [-json]
                     [-- ARGUMENT...]

Plugins are programs of their own that have mechanisms, signers, transports and
interceptors. They are declared in the file of -config:

  {"plugins": [{"path": "/usr/lib/mailer/corp-auth", "sha256": "9f86d0...",
                "name": "corp-auth", "args": ["-key", "/run/secrets/corp"]}]}

list starts each plugin that is declared, says whether its binary is the one that
was declared, and what it has; or why it cannot be used.

verify does with a binary what send would do before it trusts it, starts it with
the arguments behind "--", asks what it has, and ends it. It prints how to declare
it, with its checksum, and what it has logged. It reads neither the environment nor
a file.
  -sha256 SUM         the checksum that the binary is to have
  -name NAME          what the plugin is to call itself
  -env NAME=VALUE     a variable of its environment; it has no others

With -json there is a line of JSON for each plugin. The exit status is 0, 78 if
something has to be changed, or 75 if a plugin has ended or does not answer.
`
