//go:build unix

package plugins_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/plugins/sdk"
)

// secrets are what a plugin reads from a file of its own.
type secrets struct {
	Password string
	Seed     []byte // of an Ed25519 key
}

// serveSecrets is a plugin that has secrets, in the file that TEST_SECRETS names.
func serveSecrets() {
	var s secrets
	data, err := os.ReadFile(os.Getenv("TEST_SECRETS"))
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		os.Exit(7)
	}
	sdk.Logger().Debug("the secrets were read", "file", os.Getenv("TEST_SECRETS"))
	sdk.Serve(sdk.Info("secrets", "1"),
		sdk.Mechanism(mechanisms.Plain("ann", s.Password)),
		sdk.Mechanism(mechanisms.SCRAMSHA256("ann", s.Password)),
		sdk.Mechanism(blurter{func() []byte { return []byte(s.Password) }}),
		sdk.Signer("key", ed25519.NewKeyFromSeed(s.Seed)))
}

// blurter is a mechanism that begins with its secret, and then does what the
// challenge says.
type blurter struct{ secret func() []byte }

func (blurter) Name() string { return "X-TEST" }

func (b blurter) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return &testerRun{}, b.secret(), nil
}

// forms are the ways in which octets that are shown can be written.
func forms(secret []byte) map[string]string {
	all := map[string]string{
		"as it is":               string(secret),
		"in quotes":              strings.Trim(fmt.Sprintf("%q", secret), `"`),
		"in hexadecimal":         hex.EncodeToString(secret),
		"in large hexadecimal":   strings.ToUpper(hex.EncodeToString(secret)),
		"as a list of octets":    strings.Trim(fmt.Sprint(secret), "[]"),
		"as Go code":             strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}"),
		"as octets in the octal": strings.Trim(fmt.Sprintf("%o", secret), "[]"),
	}
	// Of something longer, base64 depends on where in that it stands.
	for before := range 3 {
		text := base64.RawStdEncoding.EncodeToString(append(make([]byte, before), secret...))
		all[fmt.Sprintf("in base64 behind %d octets", before)] = text[(before*8+5)/6 : (before+len(secret))*8/6]
	}
	return all
}
