package gssapi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/client"
	krb5 "github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/postrider/postrider/core"
)

// The flags of a server's tokens, RFC 4121 §4.2.2.
const (
	fromServer       = 1
	fromServerSubkey = fromServer | flagAcceptorSubkey
)

// RFC 4752 §3.1: the client asks the server to prove itself.
func TestFirstToken_RFC4752_3_1(t *testing.T) {
	_, a := newContext(t, "", aes256)
	if !types.IsFlagSet(&a.request.APOptions, flags.APOptionMutualRequired) {
		t.Error("the server is not asked to prove itself")
	}
	// RFC 4121 §4.1.1: type 0x8003, 16 octets of channel bindings, and flags.
	sum := a.request.Authenticator.Cksum
	if sum.CksumType != 0x8003 || len(sum.Checksum) != 24 || binary.LittleEndian.Uint32(sum.Checksum) != 16 {
		t.Fatalf("the checksum is %+v", sum)
	}
	if got := binary.LittleEndian.Uint32(sum.Checksum[20:]); got != 2|8|32 {
		t.Errorf("the flags are %d, want mutual, sequence and integrity", got)
	}
}

func TestExchange(t *testing.T) {
	none := types.EncryptionKey{}
	for _, tt := range []struct {
		rule     string
		keyType  int32
		subkey   types.EncryptionKey // the server's, or none
		offer    string
		rotate   int
		identity string
	}{
		{"the session key signs (RFC 4121 §2)", aes256, none, "\x01\x00\x00\x00", 0, ""},
		{"a shorter one", aes128, none, "\x01\x00\x00\x00", 0, ""},
		{"the server's subkey signs (RFC 4121 §2)", aes128, subkey(aes256, 32), "\x01\x00\x00\x00", 0, ""},
		{"of several layers none is chosen (RFC 4752 §3.3)", aes256, none, "\x07\x00\x40\x00", 0, ""},
		{"Dovecot has no layer, and a size all the same", aes256, none, "\x01\xff\xff\xff", 0, ""},
		{"an identity follows (RFC 4752 §3.1)", aes256, none, "\x01\x00\x00\x00", 0, "bärbel@example.test"},
		{"a rotated token (RFC 4121 §4.2.5)", aes256, none, "\x01\x00\x00\x00", 12, ""},
		{"rotated by more than it has", aes256, none, "\x01\x00\x00\x00", 28, ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			e, a := newContext(t, tt.identity, tt.keyType)
			part, key, server, initiator := a.part(), a.key, byte(fromServer), byte(0)
			if len(tt.subkey.KeyValue) > 0 {
				part.Subkey, key, server, initiator = tt.subkey, tt.subkey, fromServerSubkey, flagAcceptorSubkey
			}
			response, err := e.Next(t.Context(), a.reply(part))
			if err != nil || response == nil || len(response) > 0 {
				t.Fatalf("after the proof: %q, %v", response, err)
			}
			if err := e.Done(t.Context()); err == nil {
				t.Error("a server that stops before its last token is believed")
			}
			response, err = e.Next(t.Context(), rotated(a.wrapped(server, tt.offer, key), tt.rotate))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := a.take(response, initiator, key); err != nil || got != "\x01\x00\x00\x00"+tt.identity {
				t.Errorf("the last response is %q, %v", got, err)
			}
			if err := e.Done(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := e.Next(t.Context(), nil); err == nil {
				t.Error("another challenge was answered")
			}
		})
	}
}

// RFC 4120 §3.2.5: a server that has not read the ticket cannot prove itself.
func TestProof_isVerified(t *testing.T) {
	e, a := newContext(t, "", aes256)
	part := func(change func(*messages.EncAPRepPart)) []byte {
		p := a.part()
		change(&p)
		return a.reply(p)
	}
	other := *a
	other.key = subkey(aes256, 32)
	short, err := crypto.GetEncryptedData(nil, a.key, keyusage.AP_REP_ENCPART, 0)
	if err != nil {
		t.Fatal(err)
	}
	short.Cipher = short.Cipher[:len(short.Cipher)-1]
	for _, tt := range []struct {
		rule  string
		token []byte
		class core.Class
		kind  error // or nil
		says  string
	}{
		{"no token", nil, core.Temporary, core.ErrProtocol, "not Kerberos'"},
		{"something else", []byte("hello"), core.Temporary, core.ErrProtocol, "not Kerberos'"},
		{"a token of another kind", a.frame(1, nil), core.Temporary, core.ErrProtocol, "not Kerberos'"},
		{"a token of no kind", a.frame(9, nil), core.Temporary, core.ErrProtocol, "no AP-REP"},
		{"an empty proof", a.frame(2, nil), core.Temporary, core.ErrProtocol, "not Kerberos'"},
		{"a proof that is too short to be encrypted", a.replyEncrypted(short), core.Temporary, core.ErrProtocol, "cannot be decrypted"},
		{"another key", other.reply(a.part()), core.Temporary, core.ErrProtocol, "cannot be decrypted"},
		{"an encrypted something", a.replyOctets([]byte("hello")), core.Temporary, core.ErrProtocol, "AP-REP"},
		{"another second", part(func(p *messages.EncAPRepPart) { p.CTime = p.CTime.Add(time.Second) }), core.Temporary, core.ErrProtocol, "answers another request"},
		{"another microsecond", part(func(p *messages.EncAPRepPart) { p.Cusec++ }), core.Temporary, core.ErrProtocol, "answers another request"},
		{"a subkey that is not AES", part(func(p *messages.EncAPRepPart) { p.Subkey = subkey(rc4, 16) }), core.Temporary, core.ErrProtocol, "that is not AES"},
		{"a subkey that is too short", part(func(p *messages.EncAPRepPart) { p.Subkey = subkey(aes256, 16) }), core.Temporary, core.ErrProtocol, "that is not AES"},
		{"the server's clock is wrong", a.refuse(errorcode.KRB_AP_ERR_SKEW), core.Temporary, nil, "set the clocks"},
		{"the server's key is another one", a.refuse(errorcode.KRB_AP_ERR_MODIFIED), core.Permanent, nil, "KRB_AP_ERR_MODIFIED"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			run := *e
			response, err := run.Next(t.Context(), tt.token)
			check(t, response, err, tt.class, tt.kind, tt.says)
		})
	}
}

