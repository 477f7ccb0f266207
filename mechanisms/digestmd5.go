package mechanisms

import (
	"context"
	"crypto/md5" // what the mechanism is made of
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postrider/postrider/core"
)

// Digest is DIGEST-MD5 (RFC 2831), without its security layers: both sides prove
// that they know the password. It is obsolete (RFC 6331), and whoever listens can
// try passwords against what was said: use it for a server that has nothing
// better. No list of this package has it. The zero value is good for most
// servers.
type Digest struct {
	// Realm is the collection of accounts that the user is in. It must be one of
	// those that the server names, if it names any. If it is empty the server's
	// first one is used, or none.
	Realm string
	// Identity is the user to act as, if that is not the one whose password it
	// is.
	Identity string
}

// Mechanism returns the mechanism for a user.
//
// Where the user name or the password is not ASCII and could be ISO 8859-1, the
// RFC has that hashed, and some servers (Dovecot 2.3) hash UTF-8 all the same: a
// server that refuses the one is given the other.
//
// A challenge that RFC 2831 does not allow is an error of the kind
// core.ErrProtocol, and so is a server that does not know the password: that one
// is permanent.
func (d Digest) Mechanism(user, password string) core.Mechanism {
	return &digestMD5{
		credentials: func() (string, string, Digest) { return user, password, d },
		service:     "smtp", // RFC 4954 §4
		cnonce:      rand.Text,
	}
}

// DigestMD5 returns DIGEST-MD5 with the settings of the zero [Digest].
func DigestMD5(user, password string) core.Mechanism { return Digest{}.Mechanism(user, password) }

type digestMD5 struct {
	credentials func() (user, password string, config Digest)
	service     string
	cnonce      func() string
	onlyUTF8    bool // hash UTF-8 also where RFC 2831 §2.1.2.1 has ISO 8859-1
}

func (*digestMD5) Name() string { return "DIGEST-MD5" }

// KeepsSecret implements [core.SecretKeeper].
func (*digestMD5) KeepsSecret() bool { return true }

// String keeps the password out of whatever prints the mechanism.
func (*digestMD5) String() string { return "DIGEST-MD5" }

// GoString is String, for %#v.
func (*digestMD5) GoString() string { return "DIGEST-MD5" }

// Check implements [core.Checker].
func (d *digestMD5) Check() error {
	user, password, config := d.credentials()
	if user == "" || password == "" {
		return errors.New("the user name or the password is empty")
	}
	if !utf8.ValidString(password) {
		return errors.New("the password is not UTF-8")
	}
	for _, f := range []struct{ what, value string }{{"user name", user}, {"realm", config.Realm}, {"identity", config.Identity}} {
		// RFC 2831 §7.2, TEXT
		if !utf8.ValidString(f.value) || strings.ContainsFunc(f.value, unicode.IsControl) {
			return fmt.Errorf("the %s holds a control character or is not UTF-8, and DIGEST-MD5 can carry neither", f.what)
		}
	}
	return nil
}

func (d *digestMD5) Start(_ context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	if err := d.Check(); err != nil {
		return nil, nil, err
	}
	return &digestMD5Run{mechanism: d, uri: d.service + "/" + peer.ServerName}, nil, nil
}

// digestMD5Run is one run of DIGEST-MD5.
type digestMD5Run struct {
	mechanism *digestMD5
	uri       string
	rspauth   string // what the server is to prove itself with; "" before the response
	verified  bool
	utf8      bool // the server takes UTF-8
}

func (r *digestMD5Run) Next(_ context.Context, challenge []byte) ([]byte, error) {
	switch {
	case r.rspauth == "":
		c, err := readDigestChallenge(challenge)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", core.ErrProtocol, err)
		}
		r.utf8 = c.utf8
		return r.respond(c)
	case !r.verified:
		return nil, r.verify(challenge) // an empty response, RFC 4954 §4
	}
	return nil, violation("unexpected challenge")
}

func (r *digestMD5Run) Done(context.Context) error {
	if !r.verified {
		return errors.New("it did not prove that it knows the password (RFC 2831 §2.1.3)")
	}
	return nil
}

