package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"sync/atomic"
	"time"
)

const (
	// slot is how long a nonce is the newest.
	slot = time.Minute
	// before and after are the slots around now whose nonces are taken: two that
	// are over, and one that begins only by the clock of another process.
	before, after = 2, 1
)

// Nonces makes and knows nonces without keeping any: each is a MAC of a minute.
// Every process with the same key knows the nonces of all of them. They are
// the same for all clients, and nobody without the key can tell the next one.
type Nonces struct {
	key    []byte
	window atomic.Pointer[window]
}

// window is the nonces that are taken at a time, the oldest first.
type window struct {
	slot  int64
	texts [before + 1 + after]string
}

// NewNonces makes them from a key of at least 16 random bytes.
func NewNonces(key []byte) *Nonces { return &Nonces{key: append([]byte(nil), key...)} }

// Current is the newest nonce, for the header DPoP-Nonce.
func (n *Nonces) Current(now time.Time) string { return n.at(now).texts[before] }

// known reports whether a nonce is one of the last, and whether it is the
// newest.
func (n *Nonces) known(nonce string, now time.Time) (known, newest bool) {
	for i, text := range n.at(now).texts {
		if subtle.ConstantTimeCompare([]byte(text), []byte(nonce)) == 1 {
			return true, i >= before
		}
	}
	return false, false
}

func (n *Nonces) at(now time.Time) *window {
	current := now.Unix() / int64(slot/time.Second)
	if w := n.window.Load(); w != nil && w.slot == current {
		return w
	}
	w := &window{slot: current}
	for i := range w.texts {
		w.texts[i] = n.text(current + int64(i) - before)
	}
	n.window.Store(w)
	return w
}

func (n *Nonces) text(slot int64) string {
	mac := hmac.New(sha256.New, n.key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(slot)))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}
