package dkim_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/dkim"
)

// by is a signature with the key that [lookup] has for the selector.
func by(domain, selector string) dkim.Signature {
	s := dkim.Signature{Domain: domain, Selector: selector, Signer: keys().ed}
	if n, ok := number(selector); ok {
		s.Signer = numbered(n)
	} else if selector == "r1" {
		s.Signer = keys().rsa
	}
	return s
}

var table = map[string][]dkim.Signature{
	"example.com":      {by("example.com", "r1"), by("example.com", "e1")},
	"News.Example.com": {by("news.example.com", "s1")},
	"bücher.example":   {by("xn--bcher-kva.example", "s2")},
	"example.org":      {by("example.org", "s3"), by("esp.example", "s9")},
	"example.net":      {by("mail.example.net", "s4"), by("esp.example", "s9")},
}

// signedAs returns what a message becomes.
func signedAs(t *testing.T, i core.Interceptor, content string) ([]byte, error) {
	t.Helper()
	body, err := signAlone(t, t.Context(), i, core.String(content))
	if err != nil {
		return nil, err
	}
	r, err := body.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	octets, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return octets, nil
}

// RFC 7489 §3.1: what counts is the domain of the From field.
func TestTheFromFieldChoosesTheSignatures(t *testing.T) {
	i := mustNew(t, dkim.Config{Domains: table})
	for _, tt := range []struct{ rule, header, want string }{
		{"the domain itself", "From: me@example.com\r\n", "r1@example.com e1@example.com"},
		{"a name beside the address", "From: \"me@example.org\" <me@example.com>\r\n", "r1@example.com e1@example.com"},
		{"a comment", "From: me@example.com (me@example.org)\r\n", "r1@example.com e1@example.com"},
		{"the case does not matter", "FROM: <me@EXAMPLE.Com>\r\n", "r1@example.com e1@example.com"},
		{"a field that is folded", "X: y\r\nFrom: Me\r\n\t<me@example.com>\r\nTo: you@example.org\r\n", "r1@example.com e1@example.com"},
		{"white space before the colon, RFC 5322 §4.5", "From : me@example.com\r\n", "r1@example.com e1@example.com"},
		{"a domain below one in the table", "From: me@a.b.example.com\r\n", "r1@example.com e1@example.com"},
		{"the nearest above counts", "From: me@a.news.example.com\r\n", "s1@news.example.com"},
		{"U-labels, RFC 6532", "From: me@Bücher.example\r\n", "s2@xn--bcher-kva.example"},
		{"A-labels", "From: me@xn--bcher-kva.example\r\n", "s2@xn--bcher-kva.example"},
		{"a name in an unknown charset", "From: =?x-mine?q?=ff?= <me@example.com>\r\n", "r1@example.com e1@example.com"},
		{"a second domain's signature beside it", "From: me@example.org\r\n", "s3@example.org s9@esp.example"},
		{"one by a domain below, which is aligned too", "From: me@example.net\r\n", "s4@mail.example.net s9@esp.example"},
		{"authors of two domains", "From: me@news.example.com, you@example.com\r\nSender: me@example.org\r\n", "s1@news.example.com r1@example.com e1@example.com"},
		{"two authors of one domain", "From: me@example.com, you@Example.com\r\n", "r1@example.com e1@example.com"},
		{"two below the same one", "From: me@a.example.com, you@b.example.com\r\n", "r1@example.com e1@example.com"},
		{"a key that two domains share signs once", "From: me@example.org, you@example.net\r\n", "s3@example.org s9@esp.example s4@mail.example.net"},
		{"a group, RFC 6854", "From: us: me@example.com, you@news.example.com;\r\n", "r1@example.com e1@example.com s1@news.example.com"},
		{"no other field counts", "Sender: me@example.org\r\nResent-From: me@example.org\r\nX-From: me@example.org\r\nFrom: me@example.com\r\n", "r1@example.com e1@example.com"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got, err := signedAs(t, i, tt.header+"\r\nHello.\r\n")
			if err != nil {
				t.Fatal(err)
			}
			if got := signers(t, got); got != tt.want {
				t.Errorf("signed by %s, want %s", got, tt.want)
			}
		})
	}
}