// Refused implements [core.RefusalHandler]: the server may have hashed UTF-8.
func (r *digestMD5Run) Refused(_ context.Context, refusal *core.Error) core.Mechanism {
	user, password, _ := r.mechanism.credentials()
	if !errors.Is(refusal, core.ErrCredentials) || !r.utf8 || r.mechanism.onlyUTF8 || latin1OrUTF8(user) == user && latin1OrUTF8(password) == password {
		return nil
	}
	other := *r.mechanism
	other.onlyUTF8 = true
	return &other
}

// respond returns the digest-response, RFC 2831 §2.1.2.
func (r *digestMD5Run) respond(c *digestChallenge) ([]byte, error) {
	user, password, config := r.mechanism.credentials()
	realm, err := c.chooseRealm(config.Realm)
	if err != nil {
		return nil, err
	}
	name, err := c.encode("user name", user)
	if err != nil {
		return nil, err
	}
	if _, err := c.encode("password", password); err != nil {
		return nil, err
	}
	cnonce := r.mechanism.cnonce()

	// RFC 2831 §2.1.2.1
	hashed := latin1OrUTF8
	if r.mechanism.onlyUTF8 {
		hashed = func(s string) string { return s }
	}
	secret := md5.Sum([]byte(hashed(user) + ":" + realm + ":" + hashed(password)))
	a1 := string(secret[:]) + ":" + c.nonce + ":" + cnonce
	if config.Identity != "" {
		a1 += ":" + config.Identity // UTF-8 whatever the charset
	}
	answer := func(a2 string) string {
		return md5Hex(md5Hex(a1) + ":" + c.nonce + ":00000001:" + cnonce + ":auth:" + md5Hex(a2))
	}
	r.rspauth = answer(":" + r.uri) // RFC 2831 §2.1.3

	var b strings.Builder
	if c.utf8 {
		b.WriteString("charset=utf-8,")
	}
	b.WriteString("username=" + quoted(name))
	if realm != "" || len(c.realms) > 0 { // to be there if the server named one
		b.WriteString(",realm=" + quoted(realm))
	}
	b.WriteString(",nonce=" + quoted(c.nonce) + ",nc=00000001,cnonce=" + quoted(cnonce) + ",digest-uri=" + quoted(r.uri))
	b.WriteString(",response=" + answer("AUTHENTICATE:"+r.uri) + ",qop=auth")
	if config.Identity != "" {
		b.WriteString(",authzid=" + quoted(config.Identity))
	}
	if b.Len() >= 4096 {
		return nil, errors.New("the response would have 4096 octets or more, which RFC 2831 §2.1.2 does not allow")
	}
	return []byte(b.String()), nil
}

// verify reads the response-auth, RFC 2831 §2.1.3.
func (r *digestMD5Run) verify(challenge []byte) error {
	values, err := readDirectives(challenge)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", core.ErrProtocol, err)
	case len(values["rspauth"]) != 1:
		return fmt.Errorf("%w: its last challenge has no rspauth, or more than one", core.ErrProtocol)
	case subtle.ConstantTimeCompare([]byte(values["rspauth"][0]), []byte(r.rspauth)) != 1:
		return &core.Error{
			Stage: core.StageAuth, Class: core.Permanent,
			Err:  fmt.Errorf("DIGEST-MD5: %w: its rspauth is wrong, so it does not know the password", core.ErrProtocol),
			Hint: "somebody may stand between you and the server",
		}
	}
	r.verified = true
	return nil
}

// digestChallenge is what matters of a digest-challenge.
type digestChallenge struct {
	nonce  string
	realms []string // in the charset
	utf8   bool     // the charset; otherwise it is ISO 8859-1
}

