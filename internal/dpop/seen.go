package dpop

import (
	"sync"
	"time"
)

const (
	seenShards = 16
	// seenShard bounds a shard: about a million proofs in all, 35 MB.
	seenShard = 1 << 16
	// seenSweep is how many a shard holds before it looks for those that are over.
	seenSweep = 1 << 10
)

// Seen remembers proofs of one process for as long as they could be used
// again. It is bounded: when more valid proofs come within their minute than it
// holds, it forgets. The zero Seen is empty; any number of goroutines may use it.
type Seen struct {
	shards [seenShards]shard
}

type shard struct {
	mu    sync.Mutex
	until map[[16]byte]int64 // Unix seconds
	sweep int
}

// First remembers a proof, and reports whether it is new.
func (s *Seen) First(p Proof, now time.Time) bool {
	sum := p.sum()
	return s.shards[sum[16]%seenShards].first([16]byte(sum[:16]), p.until.Unix()+1, now.Unix())
}

func (sh *shard) first(key [16]byte, until, now int64) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if until, there := sh.until[key]; there && until >= now {
		return false
	}
	if len(sh.until) >= sh.sweep {
		sh.tidy(now)
	}
	sh.until[key] = until
	return true
}

// tidy makes room. Each look at all of them is paid for by as many that came.
func (sh *shard) tidy(now int64) {
	for key, until := range sh.until {
		if until < now {
			delete(sh.until, key)
		}
	}
	if sh.until == nil || len(sh.until) >= seenShard {
		sh.until = map[[16]byte]int64{}
	}
	sh.sweep = min(max(seenSweep, 2*len(sh.until)), seenShard)
}