func TestMessagesOfOtherDomains(t *testing.T) {
	const refused = "refused"
	house := []dkim.Signature{by("esp.example", "s9")}
	for _, tt := range []struct {
		rule   string
		config dkim.Config
		from   string
		want   string
		says   string
	}{
		{"are refused", dkim.Config{Domains: table}, "me@other.example", refused, "no signature for other.example"},
		{"also with Signatures for all", dkim.Config{Domains: table, Signatures: house}, "me@other.example", refused, "no signature for other.example"},
		{"a domain above one in the table is another", dkim.Config{Domains: map[string][]dkim.Signature{"news.example.com": {by("example.com", "s1")}}}, "me@example.com", refused, "example.com"},
		{"one that ends with the same letters is another", dkim.Config{Domains: table}, "me@notexample.com", refused, "notexample.com"},
		{"one of several authors is enough", dkim.Config{Domains: table}, "me@example.org, you@other.example", refused, "other.example"},
		{"no author", dkim.Config{Domains: table}, "undisclosed:;", refused, "no address"},
		{"an author that cannot be read, even if all are allowed", dkim.Config{Domains: table, AllowOtherDomains: true}, "me at example.org", refused, "cannot be read"},
		{"an address literal, even if all are allowed", dkim.Config{Domains: table, AllowOtherDomains: true}, "me@[192.0.2.1]", refused, "192.0.2.1"},
		{"a domain that has no ASCII form", dkim.Config{Domains: table, AllowOtherDomains: true}, "me@\u2488com.example", refused, "no ASCII form"},
		{"if they are allowed, they are not signed", dkim.Config{Domains: table, AllowOtherDomains: true}, "me@other.example", "", ""},
		{"or get what all get", dkim.Config{Domains: table, Signatures: house, AllowOtherDomains: true}, "me@other.example", "s9@esp.example", ""},
		{"as do those without an author", dkim.Config{Domains: table, Signatures: house, AllowOtherDomains: true}, "undisclosed:;", "s9@esp.example", ""},
		{"one of several authors is signed for", dkim.Config{Domains: table, AllowOtherDomains: true}, "me@news.example.com, you@other.example", "s1@news.example.com", ""},
		{"what all get stands behind what the domain gets", dkim.Config{Domains: table, Signatures: house}, "me@news.example.com", "s1@news.example.com s9@esp.example", ""},
		{"and is not made twice", dkim.Config{Domains: table, Signatures: house}, "me@example.org", "s3@example.org s9@esp.example", ""},
		{"without a table there are no others", dkim.Config{Signatures: house}, "me at other.example", "s9@esp.example", ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			content := "From: " + tt.from + "\r\n\r\nHello.\r\n"
			got, err := signedAs(t, mustNew(t, tt.config), content)
			if tt.want == refused {
				e, ok := errors.AsType[*core.Error](err)
				if !ok || e.Stage != core.StagePolicy || e.Class != core.Local || !strings.Contains(e.Error(), tt.says) {
					t.Errorf("got %v, want a local error of the stage policy that says %q", err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := signers(t, got); got != tt.want {
				t.Errorf("signed by %q, want %q", got, tt.want)
			}
			if tt.want == "" && string(got) != content {
				t.Errorf("a message that is not signed was changed: %q", got)
			}
		})
	}
}

func TestWhatGoesUnsigned(t *testing.T) {
	i := mustNew(t, dkim.Config{Domains: table, AllowOtherDomains: true})
	content := "From: me@other.example\r\n\r\n" + strings.Repeat("x", 2000) + "\n"
	t.Run("only its header is looked at, and nothing is changed", func(t *testing.T) {
		got, err := signedAs(t, i, content)
		if err != nil || string(got) != content {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("a body that can be read only once begins no transaction", func(t *testing.T) {
		s := &server{}
		client := newClient(t, s.listen(t), i)
		if _, err := client.Send(t.Context(), message(core.Reader(strings.NewReader(content)))); !errors.Is(err, core.ErrOneShot) {
			t.Error(err)
		}
		if _, mails := s.counts(); mails != 0 {
			t.Error("a transaction was begun")
		}
	})
}

func TestSelect(t *testing.T) {
	down := errors.New("the database is down")
	gone := &core.Error{Stage: core.StagePolicy, Class: core.Permanent, Err: errors.New("the customer has left")}
	i := mustNew(t, dkim.Config{Select: func(_ context.Context, domain string) ([]dkim.Signature, error) {
		switch domain {
		case "example.com":
			return []dkim.Signature{by("example.com", "s1")}, nil
		case "xn--bcher-kva.example":
			return []dkim.Signature{by("esp.example", "s9")}, nil // as it is, aligned or not
		case "down.example":
			return nil, down
		case "gone.example":
			return nil, gone
		case "wrong.example":
			return []dkim.Signature{by("wrong.example", "")}, nil
		case "twice.example":
			return []dkim.Signature{by("twice.example", "s1"), by("twice.example", "s1")}, nil
		case "one-selector.example":
			source := func(key dkim.Key) dkim.Signature {
				return dkim.Signature{Domain: domain, Key: func(context.Context) (dkim.Key, error) { return key, nil }}
			}
			return []dkim.Signature{source(dkim.Key{Selector: "s1", Signer: numbered(1)}), source(dkim.Key{Selector: "S1", Signer: numbered(2)})}, nil
		case "broken.example":
			panic(down)
		}
		return nil, nil
	}})
	for _, tt := range []struct {
		rule, from, want string
		class            core.Class
		is               error
		says             string
	}{
		{"it gets the domain in lower case", "me@EXAMPLE.com", "s1@example.com", 0, nil, ""},
		{"and in A-labels", "me@Bücher.example", "s9@esp.example", 0, nil, ""},
		{"the domains above are its own business", "me@news.example.com", "", core.Local, nil, "news.example.com"},
		{"its error is temporary", "me@down.example", "", core.Temporary, down, "down.example"},
		{"an error of the core's type says itself what it is", "me@gone.example", "", core.Permanent, gone, "gone.example"},
		{"a signature that cannot be made is found out", "me@wrong.example", "", core.Local, nil, "result[0].Selector is empty"},
		{"two for one record", "me@twice.example", "", core.Local, nil, "signed for already"},
		{"two sources for one record", "me@one-selector.example", "", core.Local, nil, "two keys are to sign for s1._domainkey.one-selector.example"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got, err := signedAs(t, i, "From: "+tt.from+"\r\n\r\nHello.\r\n")
			if tt.want != "" {
				if err != nil || signers(t, got) != tt.want {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Class != tt.class || !strings.Contains(err.Error(), tt.says) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("got %v, want a %v error that says %q", err, tt.class, tt.says)
			}
		})
	}
	t.Run("a panic is contained, and local", func(t *testing.T) {
		s := &server{}
		client := newClient(t, s.listen(t), i)
		_, err := client.Send(t.Context(), message(core.String("From: me@broken.example\r\n\r\n")))
		if _, ok := errors.AsType[*core.PanicError](err); !ok {
			t.Errorf("got %v", err)
		}
		if _, err := client.Send(t.Context(), message(core.String("From: me@example.com\r\n\r\n"))); err != nil {
			t.Error(err)
		}
		if sessions, mails := s.counts(); sessions != 1 || mails != 1 {
			t.Errorf("there were %d sessions and %d transactions, want one", sessions, mails)
		}
	})
}

func TestWhatNewRefusesOfDomains(t *testing.T) {
	none := func(context.Context, string) ([]dkim.Signature, error) { return nil, nil }
	one := func(name string, list ...dkim.Signature) dkim.Config {
		return dkim.Config{Domains: map[string][]dkim.Signature{name: list}}
	}
	for _, tt := range []struct {
		rule   string
		config dkim.Config
		says   string
	}{
		{"an empty table", dkim.Config{Domains: map[string][]dkim.Signature{}}, "Signatures is empty"},
		{"a table and a function", dkim.Config{Domains: table, Select: none}, "Select are both set"},
		{"a name that is no domain", one("me@example.com", by("example.com", "s1")), `Config.Domains["me@example.com"]`},
		{"no name", one("", by("example.com", "s1")), "is empty"},
		{"two names of one domain", dkim.Config{Domains: map[string][]dkim.Signature{
			"bücher.example": {by("xn--bcher-kva.example", "s1")}, "XN--bcher-kva.example": {by("xn--bcher-kva.example", "s1")}}}, "twice"},
		{"no signature", one("example.com"), "no signature"},
		{"only one that DMARC does not count, RFC 7489 §3.1.1", one("example.com", by("example.org", "s1")), "DMARC"},
		{"a signature that cannot be made", one("example.com", by("example.com", "")), `Config.Domains["example.com"][0].Selector is empty`},
		{"two signatures for one record", one("example.com", by("example.com", "s1"), by("example.com", "s1")), "signed for already"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			_, err := dkim.New(tt.config)
			refused(t, err, tt.says)
		})
	}
}
