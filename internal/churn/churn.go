// Package churn has a map for what comes and goes all the time.
package churn

import (
	"iter"
	"maps"
)

// Map is a map that stays about as small as what it holds. Go's own makes room where
// the entries of a moment happen to fall together and never gives it back: with 6,000
// entries that are replaced one by one it grows, for millions of replacements, to five
// times its memory, this one to twice: it is made anew when twice as many have gone as are
// there. The zero Map is empty; it
// is for one goroutine at a time.
type Map[K comparable, V any] struct {
	m    map[K]V
	gone int // since it was made
}

const (
	// least is how many must go for a small map to be made anew.
	least = 1 << 10
	// most is how many entries are made anew at once, which takes milliseconds.
	most = 1 << 15
)

// Get returns the value of a key, and whether there is one.
func (m *Map[K, V]) Get(key K) (value V, ok bool) {
	value, ok = m.m[key]
	return value, ok
}

// Set gives a key a value.
func (m *Map[K, V]) Set(key K, value V) {
	if m.m == nil {
		m.m = map[K]V{}
	}
	m.m[key] = value
}

// Delete removes a key; it need not be there.
func (m *Map[K, V]) Delete(key K) {
	before := len(m.m)
	delete(m.m, key)
	m.gone += before - len(m.m)
	if m.gone < max(2*len(m.m), least) || len(m.m) > most {
		return
	}
	old := m.m
	m.m, m.gone = make(map[K]V, len(old)), 0
	maps.Copy(m.m, old)
}

// Clear removes all.
func (m *Map[K, V]) Clear() { m.m, m.gone = nil, 0 }

// Len is how many keys there are.
func (m *Map[K, V]) Len() int { return len(m.m) }

// All are the keys and values, in no order. Those of them may be deleted meanwhile.
func (m *Map[K, V]) All() iter.Seq2[K, V] { return maps.All(m.m) }
