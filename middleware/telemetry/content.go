package telemetry

import (
	"context"

	"github.com/postrider/postrider/core"
)

// content notes how large the content is that the interceptors behind this one
// have settled on.
func (t *observer) content(next core.ContentFunc) core.ContentFunc {
	return func(ctx context.Context, c *core.Content) error {
		err := next(ctx, c)
		if n := t.notesOf(ctx); n != nil && err == nil {
			n.size.Store(sizeOf(c.Body))
		}
		return err
	}
}

// sizeOf returns how many octets a body has on the wire, or -1.
func sizeOf(b core.Body) (size int64) {
	// A body that panics does so again for the core, which knows whom to name.
	defer func() {
		if recover() != nil {
			size = -1
		}
	}()
	if b == nil {
		return -1
	}
	if f, ok := b.(core.Former); ok {
		if form, known := f.Form(); known {
			return form.Size
		}
	}
	return b.Size()
}
