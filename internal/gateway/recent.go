package gateway

import "sync"

// recent remembers what was asked for lately, in two generations: when the
// young one is full it becomes the old one, and what was not asked for since is
// gone. The zero value is empty.
type recent[K comparable, V any] struct {
	mu         sync.Mutex
	young, old map[K]V
}

func (c *recent[K, V]) get(key K, size int) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.young[key]
	if ok {
		return v, true
	}
	if v, ok = c.old[key]; ok {
		c.keep(key, v, size)
	}
	return v, ok
}

func (c *recent[K, V]) put(key K, v V, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(key, v, size)
}

func (c *recent[K, V]) keep(key K, v V, size int) {
	if len(c.young) >= size {
		c.old, c.young = c.young, nil
	}
	if c.young == nil {
		c.young = map[K]V{}
	}
	c.young[key] = v
}
