package interceptortest

import (
	"context"
	"io"
	"runtime"
)

// How large streamed content is, and how much more memory may be in use while it
// is sent, in octets.
const (
	streamSize = 12 << 20
	streamMost = 4 << 20
)

// stream sends content that is larger than what may be in memory.
func (b *bench) stream() {
	s := b.script(`
		S: 220 hi
		C: EHLO client.example
		S: 250-mx.example
		S: 250 8BITMIME
		C/ MAIL FROM:.*
		S: 250 ok
		C/ RCPT TO:.*
		S: 250 ok
		C: DATA
		S: 354 go on
		CONTENT
		S: 250 ok
		C: QUIT
		S: 221 bye
	`)
	c := b.client(s.Config(), b.interceptor())
	if c == nil {
		return
	}
	body := &streamed{header: text("large", 0)}
	body.before = inUse()
	m := message("", "bob@example.net")
	m.Body = body
	r := b.sendWithin(b.scope.ctx, c, m, 10*b.run.config.Patience) // it takes its time under -race
	switch {
	case !r.back:
	case r.err != nil:
		b.foundf("it was not accepted: %v", r.err)
	case body.most > streamMost:
		b.foundf("with a message of %d octets, %d octets of memory came into use; %d at most are fine", body.Size(), body.most, streamMost)
	}
}

func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// streamed is a body that looks at the memory in use while it is read.
type streamed struct {
	header       string
	before, most int64
}

func (s *streamed) Size() int64 { return int64(len(s.header) + streamSize) }

func (s *streamed) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(&streamReader{body: s, header: s.header}), nil
}

type streamReader struct {
	body   *streamed
	header string
	n      int // octets of the text that were read
}

func (r *streamReader) Read(p []byte) (int, error) {
	if r.header != "" {
		n := copy(p, r.header)
		r.header = r.header[n:]
		return n, nil
	}
	if r.n == streamSize {
		return 0, io.EOF
	}
	const line = "Sixty-two octets and a line end, which is as many as are usual\r\n"
	read := 0
	for read < len(p) && r.n < streamSize {
		p[read] = line[r.n%len(line)]
		read++
		r.n++
		if r.n%(streamSize/4) == 0 {
			r.body.most = max(r.body.most, inUse()-r.body.before)
		}
	}
	return read, nil
}
