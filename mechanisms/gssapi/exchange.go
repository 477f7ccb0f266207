package gssapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/jcmturner/gokrb5/v8/crypto"
	gss "github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/spnego"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/postrider/postrider/core"
)

// exchange is one run of GSSAPI.
type exchange struct{ next step }

// step answers one token of the server and says what is next: nil if that was
// all.
type step func(token []byte) (response []byte, next step, err error)

func (e *exchange) Next(_ context.Context, token []byte) ([]byte, error) {
	if e.next == nil {
		return nil, fmt.Errorf("%w: unexpected challenge", core.ErrProtocol)
	}
	response, next, err := e.next(token)
	if err != nil {
		return nil, err
	}
	e.next = next
	return response, nil
}

func (e *exchange) Done(context.Context) error {
	if e.next != nil {
		return errors.New("the server has ended it before its last token, in which it says what it protects")
	}
	return nil
}

// initiator is the client's side of a security context (RFC 2743 §1.1.3).
type initiator struct {
	key           types.EncryptionKey // what tokens are signed with
	asserted      bool                // the server has chosen that key
	authenticator types.Authenticator
	sequence      uint64 // of the server's next token
	identity      string
}

// proven takes the token by which the server proves that it could read the first
// one: it returns the time that was in it, encrypted (RFC 4120 §3.2.5).
func (i *initiator) proven(token []byte) ([]byte, step, error) {
	var t spnego.KRB5Token
	if err := t.Unmarshal(token); err != nil {
		return nil, nil, fmt.Errorf("%w: its token is not Kerberos': %w", core.ErrProtocol, err)
	}
	if t.IsKRBError() {
		return nil, nil, codeError(t.KRBError.ErrorCode, t.KRBError, t.KRBError.SName.PrincipalNameString())
	}
	if !t.IsAPRep() {
		return nil, nil, fmt.Errorf("%w: its token is no AP-REP", core.ErrProtocol)
	}
	reply, err := i.decrypt(t.APRep)
	if err != nil {
		return nil, nil, err
	}
	if sent := i.authenticator; !reply.CTime.Equal(sent.CTime) || reply.Cusec != sent.Cusec {
		return nil, nil, fmt.Errorf("%w: it has not proved who it is: its AP-REP answers another request", core.ErrProtocol)
	}
	i.sequence = uint64(uint32(reply.SequenceNumber))
	if len(reply.Subkey.KeyValue) > 0 { // RFC 4121 §2
		if err := checkKey(reply.Subkey); err != nil {
			return nil, nil, err
		}
		i.key, i.asserted = reply.Subkey, true
	}
	// RFC 4752 §3.1: with no token left to send, the client responds with no data.
	return []byte{}, i.layers, nil
}

func (i *initiator) decrypt(r messages.APRep) (part messages.EncAPRepPart, err error) {
	unreadable := fmt.Errorf("%w: it has not proved who it is: its AP-REP cannot be decrypted", core.ErrProtocol)
	kind, err := crypto.GetEtype(i.key.KeyType)
	if err != nil {
		return part, err
	}
	// The library does not look.
	if len(r.EncPart.Cipher) < kind.GetConfounderByteSize()+kind.GetHMACBitLength()/8 {
		return part, unreadable
	}
	octets, err := crypto.DecryptEncPart(r.EncPart, i.key, keyusage.AP_REP_ENCPART)
	if err != nil {
		return part, unreadable
	}
	if err := part.Unmarshal(octets); err != nil {
		return part, fmt.Errorf("%w: its AP-REP: %w", core.ErrProtocol, err)
	}
	return part, nil
}

// checkKey returns an error if a key is not one that tokens can be signed with.
func checkKey(key types.EncryptionKey) error {
	if size := aesKeySize(key.KeyType); size == 0 || len(key.KeyValue) != size {
		return fmt.Errorf("%w: it has chosen a key of type %d with %d octets, and that is not AES", core.ErrProtocol, key.KeyType, len(key.KeyValue))
	}
	return nil
}

// The security layers of RFC 4752 §3.3.
const noLayer = 1

// layers takes the token by which the server says which security layers it has,
// and chooses none.
func (i *initiator) layers(token []byte) ([]byte, step, error) {
	offer, err := i.unwrap(token)
	if err != nil {
		return nil, nil, err
	}
	// RFC 4752 §3.1: a bit-mask, and in three octets how long the server's
	// messages may be. That should be 0 for a server that has no layer, but
	// Dovecot says otherwise, and it means nothing then.
	if len(offer) != 4 {
		return nil, nil, fmt.Errorf("%w: its security layers have %d octets and not 4", core.ErrProtocol, len(offer))
	}
	if offer[0]&noLayer == 0 {
		return nil, nil, &core.Error{Stage: core.StageAuth, Class: core.Permanent,
			Err:  fmt.Errorf("GSSAPI: %w: to go without a security layer of SASL", core.ErrNotSupported),
			Hint: "use TLS, and have the server not ask for a layer below it"}
	}
	response, err := i.wrap(append([]byte{noLayer, 0, 0, 0}, i.identity...))
	return response, nil, err
}

// The flags of a token, RFC 4121 §4.2.2.
const (
	flagSealed         = 1 << 1
	flagAcceptorSubkey = 1 << 2
)

// unwrap takes what a token protects (RFC 4121 §4.2.6.2), after its signature
// was verified.
func (i *initiator) unwrap(token []byte) ([]byte, error) {
	var w gss.WrapToken
	if err := w.Unmarshal(rotate(token), true); err != nil {
		return nil, fmt.Errorf("%w: its last token: %w", core.ErrProtocol, err)
	}
	switch {
	case w.Flags&flagSealed != 0: // RFC 4752 §3.1 has it sign only
		return nil, fmt.Errorf("%w: its last token is encrypted", core.ErrProtocol)
	case (w.Flags&flagAcceptorSubkey != 0) != i.asserted:
		return nil, fmt.Errorf("%w: its last token is signed with a key that was not agreed on", core.ErrProtocol)
	case w.SndSeqNum != i.sequence:
		return nil, fmt.Errorf("%w: its last token is out of sequence", core.ErrProtocol)
	}
	// The library's error would show the right signature.
	if ok, err := w.Verify(i.key, keyusage.GSSAPI_ACCEPTOR_SEAL); !ok || err != nil {
		return nil, fmt.Errorf("%w: the signature of its last token is wrong", core.ErrProtocol)
	}
	return w.Payload, nil
}

// rotate undoes the rotation of a token's octets behind its header (RFC 4121
// §4.2.5). Windows sends such tokens, and the library passes them over.
func rotate(token []byte) []byte {
	const offset = 6 // of RRC, in a header of gss.HdrLen octets
	if len(token) <= gss.HdrLen {
		return token
	}
	header, body := token[:gss.HdrLen], token[gss.HdrLen:]
	by := (int(header[offset])<<8 | int(header[offset+1])) % len(body)
	return append(append(append([]byte{}, header...), body[by:]...), body[:by]...)
}

// wrap makes a signed token.
func (i *initiator) wrap(payload []byte) ([]byte, error) {
	kind, err := crypto.GetEtype(i.key.KeyType)
	if err != nil {
		return nil, err
	}
	w := gss.WrapToken{
		EC:        uint16(kind.GetHMACBitLength() / 8),
		SndSeqNum: uint64(i.authenticator.SeqNumber),
		Payload:   payload,
	}
	if i.asserted {
		w.Flags = flagAcceptorSubkey
	}
	if err := w.SetCheckSum(i.key, keyusage.GSSAPI_INITIATOR_SEAL); err != nil {
		return nil, err
	}
	return w.Marshal()
}
