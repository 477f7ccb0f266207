package realserver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
)

// newToken makes a JSON Web Token (RFC 7519) for a user that says until when it is good. It is signed with HS256 (RFC
// 7518 §3.2).
func newToken(key []byte, user string, expires time.Time) (string, error) {
	claims, err := json.Marshal(map[string]any{"sub": user, "exp": expires.Unix()})
	if err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		base64.RawURLEncoding.EncodeToString(claims)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}
