package doorward

import (
	"math"
	"strings"
	"sync"
	"time"
)

const (
	guardShards = 16
	// guardShardSize bounds one generation of one shard: 50,000 tokens in all.
	guardShardSize = 50_000 / guardShards / 2
)

// guardCache remembers tokens that were checked, by SHA-256. Each shard keeps
// two generations: when the young one is full, or as old as a record gets, it
// becomes the old one, and what was not asked for since is gone. The zero cache is
// empty.
type guardCache struct {
	shards [guardShards]guardShard
}

type guardShard struct {
	mu         sync.Mutex
	young, old map[[32]byte]guardRecord
	turn       int64 // when young is as old as a record gets
}

// guardRecord is a Caller with a single pointer: the collector walks every
// pointer of a map that lives long.
type guardRecord struct {
	text            string // all of the caller's strings, one after the other
	ends            [guardTexts]uint16
	until           int64 // milliseconds since 1970, as are the next two
	expires, signed int64
}

// The strings of a record.
const (
	recIssuer = iota
	recSubject
	recClient
	recGrant
	recACR
	recScopes
	recAMR
	recKey
	recCert
	guardTexts
)

const (
	neverSigned = math.MinInt64
	recSep      = "\x00"
)

func (c *guardCache) shard(key [32]byte) *guardShard { return &c.shards[key[0]%guardShards] }

func (c *guardCache) get(key [32]byte, now time.Time) (guardRecord, bool) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.young[key]
	if ok {
		return r, true
	}
	if r, ok = s.old[key]; ok {
		s.keep(key, r, now)
	}
	return r, ok
}

// put remembers who a token belongs to, until then or its end.
func (c *guardCache) put(key [32]byte, caller *Caller, now, until time.Time) {
	r, ok := recordOf(caller)
	if !ok {
		return
	}
	r.until = min(until.UnixMilli(), r.expires)
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(key, r, now)
}

func (c *guardCache) drop(key [32]byte) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.young, key)
	delete(s.old, key)
}

func (s *guardShard) keep(key [32]byte, r guardRecord, now time.Time) {
	if len(s.young) >= guardShardSize || s.young != nil && now.UnixMilli() >= s.turn {
		s.old, s.young = s.young, nil
	}
	if s.young == nil {
		s.young, s.turn = map[[32]byte]guardRecord{}, now.Add(guardRemember).UnixMilli()
	}
	s.young[key] = r
}

// recordOf packs a caller; false if it cannot be packed.
func recordOf(c *Caller) (guardRecord, bool) {
	texts := [guardTexts]string{
		recIssuer: c.Issuer, recSubject: c.Subject, recClient: c.ClientID, recGrant: c.Grant, recACR: c.ACR,
		recScopes: strings.Join(c.Scopes, recSep), recAMR: strings.Join(c.AMR, recSep), recKey: c.key, recCert: c.cert,
	}
	r := guardRecord{expires: c.Expires.UnixMilli(), signed: neverSigned}
	var text strings.Builder
	for i, s := range texts {
		text.WriteString(s)
		if text.Len() > math.MaxUint16 {
			return guardRecord{}, false
		}
		r.ends[i] = uint16(text.Len())
	}
	if strings.Count(texts[recAMR], recSep) > max(0, len(c.AMR)-1) {
		return guardRecord{}, false
	}
	if !c.AuthTime.IsZero() {
		r.signed = c.AuthTime.UnixMilli()
	}
	r.text = text.String()
	return r, true
}

func (r *guardRecord) at(i int) string {
	if i == 0 {
		return r.text[:r.ends[0]]
	}
	return r.text[r.ends[i-1]:r.ends[i]]
}

func (r *guardRecord) list(i int) []string {
	if s := r.at(i); s != "" {
		return strings.Split(s, recSep)
	}
	return nil
}

func (r *guardRecord) caller() *Caller {
	c := &Caller{
		Issuer: r.at(recIssuer), Subject: r.at(recSubject), ClientID: r.at(recClient), Grant: r.at(recGrant),
		ACR: r.at(recACR), Scopes: r.list(recScopes), AMR: r.list(recAMR), Expires: time.UnixMilli(r.expires), key: r.at(recKey), cert: r.at(recCert),
	}
	if r.signed != neverSigned {
		c.AuthTime = time.UnixMilli(r.signed)
	}
	return c
}