// readDigestChallenge reads a digest-challenge, RFC 2831 §2.1.1.
func readDigestChallenge(challenge []byte) (*digestChallenge, error) {
	if len(challenge) >= 2048 {
		return nil, fmt.Errorf("its challenge has %d octets, where less than 2048 are allowed", len(challenge))
	}
	values, err := readDirectives(challenge)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"nonce", "qop", "stale", "maxbuf", "charset", "algorithm"} {
		if len(values[name]) > 1 {
			return nil, fmt.Errorf("its challenge has more than one %s", name)
		}
	}
	one := func(name string) string { return strings.Join(values[name], "") }
	is := func(name, want string) bool { return strings.EqualFold(one(name), want) }
	switch {
	case one("nonce") == "":
		return nil, errors.New("its challenge has no nonce")
	case !is("algorithm", "md5-sess"):
		return nil, errors.New("the algorithm of its challenge is not md5-sess")
	case values["qop"] != nil && !offersAuth(one("qop")):
		return nil, errors.New("its challenge does not offer the qop auth, the only one without a security layer")
	case is("stale", "true"):
		return nil, errors.New("its challenge calls a nonce stale, and none was used")
	case values["charset"] != nil && !is("charset", "utf-8"):
		return nil, errors.New("the charset of its challenge is not utf-8")
	}
	return &digestChallenge{nonce: one("nonce"), realms: values["realm"], utf8: values["charset"] != nil}, nil
}

// offersAuth reports whether auth is in a qop-list.
func offersAuth(list string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(separators, r) }),
		func(qop string) bool { return strings.EqualFold(qop, "auth") })
}

// chooseRealm returns the realm to use, in the charset.
func (c *digestChallenge) chooseRealm(want string) (string, error) {
	switch {
	case want == "" && len(c.realms) == 0:
		return "", nil
	case want == "":
		return c.realms[0], nil
	}
	realm, err := c.encode("realm", want)
	if err == nil && len(c.realms) > 0 && !slices.Contains(c.realms, realm) {
		err = fmt.Errorf("the realm %q is none of the server's: it has %.200q", want, c.realms)
	}
	return realm, err
}

// encode returns a value in the charset, RFC 2831 §2.1.2.
func (c *digestChallenge) encode(what, value string) (string, error) {
	if c.utf8 {
		return value, nil
	}
	encoded, ok := latin1(value)
	if !ok {
		return "", fmt.Errorf("the %s has characters beyond ISO 8859-1, and the server does not take UTF-8", what)
	}
	return encoded, nil
}

// latin1OrUTF8 returns what is hashed of a user name or a password: RFC 2831
// §2.1.2.1 has ISO 8859-1 hashed wherever that is possible, also if UTF-8 is what
// is sent.
func latin1OrUTF8(s string) string {
	if l, ok := latin1(s); ok {
		return l
	}
	return s
}

// latin1 returns s in ISO 8859-1, if that has all of its characters.
func latin1(s string) (string, bool) {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return "", false
		}
		b = append(b, byte(r))
	}
	return string(b), true
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// quoted returns a quoted-string, RFC 2831 §7.2.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// RFC 2831 §7: white space, and what stands between directives.
const (
	lws        = " \t\r\n"
	separators = "," + lws
)

var errDirectives = errors.New("its challenge is not a list of directives")

// readDirectives reads a list of name=value, RFC 2831 §7.1 and §7.2. Names are in
// lower case; those that are unknown are kept too.
func readDirectives(list []byte) (map[string][]string, error) {
	values := make(map[string][]string)
	for rest := strings.TrimLeft(string(list), separators); rest != ""; {
		name, after, ok := strings.Cut(rest, "=")
		name = strings.ToLower(strings.TrimRight(name, lws))
		if !ok || !isToken(name) {
			return nil, errDirectives
		}
		value, after, ok := readValue(strings.TrimLeft(after, lws))
		after = strings.TrimLeft(after, lws)
		if !ok || after != "" && after[0] != ',' {
			return nil, errDirectives
		}
		values[name] = append(values[name], value)
		rest = strings.TrimLeft(after, separators)
	}
	if len(values) == 0 {
		return nil, errDirectives
	}
	return values, nil
}

// readValue reads a token or a quoted-string, and returns what is behind it.
func readValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, separators)
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], isToken(s[:end])
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s): // quoted-pair
			i++
			b.WriteByte(s[i])
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", "", false
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// isToken reports whether s is a token, RFC 2831 §7.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
}
