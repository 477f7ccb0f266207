package ntlm_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms/ntlm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// negotiate is the NEGOTIATE_MESSAGE (MS-NLMP §2.2.1.1) without names, in
// base64.
const negotiate = "TlRMTVNTUAABAAAAAYKIoAAAAAAoAAAAAAAAACgAAAAGAbEdAAAADw=="

// answer has the mechanism answer one challenge.
func answer(t testing.TB, m core.Mechanism, challenge []byte) (authenticate, error) {
	t.Helper()
	run, _, err := m.Start(t.Context(), &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	response, err := run.Next(t.Context(), challenge)
	if err != nil {
		return authenticate{}, err
	}
	if err := run.Done(t.Context()); err != nil {
		t.Error("after its answer:", err)
	}
	if response, err := run.Next(t.Context(), challenge); err == nil {
		t.Errorf("a second challenge was answered with %q", response)
	}
	a, err := parseAuthenticate(response)
	if err != nil {
		t.Fatal(err)
	}
	return a, nil
}

func TestNTLM_namesAndProof(t *testing.T) {
	now := binary.LittleEndian.AppendUint64(nil, 0x01d9_0000_1234_5678)
	withTime := append(pair(7, now), targetInfo()...)
	for _, tt := range []struct {
		rule                      string
		mechanism                 core.Mechanism
		challenge                 []byte
		user, domain, workstation string
		time                      []byte
		lm                        int
	}{
		{`DOMAIN\user names the domain (MS-NLMP §4.2.4)`, ntlm.New(`Domain\User`, "Password"), challenge(t, usualFlags, targetInfo()), "User", "Domain", "", nil, 0},
		{"user@domain is the user's name as it is, and the server knows its domain", ntlm.New("User@example.com", "Password"), challenge(t, usualFlags, targetInfo()), "User@example.com", "", "", nil, 0},
		{"a name alone is the server's own", ntlm.New("User", "Password"), challenge(t, usualFlags, targetInfo()), "User", "", "", nil, 0},
		{"names are UTF-16, and the user's counts in capitals", ntlm.New(`Bücher\bärbel😀`, "Password"), challenge(t, usualFlags, targetInfo()), "bärbel😀", "Bücher", "", nil, 0},
		{"a workstation", ntlm.NewAt("COMPUTER", `Domain\User`, "Password"), challenge(t, usualFlags, targetInfo()), "User", "Domain", "COMPUTER", nil, 0},
		{"the server's time is used, if it tells it (MS-NLMP §3.1.5.1.2)", ntlm.New(`Domain\User`, "Password"), challenge(t, usualFlags, withTime), "User", "Domain", "", now, 0},
		{"without target information there is an LMv2 response too", ntlm.New(`Domain\User`, "Password"), challenge(t, flagUnicode|flagNTLM, nil), "User", "Domain", "", nil, 24},
		{"NTLMv2 even where the server asks for no more than NTLM", ntlm.New(`Domain\User`, "Password"), challenge(t, flagUnicode, targetInfo()), "User", "Domain", "", nil, 0},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if got := tt.mechanism.Name(); got != "NTLM" {
				t.Errorf("the name is %q", got)
			}
			var challenges [][]byte
			for range 2 { // it can be used again
				a, err := answer(t, tt.mechanism, tt.challenge)
				if err != nil {
					t.Fatal(err)
				}
				if a.user != tt.user || a.domain != tt.domain || a.workstation != tt.workstation || len(a.lm) != tt.lm {
					t.Errorf("got %+v", a)
				}
				if err := a.verify(t); err != nil {
					t.Error(err)
				}
				challenges = append(challenges, a.nt[16+16:16+24])
				checkBlob(t, a.nt[16:], tt.time, tt.challenge)
			}
			if bytes.Equal(challenges[0], challenges[1]) {
				t.Error("the client's challenge is the same twice")
			}
		})
	}
}

