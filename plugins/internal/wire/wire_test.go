package wire_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/wire"
	mechanismv1 "github.com/postrider/postrider/plugins/proto/postrider/mechanism/v1"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
)

func TestFailure(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		err   error
		class core.Class
		hint  string
		text  string
		kind  error
	}{
		{"an error of nothing is local", errors.New("oh"), core.Local, "", "oh", nil},
		{"an end of the context is temporary", fmt.Errorf("asking: %w", context.DeadlineExceeded), core.Temporary, "", "asking: context deadline exceeded", nil},
		{"an error of core keeps what it says", &core.Error{Stage: core.StageAuth, Class: core.Permanent, Hint: "wait", Err: errors.New("oh")}, core.Permanent, "wait", "oh", nil},
		{"a kind is told", fmt.Errorf("%w: now", core.ErrTLSRequired), core.Local, "", "TLS is required: now", core.ErrTLSRequired},
		{"a kind alone is enough", core.ErrCredentials, core.Local, "", "the server does not accept the credentials", core.ErrCredentials},
		{"a violation by the server", fmt.Errorf("%w: oh", core.ErrProtocol), core.Temporary, "", "protocol violation by the server: oh", core.ErrProtocol},
		{"a long text is cut", errors.New(strings.Repeat("x", 5000)), core.Local, "", strings.Repeat("x", 1024) + "...", nil},
		{"what is not UTF-8 is replaced", errors.New("a\xffb"), core.Local, "", "a\uFFFDb", nil},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			travelled := &pluginv1.Failure{}
			travel(t, wire.Failure(tt.err), travelled)
			got := wire.Err(travelled)
			if got.Error() != tt.text || wire.Class(travelled) != tt.class || wire.Hint(travelled) != tt.hint || tt.kind != nil && !errors.Is(got, tt.kind) {
				t.Errorf("%v, %v, %q", wire.Class(travelled), got, wire.Hint(travelled))
			}
		})
	}
	if wire.Failure(nil) != nil || wire.Err(&pluginv1.Failure{}) != nil {
		t.Error("nothing is something")
	}
}

func TestRefusal(t *testing.T) {
	e := &core.Error{
		Stage: core.StageAuth, Class: core.Permanent, Hint: "look", Err: core.ErrCredentials,
		Reply: core.Reply{Code: 535, Enhanced: core.EnhancedCode{5, 7, 8}, Text: "5.7.8 no"},
	}
	travelled := &mechanismv1.Refusal{}
	travel(t, wire.Refusal(e), travelled)
	got := wire.CoreRefusal(travelled)
	if got.Error() != e.Error() || got.Class != e.Class || got.Reply != e.Reply || !errors.Is(got, core.ErrCredentials) || !errors.Is(got, core.ErrAuthentication) {
		t.Errorf("%v, want %v", got, e)
	}
}

func TestPeer_noMoreOfTheURLThanWhereItLeads(t *testing.T) {
	for from, to := range map[string]string{
		"smtps://ann:hunter2@mail.example.com:465/?servername=x": "smtps://mail.example.com:465",
		"smtp+unix:///run/secret/socket":                         "smtp+unix:",
		"%":                                                      "",
	} {
		if got := wire.Peer(&core.Peer{Endpoint: from}).GetEndpoint(); got != to {
			t.Errorf("%s: %s", from, got)
		}
	}
}

func TestCorePeer_aCertificateThatIsNone(t *testing.T) {
	if _, err := wire.CorePeer(&mechanismv1.Peer{Tls: &mechanismv1.TLS{Certificate: []byte("x")}}); err == nil {
		t.Error("it is taken")
	}
}

func TestReadDescription_refuses(t *testing.T) {
	mechanism := func(names ...string) (list []*pluginv1.MechanismDescription) {
		for _, name := range names {
			list = append(list, &pluginv1.MechanismDescription{Name: name})
		}
		return list
	}
	for says, d := range map[string]*pluginv1.DescribeResponse{
		"its name":                              {Mechanisms: mechanism("X")},
		"its version has 65":                    {Name: "a", Version: strings.Repeat("x", 65), Mechanisms: mechanism("X")},
		"its mechanism \"x\"":                   {Name: "a", Mechanisms: mechanism("x")},
		"two of its mechanisms":                 {Name: "a", Mechanisms: mechanism("X", "X")},
		"it has no mechanism, no signer":        {Name: "a"},
		"its transport \"SMTP\": use 1 to 64 l": {Name: "a", Transports: []*pluginv1.TransportDescription{{Scheme: "SMTP"}}},
		"its transport \"+a\"":                  {Name: "a", Transports: []*pluginv1.TransportDescription{{Scheme: "+a"}}},
		"two of its transports are named b":     {Name: "a", Transports: []*pluginv1.TransportDescription{{Scheme: "b"}, {Scheme: "b"}}},
		"its interceptor \"\"":                  {Name: "a", Interceptors: []*pluginv1.InterceptorDescription{{}}},
		"two of its interceptors are named b":   {Name: "a", Interceptors: []*pluginv1.InterceptorDescription{{Name: "b"}, {Name: "b"}}},
		"the public key of its signer k":        {Name: "a", Signers: []*pluginv1.SignerDescription{{Id: "k", PublicKey: []byte("x")}}},
		"its signer \"../k\": use 1 to 64 l":    {Name: "a", Signers: []*pluginv1.SignerDescription{{Id: "../k"}}},
	} {
		if _, err := wire.ReadDescription(d); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %s", err, says)
		}
	}
}

// What a plugin sends may be anything.
func FuzzReadDescription(f *testing.F) {
	f.Add([]byte("\x0a\x01a\x1a\x03\x0a\x01X"))
	f.Fuzz(func(t *testing.T, octets []byte) {
		var d pluginv1.DescribeResponse
		if proto.Unmarshal(octets, &d) != nil {
			return
		}
		if about, err := wire.ReadDescription(&d); err == nil && about.Same(about) != nil {
			t.Error("it is not what it is")
		}
	})
}

func travel(t *testing.T, from, to proto.Message) {
	t.Helper()
	octets, err := proto.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(octets, to); err != nil {
		t.Fatal(err)
	}
}
