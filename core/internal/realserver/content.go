package realserver

import (
	"bytes"
	"errors"
	"net/mail"
	"strings"
)

// Content takes a message as Postfix has delivered it and returns its content as the client sent it, so that the two
// can be compared byte for byte: the octets that went over the wire after the reply to DATA, without dot-stuffing and
// without the final dot, or those of the BDAT chunks.
//
// It undoes what Postfix does to every message. Postfix writes the fields Return-Path, Delivered-To and Received in
// front, and it ends lines in the maildir with LF alone, from which Content makes CRLF again.
//
// What else Postfix changes cannot be undone, and content for such a comparison keeps clear of it:
//   - A bare LF becomes a line end. CRs in front of CRLF are lost.
//   - A last line without a line end, possible with BDAT only, gets one.
//   - Where the first line is no header field, or one among the fields is none, an empty line comes before it. A first
//     line that begins with "From " or ">From " becomes a field X-Mailbox-Line under DATA.
//   - Spaces between a field's name and its colon are lost.
//
// Everything else stays: octets beyond ASCII, NUL, a bare CR elsewhere, lines of any length, every header field,
// white space at the end of a line, and empty content.
func Content(delivered []byte) ([]byte, error) {
	rest := delivered
	for _, name := range []string{"Return-Path: ", "Delivered-To: ", "Received: "} {
		if !bytes.HasPrefix(rest, []byte(name)) {
			return nil, errors.New("the message was not delivered by Postfix: it lacks the field " + strings.TrimSuffix(name, ": "))
		}
		if name != "Received: " {
			_, rest, _ = bytes.Cut(rest, []byte("\n"))
		}
	}
	// The field ends with its date. Where its folded lines end would not tell: content may begin with white space.
	for line := range bytes.Lines(rest) {
		rest = rest[len(line):]
		date := string(line[bytes.LastIndexByte(line, ';')+1:])
		if _, err := mail.ParseDate(strings.TrimSpace(date)); err == nil {
			return bytes.ReplaceAll(rest, []byte("\n"), []byte("\r\n")), nil
		}
	}
	return nil, errors.New("the message was not delivered by Postfix: the field Received lacks its date")
}
