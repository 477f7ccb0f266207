package core

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// prepare refuses what this server cannot take, opens the body and decides how
// to send it, while nothing is written.
func (t *transaction) prepare(ctx context.Context) error {
	s, m, extensions := t.s, t.message, &t.s.peer.Extensions
	if err := s.mayBegin(); err != nil {
		return err
	}
	chunking := extensions.chunking && !s.config.noChunking.Load()
	utf8 := t.utf8
	if utf8 && !extensions.smtpUTF8 {
		if err := t.convertPaths(); err != nil {
			return err
		}
		utf8 = false
	}
	if m.Binary && !(chunking && extensions.binaryMIME) {
		return localError(StagePolicy, fmt.Errorf("the message is binary, and BINARYMIME with CHUNKING is %w", ErrNotSupported), "encode the content in base64 and leave Message.Binary unset")
	}
	if err := t.checkParams(extensions); err != nil {
		return err
	}
	if err := t.hold(ctx, chunking); err != nil {
		return err
	}
	form, known := formOf(t.body)
	size := form.Size
	if !known || m.Binary {
		size = t.body.Size()
	}
	if limit, ok := extensions.SizeLimit(); ok && size > limit {
		return localError(StagePolicy, fmt.Errorf("the message has %d octets, the server takes %d (SIZE)", size, limit), "")
	}
	refuse := s.config.refusals(extensions, m)
	if refuse.any() && !known && !OneShot(t.body) {
		var err error
		if form, err = measure(ctx, t.body); err != nil {
			return err
		}
	}
	if err := refuse.check(form.EightBit, form.LongestLine); err != nil {
		return err
	}
	if err := t.w.outgoing.open(ctx, t.body); err != nil {
		return err
	}
	if !known {
		t.w.outgoing.refuse = refuse
	}
	if m.Binary {
		t.w.outgoing.size = t.w.outgoing.declared
	}
	if chunking {
		t.useChunking(form.Canonical || m.Binary)
	}

	p := t.w.params[:0]
	if extensions.size && size >= 0 {
		p = append(p, numberParam("SIZE", "SIZE", size)) // RFC 1870 §3
	}
	switch {
	case m.Binary:
		p = append(p, Parameter("BINARYMIME", "BODY", "BINARYMIME")) // RFC 3030 §3
	case extensions.eightBitMIME && (form.EightBit || !known):
		p = append(p, Parameter("8BITMIME", "BODY", "8BITMIME")) // RFC 6152 §2
	}
	if utf8 {
		p = append(p, Parameter("SMTPUTF8", "SMTPUTF8", "")) // RFC 6531 §3.4
	}
	if t.prdr = m.PerRecipient && s.peer.Protocol == SMTP && len(t.due) > 1 && extensions.Has("PRDR"); t.prdr {
		p = append(p, Parameter("PRDR", "PRDR", ""))
	}
	t.w.params = append(p, m.Params...)
	return nil
}

// convertPaths finds the ASCII form of every address, for a server without
// SMTPUTF8: possible where only the domain is not ASCII.
func (t *transaction) convertPaths() error {
	t.ascii = make([]string, 0, 1+len(t.due))
	from, err := asciiPath(t.message.From)
	if err != nil {
		return localError(StagePolicy, fmt.Errorf("sender: %w", err), "")
	}
	t.ascii = append(t.ascii, from)
	for _, i := range t.due {
		to, err := asciiPath(t.message.To[i].Address)
		if err != nil {
			return localError(StagePolicy, fmt.Errorf("recipient %d: %w", i+1, err), "")
		}
		t.ascii = append(t.ascii, to)
	}
	return nil
}

// hold reads a small body into memory if nothing is known of it, or if it can
// leave with its envelope then.
func (t *transaction) hold(ctx context.Context, chunking bool) error {
	size := t.body.Size()
	_, known := formOf(t.body)
	if t.s.line != nil || chunking && t.s.peer.Extensions.pipelining {
		_, known = t.body.(*bytesBody)
	}
	if known || size < 0 || size > inlineContent || OneShot(t.body) {
		return nil
	}
	o := outgoing{declared: size}
	if err := o.openSource(ctx, t.body); err != nil {
		return err
	}
	defer o.close()
	p := make([]byte, 0, size)
	if t.w.readBuffer == nil {
		t.w.readBuffer = make([]byte, contentBuffer)
	}
	err := o.read(ctx, t.w.readBuffer, func(part []byte) error {
		p = append(p, part...)
		return nil
	})
	if err != nil {
		return err
	}
	t.body = Bytes(p)
	return nil
}

// useChunking decides how content is sent with BDAT. As it is says that nothing
// in it has to be changed on the way.
func (t *transaction) useChunking(asItIs bool) {
	o := &t.w.outgoing
	switch {
	case o.size < 0:
		t.how = withChunks
	case o.size <= int64(t.s.config.InlineContent) && t.s.peer.Extensions.pipelining && o.inMemory():
		t.how = withInline
	default:
		t.how = withBdat
	}
	o.raw = asItIs && t.how != withChunks
}

// checkParams refuses parameters that the server does not know. They would be
// refused when they are written, but by then MAIL may have been.
func (t *transaction) checkParams(extensions *Extensions) error {
	secure := t.s.peer.TLS != nil && t.s.peer.TLSError == nil
	for _, p := range t.message.Params {
		if strings.EqualFold(p.keyword, "REQUIRETLS") && !secure {
			return localError(StageMail, fmt.Errorf("REQUIRETLS on a session without TLS that verifies: %w", ErrTLSRequired), "") // RFC 8689 §4.2.1
		}
		if err := p.check(extensions); err != nil {
			return localError(StageMail, err, "")
		}
	}
	for _, i := range t.due {
		for _, p := range t.message.To[i].Params {
			if err := p.check(extensions); err != nil {
				return localError(StageRcpt, err, "")
			}
		}
	}
	return nil
}

// refusals is what content must not have.
type refusals struct{ eightBit, longLines bool }

func (s *settings) refusals(extensions *Extensions, m *Message) refusals {
	if m.Binary {
		return refusals{}
	}
	return refusals{
		eightBit:  !extensions.eightBitMIME && s.EightBit == RefuseEightBit,
		longLines: s.LongLines == RefuseLongLines,
	}
}

func (r refusals) any() bool { return r.eightBit || r.longLines }

func (r refusals) check(eightBit bool, longestLine int) error {
	switch {
	case r.eightBit && eightBit:
		return localError(StagePolicy, fmt.Errorf("the content has 8-bit octets, and 8BITMIME is %w", ErrNotSupported),
			"encode the content in quoted-printable or base64")
	case r.longLines && longestLine > maxTextLine:
		return localError(StagePolicy, fmt.Errorf("the content has a line of more than %d octets", maxTextLine),
			"encode the content in quoted-printable or base64")
	}
	return nil
}

// measure looks through a body whose form is not known. Of the form, only what
// refusals are about is found out.
func measure(ctx context.Context, b Body) (Form, error) {
	src, err := openBody(ctx, b)
	if err != nil {
		return Form{}, err
	}
	defer func() { _ = src.Close() }()
	var m meter
	if _, err := io.Copy(&m, src); err != nil {
		return Form{}, stageError(StageContent, fmt.Errorf("reading the body: %w", err))
	}
	return Form{EightBit: m.eightBit, LongestLine: m.longest}, nil
}
