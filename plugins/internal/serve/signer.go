package serve

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/postrider/postrider/plugins/internal/wire"
	signerv1 "github.com/postrider/postrider/plugins/proto/postrider/signer/v1"
)

// signerServer serves keys.
type signerServer struct {
	signerv1.UnimplementedSignerServiceServer
	keys map[string]crypto.Signer
	log  *slog.Logger
}

// Sign signs a digest.
func (s *signerServer) Sign(_ context.Context, r *signerv1.SignRequest) (*signerv1.SignResponse, error) {
	key, ok := s.keys[r.GetKey()]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such key")
	}
	signature, err := s.sign(key, r)
	if err != nil {
		return &signerv1.SignResponse{Result: &signerv1.SignResponse_Failure{Failure: wire.Failure(err)}}, nil
	}
	return &signerv1.SignResponse{Result: &signerv1.SignResponse_Signature{Signature: signature}}, nil
}

func (s *signerServer) sign(key crypto.Signer, r *signerv1.SignRequest) (signature []byte, err error) {
	defer contain(s.log, "signer "+r.GetKey(), &err)
	hash, err := wire.CryptoHash(r.GetHash())
	if err != nil {
		return nil, err
	}
	digest := r.GetDigest()
	if hash != 0 && len(digest) != hash.Size() {
		return nil, fmt.Errorf("the digest has %d octets, and %v has %d", len(digest), hash, hash.Size())
	}
	var options crypto.SignerOpts = hash
	if r.PssSaltLength != nil {
		options = &rsa.PSSOptions{SaltLength: int(r.GetPssSaltLength()), Hash: hash}
	}
	return key.Sign(rand.Reader, digest, options)
}
