package dkim

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/postrider/postrider/core"
)

// sign reads content once, through the signers, and returns it with the
// signatures in front. If it is to have none, only its header is read.
func (s *stage) sign(ctx context.Context, body core.Body) (core.Body, error) {
	declared := body.Size()
	m := newMeasured(body)
	src, err := core.Canonical(m).Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("dkim: opening the body: %w", err)
	}
	// A body that blocks is woken by being closed.
	stop := context.AfterFunc(ctx, func() { _ = src.Close() })
	defer func() {
		if stop() {
			_ = src.Close()
		}
	}()
	buffer := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buffer)

	run := &run{stage: s, ctx: ctx, lines: lines{allowLong: s.allowLongLines}}
	defer run.close()
	fields, whole, err := run.sign(src, *buffer)
	switch {
	case ctx.Err() != nil:
		return nil, &core.Error{Stage: core.StageContent, Class: core.Temporary, Err: fmt.Errorf("dkim: while signing: %w", contextError(ctx))}
	case err != nil:
		return nil, err
	case len(run.signers) == 0:
		if core.OneShot(body) { // it is spent: the core must not begin a transaction with it
			return nil, &core.Error{Stage: core.StageContent, Class: core.Local, Err: fmt.Errorf("dkim: %w", core.ErrOneShot),
				Hint: "its From field had to be read: give the message a body that opens again"}
		}
		return body, nil
	case declared >= 0 && declared != m.size:
		return nil, &core.Error{Stage: core.StageContent, Class: core.Local,
			Err:  fmt.Errorf("dkim: the body yielded %d octets, and its Size declared %d", m.size, declared),
			Hint: "nothing was delivered; make Size and Open agree, or have Size return -1"}
	}
	return newSignedBody(fields, m, &run.lines, whole), nil
}

// contextError returns why ctx ended, so that errors.Is finds both the context's
// own error and the caller's cause.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// run is the signing of one message.
type run struct {
	stage   *stage
	ctx     context.Context
	lines   lines
	signers []*dkim.Signer
	keys    []*key
}

func (r *run) sign(src io.Reader, buffer []byte) (fields string, whole bool, err error) {
	header, rest, whole, err := readHeader(src, buffer)
	if err != nil {
		return "", false, readError(err)
	}
	if !whole {
		r.lines.size -= int64(len(crlf)) // it is counted where it is added
	}
	counts, err := countFields(header)
	if err != nil {
		return "", false, err
	}
	signatures, err := r.stage.choose(r.ctx, header)
	if err != nil || len(signatures) == 0 {
		return "", false, err
	}
	for _, s := range signatures {
		if err := r.begin(s, counts); err != nil {
			return "", false, err
		}
	}
	if err := r.write(header); err != nil {
		return "", false, err
	}
	if err := r.write(rest); err != nil {
		return "", false, err
	}
	if whole {
		if err := r.copy(src, buffer); err != nil {
			return "", false, err
		}
	}
	fields, err = r.finish()
	return fields, whole, err
}

// begin starts the signer of one signature.
func (r *run) begin(s *signature, counts map[string]int) error {
	list, err := keys(s.fields, counts)
	if err != nil {
		return err
	}
	chosen, err := s.key(r.ctx)
	if err != nil {
		return signingError("choosing the key for %s: %w", s.options.Domain, err)
	}
	k := &key{ctx: r.ctx, checkedKey: chosen, domain: s.options.Domain}
	if done, err := r.begun(k); done || err != nil {
		return err
	}
	options := s.options
	options.Selector, options.HeaderKeys, options.Signer = k.selector, list, k
	if s.expiration > 0 {
		options.Expiration = time.Now().Add(s.expiration)
	}
	signer, err := dkim.NewSigner(&options)
	if err != nil {
		return refusal("", "%w", err)
	}
	r.signers, r.keys = append(r.signers, signer), append(r.keys, k)
	return nil
}

// begun reports whether a key signs this message already: authors of several
// domains may share one.
func (r *run) begun(k *key) (bool, error) {
	for _, other := range r.keys {
		if !strings.EqualFold(other.selector, k.selector) || !strings.EqualFold(other.domain, k.domain) {
			continue
		}
		if public, ok := k.public.(interface{ Equal(crypto.PublicKey) bool }); ok && public.Equal(other.public) {
			return true, nil
		}
		return false, refusal("give each key a selector of its own", "two keys are to sign for %s", recordName(k.selector, k.domain))
	}
	return false, nil
}

// copy reads what is left of the content. The buffer may be the one that the
// header was read into.
func (r *run) copy(src io.Reader, buffer []byte) error {
	for empty := 0; r.ctx.Err() == nil; {
		n, err := src.Read(buffer)
		if n > 0 {
			empty = 0
			if err := r.write(buffer[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return readError(err)
		case n == 0:
			if empty++; empty == 100 {
				return readError(io.ErrNoProgress)
			}
		}
	}
	return r.ctx.Err()
}

// write hands the next part of the content to the signers.
func (r *run) write(p []byte) error {
	if _, err := r.lines.Write(p); err != nil {
		return err
	}
	for _, s := range r.signers {
		if _, err := s.Write(p); err != nil {
			return refusal("", "%w", err)
		}
	}
	return nil
}

// finish has the signatures made.
func (r *run) finish() (string, error) {
	var fields strings.Builder
	for i, s := range r.signers {
		k := r.keys[i]
		k.usable.Store(true)
		if err := s.Close(); err != nil {
			return "", signingError("signing for %s with the selector %s: %w", k.domain, k.selector, err)
		}
		fields.WriteString(s.Signature())
	}
	return fields.String(), nil
}

// close ends the signers that were not finished. Their keys are not used.
func (r *run) close() {
	for _, s := range r.signers {
		_ = s.Close()
	}
}

func readError(err error) error {
	if _, ok := errors.AsType[*core.Error](err); ok {
		return fmt.Errorf("dkim: reading the body: %w", err)
	}
	return &core.Error{Stage: core.StageContent, Class: core.Local, Err: fmt.Errorf("dkim: reading the body: %w", err)}
}

// signingError is the error of a key, or of somebody who was asked for one. It may be
// different later, when a hardware module or a database answers again.
func signingError(format string, args ...any) error {
	err := fmt.Errorf("dkim: "+format, args...)
	if _, ok := errors.AsType[*core.Error](err); ok {
		return err // who failed knows better
	}
	class := core.Temporary
	if _, ok := errors.AsType[*core.PanicError](err); ok {
		class = core.Local
	}
	return &core.Error{Stage: core.StagePolicy, Class: class, Err: err}
}
