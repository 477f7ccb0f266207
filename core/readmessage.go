package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"os"
	"strings"
	"unicode/utf8"
)

// ReadMessage returns the message whose envelope stands in the header of
// content, by the rules of RFC 5322 §3.6:
//
//   - The sender is the first address of Sender or, without one, of From.
//   - The recipients are the addresses of all To, Cc and Bcc fields, in this
//     order. Groups are expanded. An address that stands there more than once
//     is one recipient. There may be none, as with "undisclosed-recipients:;":
//     Send refuses such a message unless its To is filled.
//   - In a message that was resent, the Resent- fields count instead. Several
//     blocks of them are an error.
//
// Bcc and Resent-Bcc fields are not in the Body; all else is there octet for
// octet. The fields above may be written in UTF-8 (RFC 6532). A header that
// servers could read in another way, with a line that is no field or with a
// bare CR, is an error, and so is the "From " line of an mbox file.
//
// The result's To and From may be changed: no Bcc leaves, whoever the recipients
// are. Content is not changed, and must not be while the message is in use.
//
// An error is an [*Error] of [StagePolicy] that names the header field or line.
func ReadMessage(content []byte) (*Message, error) {
	m, h, err := readEnvelope(content)
	if err != nil {
		return nil, err
	}
	m.Body = Bytes(content)
	if visible := h.visible(); len(visible) < h.size {
		m.Body = Bytes(append(visible, content[h.size:]...))
	}
	return m, nil
}

const maxFileHeader = 1 << 20 // octets that ReadMessageFile holds in memory

// ReadMessageFile is [ReadMessage] for the content of a file. The header, which
// may have 1 MiB, is kept; the rest is read from the file each time the Body is
// opened. If the file has changed by then, opening it is an error.
func ReadMessageFile(name string) (*Message, error) {
	info, err := os.Stat(name) // first: opening a pipe would block
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		return nil, localError(StagePolicy, err, "")
	}
	rest := &fileRest{name: name, info: info}
	octets := make([]byte, min(info.Size(), maxFileHeader))
	f, err := rest.Open(context.Background())
	if err == nil {
		_, err = io.ReadFull(f, octets)
		_ = f.Close()
	}
	if err != nil {
		return nil, localError(StagePolicy, err, "")
	}
	m, h, err := readEnvelope(octets)
	if err != nil {
		return nil, err
	}
	if rest.from = int64(h.size); h.empty == nil && rest.Size() > 0 {
		return nil, localError(StagePolicy, fmt.Errorf("the header of %s has more than %d octets", name, maxFileHeader), "end it with an empty line")
	}
	m.Body = Segments(Bytes(h.visible()), rest)
	return m, nil
}

// fileRest is what is behind the header of a file.
type fileRest struct {
	name string
	info os.FileInfo // when the header was read
	from int64
}

func (b *fileRest) Open(context.Context) (io.ReadCloser, error) {
	f, err := os.Open(b.name)
	if err != nil {
		return nil, err
	}
	now, err := f.Stat()
	if err == nil && (now.Size() != b.info.Size() || !now.ModTime().Equal(b.info.ModTime())) {
		err = fmt.Errorf("%s has changed since its header was read", b.name)
	}
	if err == nil {
		if _, err = f.Seek(b.from, io.SeekStart); err == nil {
			return f, nil
		}
	}
	_ = f.Close()
	return nil, err
}

func (b *fileRest) Size() int64 { return b.info.Size() - b.from }

// header is the header of a message. Joined, its fields and the empty line are
// the octets that it was read from.
type header struct {
	fields []headerField
	empty  []byte // the line that ends it
	size   int    // of all of it
}

type headerField struct {
	name   string
	line   int    // its number
	octets []byte // of its lines, with their ends
}

// readHeader reads the header that content begins with, RFC 5322 §2.2.
func readHeader(content []byte) (*header, error) {
	h := &header{}
	number := 0
	for line := range bytes.Lines(content) {
		number++
		h.size += len(line)
		text := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		why, hint := "", "end the header with an empty line"
		switch {
		case bytes.IndexByte(text, '\r') >= 0:
			// On the wire it may become a line end, with a field behind it.
			why, hint = "has a bare CR", "end lines with CRLF or LF"
		case len(text) == 0:
			h.empty = line
			return h, nil
		case text[0] != ' ' && text[0] != '\t':
			before, _, colon := bytes.Cut(text, []byte(":"))
			name := string(bytes.TrimRight(before, " \t")) // RFC 5322 §4.5
			if !colon || name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
				why = "does not begin with a field's name and a colon"
				if number == 1 && bytes.HasPrefix(text, []byte("From ")) {
					hint = `a "From " line belongs to an mbox file, not to the message: cut it off`
				}
			}
			h.fields = append(h.fields, headerField{name, number, line})
		case len(h.fields) == 0:
			why = "continues a field that is not there"
		default:
			f := &h.fields[len(h.fields)-1]
			f.octets = content[h.size-len(line)-len(f.octets) : h.size]
		}
		if why != "" {
			return nil, localError(StagePolicy, fmt.Errorf("line %d of the header %s", number, why), hint)
		}
	}
	return h, nil
}

