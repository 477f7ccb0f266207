package wire

import (
	"crypto"
	"fmt"

	signerv1 "github.com/postrider/postrider/plugins/proto/postrider/signer/v1"
)

// Hash returns a hash function as it travels; zero is for none.
func Hash(h crypto.Hash) (signerv1.Hash, error) {
	switch h {
	case 0:
		return signerv1.Hash_HASH_UNSPECIFIED, nil
	case crypto.SHA1:
		return signerv1.Hash_HASH_SHA1, nil
	case crypto.SHA256:
		return signerv1.Hash_HASH_SHA256, nil
	case crypto.SHA384:
		return signerv1.Hash_HASH_SHA384, nil
	case crypto.SHA512:
		return signerv1.Hash_HASH_SHA512, nil
	}
	return 0, fmt.Errorf("a plugin cannot sign a digest of %v", h)
}

// CryptoHash is the other way of Hash.
func CryptoHash(h signerv1.Hash) (crypto.Hash, error) {
	switch h {
	case signerv1.Hash_HASH_UNSPECIFIED:
		return 0, nil
	case signerv1.Hash_HASH_SHA1:
		return crypto.SHA1, nil
	case signerv1.Hash_HASH_SHA256:
		return crypto.SHA256, nil
	case signerv1.Hash_HASH_SHA384:
		return crypto.SHA384, nil
	case signerv1.Hash_HASH_SHA512:
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("the hash function %d is not known here", h)
}
