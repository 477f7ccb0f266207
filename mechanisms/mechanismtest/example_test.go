package mechanismtest_test

import (
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/mechanisms/mechanismtest"
)

// The test of a mechanism: its one dialogue that is known, and a server that
// knows its other side.
func Example() {
	verify := func(responses [][]byte) smtptest.AuthStep {
		if len(responses) == 1 { // AUTH, without an initial response
			return smtptest.AuthStep{Challenge: []byte("<1896.697170952@postoffice.reston.mci.net>")}
		}
		if string(responses[1]) != "tim b913a602c7eda7a495b4e6e7334d3890" {
			return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 wrong user or password")}
		}
		return smtptest.AuthStep{User: "tim"}
	}
	_ = func(t *testing.T) { // TestCRAMMD5
		mechanismtest.Run(t, mechanismtest.Config{
			New:     func(testing.TB) core.Mechanism { return mechanisms.CRAMMD5("tim", "tanstaaftanstaaf") },
			Server:  smtptest.ServerOptions{Mechanisms: map[string]smtptest.AuthFunc{"CRAM-MD5": verify}},
			Secrets: []string{"tanstaaftanstaaf"},
			Vectors: []mechanismtest.Vector{{
				Name: "RFC 2195 §2",
				Rounds: []mechanismtest.Round{{
					Challenge: []byte("<1896.697170952@postoffice.reston.mci.net>"),
					Response:  []byte("tim b913a602c7eda7a495b4e6e7334d3890"),
				}},
			}},
		})
	}
	// Output:
}
