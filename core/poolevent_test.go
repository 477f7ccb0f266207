package core_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func TestPoolEvents(t *testing.T) {
	for _, tt := range []struct {
		rule     string
		dialogue string
		act      func(t *testing.T, c *core.Client)
		want     string
	}{
		{"a session is opened, used twice, and ends when it was idle for too long", pipelining + delivered + delivered + bye, func(t *testing.T, c *core.Client) {
			send(t, c)
			send(t, c)
			<-time.After(time.Minute)
		}, "opened taken waited returned taken returned ended"},
		{"one that cannot be opened", "S: 554 no", func(t *testing.T, c *core.Client) {
			_, _ = c.Send(t.Context(), message("b@example.com"))
		}, "failed (connect: 554 no) waited (connect: 554 no)"},
		{"an idle one that is lost is replaced", pipelining + delivered + "CLOSE\n---\n" + pipelining + delivered + bye, func(t *testing.T, c *core.Client) {
			send(t, c)
			<-time.After(2 * time.Second)
			send(t, c)
			_ = c.Close()
		}, "opened taken waited returned taken returned ended opened taken waited returned ended"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var got []string
				note := func(e core.PoolEvent) {
					mu.Lock()
					defer mu.Unlock()
					s := e.Kind.String()
					if e.Err != nil {
						s += fmt.Sprintf(" (%v)", e.Err)
					}
					got = append(got, s)
				}
				panics := core.Interceptor{Name: "panics", Pool: func(core.PoolEvent) { panic("and nobody else hears less for it") }}
				c := newClient(t, tt.dialogue, smtptest.Options{}, with(panics, core.Interceptor{Name: "note", Pool: note}))
				tt.act(t, c)
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				if s := strings.Join(got, " "); s != tt.want {
					t.Errorf("got  %s\nwant %s", s, tt.want)
				}
			})
		})
	}
}
