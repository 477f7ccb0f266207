package dkim

import "bytes"

const (
	// maxLine is how long a line may be without its CRLF, RFC 5322 §2.1.1.
	maxLine = 998
	// maxEmpty is how many empty lines may follow each other: the signer holds
	// them back, as they do not count at the end of a message.
	maxEmpty = 32 << 10
)

// lines looks through canonical content on its way to the signers.
type lines struct {
	allowLong bool

	size     int64 // octets so far
	eightBit bool
	longest  int // of the lines that are complete

	number int  // of lines that are complete
	length int  // of the line that is not, without CRLF
	text   bool // it has something but white space
	empty  int  // lines without text that came last
}

// Write takes the next part of the content. Its error says why the message must
// not be signed.
func (l *lines) Write(p []byte) (int, error) {
	l.size += int64(len(p))
	l.eightBit = l.eightBit || hasEightBit(p)
	whole := len(p)
	for len(p) > 0 {
		line, rest, ended := bytes.Cut(p, []byte("\n"))
		l.length += len(line)
		l.text = l.text || len(bytes.Trim(line, " \t\r")) > 0
		p = rest
		length := l.length
		if ended {
			length-- // the CR; it may have come in the part before
		}
		if length > maxLine+1 || ended && length > maxLine {
			if !l.allowLong {
				return 0, refusal("encode the text in quoted-printable or base64, or set dkim.Config.AllowLongLines",
					"line %d is longer than %d octets: it would be broken on its way, and the signature with it", l.number+1, maxLine)
			}
		}
		if !ended {
			break
		}
		l.number++
		l.longest = max(l.longest, length)
		l.empty++
		if l.text {
			l.empty = 0
		}
		if l.empty > maxEmpty {
			return 0, refusal("", "there are more than %d empty lines in a row", maxEmpty)
		}
		l.length, l.text = 0, false
	}
	return whole, nil
}

// hasEightBit reports whether p holds an octet above 127.
func hasEightBit(p []byte) bool {
	for len(p) >= 8 {
		if (p[0]|p[1]|p[2]|p[3]|p[4]|p[5]|p[6]|p[7])&0x80 != 0 {
			return true
		}
		p = p[8:]
	}
	for _, c := range p {
		if c&0x80 != 0 {
			return true
		}
	}
	return false
}
