package ratelimit

import (
	"container/list"
	"context"
	"sync"
)

// keyed is a bucket for each of the keys that were used last.
type keyed struct {
	limit     int
	newBucket func() *bucket

	mu      sync.Mutex
	entries map[string]*list.Element
	recent  list.List // of *entry, the one used last in front
}

type entry struct {
	key    string
	bucket *bucket
}

func newKeyed(limit int, newBucket func() *bucket) *keyed {
	return &keyed{limit: limit, newBucket: newBucket, entries: make(map[string]*list.Element)}
}

// Take implements [Limiter].
func (k *keyed) Take(ctx context.Context, r Request) error {
	return k.bucket(r.Key).Take(ctx, r)
}

func (k *keyed) bucket(key string) *bucket {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.entries[key]; ok {
		k.recent.MoveToFront(e)
		return e.Value.(*entry).bucket
	}
	if len(k.entries) >= k.limit {
		oldest := k.recent.Remove(k.recent.Back()).(*entry)
		delete(k.entries, oldest.key)
	}
	e := &entry{key: key, bucket: k.newBucket()}
	k.entries[key] = k.recent.PushFront(e)
	return e.bucket
}