// visible returns the header without what recipients must not see.
func (h *header) visible() []byte {
	octets := make([]byte, 0, h.size)
	for _, f := range h.fields {
		if !strings.EqualFold(f.name, "Bcc") && !strings.EqualFold(f.name, "Resent-Bcc") {
			octets = append(octets, f.octets...)
		}
	}
	return append(octets, h.empty...)
}

// all returns the fields with the names, in the order of the names.
func (h *header) all(names ...string) []headerField {
	var list []headerField
	for _, name := range names {
		for _, f := range h.fields {
			if strings.EqualFold(f.name, name) {
				list = append(list, f)
			}
		}
	}
	return list
}

// readEnvelope reads header and envelope of a message.
func readEnvelope(content []byte) (m *Message, h *header, err error) {
	if h, err = readHeader(content); err == nil {
		m, err = h.message()
	}
	return m, h, err
}

// message returns the envelope.
func (h *header) message() (*Message, error) {
	prefix := ""
	for i, name := range []string{"Resent-Date", "Resent-From", "Resent-Sender", "Resent-Message-ID", "Resent-To", "Resent-Cc", "Resent-Bcc"} {
		fields := h.all(name)
		if len(fields) > 1 && i < 4 { // those stand once in each block, RFC 5322 §3.6.6
			return nil, fields[1].error(errors.New("a second block of Resent- fields"), "leave in the newest, which is the first")
		}
		if len(fields) > 0 {
			prefix = "Resent-"
		}
	}
	senders := h.all(prefix+"Sender", prefix+"From")
	if len(senders) == 0 {
		return nil, localError(StagePolicy, fmt.Errorf("the header has neither %[1]sSender nor %[1]sFrom", prefix), "add one of them")
	}
	from, err := senders[0].addresses()
	switch {
	case err != nil:
		return nil, err
	case len(from) == 0:
		return nil, senders[0].error(errors.New("no address"), "")
	}
	m, seen := &Message{From: from[0]}, map[string]bool{}
	for _, f := range h.all(prefix+"To", prefix+"Cc", prefix+"Bcc") {
		list, err := f.addresses()
		if err != nil {
			return nil, err
		}
		for _, address := range list {
			at := strings.LastIndexByte(address, '@')
			if key := address[:at] + strings.ToLower(address[at:]); !seen[key] { // RFC 5321 §2.4
				seen[key] = true
				m.To = append(m.To, Recipient{Address: address})
			}
		}
	}
	return m, nil
}

// addresses returns the field's addresses, in the form that MAIL and RCPT take.
func (f *headerField) addresses() ([]string, error) {
	_, value, _ := strings.Cut(string(f.octets), ":")
	value = strings.NewReplacer("\r", "", "\n", "").Replace(value) // RFC 5322 §2.2.3
	if !utf8.ValidString(value) {
		return nil, f.error(errors.New("not UTF-8"), "write names that are not ASCII in UTF-8, or as RFC 2047 says")
	}
	if value = withoutComments(value); strings.Trim(value, " \t") == "" {
		return nil, nil
	}
	// What the names say is of no interest, so any charset will do.
	p := mail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}}
	list, err := p.ParseList(value)
	if err != nil {
		return nil, f.error(err, "write addresses as Name <local@domain>, with commas between them")
	}
	addresses := make([]string, len(list))
	for i, a := range list {
		// String quotes a local part that needs it.
		addresses[i] = strings.Trim((&mail.Address{Address: a.Address}).String(), "<>")
		if _, err := checkPath(addresses[i]); err != nil {
			return nil, f.error(err, "")
		}
	}
	return addresses, nil
}

func (f *headerField) error(err error, hint string) error {
	return localError(StagePolicy, fmt.Errorf("%s, line %d of the header: %w", f.name, f.line, err), hint)
}

// withoutComments replaces comments by spaces (RFC 5322 §3.2.2): net/mail does
// not take them everywhere. One without an end is left for it to complain about.
func withoutComments(s string) string {
	var b strings.Builder
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		c := s[i : i+1]
		switch {
		case c == `\` && (quoted || depth > 0):
			c = s[i:min(i+2, len(s))]
			i++
		case quoted:
			quoted = c != `"`
		case c == "(":
			depth++
			c = " "
		case depth > 0:
			if c == ")" {
				depth--
			}
			continue
		default:
			quoted = c == `"`
		}
		if depth == 0 || c == " " {
			b.WriteString(c)
		}
	}
	if depth > 0 {
		return s
	}
	return b.String()
}
