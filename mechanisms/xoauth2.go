package mechanisms

import "github.com/postrider/postrider/core"

// XOAuth2 returns XOAUTH2, in which Google, Microsoft and others took OAuth's
// access tokens before OAUTHBEARER was written down:
// https://developers.google.com/workspace/gmail/imap/xoauth2-protocol. user is
// the mailbox to act for. All that [OAuthBearer] says holds here too.
func XOAuth2(user string, tokens TokenSource) core.Mechanism {
	return &bearer{
		name:        "XOAUTH2",
		credentials: func() (string, TokenSource) { return user, tokens },
		needsUser:   true,
		message: func(user, token string, _ *core.Peer) []byte {
			return []byte("user=" + user + "\x01auth=Bearer " + token + "\x01\x01")
		},
		goOn: "", // not "*", which would hide the refusal that follows
	}
}
