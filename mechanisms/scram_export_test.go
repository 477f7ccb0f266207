package mechanisms

import (
	"reflect"

	"github.com/postrider/postrider/core"
)

// WithNonce has a SCRAM mechanism say a nonce that is known, as the examples of
// the RFCs do.
func WithNonce(m core.Mechanism, nonce string) core.Mechanism {
	m.(*scramMechanism).keys().client.WithNonceGenerator(func() string { return nonce })
	return m
}

// KeysHeld returns how many keys the library holds for a SCRAM mechanism.
func KeysHeld(m core.Mechanism) int {
	return reflect.ValueOf(m.(*scramMechanism).keys().current()).Elem().FieldByName("cache").Len()
}
