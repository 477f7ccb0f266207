package core

// What happens to content that not every server takes as it is. There is no
// choice that changes what a message says: what cannot be sent unchanged is sent
// as it is, or refused before anything of it is written where that can be known.
//
//	bare CR or LF            made CRLF, or refused     LineEnds
//	8-bit, no 8BITMIME       refused, or sent as is    EightBit
//	lines over 998 octets    sent as is, or refused    LongLines
//	an address not ASCII,    its domain is converted if that alone is not
//	no SMTPUTF8              ASCII (RFC 5891), else refused
//
// Content is re-encoded nowhere: that is a MIME library's work, before a
// signature.

// LineEnds says what happens to a CR or LF in content that is not part of a
// CRLF. None ever reaches a server: servers disagree about what it means, and
// messages can be smuggled through the disagreement.
type LineEnds uint8

const (
	// NormalizeLineEnds turns each bare CR and bare LF into CRLF.
	NormalizeLineEnds LineEnds = iota
	// RefuseLineEnds makes it an error. The message is not delivered.
	RefuseLineEnds
)

// EightBit says what happens to content with octets above 127 when the server
// does not announce 8BITMIME (RFC 6152).
type EightBit uint8

const (
	// RefuseEightBit makes it an error.
	RefuseEightBit EightBit = iota
	// SendEightBit sends it as it is, and undeclared. Most servers take it;
	// one that clears the eighth bit ruins the text and any signature.
	SendEightBit
)

// LongLines says what happens to content with lines of more than 998 octets,
// their CRLF not counted, which a server need not take (RFC 5321 §4.5.3.1.6).
type LongLines uint8

const (
	// SendLongLines sends them as they are. Nothing breaks them on this side.
	SendLongLines LongLines = iota
	// RefuseLongLines makes them an error.
	RefuseLongLines
)

// maxTextLine is the longest line that every server takes, CRLF not counted.
const maxTextLine = 998
