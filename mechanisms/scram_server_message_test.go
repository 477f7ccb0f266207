package mechanisms_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// The exchange of RFC 7677 §3, as far as the proof.
const (
	vectorNonce = "rOprNGfwEbeRWgbNEkqO"
	vectorFirst = "C: AUTH SCRAM-SHA-256 {n,,n=user,r=" + vectorNonce + "}\n"
	vectorSalt  = "s=W22ZaJ0SNY7soEsUEjb6gQ=="
	vectorProof = vectorFirst + "S: 334 {r=" + vectorNonce + "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0," + vectorSalt + ",i=4096}\n" +
		"C: {c=biws,r=" + vectorNonce + "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=}\n"
	vectorSignature = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

// E9, hostile servers: each line is cancelled, with nothing computed, and the
// error says why.
func TestSCRAM_hostileServers_E9(t *testing.T) {
	const cancelled = "\nC: *\nS: 501 cancelled"
	challenge := func(message string) string { return vectorFirst + "S: 334 {" + message + "}" + cancelled }
	final := func(message string) string { return vectorProof + "S: 334 {" + message + "}" + cancelled }
	for _, tt := range []struct {
		rule     string
		dialogue string
		class    core.Class
		kind     error
		says     string
		over     bool // the session cannot be used further
	}{
		{"E9 a nonce that does not begin with the client's (RFC 5802 §5.1)", challenge("r=X" + vectorNonce + "x," + vectorSalt + ",i=4096"), core.Temporary, core.ErrProtocol, "nonce", false},
		{"E9 a nonce that is the client's and no more", challenge("r=" + vectorNonce + "," + vectorSalt + ",i=4096"), core.Temporary, core.ErrProtocol, "nonce", false},
		{"E9 a nonce that cannot be printed (RFC 5802 §7)", challenge("r=" + vectorNonce + "\x7f," + vectorSalt + ",i=4096"), core.Temporary, core.ErrProtocol, "nonce", false},
		{"E9 one iteration (RFC 7677 §4)", challenge("r=" + vectorNonce + "x," + vectorSalt + ",i=1"), core.Permanent, nil, "asks for 1 iterations, not for 4096 to 1000000", false},
		{"E9 4095 iterations (RFC 7677 §4)", challenge("r=" + vectorNonce + "x," + vectorSalt + ",i=4095"), core.Permanent, nil, "4095 iterations", false},
		{"E9 a million iterations and one", challenge("r=" + vectorNonce + "x," + vectorSalt + ",i=1000001"), core.Permanent, nil, "1000001 iterations", false},
		{"E9 a billion iterations", challenge("r=" + vectorNonce + "x," + vectorSalt + ",i=1000000000"), core.Permanent, nil, "1000000000 iterations", false},
		{"E9 4294967295 iterations", challenge("r=" + vectorNonce + "x," + vectorSalt + ",i=4294967295"), core.Permanent, nil, "4294967295 iterations", false},
		{"E9 more iterations than 64 bits count", challenge("r=" + vectorNonce + "x," + vectorSalt + ",i=99999999999999999999999"), core.Permanent, nil, "iterations", false},
		{"E9 no iteration (RFC 5802 §7)", challenge("r=" + vectorNonce + "x," + vectorSalt + ",i=0"), core.Temporary, core.ErrProtocol, "iterations", false},
		{"E9 a negative number of them", challenge("r=" + vectorNonce + "x," + vectorSalt + ",i=-4096"), core.Temporary, core.ErrProtocol, "iterations", false},
		{"E9 a number with a sign", challenge("r=" + vectorNonce + "x," + vectorSalt + ",i=+4096"), core.Temporary, core.ErrProtocol, "iterations", false},
		{"E9 a number in hexadecimal", challenge("r=" + vectorNonce + "x," + vectorSalt + ",i=0x1000"), core.Temporary, core.ErrProtocol, "iterations", false},
		{"E9 a number with something behind it", challenge("r=" + vectorNonce + "x," + vectorSalt + ",i=4096 "), core.Temporary, core.ErrProtocol, "iterations", false},
		{"E9 an empty salt (RFC 5802 §7)", challenge("r=" + vectorNonce + "x,s=,i=4096"), core.Temporary, core.ErrProtocol, "no attribute with a value", false},
		{"E9 a salt that is not base64", challenge("r=" + vectorNonce + "x,s=W22Z*,i=4096"), core.Temporary, core.ErrProtocol, "salt", false},
		{"E9 a salt with a line end in it", challenge("r=" + vectorNonce + "x,s=W22Z\r\nW22Z,i=4096"), core.Temporary, core.ErrProtocol, "salt", false},
		{"E9 m= in front (RFC 5802 §5.1)", challenge("m=x,r=" + vectorNonce + "x," + vectorSalt + ",i=4096"), core.Temporary, core.ErrProtocol, "extension", false},
		{"E9 m= behind", challenge("r=" + vectorNonce + "x," + vectorSalt + ",i=4096,m=x"), core.Temporary, core.ErrProtocol, "extension", false},
		{"E9 an attribute twice", challenge("r=" + vectorNonce + "x," + vectorSalt + ",i=4096,i=1"), core.Temporary, core.ErrProtocol, "twice", false},
		{"E9 attributes in another order (RFC 5802 §5)", challenge(vectorSalt + ",r=" + vectorNonce + "x,i=4096"), core.Temporary, core.ErrProtocol, "does not begin with", false},
		{"E9 no iterations", challenge("r=" + vectorNonce + "x," + vectorSalt), core.Temporary, core.ErrProtocol, "does not begin with", false},
		{"E9 an empty challenge", challenge(""), core.Temporary, core.ErrProtocol, "no attribute", false},
		{"E9 what is not UTF-8", challenge("r=" + vectorNonce + "x," + vectorSalt + ",i=4096,x=\xff"), core.Temporary, core.ErrProtocol, "UTF-8", false},
		{"E9 the signature before the proof", challenge(vectorSignature), core.Temporary, core.ErrProtocol, "does not begin with", false},
		{"E9 e= instead of the first message", challenge("e=unknown-user"), core.Permanent, core.ErrCredentials, `"unknown-user"`, false},

		{"E9 a wrong signature (RFC 5802 §5)", final("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), core.Permanent, core.ErrProtocol, "signature is wrong", false},
		{"E9 a signature that is too short", final("v=6rriTRBi"), core.Permanent, core.ErrProtocol, "signature is wrong", false},
		{"E9 a signature that is not base64", final("v=***"), core.Temporary, core.ErrProtocol, "signature is not base64", false},
		{"E9 an empty signature", final("v="), core.Temporary, core.ErrProtocol, "no attribute with a value", false},
		{"E9 m= with the signature", final(vectorSignature + ",m=x"), core.Temporary, core.ErrProtocol, "extension", false},
		{"E9 a second first message", final("r=" + vectorNonce + "x," + vectorSalt + ",i=4096"), core.Temporary, core.ErrProtocol, "no signature", false},
		{"E9 e=invalid-proof (RFC 5802 §7)", final("e=invalid-proof"), core.Permanent, core.ErrCredentials, `"invalid-proof"`, false},
		{"E9 e=channel-bindings-dont-match", final("e=channel-bindings-dont-match"), core.Permanent, core.ErrAuthentication, "somebody stands between", false},
		{"E9 e=no-resources", final("e=no-resources"), core.Temporary, core.ErrAuthentication, `"no-resources"`, false},
		{"E9 e= with a word of the server's own is quoted", final("e=\u202eevil\x1b[2J"), core.Permanent, core.ErrAuthentication, `"\u202eevil\x1b[2J"`, false},
		{"E9 and cut", final("e=" + strings.Repeat("x", 5000)), core.Permanent, core.ErrAuthentication, strings.Repeat("x", 64) + `"...`, false},
		{"E9 a challenge behind the signature", vectorProof + "S: 334 {" + vectorSignature + "}\nC:\nS: 334 {" + vectorSignature + "}" + cancelled, core.Temporary, core.ErrProtocol, "behind its signature", false},

		{"E9 success before the first message", vectorFirst + "S: 235 welcome\nHANG", core.Permanent, core.ErrProtocol, "without its signature", true},
		{"E9 trap 8: success before the signature", vectorProof + "S: 235 welcome\nHANG", core.Permanent, core.ErrProtocol, "without its signature", true},
		{"E9 success with the signature in its text", vectorProof + "S: 235 {" + vectorSignature + "}\nHANG", core.Permanent, core.ErrProtocol, "without its signature", true},
		{"a refusal without e= (RFC 5802 §5.1)", vectorProof + "S: 535 no", core.Permanent, core.ErrCredentials, "535", false},
		{"a refusal behind the signature", vectorProof + "S: 334 {" + vectorSignature + "}\nC:\nS: 454 later", core.Temporary, core.ErrAuthentication, "454", false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := mechanisms.WithNonce(mechanisms.SCRAMSHA256("user", "pencil"), vectorNonce)
			dialogue := "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH SCRAM-SHA-256\n" + inBase64(tt.dialogue)
			if !tt.over {
				dialogue += "\nC: NOOP\nS: 250 ok"
			}
			s, err := core.Dial(t.Context(), smtptest.NewScript(t, dialogue, smtptest.Options{}).Config())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			err = s.Auth(t.Context(), m)
			if err == nil || core.ClassOf(err) != tt.class || tt.kind != nil && !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v error %v, want a %v one of the kind %v with %q", core.ClassOf(err), err, tt.class, tt.kind, tt.says)
			}
			if tt.kind != core.ErrProtocol && errors.Is(err, core.ErrProtocol) {
				t.Errorf("error %v is no violation of the protocol", err)
			}
			if err := s.Noop(t.Context()); (err != nil) != tt.over {
				t.Errorf("Noop afterwards: %v", err)
			}
			if before := strings.HasPrefix(tt.dialogue, vectorProof); !before && mechanisms.KeysHeld(m) != 0 {
				t.Error("a key was derived")
			}
		})
	}
}

// RFC 5802 §5.1: unknown optional extensions are ignored.
func TestSCRAM_ignoresOptionalExtensions(t *testing.T) {
	m := mechanisms.WithNonce(mechanisms.SCRAMSHA256("user", "pencil"), "n")
	a, _, err := m.Start(t.Context(), &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	response, err := a.Next(t.Context(), []byte("r=nonce,"+vectorSalt+",i=4096,x=b=c,Y=\u00e9"))
	if err != nil || !strings.HasPrefix(string(response), "c=biws,r=nonce,p=") {
		t.Errorf("got %q, %v", response, err)
	}
	ok := vectorProof + "S: 334 {" + vectorSignature + ",x=y}\nC:\nS: 235 ok"
	if err := auth(t, mechanisms.WithNonce(mechanisms.SCRAMSHA256("user", "pencil"), vectorNonce), inBase64(ok)); err != nil {
		t.Error(err)
	}
}

// RFC 5802 §7: what the server says reaches the caller as a value.
func TestSCRAMError(t *testing.T) {
	for _, value := range []string{
		"invalid-encoding", "extensions-not-supported", "invalid-proof", "channel-bindings-dont-match", "server-does-support-channel-binding",
		"channel-binding-not-supported", "unsupported-channel-binding-type", "unknown-user", "invalid-username-encoding", "no-resources", "other-error",
	} {
		m := mechanisms.WithNonce(mechanisms.SCRAMSHA256("user", "pencil"), vectorNonce)
		err := auth(t, m, inBase64(vectorProof+"S: 334 {e="+value+"}\nC: *\nS: 501 cancelled"))
		e, ok := errors.AsType[*mechanisms.SCRAMError](err)
		if !ok || e.Value != value || !strings.Contains(err.Error(), value) {
			t.Errorf("error %v, want one with %s", err, value)
		}
		if credentials := value == "invalid-proof" || value == "unknown-user"; errors.Is(err, core.ErrCredentials) != credentials || !errors.Is(err, core.ErrAuthentication) {
			t.Errorf("error %v is of the wrong kind", err)
		}
	}
}

// A limit of one's own.
func TestSCRAM_limits(t *testing.T) {
	for _, tt := range []struct {
		config     mechanisms.SCRAM
		iterations string
		ok         bool
	}{
		{mechanisms.SCRAM{}, "4096", true},
		{mechanisms.SCRAM{MinIterations: 1000}, "1000", true},
		{mechanisms.SCRAM{MinIterations: 1000}, "999", false},
		{mechanisms.SCRAM{MaxIterations: 5000}, "5000", true},
		{mechanisms.SCRAM{MaxIterations: 5000}, "5001", false},
	} {
		a, _, err := mechanisms.WithNonce(tt.config.Mechanism("user", "pencil"), "n").Start(t.Context(), &core.Peer{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Next(t.Context(), []byte("r=nonce,"+vectorSalt+",i="+tt.iterations)); (err == nil) != tt.ok {
			t.Errorf("%+v and %s iterations: %v", tt.config, tt.iterations, err)
		}
	}
}

// Whatever a server says that does not know the password, it is not believed.
func FuzzSCRAM(f *testing.F) {
	f.Add([]byte("r=nonce,"+vectorSalt+",i=4096"), []byte(vectorSignature))
	f.Add([]byte("r=nonce,s=,i=,"), []byte("e=,"))
	f.Add([]byte(",=,m=\x00"), []byte("v==\r\n"))
	m := mechanisms.WithNonce(mechanisms.SCRAM{MinIterations: 1, MaxIterations: 2}.Mechanism("user", "pencil"), "n")
	f.Fuzz(func(t *testing.T, first, final []byte) {
		a, _, err := m.Start(t.Context(), &core.Peer{})
		if err != nil {
			t.Fatal(err)
		}
		for _, message := range [][]byte{first, final} {
			if response, err := a.Next(t.Context(), message); err != nil && response != nil {
				t.Errorf("%q is answered with %q and %v", message, response, err)
			}
		}
		if err := a.Done(t.Context()); !errors.Is(err, core.ErrProtocol) {
			t.Errorf("%q and %q are believed: %v", first, final, err)
		}
	})
}
