package bridge

import (
	"hash/maphash"
	"io"
	"net/http"
	"sync"
	"time"
)

// Servers made after the examples of the SDKs replay more than they should
// (events of other streams, too), and send nothing new on a stream that was
// taken up. Both are made good here.

// quietPauses is how long a stream that was taken up may be silent before the
// server is asked again for what came since, in Config.Backoff; then twice as
// long each time, up to maxPause.
const quietPauses = 3

// maxRecent bounds the events that are remembered.
const maxRecent = 4096

// recent knows the last events again, by their id and content.
type recent struct {
	mu   sync.Mutex
	seed maphash.Seed
	seen map[uint64]struct{}
	ring []uint64
	next int
}

// note remembers an event and reports whether it was there before.
func (r *recent) note(e event) bool {
	if e.id == "" {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seed, r.seen = maphash.MakeSeed(), map[uint64]struct{}{}
	}
	var h maphash.Hash
	h.SetSeed(r.seed)
	h.WriteString(e.id)
	h.WriteByte(0)
	h.Write(e.data)
	key := h.Sum64()
	if _, there := r.seen[key]; there {
		return true
	}
	if len(r.ring) < maxRecent {
		r.ring = append(r.ring, key)
	} else {
		delete(r.seen, r.ring[r.next])
		r.ring[r.next] = key
		r.next = (r.next + 1) % maxRecent
	}
	r.seen[key] = struct{}{}
	return false
}

// watched is a body that is closed when it is silent for too long.
type watched struct {
	io.ReadCloser
	quiet time.Duration
	timer *time.Timer
	mu    sync.Mutex
	fired bool
}

func watchBody(resp *http.Response, quiet time.Duration) *watched {
	w := &watched{ReadCloser: resp.Body, quiet: quiet}
	w.timer = time.AfterFunc(quiet, func() {
		w.mu.Lock()
		w.fired = true
		w.mu.Unlock()
		w.ReadCloser.Close()
	})
	resp.Body = w
	return w
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if n > 0 {
		w.timer.Reset(w.quiet)
	}
	return n, err
}

// stop ends the watch and reports whether the silence was too long. nil: there
// was none.
func (w *watched) stop() bool {
	if w == nil {
		return false
	}
	w.timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fired
}
