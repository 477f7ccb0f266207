package mechanisms

import (
	"context"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
)

// The second run expires when its own token does.
func TestBearer_secondRunExpires(t *testing.T) {
	b := XOAuth2("ann", StaticToken("t")).(*bearer)
	expires := time.Unix(1, 0)
	b.fresh = func() (string, time.Time) { return "fresh", expires }
	a, initial, err := b.Start(context.Background(), &core.Peer{})
	if err != nil || string(initial) != "user=ann\x01auth=Bearer fresh\x01\x01" || !a.(core.Expirer).Expires().Equal(expires) {
		t.Errorf("%q, %v", initial, err)
	}
}
