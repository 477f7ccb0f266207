package ntlm_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5" // what NTLM is made of
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// The formulas of MS-NLMP, by which a server verifies what the library makes.

// ntowfv1 is NTOWFv1("Password"), MS-NLMP §4.2.2.1.2. All tests have this
// password: the hash is MD4, which Go no longer has.
const ntowfv1 = "a4f49c406510bdcab6824ee7c30fd852"

func octets(t testing.TB, hexadecimal string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(hexadecimal, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unicode(s string) []byte {
	var b []byte
	for _, c := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return b
}

func hmacMD5(key []byte, parts ...[]byte) []byte {
	mac := hmac.New(md5.New, key)
	mac.Write(bytes.Join(parts, nil))
	return mac.Sum(nil)
}

// ntowfv2 is NTOWFv2 of MS-NLMP §3.3.2 for the password "Password".
func ntowfv2(t testing.TB, user, domain string) []byte {
	return hmacMD5(octets(t, ntowfv1), unicode(strings.ToUpper(user)), unicode(domain))
}

// temp is what the client adds to the server's challenge, MS-NLMP §3.3.2.
func temp(time, clientChallenge, targetInfo []byte) []byte {
	return slices.Concat([]byte{1, 1, 0, 0, 0, 0, 0, 0}, time, clientChallenge, make([]byte, 4), targetInfo, make([]byte, 4))
}

// pair is an AV_PAIR, MS-NLMP §2.2.2.1.
func pair(id uint16, value []byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, id)
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(value))), value...)
}

// The target information of MS-NLMP §4.2.4.
func targetInfo() []byte {
	return slices.Concat(pair(2, unicode("Domain")), pair(1, unicode("Server")), pair(0, nil))
}

// A server's choice in MS-NLMP §4.2.1.
const serverChallenge = "0123456789abcdef"

func TestFormulas_MSNLMP_4_2_4(t *testing.T) {
	key := ntowfv2(t, "User", "Domain")
	if want := octets(t, "0c868a403bfd7a93a3001ef22ef02e3f"); !bytes.Equal(key, want) {
		t.Errorf("§4.2.4.1.1: NTOWFv2 is %x, want %x", key, want)
	}
	client := bytes.Repeat([]byte{0xaa}, 8)
	if got, want := hmacMD5(key, octets(t, serverChallenge), client), octets(t, "86c35097ac9cec102554764a57cccc19"); !bytes.Equal(got, want) {
		t.Errorf("§4.2.4.2.1: the LMv2 response is %x, want %x", got, want)
	}
	blob := temp(make([]byte, 8), client, targetInfo())
	if got, want := hmacMD5(key, octets(t, serverChallenge), blob), octets(t, "68cd0ab851e51c96aabc927bebef6a1c"); !bytes.Equal(got, want) {
		t.Errorf("§4.2.4.2.2: the NTLMv2 response is %x, want %x", got, want)
	}
}

// The flags of MS-NLMP §2.2.2.5 that the tests use.
const (
	flagUnicode    = 1 << 0
	flagSign       = 1 << 4
	flagLMKey      = 1 << 7
	flagNTLM       = 1 << 9
	flagTargetInfo = 1 << 23
	flagVersion    = 1 << 25
	flagKeyExch    = 1 << 30
)

const usualFlags = flagUnicode | flagNTLM | flagTargetInfo

// challenge makes a CHALLENGE_MESSAGE, MS-NLMP §2.2.1.2.
func challenge(t testing.TB, flags uint32, targetInfo []byte) []byte {
	name := unicode("Server")
	b := append([]byte("NTLMSSP\x00"), 2, 0, 0, 0)
	b = field(b, len(name), 48)
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = append(b, octets(t, serverChallenge)...)
	b = append(b, make([]byte, 8)...)
	b = field(b, len(targetInfo), 48+len(name))
	return slices.Concat(b, name, targetInfo)
}

func field(b []byte, length, offset int) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(length))
	b = binary.LittleEndian.AppendUint16(b, uint16(length))
	return binary.LittleEndian.AppendUint32(b, uint32(offset))
}

// authenticate is an AUTHENTICATE_MESSAGE, MS-NLMP §2.2.1.3.
type authenticate struct {
	lm, nt                    []byte
	domain, user, workstation string
	flags                     uint32
}

func parseAuthenticate(message []byte) (a authenticate, err error) {
	if len(message) < 64 || !bytes.HasPrefix(message, []byte("NTLMSSP\x00\x03\x00\x00\x00")) {
		return a, errors.New("no AUTHENTICATE_MESSAGE")
	}
	var parts [5][]byte
	for n := range parts {
		header := message[12+8*n:]
		length, start := int(binary.LittleEndian.Uint16(header)), int(binary.LittleEndian.Uint32(header[4:]))
		if start+length > len(message) {
			return a, errors.New("a field lies outside of the message")
		}
		parts[n] = message[start : start+length]
	}
	text := func(b []byte) string {
		var s []uint16
		for ; len(b) > 1; b = b[2:] {
			s = append(s, binary.LittleEndian.Uint16(b))
		}
		return string(utf16.Decode(s))
	}
	return authenticate{parts[0], parts[1], text(parts[2]), text(parts[3]), text(parts[4]), binary.LittleEndian.Uint32(message[60:])}, nil
}

// verify does what a domain controller does with an answer to serverChallenge.
func (a authenticate) verify(t testing.TB) error {
	if len(a.nt) < 16+32 {
		return errors.New("that is not NTLMv2")
	}
	proof, blob := a.nt[:16], a.nt[16:]
	key := ntowfv2(t, a.user, a.domain)
	if !bytes.Equal(proof, hmacMD5(key, octets(t, serverChallenge), blob)) {
		return errors.New("the NTProofStr is wrong")
	}
	// Of the two responses the other is LMv2, or nothing: no LM and no NTLMv1.
	if len(a.lm) > 0 && (len(a.lm) != 24 || !bytes.Equal(a.lm[:16], hmacMD5(key, octets(t, serverChallenge), a.lm[16:]))) {
		return errors.New("the LMv2 response is wrong")
	}
	return nil
}
