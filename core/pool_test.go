package core_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func TestSend_keepsTheSession(t *testing.T) {
	t.Run("a second message says no second EHLO", func(t *testing.T) {
		c := newClient(t, pipelining+envelope+goOn+sent+envelope+goOn+sent+bye, smtptest.Options{})
		for range 2 {
			if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("R3 RSET goes in front of the MAIL after a refused one, in the same write", func(t *testing.T) {
		c := newClient(t, pipelining+envelope+"S: 550 no\nS: 503 no\nS: 503 no\n"+`
			C: RSET
			C| MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			`+goOn+sent+bye, smtptest.Options{})
		if _, err := c.Send(t.Context(), message("b@example.com")); err == nil {
			t.Fatal("the refusal was lost")
		}
		if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
			t.Fatal(err)
		}
	})
	for _, dead := range []string{"CLOSE", "S: 421 4.4.2 idle for too long\nCLOSE"} {
		t.Run("J4 a kept session that turns out dead costs nobody a retry: "+dead, func(t *testing.T) {
			c := newClient(t, pipelining+envelope+goOn+sent+envelope+dead+"\n---\n"+pipelining+envelope+goOn+sent+bye, smtptest.Options{})
			for range 2 {
				receipt, err := c.Send(t.Context(), message("b@example.com"))
				if err != nil {
					t.Fatal(outcomes(receipt), err)
				}
			}
		})
	}
	t.Run("B13 octets that wait on a kept session condemn it", func(t *testing.T) {
		c := newClient(t, pipelining+envelope+goOn+sent+"S: 250 and another thing\nHANG\n---\n"+pipelining+envelope+goOn+sent+bye, smtptest.Options{OverTCP: true})
		for range 2 {
			if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("a one-shot body survives a kept session that was dead", func(t *testing.T) {
		c := newClient(t, pipelining+envelope+goOn+sent+envelope+"CLOSE\n---\n"+pipelining+envelope+goOn+sent+bye, smtptest.Options{})
		for range 2 {
			m := message("b@example.com")
			m.Body = core.Reader(strings.NewReader("hi\n"))
			if _, err := c.Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("a new session that dies is not tried again", func(t *testing.T) {
		c := newClient(t, pipelining+envelope+"CLOSE", smtptest.Options{})
		receipt, err := c.Send(t.Context(), message("b@example.com"))
		if got := outcomes(receipt); got != "deferred" || err == nil {
			t.Error(got, err)
		}
	})
}

func TestSend_aSessionThatHasRestedIsNotTrustedWithContent(t *testing.T) {
	const inline = envelopeOnly + "C| BDAT 4 LAST\nC| hi\n" + twoOK + "S: 250 ok\n"
	for rule, then := range map[string]string{
		"the envelope goes ahead":                         envelopeOnly + twoOK + "C: BDAT 4 LAST\nC| hi\nS: 250 ok\n" + inline + bye,
		"J4 one that was dropped meanwhile is replaced":   envelopeOnly + "CLOSE\n---\n" + chunking + inline + inline + bye,
		"J4 and so is one that says goodbye in its place": envelopeOnly + "S: 421 4.4.2 too long\nHANG\n---\n" + chunking + inline + inline + bye,
	} {
		t.Run(rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, chunking+inline+then, smtptest.Options{})
				for _, rest := range []time.Duration{2 * time.Second, time.Millisecond, 0} {
					if receipt, err := c.Send(t.Context(), message("b@example.com")); err != nil || receipt.Attempts != 1 {
						t.Errorf("%s: %v", outcomes(receipt), err)
					}
					<-time.After(rest)
				}
			})
		})
	}
}

func TestPool_aDeadKeptSessionIsReplacedAtOnceThoughOthersWait(t *testing.T) {
	for _, dead := range []string{"CLOSE", "S: 421 4.4.2 idle for too long\nHANG"} {
		t.Run(dead, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				whole := func(i int) string {
					return oneWrite(data(i)) + stillness + goOn + oneWrite(theEnd) + "S: 250 ok\n"
				}
				c := newClient(t, pipelining+whole(0)+oneWrite(data(1))+stillness+dead+"\n---\n"+pipelining+whole(1)+whole(2)+whole(3)+bye, smtptest.Options{}, shared(1, 1))
				begin(t, c, numbered(0)).is(t, 0, "accepted 250")
				start := time.Now()
				s := []*sending{begin(t, c, numbered(1)), begin(t, c, numbered(2)), begin(t, c, numbered(3))}
				for i := range s {
					s[i].is(t, i+1, "accepted 250")
					if took, want := time.Since(start), time.Duration(i+2)*time.Second; took != want {
						t.Errorf("message %d took %v, want %v", i+1, took, want)
					}
				}
			})
		})
	}
}

// expired is a mechanism whose credential has expired when the server accepts
// it.
type expired struct{ twoSteps }

func (e expired) Start(ctx context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	a, _, err := e.twoSteps.Start(ctx, peer)
	return expiredRun{a}, []byte{}, err
}

type expiredRun struct{ core.Authentication }

func (expiredRun) Expires() time.Time { return time.Unix(1, 0) }

func TestPool_aSessionThatIsOutdatedWhenItIsNewIsForOneMessage(t *testing.T) {
	for rule, change := range map[string]func(*core.Config){
		"by its credential": func(c *core.Config) { c.Auth = []core.Mechanism{expired{}} },
		"by its age":        func(c *core.Config) { c.MaxSessionAge, c.Auth = 1, []core.Mechanism{twoSteps{}} },
	} {
		t.Run(rule, func(t *testing.T) {
			auth := "C: AUTH X-TWO =\n"
			if rule == "by its age" {
				auth = "C: AUTH X-TWO\nS: 334\nC: eQ==\n"
			}
			session := "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250-PIPELINING\nS: 250 AUTH X-TWO\n" + auth + "S: 235 ok\n"
			c := newClient(t, session+envelope+goOn+sent+bye+"---\n"+session+envelope+goOn+sent+bye, smtptest.Options{}, change)
			for range 2 {
				if receipt, err := c.Send(t.Context(), message("b@example.com")); err != nil {
					t.Fatal(outcomes(receipt), err)
				}
			}
		})
	}
}
