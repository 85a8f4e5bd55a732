// Package limit bounds how often somebody may do something.
//
// A [Limiter] has a token bucket for each key, of golang.org/x/time/rate, and
// forgets the keys that were not used for longest, so that its memory is
// bounded whatever strangers send. A [Set] remembers keys for a while, with the
// same bound. [Network] is what of an address counts as one caller.
package limit

import (
	"container/list"
	"crypto/sha256"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"doorward/internal/churn"

	"golang.org/x/time/rate"
)

// Rate is N at once, and N back each Per. N 0: none at all.
type Rate struct {
	N   int
	Per time.Duration
}

// Keys is how many keys a Limiter or a Set keeps; about 200 bytes each.
const Keys = 20_000

// maxKey is how many bytes of a key are kept.
const maxKey = 128

// Key is text, which a stranger may have chosen, as what is kept of it: a long
// one's digest, and in no case a piece of the request that it came with.
func Key(text string) string {
	if len(text) <= maxKey {
		return strings.Clone(text)
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256 " + string(sum[:])
}

// Limiter bounds each key to a rate. nil allows everything. It is safe for use
// by any number of goroutines.
type Limiter struct {
	rate    Rate
	mu      sync.Mutex
	buckets lru[*rate.Limiter]
}

// New returns a limiter that keeps at most so many keys.
func New(r Rate, keys int) *Limiter {
	return &Limiter{rate: r, buckets: newLRU[*rate.Limiter](keys)}
}

// Rate is that of each key.
func (l *Limiter) Rate() Rate { return l.rate }

// Take uses the key once, or returns how long to wait until it may be used.
func (l *Limiter) Take(now time.Time, key string) time.Duration {
	return l.use(now, key, true)
}

// Wait is what Take would return, and uses nothing.
func (l *Limiter) Wait(now time.Time, key string) time.Duration {
	return l.use(now, key, false)
}

func (l *Limiter) use(now time.Time, key string, take bool) time.Duration {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets.get(key)
	switch {
	case !ok && !take:
		return 0
	case !ok:
		b = rate.NewLimiter(rate.Limit(float64(l.rate.N)/l.rate.Per.Seconds()), l.rate.N)
		l.buckets.put(key, b)
	}
	if short := 1 - b.TokensAt(now); short > 0 {
		return max(1, time.Duration(short*float64(l.rate.Per)/float64(max(1, l.rate.N))))
	}
	if take {
		b.AllowN(now, 1)
	}
	return 0
}

// Set remembers keys. It is safe for use by any number of goroutines.
type Set struct {
	life time.Duration
	mu   sync.Mutex
	seen lru[time.Time]
}

// NewSet returns a set that keeps at most so many keys, each for life.
func NewSet(life time.Duration, keys int) *Set {
	return &Set{life: life, seen: newLRU[time.Time](keys)}
}

// Add remembers a key from now on.
func (s *Set) Add(now time.Time, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.put(key, now)
}

// Has reports whether a key was added lately.
func (s *Set) Has(now time.Time, key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.seen.get(key)
	return ok && now.Sub(at) < s.life
}

// lru is a map that forgets what was not used for longest. It keeps keys as Key
// makes them.
type lru[V any] struct {
	most  int
	order *list.List // of entries, the latest first
	byKey churn.Map[string, *list.Element]
}

type entry[V any] struct {
	key   string
	value V
}

func newLRU[V any](most int) lru[V] {
	return lru[V]{most: most, order: list.New()}
}

func (c *lru[V]) get(key string) (v V, ok bool) {
	if len(key) > maxKey {
		key = Key(key)
	}
	el, ok := c.byKey.Get(key)
	if !ok {
		return v, false
	}
	c.order.MoveToFront(el)
	return el.Value.(*entry[V]).value, true
}

func (c *lru[V]) put(key string, v V) {
	key = Key(key)
	if el, ok := c.byKey.Get(key); ok {
		el.Value.(*entry[V]).value = v
		c.order.MoveToFront(el)
		return
	}
	if c.order.Len() >= c.most {
		last := c.order.Back()
		c.byKey.Delete(c.order.Remove(last).(*entry[V]).key)
	}
	c.byKey.Set(key, c.order.PushFront(&entry[V]{key, v}))
}

// Network is what of an address (host:port or host) counts as one caller: an
// IPv4 address, or the /64 that one IPv6 subscriber has.
func Network(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		if net64, err := ip.Prefix(64); err == nil {
			return net64.String()
		}
	}
	return ip.String()
}
