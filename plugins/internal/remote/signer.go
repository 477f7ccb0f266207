package remote

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/wire"
	signerv1 "github.com/postrider/postrider/plugins/proto/postrider/signer/v1"
)

// Signer is a key in a plugin.
type Signer struct {
	link   Link
	id     string
	public crypto.PublicKey
}

// NewSigner returns a key of the plugin, as that described it.
func NewSigner(link Link, id string, public crypto.PublicKey) *Signer {
	return &Signer{link, id, public}
}

// Public implements [crypto.Signer].
func (s *Signer) Public() crypto.PublicKey { return s.public }

// Sign implements [crypto.Signer]. The plugin has its own source of random octets.
func (s *Signer) Sign(_ io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	request, err := s.request(digest, options)
	if err != nil {
		return nil, err
	}
	conn, err := s.link.Call()
	if err != nil {
		return nil, failed(s.link, core.StageContent, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.link.Timeout())
	defer cancel()
	response, err := signerv1.NewSignerServiceClient(conn).Sign(ctx, request)
	if err != nil {
		return nil, failed(s.link, core.StageContent, conn.Explain(err, ctx.Err() != nil))
	}
	switch result := response.GetResult().(type) {
	case *signerv1.SignResponse_Signature:
		return result.Signature, nil
	case *signerv1.SignResponse_Failure:
		return nil, s.refused(result)
	}
	return nil, failed(s.link, core.StageContent, errViolation)
}

func (s *Signer) request(digest []byte, options crypto.SignerOpts) (*signerv1.SignRequest, error) {
	request := &signerv1.SignRequest{Key: s.id, Digest: digest}
	var h crypto.Hash
	if options != nil {
		h = options.HashFunc()
	}
	switch o := options.(type) {
	case *rsa.PSSOptions:
		salt := int32(o.SaltLength)
		request.PssSaltLength = &salt
	case *ed25519.Options:
		if o.Context != "" {
			return nil, errors.New("a plugin cannot sign with a context of Ed25519")
		}
	}
	var err error
	request.Hash, err = wire.Hash(h)
	return request, err
}

// refused is what the key says. Of a class of its own it is a [*core.Error].
func (s *Signer) refused(r *signerv1.SignResponse_Failure) error {
	err := fmt.Errorf("signer %s of plugin %s: %w", s.id, s.link.Plugin(), reason(r.Failure))
	if class := wire.Class(r.Failure); class != core.Local {
		return &core.Error{Stage: core.StageContent, Class: class, Hint: wire.Hint(r.Failure), Err: err}
	}
	return err
}
