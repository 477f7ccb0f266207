package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/interceptortest"
	"github.com/postrider/postrider/plugins/plugintest"
	"github.com/postrider/postrider/plugins/sdk"
)

func newPolicy(t testing.TB) *policy {
	return &policy{file: filepath.Join(t.TempDir(), "gone"), gone: make(map[string]bool)}
}

// The value, as it is.
func TestPolicy(t *testing.T) {
	p := newPolicy(t)
	m := &sdk.Message{To: []sdk.Recipient{{Address: "bob@example.net"}, {Address: "Sales@corp.example"}}}
	changes, err := p.Admit(t.Context(), m)
	if err != nil || changes.Redirect[1] != "carol@corp.example" || len(changes.Refuse) != 0 {
		t.Errorf("%+v, %v", changes, err)
	}
	for range 2 {
		p.Report(t.Context(), &sdk.Report{Results: []sdk.Result{
			{Address: "Bob@example.net", Outcome: core.Refused, Enhanced: core.EnhancedCode{5, 1, 1}},
			{Address: "full@example.net", Outcome: core.Deferred, Enhanced: core.EnhancedCode{4, 2, 2}},
		}})
	}
	changes, err = p.Admit(t.Context(), m)
	if err != nil || !errors.Is(changes.Refuse[0], errGone) || len(changes.Refuse) != 1 {
		t.Errorf("%+v, %v", changes, err)
	}
	if list, err := os.ReadFile(p.file); string(list) != "bob@example.net\n" {
		t.Errorf("%q, %v", list, err)
	}
}

// The value, through the wire protocol, by the rules for all interceptors. It is told
// no results: the servers there say that mailboxes do not exist, and it would refuse
// the next message to them.
func TestPolicy_keepsToTheRules(t *testing.T) {
	interceptortest.Run(t, interceptortest.Config{
		New: func(t testing.TB) core.Interceptor {
			p := newPolicy(t)
			return plugintest.Interceptor(t, sdk.AdmitFunc(p.Admit))
		},
		Expect: func(sent, received []byte) error {
			if string(received) != "X-Policy: corp-policy 1.0.0\r\n"+string(sent) {
				return errors.New("it is not what was sent, with a field in front")
			}
			return nil
		},
	})
}
