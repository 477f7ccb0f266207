package ratelimit

import (
	"strings"

	"golang.org/x/time/rate"
)

// buckets is a bucket for each of the keys that were used last. Those that a
// message holds are never forgotten, so there are as many as were asked for, or
// as messages under way and waiting have.
type buckets struct {
	config *Config
	most   int
	byKey  map[string]*bucket
	// idle is the ring of those that nobody holds: idle.older is the one that
	// was used last, idle.younger the one that was used longest ago.
	idle bucket
}

func (s *buckets) init(c *Config) {
	s.config, s.most, s.byKey = c, c.MaxKeys, make(map[string]*bucket)
	if s.most == 0 {
		s.most = DefaultMaxKeys
	}
	s.idle.older, s.idle.younger = &s.idle, &s.idle
}

// hold returns the bucket of a key, for a message that will release it.
func (s *buckets) hold(key string) *bucket {
	b := s.byKey[key]
	switch {
	case b == nil:
		s.forget(s.most - 1)
		key = strings.Clone(key) // it may be part of something large
		b = &bucket{key: key, factor: 1, limits: [kinds]*rate.Limiter{s.config.Messages.limiter(), s.config.Recipients.limiter(), s.config.Bytes.limiter()}}
		s.byKey[key] = b
	case b.holders == 0:
		b.older.younger, b.younger.older = b.younger, b.older
	}
	b.holders++
	return b
}

func (s *buckets) release(b *bucket) {
	if b.holders--; b.holders > 0 {
		return
	}
	b.younger, b.older = &s.idle, s.idle.older
	b.younger.older, b.older.younger = b, b
	s.forget(s.most)
}

// forget makes room, until there are no more than most.
func (s *buckets) forget(most int) {
	for len(s.byKey) > most && s.idle.younger != &s.idle {
		oldest := s.idle.younger
		s.idle.younger = oldest.younger
		oldest.younger.older = &s.idle
		delete(s.byKey, oldest.key)
	}
}
