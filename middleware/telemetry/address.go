package telemetry

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/postrider/postrider/core"
)

// HashAddress returns what [WithHashedAddresses] records in the place of an
// address: its HMAC (RFC 2104) with SHA-256 in hexadecimal, to look for somebody's
// deliveries with. Case does not count in the domain; in the local part it does
// (RFC 5321 §2.4). Of the empty address, the sender of a bounce, it is empty.
func HashAddress(key []byte, address string) string {
	if address == "" {
		return ""
	}
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		address = address[:at] + strings.ToLower(address[at:])
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(address)) // never fails
	return hex.EncodeToString(h.Sum(nil))
}

// recorded returns what is recorded of the addresses of a message's recipients.
func (t *observer) recorded(m *core.Message) []string {
	list := make([]string, len(m.To))
	for i := range m.To {
		list[i] = t.addresses(m.To[i].Address)
	}
	return list
}
