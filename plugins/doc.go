// Package plugins runs SASL mechanisms, signers, transports and interceptors that are
// programs of their own: with their own releases, their secrets in their own process,
// and crashes that are nobody else's.
//
// [Start] verifies a binary, runs a private copy of it, connects to it over mutual
// TLS on a Unix socket, and keeps it running. What it has is used as if it were in
// this process:
//
//	p, err := plugins.Start(ctx, plugins.Config{Path: "/usr/lib/mailer/corp-auth", SHA256: sum})
//	ticket, err := p.Mechanism("X-CORP-TICKET")
//	client, err := core.NewClient(core.Config{Auth: []core.Mechanism{ticket}, ...})
//
// A plugin that fails costs the calls that it held a temporary error, and is started
// again. docs/plugins.md has how to write one, what it can see, and the protocol.
package plugins
