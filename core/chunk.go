package core

import (
	"context"
	"fmt"

	"github.com/postrider/postrider/core/internal/wire"
)

// chunkSize is how many octets a chunk has that is not known to be the last.
const chunkSize = 256 << 10

var errChunking = fmt.Errorf("%w: CHUNKING was announced, and BDAT is not known", ErrProtocol)

// chunks sends content whose size is unknown, a part at a time: BDAT n, and at
// last BDAT n LAST (RFC 3030 §2).
func (t *transaction) chunks(ctx context.Context) error {
	content := t.w.outgoing
	t.w.outgoing = outgoing{}
	defer content.close()
	w := chunkWriter{t: t, ctx: ctx, raw: t.message.Binary, chunk: make([]byte, 0, chunkSize)}
	w.encoder.Refuse = t.s.config.LineEnds == RefuseLineEnds
	err := content.read(t.s.conn.ctx, make([]byte, contentBuffer), w.add)
	if err == nil {
		err = w.finish()
	}
	if err != nil && !w.refused {
		t.s.conn.kill(err) // never a LAST behind content that broke off
	}
	return err
}

type chunkWriter struct {
	t       *transaction
	ctx     context.Context
	encoder wire.Encoder
	raw     bool
	chunk   []byte
	refused bool // by the server, with the session in step
}

// add encodes p into the chunk, and sends it when it is full.
func (w *chunkWriter) add(p []byte) error {
	for {
		n := min(len(p), cap(w.chunk)-len(w.chunk))
		if w.raw {
			w.chunk = append(w.chunk, p[:n]...)
		} else {
			var err error
			if w.chunk, n, err = w.encoder.Encode(w.chunk, p); err != nil {
				return bareLineEnd(err)
			}
		}
		if p = p[n:]; len(p) == 0 {
			return nil
		}
		if err := w.send(false); err != nil {
			return err
		}
	}
}

func (w *chunkWriter) finish() error {
	if !w.raw {
		var err error
		if w.chunk, err = w.encoder.Finish(w.chunk); err != nil {
			return bareLineEnd(err)
		}
	}
	return w.send(true)
}

// send sends the chunk. After the last one the outcomes are settled.
func (w *chunkWriter) send(last bool) error {
	t, s := w.t, w.t.s
	n := int64(len(w.chunk))
	t.w.outgoing = outgoing{octets: w.chunk, declared: n, size: n, raw: true}
	w.chunk = w.chunk[:0]
	if last {
		err := t.content(w.ctx, s.bdat(t.w, true, len(t.accepted)))
		w.refused = s.conn.over() == nil
		return err
	}
	replies, err := s.content(w.ctx, t.w, s.bdat(t.w, false, 0))
	if err != nil {
		return err
	}
	if replies[0].Positive() {
		return nil
	}
	refusal := t.contentError(replies[0], bdatUnknown(replies[0], true))
	t.final = replies[0]
	for _, i := range t.accepted {
		t.refuse(i, refusal)
	}
	w.refused = s.conn.over() == nil
	return refusal
}
