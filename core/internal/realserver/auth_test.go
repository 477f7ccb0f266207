package realserver

import (
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

// inBase64 is a response as AUTH carries it.
func inBase64(response string) string { return base64.StdEncoding.EncodeToString([]byte(response)) }

// xoauth2 is the command AUTH with the mechanism XOAUTH2.
func xoauth2(user, token string) string {
	return "AUTH XOAUTH2 " + inBase64("user="+user+"\x01auth=Bearer "+token+"\x01\x01")
}

// oauthBearer is the command AUTH with the mechanism OAUTHBEARER (RFC 7628 §3.1).
func oauthBearer(user, token string) string {
	return "AUTH OAUTHBEARER " + inBase64("n,a="+user+",\x01auth=Bearer "+token+"\x01\x01")
}

func TestPostfix_users(t *testing.T) {
	p := StartPostfix(t)
	d := dial(t, p.PlainAddr, nil)
	d.say("EHLO client.example.test", "250 ")
	d.say(plain(p.UnicodeUser, p.Password), "535 5.7.8 ")
	d.say("QUIT", "221 2.0.0 ")
	for user, password := range map[string]string{p.User: p.Password, p.ASCIIUser: p.ASCIIPassword, p.UnicodeUser: p.UnicodePassword} {
		d := dial(t, p.PlainAddr, nil)
		d.say("EHLO client.example.test", "250 ")
		d.say(plain(user, password), "235 2.7.0 ")
		d.say("QUIT", "221 2.0.0 ")
	}
}

// TestPostfix_digest shows that a name and a password are hashed as UTF-8, whatever RFC 2831 §2.1.2.1 says.
func TestPostfix_digest(t *testing.T) {
	p := StartPostfix(t)
	hash := func(s string) string {
		sum := md5.Sum([]byte(s))
		return string(sum[:])
	}
	for name, c := range map[string]struct{ user, password, hashed, want string }{
		"ASCII":                  {p.ASCIIUser, p.ASCIIPassword, p.ASCIIPassword, "334 "},
		"password in UTF-8":      {p.User, p.Password, p.Password, "334 "},
		"password in ISO 8859-1": {p.User, p.Password, "p\xf6st rider", "535 5.7.8 "},
		"name in UTF-8":          {p.UnicodeUser, p.UnicodePassword, p.UnicodePassword, "334 "},
	} {
		t.Run(name, func(t *testing.T) {
			d := dial(t, p.PlainAddr, nil)
			d.say("EHLO client.example.test", "250 ")
			reply := d.say("AUTH DIGEST-MD5", "334 ")
			challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(reply[4:]))
			if err != nil {
				t.Fatal(err)
			}
			_, after, _ := strings.Cut(string(challenge), `nonce="`)
			nonce, _, _ := strings.Cut(after, `"`)
			// RFC 2831 §2.1.2.1
			a1 := hash(c.user+"::"+c.hashed) + ":" + nonce + ":client"
			response := fmt.Sprintf("%x:%s:00000001:client:auth:%x", hash(a1), nonce, hash("AUTHENTICATE:smtp/localhost"))
			d.say(inBase64(fmt.Sprintf(`charset=utf-8,username="%s",realm="",nonce="%s",nc=00000001,cnonce="client",digest-uri="smtp/localhost",response=%x,qop=auth`,
				c.user, nonce, hash(response))), c.want)
			if c.want == "334 " {
				d.say("", "235 2.7.0 ") // the challenge was the server's own proof
			}
			d.say("QUIT", "221 ")
		})
	}
}

