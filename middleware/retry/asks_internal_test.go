package retry

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
)

func TestWhatServersSayAboutWhenToComeBack(t *testing.T) {
	for _, tt := range []struct {
		reply      string // code and text
		delay      time.Duration
		greylisted bool
	}{
		{"450 4.2.0 <a@example.net>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/example.net.html", 0, true},
		{"450 4.7.1 <a@example.net>: Recipient address rejected: Greylisted for 300 seconds (see http://isg.ee.ethz.ch/tools/postgrey/help/300/seconds)", 300 * time.Second, true},
		{"451 4.7.1 Greylisting in action, please come back in 00:05:00", 5 * time.Minute, true},
		{"451 4.7.1 Greylisting in action, please come back in 01:00:30", time.Hour + 30*time.Second, true},
		{"450 4.7.1 Greylisted for 5 minutes (1)", 5 * time.Minute, true},
		{"451 Greylisted, please try again in 180 seconds", 3 * time.Minute, true},
		{"450 4.7.0 Grey-listed: retry after 10 min.", 10 * time.Minute, true},
		{"451 4.7.1 You have been graylisted. Please wait at least 5 minutes.", 5 * time.Minute, true},
		{"450 4.7.1 Please try again in 1 hour", time.Hour, false},
		{"451 4.3.0 busy, try again\nin about 90 second(s)", 90 * time.Second, false},
		{"421 4.7.0 too many connections, retry in 300s", 5 * time.Minute, false},
		{"451 4.7.1 Try again in 2:30", 2*time.Minute + 30*time.Second, false},
		{"451 4.7.1 wait 60 seconds", time.Minute, false},

		{"451 4.7.1 Try again later", 0, false},
		{"451 Temporary failure, please try again later.", 0, false},
		{"450 4.7.1 Error: too much mail from 192.0.2.1", 0, false},
		{"421 4.7.0 rate limit: 30 messages per 60 seconds", 0, false},
		{"421 4.7.0 try again later: 30 messages per 60 seconds are allowed", 0, false},
		{"451 4.3.0 tried for 60 seconds and got no answer", 0, false},
		{"451 4.3.0 try again in 5 fortnights", 0, false},
		{"451 4.3.0 try again in 99999999999999999999 hours", 0, false},
		{"451 4.3.0 try again in -5 minutes", 0, false},
		{"451 4.3.0 try again in 00:99:00", 0, false},
		{"451 4.3.0 try again in", 0, false},
		{"451 4.3.0 try again in :", 0, false},
		{"451 \x00\xff in 5 minutes", 0, false},
		{"451", 0, false},

		{"550 5.7.1 Greylisted for 300 seconds", 0, false},
		{"250 2.0.0 queued, try again in 5 minutes", 0, false},
	} {
		t.Run(tt.reply, func(t *testing.T) {
			var r core.Reply
			_, _ = fmt.Sscanf(tt.reply, "%d", &r.Code)
			if len(tt.reply) > 4 {
				r.Text = tt.reply[4:]
			}
			if got := stated(r, nil); got != tt.delay {
				t.Errorf("it states %v, want %v", got, tt.delay)
			}
			if got := greylisted(r); got != tt.greylisted {
				t.Errorf("it greylists: %v, want %v", got, tt.greylisted)
			}
		})
	}
}

type after time.Duration

func (a after) Error() string             { return "over the limit" }
func (a after) RetryAfter() time.Duration { return time.Duration(a) }

func TestAnErrorCanStateADelay(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want time.Duration
	}{
		{nil, 0},
		{errors.New("try again in 5 minutes"), 0},
		{&core.Error{Stage: core.StagePolicy, Err: after(time.Minute)}, time.Minute},
		{after(-1), 0},
	} {
		if got := stated(core.Reply{}, tt.err); got != tt.want {
			t.Errorf("%v states %v, want %v", tt.err, got, tt.want)
		}
	}
}
