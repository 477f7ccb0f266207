package realserver

import (
	"bytes"
	"errors"
	"net/mail"
	"strings"
)

// Content takes a message as one of the servers has delivered it and returns its content as the client sent it, so that
// the two can be compared byte for byte: the octets that went over the wire after the reply to DATA, without
// dot-stuffing and without the final dot, or those of the BDAT chunks.
//
// It undoes what a server does to every message. It writes trace fields in front: Return-Path, then the recipient
// (Delivered-To by Postfix, and by Dovecot if there was only one; Envelope-To by Exim), then Received. And it ends
// lines in the maildir with LF alone, from which Content makes CRLF again.
//
// What else a server changes cannot be undone, and content for such a comparison keeps clear of it.
//
// Postfix:
//   - A bare LF becomes a line end. CRs in front of CRLF are lost.
//   - A last line without a line end, possible with BDAT only, gets one.
//   - Where the first line is no header field, or one among the fields is none, an empty line comes before it. A first
//     line that begins with "From " or ">From " becomes a field X-Mailbox-Line under DATA.
//   - Spaces between a field's name and its colon are lost.
//
// Exim:
//   - A bare LF in the body becomes a space under DATA and a line end under BDAT, in the header a line end after which
//     the line goes on with a space. If the first line ends with a bare LF, BDAT is refused with 552; under DATA every
//     LF is then a line end, a line that is a single dot ends the content, and what follows is taken for commands.
//   - A bare CR in the body becomes a line end, in the header a line end after which the line goes on with a space. Each
//     CR in front of CRLF becomes an empty line.
//   - A NUL in the header becomes a question mark.
//   - A last line without a line end, possible with BDAT only, gets one. A header without an empty line after it gets
//     that, and so does empty content.
//   - Where the first line is no header field, or one among the fields is none, an empty line comes before it.
//
// Dovecot:
//   - A bare LF becomes a line end.
//   - Under DATA a line that is a single dot ends the content even where the line before it, or this one, ends with a
//     bare LF, and what follows is taken for commands.
//   - A CR at the very end, possible with BDAT only, is lost.
//
// Everything else stays: octets beyond ASCII, lines of any length, every header field, white space at the end of a
// line; with Postfix and Dovecot also NUL and bare CRs elsewhere, and empty content.
func Content(delivered []byte) ([]byte, error) {
	rest, returned := cutField(delivered, "Return-Path")
	if after, found := cutField(rest, "Delivered-To"); found {
		rest = after
	} else if after, found := cutField(rest, "Envelope-To"); found {
		rest = after
	}
	if _, received := cutField(rest, "Received"); !returned || !received {
		return nil, errors.New("no server has delivered the message: it does not begin with Return-Path and Received")
	}
	// The field ends with its date. Where its folded lines end would not tell: content may begin with white space.
	for line := range bytes.Lines(rest) {
		rest = rest[len(line):]
		date := string(line[bytes.LastIndexByte(line, ';')+1:])
		if _, err := mail.ParseDate(strings.TrimSpace(date)); err == nil {
			return bytes.ReplaceAll(rest, []byte("\n"), []byte("\r\n")), nil
		}
	}
	return nil, errors.New("no server has delivered the message: the field Received lacks its date")
}

// cutField returns what follows a message's first field, if this is the one with the name, else the message as it is.
func cutField(message []byte, name string) (rest []byte, found bool) {
	line, rest, _ := bytes.Cut(message, []byte("\n"))
	if len(line) <= len(name) || line[len(name)] != ':' || !strings.EqualFold(string(line[:len(name)]), name) {
		return message, false
	}
	for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') { // folded
		_, rest, _ = bytes.Cut(rest, []byte("\n"))
	}
	return rest, true
}