func TestPostfix_tokens(t *testing.T) {
	p := StartPostfix(t)
	token := func(user string, lifetime time.Duration) string {
		token, err := p.Token(user, lifetime)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good, unicode := token(p.User, time.Hour), token(p.UnicodeUser, time.Hour)
	forged, err := newToken([]byte("another key"), p.User, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}

	for name, command := range map[string]string{
		"XOAUTH2":                         xoauth2(p.User, good),
		"XOAUTH2 beyond ASCII":            xoauth2(p.UnicodeUser, unicode),
		"OAUTHBEARER":                     oauthBearer(p.User, good),
		"OAUTHBEARER beyond ASCII":        oauthBearer(p.UnicodeUser, unicode),
		"a token that is soon to run out": xoauth2(p.User, token(p.User, time.Minute)),
	} {
		t.Run(name+" is taken", func(t *testing.T) {
			d := dial(t, p.PlainAddr, nil)
			d.say("EHLO client.example.test", "250 ")
			d.say(command, "235 2.7.0 ")
			d.say("MAIL FROM:<me@example.com>", "250 ")
			d.say("RCPT TO:<you@example.net>", "250 ")
			d.say("QUIT", "221 ")
		})
	}

	const (
		xoauth2Error     = `{"status":"401","schemes":"bearer","scope":"mail"}`
		oauthBearerError = `{"status":"invalid_token"}` // RFC 7628 §3.2.2
	)
	for name, c := range map[string]struct{ command, challenge string }{
		"XOAUTH2, run out":                  {xoauth2(p.User, token(p.User, -time.Hour)), xoauth2Error},
		"XOAUTH2, another's":                {xoauth2(p.User, unicode), xoauth2Error},
		"XOAUTH2, forged":                   {xoauth2(p.User, forged), xoauth2Error},
		"XOAUTH2, password for a token":     {xoauth2(p.User, "open-sesame"), xoauth2Error},
		"OAUTHBEARER, run out":              {oauthBearer(p.User, token(p.User, -time.Hour)), oauthBearerError},
		"OAUTHBEARER, another's":            {oauthBearer(p.User, unicode), oauthBearerError},
		"OAUTHBEARER, for nobody":           {"AUTH OAUTHBEARER " + inBase64("n,,\x01auth=Bearer "+good+"\x01\x01"), ""},
		"PLAIN with a token for a password": {plain(p.User, good), ""},
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			t.Parallel() // a refusal takes half a second
			d := dial(t, p.PlainAddr, nil)
			d.say("EHLO client.example.test", "250 ")
			if c.challenge != "" {
				d.say(c.command, "334 "+inBase64(c.challenge)+"\r\n")
				c.command = inBase64("\x01") // RFC 7628 §3.2.3
			}
			d.say(c.command, "535 5.7.8 ")
			d.say("QUIT", "221 ")
		})
	}
}

func TestExim_external(t *testing.T) {
	e := StartExim(t)
	// greeted opens a session under TLS with a certificate, which it presents even to a server that does not know its
	// authority.
	greeted := func(t *testing.T, certificate tls.Certificate, starttls bool) (*dialogue, string) {
		t.Helper()
		config := &tls.Config{RootCAs: e.RootCAs, ServerName: "localhost"}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
		if !starttls {
			d := dial(t, e.TLSAddr, config)
			return d, d.say("EHLO client.example.test", "250 ")
		}
		d := dial(t, e.Addr, nil)
		if reply := d.say("EHLO client.example.test", "250 "); strings.Contains(reply, "AUTH") {
			t.Errorf("AUTH is announced without TLS: %q", reply)
		}
		d.say("STARTTLS", "220 ")
		d.over(tls.Client(d.conn, config))
		return d, d.say("EHLO client.example.test", "250 ")
	}

	for name, starttls := range map[string]bool{"STARTTLS": true, "implicit TLS": false} {
		t.Run(name, func(t *testing.T) {
			for response, want := range map[string]string{
				"=":                            "235 ",
				inBase64(e.User):               "235 ",
				inBase64("other@example.test"): "535 ",
			} {
				d, reply := greeted(t, e.ClientCertificate, starttls)
				if !strings.Contains(reply, "250-AUTH EXTERNAL\r\n") {
					t.Fatalf("AUTH is not announced: %q", reply)
				}
				d.say("AUTH EXTERNAL "+response, want)
				d.say("MAIL FROM:<me@example.com>", "250 ")
				relays := map[string]string{"235 ": "250 ", "535 ": "550 5.7.1 "}[want]
				d.say("RCPT TO:<you@example.net>", relays)
				d.say("QUIT", "221 ")
			}
			for of, certificate := range map[string]tls.Certificate{"nobody": {}, "an unknown authority": e.UnknownCertificate} {
				d, reply := greeted(t, certificate, starttls)
				if strings.Contains(reply, "AUTH") {
					t.Errorf("AUTH is announced to a client with a certificate of %s: %q", of, reply)
				}
				d.say("AUTH EXTERNAL =", "503 ")
				d.say("QUIT", "221 ")
			}
		})
	}

	t.Run("mail for elsewhere is thrown away", func(t *testing.T) {
		d, _ := greeted(t, e.ClientCertificate, false)
		d.say("AUTH EXTERNAL =", "235 ")
		d.send("dave@example.test", "you@example.net", contentForExim("discarded"))
		d.say("QUIT", "221 ")
		_ = d.conn.Close()
		e.Settle(t)
		if !strings.Contains(e.Log(), " => :blackhole: <you@example.net>") || !strings.Contains(e.Log(), "A=certificate:"+e.User) {
			t.Error("the log does not tell who has sent the mail, or that it was thrown away")
		}
		e.WaitMessages(t, "dave@example.test", 0) // no bounce
	})
}
