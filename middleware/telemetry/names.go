package telemetry

import "go.opentelemetry.io/otel/attribute"

// ScopeName is the name of the instrumentation scope of all spans and metrics:
// the import path of this package.
const ScopeName = "github.com/postrider/postrider/middleware/telemetry"

// The names of the spans. They are the same over LMTP, which
// network.protocol.name tells apart.
const (
	SpanDelivery = "smtp delivery" // one Send
	SpanAttempt  = "smtp attempt"  // one transaction
	SpanConnect  = "smtp connect"  // one session being opened
	SpanExchange = "smtp exchange" // commands written together, and their replies

	// The steps of opening a session.
	SpanDial     = "smtp dial"
	SpanGreeting = "smtp greeting"
	SpanHello    = "smtp hello"
	SpanTLS      = "smtp tls"
	SpanAuth     = "smtp auth"
)

// EventRecipient is the name of the span event that says that an attempt did
// not end with a recipient accepted.
const EventRecipient = "postrider.recipient"

// The names of the metrics.
const (
	MetricDeliveryDuration   = "postrider.delivery.duration"
	MetricDeliveryRecipients = "postrider.delivery.recipients"
	MetricDeliveryRetries    = "postrider.delivery.retries"
	MetricAttemptDuration    = "postrider.attempt.duration"
	MetricMessageSize        = "postrider.message.size"
	MetricConnectDuration    = "postrider.connect.duration"
	MetricAuthDuration       = "postrider.auth.duration"
	MetricConnections        = "postrider.connection.count"
	MetricConnectionWait     = "postrider.connection.wait"
	MetricLimitWait          = "postrider.limit.wait"
)

// The attributes that the semantic conventions have no name for.
const (
	// DeliveryAttemptsKey is how many transactions a delivery began.
	DeliveryAttemptsKey = attribute.Key("postrider.delivery.attempts")
	// AttemptNumberKey is which attempt of its delivery an attempt is, from 1.
	AttemptNumberKey = attribute.Key("postrider.attempt.number")
	// ConnectionReusedKey is whether the session had an attempt before.
	ConnectionReusedKey = attribute.Key("postrider.connection.reused")

	// MessageSizeKey is the size of the content in octets, line ends made right
	// and before dot-stuffing.
	MessageSizeKey = attribute.Key("postrider.message.size")
	// MessageQueueIDKey is the name that the server gave the message.
	MessageQueueIDKey = attribute.Key("postrider.message.queue_id")
	// MessageSenderKey is the reverse-path, recorded only on request.
	MessageSenderKey = attribute.Key("postrider.message.sender")
	// MessageRecipientsKey is the forward-paths, recorded only on request.
	MessageRecipientsKey = attribute.Key("postrider.message.recipients")

	// RecipientsTotalKey is how many recipients were tried. The four that
	// follow count them by outcome.
	RecipientsTotalKey    = attribute.Key("postrider.recipients.total")
	RecipientsAcceptedKey = attribute.Key("postrider.recipients.accepted")
	RecipientsRefusedKey  = attribute.Key("postrider.recipients.refused")
	RecipientsDeferredKey = attribute.Key("postrider.recipients.deferred")
	RecipientsUnknownKey  = attribute.Key("postrider.recipients.unknown")

	// ConnectionStateKey is "idle" or "used".
	ConnectionStateKey = attribute.Key("postrider.connection.state")

	// RecipientOutcomeKey is "accepted", "refused", "deferred" or "unknown".
	RecipientOutcomeKey = attribute.Key("postrider.recipient.outcome")
	// RecipientIndexKey is a recipient's place in the message's list, from 0.
	RecipientIndexKey = attribute.Key("postrider.recipient.index")
	// RecipientAddressKey is a recipient's address, recorded only on request.
	RecipientAddressKey = attribute.Key("postrider.recipient.address")

	// ReplyCodeKey is the code of the reply that decided.
	ReplyCodeKey = attribute.Key("postrider.reply.code")
	// ReplyEnhancedCodeKey is its enhanced status code, RFC 3463.
	ReplyEnhancedCodeKey = attribute.Key("postrider.reply.enhanced_code")
	// ErrorStageKey is the stage of an error, as core.Stage names it.
	ErrorStageKey = attribute.Key("postrider.error.stage")
	// ErrorClassKey is "temporary", "permanent" or "local".
	ErrorClassKey = attribute.Key("postrider.error.class")

	// TLSVerifiedKey is whether the server's certificate verified.
	TLSVerifiedKey = attribute.Key("postrider.tls.verified")
	// AuthMechanismKey is the SASL mechanism that authenticated the session, or
	// that an authentication was tried with.
	AuthMechanismKey = attribute.Key("postrider.auth.mechanism")
	// AuthChoiceKey is why that mechanism, in the words of core.Choice.
	AuthChoiceKey = attribute.Key("postrider.auth.choice")

	// LimitNameKey is the name of the interceptor that messages waited in.
	LimitNameKey = attribute.Key("postrider.limit.name")

	// ExchangeCommandsKey is the verbs of an exchange, without arguments.
	ExchangeCommandsKey = attribute.Key("postrider.exchange.commands")
	// ExchangeReplyCodesKey is the codes of its replies.
	ExchangeReplyCodesKey = attribute.Key("postrider.exchange.reply_codes")
)
