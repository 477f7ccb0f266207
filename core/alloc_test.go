package core

import (
	"context"
	"testing"
	"time"
)

func TestExchange_allocatesNothing(t *testing.T) {
	s := benchSession(t)
	n := testing.AllocsPerRun(100, func() { benchExchange(t, s) })
	if n != 0 {
		t.Errorf("an exchange makes %v allocations", n)
	}
}

// What remains is the delivery with its receipt, the text of the final reply,
// and the two that context.AfterFunc needs to watch the context.
func TestSend_makesFourAllocations(t *testing.T) {
	c, err := NewClient(benchConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	m := &Message{From: "sender@example.com", To: Recipients("recipient@example.net"), Body: String("hi\r\n")}
	n := testing.AllocsPerRun(100, func() {
		if _, err := c.Send(ctx, m); err != nil {
			t.Fatal(err)
		}
	})
	if n > 4 {
		t.Errorf("a Send makes %v allocations", n)
	}
}
