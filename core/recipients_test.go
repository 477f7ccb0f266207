package core_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func TestSend_limits_RFC9422(t *testing.T) {
	const hello = "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250-PIPELINING\nS: 250 LIMITS RCPTMAX=2 MAILMAX=2 X=0\n"
	const two = "C: MAIL FROM:<a@example.com>\nC| RCPT TO:<b@example.com>\nC| RCPT TO:<c@example.com>\nC| DATA\nS: 250 ok\n" + goOn + sent
	c := newClient(t, hello+two+strings.ReplaceAll(envelope, "b@", "d@")+goOn+sent+bye+"---\n"+hello+two+bye, smtptest.Options{})
	receipt, err := c.Send(t.Context(), message("b@example.com", "c@example.com", "d@example.com"))
	if err != nil || receipt.Attempts != 2 {
		t.Errorf("%d attempts: %v", receipt.Attempts, err)
	}
	if _, err := c.Send(t.Context(), message("b@example.com", "c@example.com")); err != nil {
		t.Error(err)
	}
}

func TestSend_manyRecipients_F12(t *testing.T) {
	// 5,000 recipients leave in groups that fit into the buffers between the
	// two sides: this server reads nothing until its replies are read.
	var dialogue strings.Builder
	dialogue.WriteString(pipelining)
	m := message()
	step := "C:"
	n := 0
	flush := func() {
		dialogue.WriteString(strings.Repeat("S: 250 ok\n", n))
		step, n = "C:", 0
	}
	add := func(line string) {
		fmt.Fprintf(&dialogue, "%s %s\n", step, line)
		if step, n = "C|", n+1; n == 100 {
			flush()
		}
	}
	add("MAIL FROM:<a@example.com>")
	for i := range 5000 {
		address := fmt.Sprintf("r%d@example.com", i)
		m.To = append(m.To, core.Recipient{Address: address})
		add("RCPT TO:<" + address + ">")
	}
	fmt.Fprintf(&dialogue, "%s DATA\n", step)
	flush()
	dialogue.WriteString("S: 354 go on\n" + sent + bye)
	c := newClient(t, dialogue.String(), smtptest.Options{})
	receipt, err := c.Send(t.Context(), m)
	if err != nil || receipt.Count(core.Accepted) != 5000 {
		t.Error(receipt.Count(core.Accepted), err)
	}
}

func TestSend_aParameterStandsWithItsCommand_trap23(t *testing.T) {
	c := newClient(t, "", smtptest.Options{})
	m := message("b@example.com")
	m.Params = []core.Param{core.NotifyNever()}
	_, err := c.Send(t.Context(), m)
	hasError(t, err, core.StageMail, core.Local, nil)
	m = message("b@example.com")
	m.To[0].Params = []core.Param{core.Priority(3)}
	_, err = c.Send(t.Context(), m)
	hasError(t, err, core.StageRcpt, core.Local, nil)
}

func TestSend_aParameterStandsOnce(t *testing.T) {
	c := newClient(t, "", smtptest.Options{})
	m := message("b@example.com")
	m.Params = []core.Param{core.ReturnFull(), core.ReturnHeaders()}
	_, err := c.Send(t.Context(), m)
	hasError(t, err, core.StageMail, core.Local, nil)
	m = message("b@example.com")
	m.To[0].Params = []core.Param{core.NotifyNever(), core.Notify(core.OnFailure)}
	_, err = c.Send(t.Context(), m)
	hasError(t, err, core.StageRcpt, core.Local, nil)
}

func TestSend_addressesThatHoldALineSeparatorAreRefused(t *testing.T) {
	c := newClient(t, "", smtptest.Options{})
	for _, address := range []string{"u@\u2028.example", "u\u0085@example.com", "a@-b.example", "a@b-.example", "a@b.-"} {
		_, err := c.Send(t.Context(), message(address))
		hasError(t, err, core.StageRcpt, core.Local, nil)
	}
}
