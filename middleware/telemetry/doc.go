// Package telemetry reports deliveries to OpenTelemetry: a trace of every
// [core.Client.Send], down to the steps of opening a connection, and metrics of
// how long deliveries take and what becomes of their recipients.
//
//	tel, err := telemetry.New()
//	client, err := core.NewClient(core.Config{
//		Interceptors: []core.Interceptor{tel, ...}, ...})
//
// Put it first: it then sees what the interceptors behind it do, their retries
// among it. It does not touch content unless [WithTraceHeader] asks for it, so a
// signer may stand on either side of it. Without options it uses the global
// providers of package otel, which may be set before or after; without an
// OpenTelemetry SDK it does next to nothing.
//
// [LimitWait] measures what messages wait for a rate limit.
//
// # What is never recorded
//
// Credentials, content, subjects, and the text of replies, but for the enhanced
// code and what looks like a queue id. Addresses are not recorded unless
// [WithAddresses] or [WithHashedAddresses] asks for it.
//
// # Names
//
// What the semantic conventions of OpenTelemetry name is called as they call
// it: server.address, network.peer.address, error.type. Everything else is in
// the namespace "postrider", and the names are the constants of this package.
// docs/telemetry.md has the tables of spans, attributes, metrics and values of
// error.type, and a test that holds them to what is emitted.
package telemetry
