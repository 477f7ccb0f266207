package gssapi

import (
	"fmt"
	"testing"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/client"
	krb5 "github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/crypto"
	gss "github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/asnAppTag"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/msgtype"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/spnego"
	"github.com/jcmturner/gokrb5/v8/types"
)

const (
	aes128 int32 = 17
	aes256 int32 = 18
	rc4    int32 = 23
)

// acceptor is the server's side of a security context, which has the server's
// key and can do everything wrong.
type acceptor struct {
	t        testing.TB
	request  messages.APReq // what the client has shown
	key      types.EncryptionKey
	sequence uint64
}

// newContext returns both sides after the first token, with a ticket that no KDC
// was needed for.
func newContext(t testing.TB, identity string, keyType int32) (*exchange, *acceptor) {
	t.Helper()
	keys := keytab.New()
	if err := keys.AddEntry("smtp/mail.example.test", "EXAMPLE.TEST", "secret", time.Now(), 1, keyType); err != nil {
		t.Fatal(err)
	}
	alice := client.NewWithPassword("alice", "EXAMPLE.TEST", "sesame", krb5.New())
	service := types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, "smtp/mail.example.test")
	now := time.Now().UTC()
	ticket, key, err := messages.NewTicket(alice.Credentials.CName(), "EXAMPLE.TEST", service, "EXAMPLE.TEST",
		types.NewKrbFlags(), keys, keyType, 1, now, now, now.Add(time.Hour), now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	i, octets, err := newInitiator(alice, ticket, key, identity)
	if err != nil {
		t.Fatal(err)
	}
	var token spnego.KRB5Token
	if err := token.Unmarshal(octets); err != nil || !token.IsAPReq() {
		t.Fatal("the first token is no AP-REQ:", err)
	}
	a := &acceptor{t: t, request: token.APReq, sequence: 77}
	if ok, err := a.request.Verify(keys, time.Minute, types.HostAddress{}, nil); !ok || err != nil {
		t.Fatal("the first token does not verify:", err)
	}
	a.key = a.request.Ticket.DecryptedEncPart.Key
	return &exchange{i.proven}, a
}

// part is what an AP-REP proves.
func (a *acceptor) part() messages.EncAPRepPart {
	return messages.EncAPRepPart{CTime: a.request.Authenticator.CTime, Cusec: a.request.Authenticator.Cusec, SequenceNumber: int64(a.sequence)}
}

// reply makes an AP-REP.
func (a *acceptor) reply(part messages.EncAPRepPart) []byte {
	return a.replyOctets(asn1tools.AddASNAppTag(a.marshal(part), asnAppTag.EncAPRepPart))
}

// replyOctets makes an AP-REP with any octets encrypted in it.
func (a *acceptor) replyOctets(octets []byte) []byte {
	encrypted, err := crypto.GetEncryptedData(octets, a.key, keyusage.AP_REP_ENCPART, 0)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.replyEncrypted(encrypted)
}

func (a *acceptor) replyEncrypted(encrypted types.EncryptedData) []byte {
	reply := messages.APRep{PVNO: 5, MsgType: msgtype.KRB_AP_REP, EncPart: encrypted}
	return a.frame(2, asn1tools.AddASNAppTag(a.marshal(reply), asnAppTag.APREP))
}

// refuse makes a KRB-ERROR.
func (a *acceptor) refuse(code int32) []byte {
	e := messages.NewKRBError(a.request.Ticket.SName, "EXAMPLE.TEST", code, "no")
	octets, err := e.Marshal()
	if err != nil {
		a.t.Fatal(err)
	}
	return a.frame(3, octets)
}

// frame makes a token of a message, RFC 4121 §4.1.
func (a *acceptor) frame(kind byte, message []byte) []byte {
	return asn1tools.AddASNAppTag(append(append(a.marshal(asn1.ObjectIdentifier(gss.OIDKRB5.OID())), kind, 0), message...), 0)
}

func (a *acceptor) marshal(v any) []byte {
	octets, err := asn1.Marshal(v)
	if err != nil {
		a.t.Fatal(err)
	}
	return octets
}

// subkey is a key that the server chooses.
func subkey(keyType int32, octets int) types.EncryptionKey {
	k := types.EncryptionKey{KeyType: keyType}
	for n := range octets {
		k.KeyValue = append(k.KeyValue, byte(n))
	}
	return k
}

// wrapped makes a token with the flags and the payload, signed by key.
func (a *acceptor) wrapped(flags byte, payload string, key types.EncryptionKey) []byte {
	kind, err := crypto.GetEtype(key.KeyType)
	if err != nil {
		a.t.Fatal(err)
	}
	w := gss.WrapToken{Flags: flags, EC: uint16(kind.GetHMACBitLength() / 8), SndSeqNum: a.sequence, Payload: []byte(payload)}
	if err := w.SetCheckSum(key, keyusage.GSSAPI_ACCEPTOR_SEAL); err != nil {
		a.t.Fatal(err)
	}
	octets, err := w.Marshal()
	if err != nil {
		a.t.Fatal(err)
	}
	return octets
}

// rotated rotates a token to the right, RFC 4121 §4.2.5.
func rotated(token []byte, by int) []byte {
	header, body := append([]byte{}, token[:gss.HdrLen]...), token[gss.HdrLen:]
	header[6], header[7] = byte(by>>8), byte(by)
	at := len(body) - by%len(body)
	return append(append(header, body[at:]...), body[:at]...)
}

// take verifies the client's last token and returns what is in it.
func (a *acceptor) take(token []byte, flags byte, key types.EncryptionKey) (string, error) {
	var w gss.WrapToken
	if err := w.Unmarshal(token, false); err != nil {
		return "", err
	}
	if want := uint64(a.request.Authenticator.SeqNumber); w.SndSeqNum != want || w.Flags != flags {
		return "", fmt.Errorf("sequence number %d, want %d; flags %d, want %d", w.SndSeqNum, want, w.Flags, flags)
	}
	_, err := w.Verify(key, keyusage.GSSAPI_INITIATOR_SEAL)
	return string(w.Payload), err
}