func TestLayers_areVerified(t *testing.T) {
	const noLayers = "\x01\x00\x00\x00"
	e, a := newContext(t, "", aes256)
	if _, err := e.Next(t.Context(), a.reply(a.part())); err != nil {
		t.Fatal(err)
	}
	changed := a.wrapped(fromServer, noLayers, a.key)
	changed[16] = 3
	later := *a
	later.sequence++
	for _, tt := range []struct {
		rule  string
		token []byte
		class core.Class
		kind  error
		says  string
	}{
		{"no token", nil, core.Temporary, core.ErrProtocol, "last token"},
		{"a token of RFC 1964", []byte("\x60\x2b\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x02\x01\x00"), core.Temporary, core.ErrProtocol, "last token"},
		{"a signature that is longer than the token", []byte("\x05\x04\x01\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x4d"), core.Temporary, core.ErrProtocol, "last token"},
		{"a client's token, sent back", a.wrapped(0, noLayers, a.key), core.Temporary, core.ErrProtocol, "acceptor flag"},
		{"an encrypted one (RFC 4752 §3.1)", a.wrapped(fromServer|flagSealed, noLayers, a.key), core.Temporary, core.ErrProtocol, "encrypted"},
		{"a key that was not agreed on", a.wrapped(fromServerSubkey, noLayers, a.key), core.Temporary, core.ErrProtocol, "not agreed on"},
		{"another sequence number", later.wrapped(fromServer, noLayers, a.key), core.Temporary, core.ErrProtocol, "out of sequence"},
		{"another signature", a.wrapped(fromServer, noLayers, subkey(aes256, 32)), core.Temporary, core.ErrProtocol, "signature"},
		{"a changed payload", changed, core.Temporary, core.ErrProtocol, "signature"},
		{"three octets (RFC 4752 §3.1)", a.wrapped(fromServer, noLayers[:3], a.key), core.Temporary, core.ErrProtocol, "3 octets"},
		{"five octets", a.wrapped(fromServer, noLayers+"x", a.key), core.Temporary, core.ErrProtocol, "5 octets"},
		{"a server that insists on a layer", a.wrapped(fromServer, "\x06\x00\x40\x00", a.key), core.Permanent, core.ErrNotSupported, "use TLS"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			run := *e
			response, err := run.Next(t.Context(), tt.token)
			check(t, response, err, tt.class, tt.kind, tt.says)
		})
	}
}

func check(t *testing.T, response []byte, err error, class core.Class, kind error, says string) {
	t.Helper()
	if response != nil || err == nil || core.ClassOf(err) != class || kind != nil && !errors.Is(err, kind) || !strings.Contains(err.Error(), says) {
		t.Errorf("got %q and class %v, want %v: %v", response, core.ClassOf(err), class, err)
	}
}

func TestOldKeys_areRefused(t *testing.T) {
	alice := client.NewWithPassword("alice", "EXAMPLE.TEST", "sesame", krb5.New())
	_, _, err := newInitiator(alice, messages.Ticket{}, subkey(rc4, 16), "")
	check(t, nil, err, core.Permanent, nil, "not AES")
}

// A run shows no key, whatever prints it.
func TestExchange_isPrintedWithoutKeys(t *testing.T) {
	e, a := newContext(t, "", aes256)
	for _, verb := range []string{"%v", "%+v", "%#v", "%x"} {
		got := fmt.Sprintf(verb, e)
		if strings.Contains(got, fmt.Sprintf("%x", a.key.KeyValue)) || strings.Contains(got, fmt.Sprint(a.key.KeyValue)[1:20]) {
			t.Errorf("%s: %s", verb, got)
		}
	}
}

// FuzzToken: whatever a server sends, in the clear or encrypted, is an error and
// no panic.
func FuzzToken(f *testing.F) {
	e, a := newContext(f, "", aes256)
	proof := a.reply(a.part())
	f.Add(proof)
	f.Add(a.refuse(errorcode.KRB_AP_ERR_SKEW))
	f.Add(a.wrapped(fromServer, "\x01\x00\x00\x00", subkey(aes256, 32)))
	f.Fuzz(func(t *testing.T, token []byte) {
		for _, p := range [][]byte{token, a.replyOctets(token)} {
			run := *e
			if _, err := run.Next(t.Context(), p); err == nil && string(p) != string(proof) {
				t.Error("a proof of something else is believed")
			}
		}
		run := *e
		if _, err := run.Next(t.Context(), proof); err != nil {
			t.Fatal(err)
		}
		if _, err := run.Next(t.Context(), token); err == nil {
			t.Error("a token that nobody signed is believed")
		}
	})
}
