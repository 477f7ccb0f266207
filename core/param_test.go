package core

import (
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/postrider/postrider/core/internal/wire"
)

func TestParam_check(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		param Param
		want  string // in the error; empty: none
	}{
		{"keyword and value (RFC 5321 §4.1.2)", Parameter("", "ENVID", "QQ314159"), ""},
		{"a keyword alone (RFC 5321 §4.1.2)", Parameter("", "SMTPUTF8", ""), ""},
		{"letters, digits and hyphens make a keyword", Parameter("", "x-9a", "y"), ""},
		{"a digit may begin a keyword", Parameter("", "8X", "y"), ""},
		{"all of esmtp-value (RFC 5321 §4.1.2)", Parameter("", "X", "!\"#$%&'()*+,-./09:;<>?@AZ[\\]^_`az{|}~"), ""},
		{"a number", numberParam("", "SIZE", 1000), ""},

		{"no keyword", Parameter("", "", "y"), "keyword"},
		{"a keyword that begins with a hyphen", Parameter("", "-X", "y"), "keyword"},
		{"a keyword with an underscore", Parameter("", "X_Y", "y"), "keyword"},
		{"a keyword with a space", Parameter("", "X SIZE", "y"), "keyword"},
		{"a keyword with =", Parameter("", "X=Y", "y"), "keyword"},
		{"a keyword with CRLF", Parameter("", "X\r\nQUIT", "y"), "keyword"},
		{"a keyword that is not ASCII", Parameter("", "\u212a", "y"), "keyword"},

		{"F17 a value with a space", Parameter("", "X", "y SIZE=1"), "0x20"},
		{"F17 a value with =", Parameter("", "X", "y=z"), "0x3d"},
		{"F17 a value with CR", Parameter("", "X", "y\rz"), "0x0d"},
		{"F17 a value with LF", Parameter("", "X", "y\nz"), "0x0a"},
		{"F17 a value with NUL", Parameter("", "X", "y\x00z"), "0x00"},
		{"F17 a value with DEL", Parameter("", "X", "y\x7fz"), "0x7f"},
		{"F17 a value in UTF-8 where SMTPUTF8 was not announced", Parameter("", "X", "ü"), "SMTPUTF8"},
		{"F17 a value that only narrows to CR LF", Parameter("", "X", "\u760d\u760a"), "SMTPUTF8"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			err := tt.param.check(&Extensions{})
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want an error with %q", err, tt.want)
			}
			if strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("the error has a control character: %q", err)
			}
		})
	}
}

func TestParam_valuesBeyondASCII_F17(t *testing.T) {
	e, _ := parseExtensions(announce("SMTPUTF8"))
	if err := Parameter("", "X", "bücher").check(&e); err != nil {
		t.Errorf("UTF-8 where SMTPUTF8 was announced: %v", err)
	}
	if err := Parameter("", "X", "b\xfccher").check(&e); err == nil {
		t.Error("what is not UTF-8 is accepted")
	}
}

// RFC 5321 §4.1.1.3: a client must not send parameters of an extension that the
// server did not announce.
func TestParam_isNeverSentUnannounced_F22(t *testing.T) {
	e, _ := parseExtensions(announce("dsn", "SIZE 1000"))
	for _, tt := range []struct {
		param Param
		sent  bool
	}{
		{Parameter("DSN", "RET", "HDRS"), true},
		{Parameter("dsn", "ENVID", "x"), true},
		{Parameter("", "X-ANY", "x"), true},
		{numberParam("SIZE", "SIZE", 1), true},
		{Parameter("REQUIRETLS", "REQUIRETLS", ""), false},
		{Parameter("MT-PRIORITY", "MT-PRIORITY", "3"), false},
		{Parameter("DELIVERBY", "BY", "60;R"), false},
		{Parameter("FUTURERELEASE", "HOLDFOR", "60"), false},
		{Parameter("BINARYMIME", "BODY", "BINARYMIME"), false},
		{Parameter("DS", "RET", "HDRS"), false},
	} {
		err := tt.param.check(&e)
		if (err == nil) != tt.sent {
			t.Errorf("%s: check = %v", tt.param, err)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrNotSupported) || !strings.Contains(err.Error(), tt.param.Extension()) {
			t.Errorf("%s: error %q is not of the kind ErrNotSupported or does not name the extension", tt.param, err)
		}
	}
}

func TestParam_isWrittenAsItPrints(t *testing.T) {
	for _, tt := range []struct {
		param          Param
		want           string
		keyword, value string
	}{
		{Parameter("DSN", "RET", "HDRS"), "RET=HDRS", "RET", "HDRS"},
		{Parameter("", "ret", "hdrs"), "ret=hdrs", "ret", "hdrs"},
		{Parameter("SMTPUTF8", "SMTPUTF8", ""), "SMTPUTF8", "SMTPUTF8", ""},
		{numberParam("SIZE", "SIZE", 123), "SIZE=123", "SIZE", "123"},
		{numberParam("SIZE", "SIZE", 0), "SIZE=0", "SIZE", "0"},
	} {
		var g wire.Group
		g.Verb("X")
		tt.param.write(&g)
		if err := g.End(); err != nil {
			t.Fatal(err)
		}
		if got := string(g.Bytes()); got != "X "+tt.want+"\r\n" {
			t.Errorf("written as %q, want %q", got, tt.want)
		}
		if got := tt.param.String(); got != tt.want {
			t.Errorf("printed as %q, want %q", got, tt.want)
		}
		if tt.param.Keyword() != tt.keyword || tt.param.Value() != tt.value {
			t.Errorf("Keyword is %q and Value %q, want %q and %q", tt.param.Keyword(), tt.param.Value(), tt.keyword, tt.value)
		}
	}
}
