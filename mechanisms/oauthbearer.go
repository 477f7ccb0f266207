package mechanisms

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/postrider/postrider/core"
)

// OAuthBearer returns OAUTHBEARER (RFC 7628): an access token of OAuth 2.0 (RFC
// 6750), as a password that expires. user is whom to act for; it may be empty if
// the token says it all.
//
// The source is asked at each Start. A token of another type than Bearer, or one
// with what no token has in it, is refused before anything is written. One that
// has expired already is used all the same, for one message: it is the server's
// clock that counts. An error of the source is temporary, unless it holds a
// [*core.Error], which says what it is itself.
//
// If the server refuses the token, the error holds a [*TokenError] with what it
// said of that. The source is then asked for another one, and if it has one, the
// mechanism is run once more.
func OAuthBearer(user string, tokens TokenSource) core.Mechanism {
	return &bearer{
		name:        "OAUTHBEARER",
		credentials: func() (string, TokenSource) { return user, tokens },
		message:     oauthBearerMessage,
		goOn:        "\x01", // RFC 7628 §3.2.3
	}
}

// oauthBearerMessage is client-resp, RFC 7628 §3.1.
func oauthBearerMessage(user, token string, peer *core.Peer) []byte {
	var b strings.Builder
	b.WriteString("n,") // gs2-header, RFC 5801 §4: no channel binding
	if user != "" {
		// saslname, RFC 5801 §4
		b.WriteString("a=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user))
	}
	b.WriteString(",\x01")
	if peer.ServerName != "" {
		b.WriteString("host=" + peer.ServerName + "\x01")
	}
	if port := endpointPort(peer); port > 0 {
		b.WriteString("port=" + strconv.Itoa(port) + "\x01")
	}
	b.WriteString("auth=Bearer " + token + "\x01\x01")
	return []byte(b.String())
}

// endpointPort returns the port that the session is for, or zero if there is
// none. The other end of the connection tells it last, since it may be a proxy.
func endpointPort(peer *core.Peer) int {
	if u, err := url.Parse(peer.Endpoint); err == nil {
		if port, err := strconv.Atoi(u.Port()); err == nil {
			return port
		}
		switch u.Scheme { // as package transport has it
		case "smtp":
			return 25
		case "smtps":
			return 465
		case "lmtp":
			return 24
		}
	}
	if addr, ok := peer.Addr.(*net.TCPAddr); ok {
		return addr.Port
	}
	return 0
}
