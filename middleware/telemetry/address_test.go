package telemetry_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/telemetry"
)

// hashKey returns a key for hashes of addresses.
func hashKey() []byte { return bytes.Repeat([]byte{7}, 32) }

// mac is the HMAC-SHA256 of RFC 2104.
func mac(key []byte, text string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

func TestTheHashOfAnAddressIsItsHMACWithTheDomainInLowerCase(t *testing.T) {
	key := hashKey()
	for _, tt := range []struct{ address, hashed string }{
		{"bob@recipient.example", "bob@recipient.example"},
		{"bob@Recipient.EXAMPLE", "bob@recipient.example"},
		{"Bob@recipient.example", "Bob@recipient.example"}, // RFC 5321 §2.4
		{`"A@B"@Recipient.example`, `"A@B"@recipient.example`},
		{"bob@BÜCHER.example", "bob@bücher.example"},
		{"Postmaster", "Postmaster"},
	} {
		if got := telemetry.HashAddress(key, tt.address); got != mac(key, tt.hashed) {
			t.Errorf("%s: %s, want the HMAC of %s", tt.address, got, tt.hashed)
		}
	}
	if got := telemetry.HashAddress(key, ""); got != "" {
		t.Errorf("the empty address is %q", got)
	}
	if telemetry.HashAddress(key, bob) == telemetry.HashAddress(bytes.Repeat([]byte{8}, 32), bob) {
		t.Error("the key does not matter")
	}
}

func TestAddressesAreRecordedAsHashesOnRequestAndNoneIsAsItIs(t *testing.T) {
	key := hashKey()
	o := observe(t, telemetry.WithHashedAddresses(key), telemetry.WithExchangeSpans())
	want := append([]byte(nil), key...)
	clear(key) // what the caller does with it later does not matter
	_, _ = send(t, o.client(serve(t, gossip())), letter("bob@Recipient.Example", carol))
	wantAttrs(t, "delivery", o.one(telemetry.SpanDelivery).Attributes(), map[attribute.Key]any{
		"postrider.message.sender":     mac(want, alice),
		"postrider.message.recipients": []string{mac(want, bob), mac(want, carol)},
	})
	wantAttrs(t, "event", o.one(telemetry.SpanAttempt).Events()[0].Attributes, map[attribute.Key]any{"postrider.recipient.address": mac(want, carol)})
	dump := strings.ToLower(o.dump())
	for _, word := range []string{"alice", "bob", "carol", "sender.example", "recipient.example", string(want), hex.EncodeToString(want)} {
		if strings.Contains(dump, word) {
			t.Errorf("%q was recorded", word)
		}
	}
}

func TestTheLastOptionForAddressesCounts(t *testing.T) {
	for _, tt := range []struct {
		options []telemetry.Option
		want    string
	}{
		{[]telemetry.Option{telemetry.WithAddresses(), telemetry.WithHashedAddresses(hashKey())}, mac(hashKey(), alice)},
		{[]telemetry.Option{telemetry.WithHashedAddresses(hashKey()), telemetry.WithAddresses()}, alice},
	} {
		o := observe(t, tt.options...)
		_, _ = send(t, o.client(serve(t, &smtpServer{})), letter(bob))
		wantAttrs(t, "delivery", o.one(telemetry.SpanDelivery).Attributes(), map[attribute.Key]any{"postrider.message.sender": tt.want})
	}
}

// RFC 2104 §3.
func TestAKeyThatIsShorterThanTheHashIsRefused(t *testing.T) {
	for _, key := range [][]byte{nil, []byte("hunter2"), bytes.Repeat([]byte("k"), 31)} {
		_, err := telemetry.New(telemetry.WithHashedAddresses(key))
		e, ok := errors.AsType[*core.Error](err)
		if !ok || e.Stage != core.StageConfig || !strings.Contains(err.Error(), fmt.Sprintf("%d octets", len(key))) || len(key) > 0 && strings.Contains(err.Error(), string(key)) {
			t.Errorf("a key of %d octets: %v", len(key), err)
		}
	}
}

func TestAnOptionDoesNotShowItsKey(t *testing.T) {
	o := telemetry.WithHashedAddresses(bytes.Repeat([]byte("K"), 32))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if text := fmt.Sprintf(verb, o); strings.Contains(text, "KK") || strings.Contains(text, "4b4b") {
			t.Errorf("%s shows it: %s", verb, text)
		}
	}
}
