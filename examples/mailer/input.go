package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/postrider/postrider/core"
)

// inMemory is how much of a message that cannot be read twice is kept in memory,
// in octets. What is larger goes to a temporary file: a second attempt, and the
// server's limits, need another look at it.
const inMemory = 1 << 20

// open returns the message of a file, or of standard input for "-", and what is
// to be called when it is no longer needed.
func (s *settings) open(ctx context.Context, name string, stdin *os.File) (m *core.Message, done func(), err error) {
	done = func() {}
	stream := func() (io.ReadCloser, error) { return stdin, nil }
	if name != "-" {
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return nil, done, err
		case info.IsDir():
			return nil, done, fmt.Errorf("%s is a folder: name the files in it", name)
		case info.Mode().IsRegular():
			m, err := s.read(name)
			return m, done, err
		}
		stream = func() (io.ReadCloser, error) { return os.Open(name) } // a pipe, say
	}
	content, temporary, err := spool(ctx, stream)
	if err != nil {
		return nil, done, err
	}
	if temporary != "" {
		done = func() { _ = os.Remove(temporary) }
		m, err = s.read(temporary)
		return m, done, err
	}
	m = &core.Message{Body: core.Bytes(content)}
	if s.headerEnvelope {
		if m, err = core.ReadMessage(content); err != nil {
			return nil, done, err
		}
	}
	m, err = s.addressed(m)
	return m, done, err
}

// read returns the message of a file that can be read again.
func (s *settings) read(name string) (*core.Message, error) {
	file, err := os.Open(name) // what cannot be read is not worth a connection
	if err != nil {
		return nil, err
	}
	_ = file.Close()
	m := &core.Message{Body: core.File(name)}
	if s.headerEnvelope {
		if m, err = core.ReadMessageFile(name); err != nil {
			return nil, err
		}
	}
	return s.addressed(m)
}

// spool reads all of a stream: into memory, or else into a temporary file. When
// the context ends it does not wait for the stream.
func spool(ctx context.Context, open func() (io.ReadCloser, error)) (content []byte, temporary string, err error) {
	type spooled struct {
		content   []byte
		temporary string
		err       error
	}
	over := make(chan spooled, 1)
	var begun atomic.Pointer[string] // the name of the temporary file
	go func() {
		var s spooled
		s.content, s.temporary, s.err = spoolAll(open, &begun)
		over <- s
	}()
	select {
	case s := <-over:
		return s.content, s.temporary, s.err
	case <-ctx.Done():
		if name := begun.Load(); name != nil {
			_ = os.Remove(*name)
		}
		return nil, "", context.Cause(ctx)
	}
}

func spoolAll(open func() (io.ReadCloser, error), begun *atomic.Pointer[string]) (content []byte, temporary string, err error) {
	r, err := open()
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	content, err = io.ReadAll(io.LimitReader(r, inMemory+1))
	if err != nil || len(content) <= inMemory {
		return content, "", err
	}
	file, err := os.CreateTemp("", "mailer-")
	if err != nil {
		return nil, "", fmt.Errorf("%w, which TMPDIR names: %w", errNoRoom, err)
	}
	temporary = file.Name()
	begun.Store(&temporary)
	_, err = io.Copy(roomFor{file}, io.MultiReader(bytes.NewReader(content), r))
	if e := file.Close(); err == nil && e != nil {
		err = fmt.Errorf("%w, which TMPDIR names: %w", errNoRoom, e)
	}
	if err != nil {
		_ = os.Remove(temporary) // the other error is the one to tell of
		return nil, "", err
	}
	return nil, temporary, nil
}

// errNoRoom is that a message could not be kept: nothing is wrong with it.
var errNoRoom = errors.New("it could not be kept in the folder for temporary files")

// roomFor says so of what cannot be written.
type roomFor struct{ file *os.File }

func (r roomFor) Write(p []byte) (int, error) {
	n, err := r.file.Write(p)
	if err != nil {
		err = fmt.Errorf("%w, which TMPDIR names: %w", errNoRoom, err)
	}
	return n, err
}