// checkBlob checks what the proof is made over, MS-NLMP §2.2.2.7.
func checkBlob(t *testing.T, blob, wantTime, challenge []byte) {
	t.Helper()
	ticks, client, info := blob[8:16], blob[16:24], challenge[48+len(unicode("Server")):]
	if !bytes.Equal(blob, temp(ticks, client, info)) {
		t.Errorf("the blob is %x", blob)
	}
	// Since 1601, in units of 100 ns.
	at := time.Unix(0, 0).Add(time.Duration(binary.LittleEndian.Uint64(ticks)-116444736000000000) * 100)
	if wantTime == nil && time.Since(at).Abs() > time.Hour {
		t.Errorf("the time is %v", at)
	}
	if wantTime != nil && !bytes.Equal(ticks, wantTime) {
		t.Errorf("the time is %x, want the server's %x", ticks, wantTime)
	}
}

func TestNTLM_refusesChallenges(t *testing.T) {
	whole := challenge(t, usualFlags, targetInfo())
	outside := bytes.Clone(whole)
	copy(outside[40:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	for _, tt := range []struct {
		rule      string
		challenge []byte
	}{
		{"an empty one", nil},
		{"one that is cut off", whole[:47]},
		{"one without the signature", append([]byte("X"), whole[1:]...)},
		{"one of the client's own messages", append([]byte("NTLMSSP\x00\x01"), whole[9:]...)},
		{"target information outside of it", outside},
		{"target information that does not end", challenge(t, usualFlags, pair(1, unicode("Server")))},
		{"target information that is cut off", challenge(t, usualFlags, pair(1, unicode("Server"))[:8])},
		{"a huge one", challenge(t, usualFlags, bytes.Repeat(pair(1, unicode("Server")), 1000))},
		{"names that are not UTF-16, of which only that was offered", challenge(t, usualFlags&^flagUnicode, targetInfo())},
		{"keys of LM: NTLMv1 was not offered", challenge(t, usualFlags|flagLMKey, targetInfo())},
		{"an exchange of keys, which was not offered", challenge(t, usualFlags|flagKeyExch, targetInfo())},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			_, err := answer(t, ntlm.New(`Domain\User`, "Password"), tt.challenge)
			if !errors.Is(err, core.ErrProtocol) || core.ClassOf(err) != core.Temporary {
				t.Errorf("got %v", err)
			}
			if strings.Contains(fmt.Sprint(err), "Password") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

// FuzzChallenge: whatever the server sends, the answer is an error of the kind
// core.ErrProtocol, or a message that verifies.
func FuzzChallenge(f *testing.F) {
	f.Add(challenge(f, usualFlags, targetInfo()))
	f.Add(challenge(f, usualFlags|flagVersion|flagSign, append(pair(7, make([]byte, 8)), targetInfo()...)))
	f.Add(challenge(f, flagUnicode, nil))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, c []byte) {
		a, err := answer(t, ntlm.New(`Domain\User`, "Password"), c)
		if err != nil {
			if !errors.Is(err, core.ErrProtocol) {
				t.Error(err)
			}
			return
		}
		key := ntowfv2(t, "User", "Domain")
		if !bytes.Equal(a.nt[:16], hmacMD5(key, c[24:32], a.nt[16:])) {
			t.Error("the NTProofStr is wrong")
		}
	})
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		rule                        string
		workstation, user, password string
		says                        string // empty if it is good
	}{
		{"all there", "PC", `Domain\User`, "hunter2", ""},
		{"no user", "", "", "hunter2", "empty"},
		{"no user in the domain", "", `Domain\`, "hunter2", "empty"},
		{"no password", "", "User", "", "empty"},
		{"a user that is not UTF-8", "", "Us\xffer", "hunter2", "user name"},
		{"a password that is not UTF-8", "", "User", "hunter2\xff", "password"},
		{"a user of more than 4096 octets", "", strings.Repeat("u", 4097), "hunter2", "user name"},
		{"a workstation of more than 4096 octets", strings.Repeat("w", 4097), "User", "hunter2", "workstation"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := ntlm.NewAt(tt.workstation, tt.user, tt.password)
			err := m.(core.Checker).Check()
			_, _, startErr := m.Start(t.Context(), &core.Peer{})
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) || fmt.Sprint(err) != fmt.Sprint(startErr) {
				t.Errorf("got %v, and from Start %v", err, startErr)
			}
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

// E13: whatever prints a mechanism does not print the password.
func TestNTLM_isPrintedWithoutItsPassword_E13(t *testing.T) {
	m := ntlm.NewAt("PC", `Domain\User`, "hunter2")
	run, _, err := m.Start(t.Context(), &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"a mechanism": m, "a list": []core.Mechanism{m}, "a struct": struct{ m core.Mechanism }{m},
		"a Config": core.Config{Auth: []core.Mechanism{m}}, "a run": run, "a struct with a run": struct{ a core.Authentication }{run},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "hunter2") || strings.Contains(got, "68756e74657232") {
				t.Errorf("%s with %s: %s", name, verb, got)
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, m); got != "NTLM" {
			t.Errorf("%s prints %q, want the name", verb, got)
		}
	}
}

// session returns a session with a server that plays the dialogue.
func session(t *testing.T, options smtptest.Options, dialogue string) *core.Session {
	t.Helper()
	config := smtptest.NewScript(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH NTLM\n"+dialogue, options).Config()
	config.TLSPolicy = core.TLSOff
	s, err := core.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNTLM_overSMTP(t *testing.T) {
	c := base64.StdEncoding.EncodeToString(challenge(t, usualFlags, targetInfo()))
	m := ntlm.New(`Domain\User`, "Password")
	for _, tt := range []struct{ rule, dialogue, says string }{
		{"MS-SMTPNTLM §3.1.5.3: NEGOTIATE goes with AUTH, AUTHENTICATE answers the challenge",
			"S: 334 " + c + "\nC/ TlRMTVNTUAADAAAA.+\nS: 235 ok", ""},
		{"a wrong password is the server's word",
			"S: 334 " + c + "\nC/ TlRMTVNTUAADAAAA.+\nS: 535 5.7.3 no", core.ErrCredentials.Error()},
		{"a challenge that is none cancels",
			"S: 334 aGVsbG8=\nC: *\nS: 501 ok", core.ErrProtocol.Error()},
		{"another challenge cancels",
			"S: 334 " + c + "\nC/ TlRMTVNTUAADAAAA.+\nS: 334 " + c + "\nC: *\nS: 501 ok", "unexpected challenge"},
		{"a server that asks for nothing is not believed",
			"S: 235 welcome", "the server sent no challenge"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			err := session(t, smtptest.Options{}, "C: AUTH NTLM "+negotiate+"\n"+tt.dialogue).Auth(t.Context(), m)
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Error(err)
			}
		})
	}
}

// NTLM is bound to nothing: where others could listen it is refused, and
// nothing of it is written.
func TestNTLM_isNotUsedInClearText(t *testing.T) {
	s := session(t, smtptest.Options{Remote: true}, "")
	if err := s.Auth(t.Context(), ntlm.New("User", "Password")); !errors.Is(err, core.ErrTLSRequired) {
		t.Errorf("got %v", err)
	}
}

// A working server, many sessions at once, and one mechanism for all of them.
func TestNTLM_manySessions(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{
		StartTLS: true,
		Mechanisms: map[string]smtptest.AuthFunc{"NTLM": func(responses [][]byte) smtptest.AuthStep {
			if len(responses) == 1 {
				return smtptest.AuthStep{Challenge: challenge(t, usualFlags, targetInfo())}
			}
			a, err := parseAuthenticate(responses[1])
			if err == nil {
				err = a.verify(t)
			}
			if err != nil {
				return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.3 " + err.Error())}
			}
			return smtptest.AuthStep{User: a.domain + `\` + a.user}
		}},
	})
	m := ntlm.New(`Domain\User`, "Password")
	var sessions sync.WaitGroup
	for range 8 {
		sessions.Go(func() {
			s, err := core.Dial(t.Context(), server.Config())
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := errors.Join(s.Hello(t.Context()), s.StartTLS(t.Context()), s.Auth(t.Context(), m)); err != nil {
				t.Error(err)
			}
		})
	}
	sessions.Wait()
	wrong := server.Config()
	wrong.Auth = []core.Mechanism{ntlm.New(`Domain\User`, "another")}
	client, err := core.NewClient(wrong)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.Send(t.Context(), &core.Message{From: "a@example.com", To: core.Recipients("b@example.net"), Body: core.String("x\r\n")})
	if !errors.Is(err, core.ErrCredentials) {
		t.Errorf("with a wrong password: %v", err)
	}
}
