package mechanisms

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// fixedDigest is DIGEST-MD5 with a service and a cnonce that are known.
func fixedDigest(service, cnonce string, m core.Mechanism) core.Mechanism {
	d := *m.(*digestMD5)
	d.service, d.cnonce = service, func() string { return cnonce }
	return &d
}

// RFC 2831 §4: the examples there, whose password is "secret".
func TestDigestMD5_RFC2831_4(t *testing.T) {
	for _, tt := range []struct{ service, nonce, cnonce, response, rspauth string }{
		{"imap", "OA6MG9tEQGm2hh", "OA6MHXh6VqTrRk", "d388dad90d4bbd760a152321f2143af7", "ea40f60335c427b5527b84dbabcdfffd"},
		{"acap", "OA9BSXrbuRhWay", "OA9BSuZWMSpW8m", "6084c6db3fede7352c551284490fd0fc", "2f0b3d7c3c2e486600ef710726aa2eae"},
	} {
		t.Run(tt.service, func(t *testing.T) {
			m := fixedDigest(tt.service, tt.cnonce, DigestMD5("chris", "secret"))
			a, initial, err := m.Start(t.Context(), &core.Peer{ServerName: "elwood.innosoft.com"})
			if initial != nil || err != nil {
				t.Fatal(initial, err)
			}
			challenge := `realm="elwood.innosoft.com",nonce="` + tt.nonce + `",qop="auth",algorithm=md5-sess,charset=utf-8`
			want := `charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="` + tt.nonce + `",nc=00000001,cnonce="` + tt.cnonce +
				`",digest-uri="` + tt.service + `/elwood.innosoft.com",response=` + tt.response + `,qop=auth`
			if got, err := a.Next(t.Context(), []byte(challenge)); string(got) != want || err != nil {
				t.Errorf("got %s, %v\nwant %s", got, err, want)
			}
			if err := a.Done(t.Context()); err == nil {
				t.Error("a server without rspauth was believed")
			}
			if got, err := a.Next(t.Context(), []byte("rspauth="+tt.rspauth)); len(got) > 0 || err != nil {
				t.Errorf("rspauth was answered with %q, %v", got, err)
			}
			if err := a.Done(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// The expected values were computed by a program that is not this one.
func TestDigestMD5_response(t *testing.T) {
	const fixed = `,nc=00000001,cnonce="OA6MHXh6VqTrRk",digest-uri="smtp/server.example",response=`
	const nonce = `nonce="OA6MG9tEQGm2hh",algorithm=md5-sess`
	for _, tt := range []struct {
		rule       string
		mechanism  core.Mechanism
		challenge  string
		begin, end string // of the response; what is fixed stands between
		rspauth    string
	}{
		{"RFC 2831 §2.1.2.1 ISO 8859-1 is hashed where it can be, and UTF-8 sent", DigestMD5("josé", "pässword"), nonce + `,realm="r",charset=utf-8`,
			`charset=utf-8,username="josé",realm="r",nonce="OA6MG9tEQGm2hh"`, "9c3b12048afa861ab3822c0e5b0e46eb,qop=auth", "ad10d2eb8d06f0bad160b477c11e196f"},
		{"RFC 2831 §2.1.2.1 the user name alone can be", DigestMD5("josé", "密码"), nonce + `,realm="r",charset=utf-8`,
			`charset=utf-8,username="josé",realm="r",nonce="OA6MG9tEQGm2hh"`, "f2255340655dab45c9afcd337ca0318a,qop=auth", "3829ac641bc7d1852b54763aa5941d39"},
		{"RFC 2831 §2.1.2.1 the password alone can be", DigestMD5("用户", "pässword"), nonce + `,realm="r",charset=UTF-8`,
			`charset=utf-8,username="用户",realm="r",nonce="OA6MG9tEQGm2hh"`, "a74bbeacdadbe3c8d94fd9778a0f1ea3,qop=auth", "eb42cbee0153bad5e76baf0abe95be85"},
		{"RFC 2831 §2.1.1 without charset ISO 8859-1 is sent", DigestMD5("josé", "pässword"), nonce + `,realm="r"`,
			"username=\"jos\xe9\",realm=\"r\",nonce=\"OA6MG9tEQGm2hh\"", "9c3b12048afa861ab3822c0e5b0e46eb,qop=auth", "ad10d2eb8d06f0bad160b477c11e196f"},
		{"RFC 2831 §2.1.2 no realm is an empty one in the hash", DigestMD5("u", "p"), nonce,
			`username="u",nonce="OA6MG9tEQGm2hh"`, "3036605669a24497f035212f90ee3dbe,qop=auth", "0faa3abdfddecabffae7e0c0a647dda1"},
		{"RFC 2831 §2.1.2 an empty realm is answered with one", DigestMD5("u", "p"), nonce + `,realm=""`,
			`username="u",realm="",nonce="OA6MG9tEQGm2hh"`, "3036605669a24497f035212f90ee3dbe,qop=auth", "0faa3abdfddecabffae7e0c0a647dda1"},
		{"RFC 2831 §2.1.1 of many realms the first", DigestMD5("u", "p"), nonce + `,realm="a",realm="b"`,
			`username="u",realm="a",nonce="OA6MG9tEQGm2hh"`, "fcdce7ff0f9bd921eca8c2b90e06b0cf,qop=auth", "8a5857969e6c5d7599aa1070210556d5"},
		{"RFC 2831 §2.1.1 of many realms the chosen one", Digest{Realm: "b"}.Mechanism("u", "p"), nonce + `,realm="a",realm="b"`,
			`username="u",realm="b",nonce="OA6MG9tEQGm2hh"`, "c670eb2570c611f3279f537a15dded25,qop=auth", "54e676b61c56c518a5452b07e8d96193"},
		{"RFC 2831 §2.1.1 the user's realm if the server names none", Digest{Realm: "b"}.Mechanism("u", "p"), nonce,
			`username="u",realm="b",nonce="OA6MG9tEQGm2hh"`, "c670eb2570c611f3279f537a15dded25,qop=auth", "54e676b61c56c518a5452b07e8d96193"},
		{"RFC 2831 §2.1.2 authzid is UTF-8 and hashed so", Digest{Identity: "añn"}.Mechanism("u", "p"), nonce + `,realm="r"`,
			`username="u",realm="r",nonce="OA6MG9tEQGm2hh"`, `034929f43dcb3ad45baa5c8bccd3a798,qop=auth,authzid="añn"`, "e806dc02189a36342ee74a28b78d6513"},
		{"RFC 2831 §7.2 quotation marks and backslashes are escaped, and hashed as they are", DigestMD5(`u"x\y`, "p"), `nonce="n\"1\\",algorithm=md5-sess,realm="r\""`,
			`username="u\"x\\y",realm="r\"",nonce="n\"1\\"`, "0719b9e370771839b0c76bb0c3810cce,qop=auth", "944bf8073f48595bbbc5e2059e6df3f0"},
		{"RFC 2831 §7.1 white space, empty elements and any case of names", DigestMD5("u", "p"), " ,, NONCE = \"OA6MG9tEQGm2hh\"\t,\r\n ,Algorithm=MD5-sess , qop=\"auth-conf , Auth\",",
			`username="u",nonce="OA6MG9tEQGm2hh"`, "3036605669a24497f035212f90ee3dbe,qop=auth", "0faa3abdfddecabffae7e0c0a647dda1"},
		{"RFC 2831 §2.1.1 what is not known is ignored, however often", DigestMD5("u", "p"), nonce + `,opaque="x",opaque=y,maxbuf=1,cipher="rc4",stale=false,domain="a,b=c"`,
			`username="u",nonce="OA6MG9tEQGm2hh"`, "3036605669a24497f035212f90ee3dbe,qop=auth", "0faa3abdfddecabffae7e0c0a647dda1"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := fixedDigest("smtp", "OA6MHXh6VqTrRk", tt.mechanism)
			for range 2 { // it can be used again
				a, _, err := m.Start(t.Context(), &core.Peer{ServerName: "server.example"})
				if err != nil {
					t.Fatal(err)
				}
				got, err := a.Next(t.Context(), []byte(tt.challenge))
				if want := tt.begin + fixed + tt.end; string(got) != want || err != nil {
					t.Errorf("got  %q, %v\nwant %q", got, err, want)
				}
				if _, err := a.Next(t.Context(), []byte("rspauth="+tt.rspauth)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestDigestMD5_refusesChallenges(t *testing.T) {
	const good = `nonce="abc",algorithm=md5-sess`
	for _, tt := range []struct{ rule, challenge, says string }{
		{"RFC 2831 §2.1.1 2048 octets", good + `,x="` + strings.Repeat("y", 2048-len(good)-5) + `"`, "2048"},
		{"RFC 2831 §2.1.1 no nonce", `algorithm=md5-sess,realm="r"`, "no nonce"},
		{"an empty nonce", `nonce="",algorithm=md5-sess`, "no nonce"},
		{"RFC 2831 §2.1.1 two nonces", good + `,nonce="abc"`, "more than one nonce"},
		{"RFC 2831 §2.1.1 no algorithm", `nonce="abc"`, "md5-sess"},
		{"another algorithm", `nonce="abc",algorithm=md5`, "md5-sess"},
		{"RFC 2831 §2.1.1 two algorithms", good + ",algorithm=md5-sess", "more than one algorithm"},
		{"RFC 2831 §2.1.1 a qop without auth", good + `,qop="auth-int,auth-conf"`, "qop"},
		{"an empty qop", good + `,qop=""`, "qop"},
		{"two qops", good + `,qop="auth",qop="auth"`, "more than one qop"},
		{"RFC 2831 §2.1.1 stale at first", good + ",stale=true", "stale"},
		{"RFC 2831 §2.1.1 stale twice", good + ",stale=false,stale=false", "more than one stale"},
		{"RFC 2831 §2.1.1 two charsets", good + ",charset=utf-8,charset=utf-8", "more than one charset"},
		{"another charset", good + ",charset=koi8-r", "not utf-8"},
		{"RFC 2831 §2.1.1 two maxbufs", good + ",maxbuf=1,maxbuf=1", "more than one maxbuf"},
		{"nothing", "", "list"},
		{"only commas", " , ,", "list"},
		{"no list", "hello", "list"},
		{"a name that is none", good + `,"x"=y`, "list"},
		{"no name", good + ",=y", "list"},
		{"no value", good + ",x=", "list"},
		{"a value that is no token", good + ",x=a[b", "list"},
		{"a quotation that does not end", good + `,x="a`, "list"},
		{"a quotation that ends in a backslash", good + `,x="a\`, "list"},
		{"a control character in a quotation", good + ",x=\"a\x00b\"", "list"},
		{"something behind a quotation", good + `,x="a"b`, "list"},
		{"something behind a token", good + `,x=a b`, "list"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			a, _, err := DigestMD5("u", "hunter2").Start(t.Context(), &core.Peer{})
			if err != nil {
				t.Fatal(err)
			}
			response, err := a.Next(t.Context(), []byte(tt.challenge))
			if response != nil || !errors.Is(err, core.ErrProtocol) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %q, %v, want an error with %q", response, err, tt.says)
			}
		})
	}
	t.Run("2047 octets are allowed", func(t *testing.T) {
		if _, err := readDigestChallenge([]byte(good + `,x="` + strings.Repeat("y", 2047-len(good)-5) + `"`)); err != nil {
			t.Error(err)
		}
	})
}

func TestDigestMD5_refusesWhatItCannotSend(t *testing.T) {
	const good = `nonce="abc",algorithm=md5-sess`
	for _, tt := range []struct {
		rule, challenge, says string
		mechanism             core.Mechanism
	}{
		{"RFC 2831 §2.1.1 a user name beyond ISO 8859-1 without UTF-8", good, "user name", DigestMD5("用户", "hunter2")},
		{"RFC 2831 §2.1.1 a password beyond ISO 8859-1 without UTF-8", good, "password", DigestMD5("u", "hunter2密")},
		{"a realm beyond ISO 8859-1 without UTF-8", good, "realm", Digest{Realm: "密"}.Mechanism("u", "hunter2")},
		{"RFC 2831 §2.1.2 a realm that is none of the server's", good + `,realm="a"`, `"b" is none of the server's: it has ["a"]`, Digest{Realm: "b"}.Mechanism("u", "hunter2")},
		{"RFC 2831 §2.1.2 a response of 4096 octets", good, "4096", DigestMD5(strings.Repeat("u", 4096), "hunter2")},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			a, _, err := tt.mechanism.Start(t.Context(), &core.Peer{})
			if err != nil {
				t.Fatal(err)
			}
			response, err := a.Next(t.Context(), []byte(tt.challenge))
			if response != nil || err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %q, %v, want an error with %q", response, err, tt.says)
			}
			if errors.Is(err, core.ErrProtocol) {
				t.Errorf("%v is not the server's fault", err)
			}
		})
	}
}

func TestDigestMD5_dialogue(t *testing.T) {
	in := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	challenge := "S: 334 " + in(`realm="r",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8`) + "\n"
	respond := func(hash string) string {
		return "C: " + in(`charset=utf-8,username="josé",realm="r",nonce="OA6MG9tEQGm2hh",nc=00000001,cnonce="OA6MHXh6VqTrRk",`+
			`digest-uri="smtp/server.example",response=`+hash+`,qop=auth`) + "\n"
	}
	response := respond("9c3b12048afa861ab3822c0e5b0e46eb")
	again := "C: AUTH DIGEST-MD5\n" + challenge + respond("3b0ec8b51f33cbcbb71b6de5c0205307") // UTF-8 is hashed
	const good = "rspauth=ad10d2eb8d06f0bad160b477c11e196f"
	for _, tt := range []struct {
		rule, dialogue string
		kind           error
		class          core.Class // of the error, or zero
	}{
		{"RFC 4954 §4 rspauth is a challenge of its own, and answered with nothing", challenge + response + "S: 334 " + in(good) + "\nC:\nS: 235 ok", nil, 0},
		{"RFC 2831 §2.1.3 a wrong rspauth", challenge + response + "S: 334 " + in(strings.Replace(good, "ad", "da", 1)) + "\nC: *\nS: 501 ok", core.ErrProtocol, core.Permanent},
		{"RFC 2831 §2.1.3 no rspauth", challenge + response + "S: 334 " + in("nothing=x") + "\nC: *\nS: 501 ok", core.ErrProtocol, core.Temporary},
		{"RFC 2831 §2.1.3 two of them", challenge + response + "S: 334 " + in(good+","+good) + "\nC: *\nS: 501 ok", core.ErrProtocol, core.Temporary},
		{"RFC 2831 §2.1.3 an empty one", challenge + response + "S: 334\nC: *\nS: 501 ok", core.ErrProtocol, core.Temporary},
		{"success without rspauth closes the session", challenge + response + "S: 235 ok\nHANG", nil, core.Permanent},
		{"success without a challenge closes the session", "S: 235 ok\nHANG", nil, core.Permanent},
		{"a challenge too many", challenge + response + "S: 334 " + in(good) + "\nC:\nS: 334\nC: *\nS: 501 ok", core.ErrProtocol, core.Temporary},
		{"a malformed challenge is cancelled", "S: 334 " + in("hello") + "\nC: *\nS: 501 ok", core.ErrProtocol, core.Temporary},
		{"a server that hashes UTF-8, against RFC 2831 §2.1.2.1", challenge + response + "S: 535 no\n" + again + "S: 334 " + in("rspauth=f00a668cce162a14687f3f01d30822f9") + "\nC:\nS: 235 ok", nil, 0},
		{"a refusal of both", challenge + response + "S: 535 no\n" + again + "S: 535 no", core.ErrCredentials, core.Permanent},
		{"a temporary refusal", challenge + response + "S: 454 no", core.ErrAuthentication, core.Temporary},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			script := smtptest.NewScript(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH DIGEST-MD5\nC: AUTH DIGEST-MD5\n"+tt.dialogue, smtptest.Options{})
			s, err := core.Dial(t.Context(), script.Config())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			err = s.Auth(t.Context(), fixedDigest("smtp", "OA6MHXh6VqTrRk", DigestMD5("josé", "pässword")))
			if (err != nil) != (tt.class != 0) || err != nil && core.ClassOf(err) != tt.class || tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("got %v", err)
			}
			if strings.Contains(fmt.Sprint(err), "pässword") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestDigestMD5_check(t *testing.T) {
	for rule, m := range map[string]core.Mechanism{
		"no user name":                     DigestMD5("", "hunter2"),
		"no password":                      DigestMD5("u", ""),
		"a user name that is not UTF-8":    DigestMD5("\xff", "hunter2"),
		"a password that is not UTF-8":     DigestMD5("u", "hunter2\xff"),
		"a line end in the user name":      DigestMD5("u\r\n", "hunter2"),
		"a control character in the realm": Digest{Realm: "\x00"}.Mechanism("u", "hunter2"),
		"an identity that is not UTF-8":    Digest{Identity: "\xff"}.Mechanism("u", "hunter2"),
	} {
		a, _, err := m.Start(t.Context(), &core.Peer{})
		if a != nil || err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: started %v, %v", rule, a, err)
		}
	}
	if m := DigestMD5("u", "p"); !m.(core.SecretKeeper).KeepsSecret() {
		t.Error("it shows no secret")
	}
}

// RFC 2831 §2.1.2: the cnonce is another one each time, also for sessions that
// share the mechanism.
func TestDigestMD5_severalSessions(t *testing.T) {
	m := DigestMD5("u", "p")
	var mu sync.Mutex
	var running sync.WaitGroup
	seen := map[string]bool{}
	for range 8 {
		running.Go(func() {
			a, _, err := m.Start(context.Background(), &core.Peer{})
			if err != nil {
				t.Error(err)
				return
			}
			response, err := a.Next(context.Background(), []byte(`nonce="abc",algorithm=md5-sess`))
			values, unreadable := readDirectives(response)
			if err != nil || unreadable != nil || len(values["cnonce"]) != 1 || len(values["cnonce"][0]) < 16 {
				t.Errorf("%s, %v, %v", response, err, unreadable)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen[values["cnonce"][0]] = true
		})
	}
	running.Wait()
	if len(seen) != 8 {
		t.Errorf("%d different values of cnonce in 8 runs", len(seen))
	}
}

// E13.
func TestDigestMD5_isPrintedWithoutItsPassword_E13(t *testing.T) {
	m := DigestMD5("u", "hunter2")
	a, _, err := m.Start(t.Context(), &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{m, []core.Mechanism{m}, struct{ m core.Mechanism }{m}, core.Config{Auth: []core.Mechanism{m}}, a, struct{ a core.Authentication }{a}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "hunter2") || strings.Contains(strings.ToLower(got), "68756e74657232") {
				t.Errorf("%s of %T: %s", verb, v, got)
			}
		}
	}
	if got := fmt.Sprintf("%v %+v %#v", m, m, m); got != "DIGEST-MD5 DIGEST-MD5 DIGEST-MD5" {
		t.Error(got)
	}
}

// A challenge is read or refused, whatever it is, and one that is read has what
// the response needs.
func FuzzReadDigestChallenge(f *testing.F) {
	f.Add([]byte(`realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8`))
	f.Add([]byte(`nonce="\"\\",algorithm=md5-sess,x=" ,`))
	f.Fuzz(func(t *testing.T, challenge []byte) {
		c, err := readDigestChallenge(challenge)
		if (c == nil) == (err == nil) || c != nil && (c.nonce == "" || len(challenge) >= 2048) {
			t.Errorf("%q: %+v, %v", challenge, c, err)
		}
	})
}
