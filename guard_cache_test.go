package doorward

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"testing"
	"time"
)

// A caller comes out of the cache as it went in.
func TestGuardRecord(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	for _, want := range []Caller{
		{Issuer: "i", Subject: "s", ClientID: "c", Expires: now},
		{Issuer: "i", Subject: "s", ClientID: "c", Scopes: []string{"a", "b"}, Grant: "g", Expires: now, AuthTime: now, ACR: "1", AMR: []string{"a b", "", "c"}},
	} {
		r, ok := recordOf(&want)
		if got := r.caller(); !ok || !reflect.DeepEqual(*got, want) {
			t.Errorf("%+v\nwant %+v", got, want)
		}
	}
	if _, ok := recordOf(&Caller{AMR: []string{"a\x00b"}}); ok {
		t.Error("one value would come back as two")
	}
	if _, ok := recordOf(&Caller{Subject: string(make([]byte, 70_000))}); ok {
		t.Error("a text too long for its place was kept")
	}
}

func TestGuardCacheIsBounded(t *testing.T) {
	var c guardCache
	key := func(i int) [32]byte { return sha256.Sum256(fmt.Append(nil, i)) }
	now := time.Now()
	until := now.Add(time.Minute)
	for i := range 120_000 {
		c.put(key(i), &Caller{Subject: fmt.Sprint(i), Expires: until}, now, until)
		if i%100 == 0 { // one that is in use stays
			c.get(key(0), now)
		}
	}
	n := 0
	for i := range c.shards {
		n += len(c.shards[i].young) + len(c.shards[i].old)
	}
	if n > 50_000 || n < 20_000 {
		t.Errorf("%d entries", n)
	}
	for i, want := range map[int]bool{0: true, 1: false, 119_999: true} {
		if r, ok := c.get(key(i), now); ok != want || ok && r.caller().Subject != fmt.Sprint(i) {
			t.Errorf("entry %d: %v", i, ok)
		}
	}
	c.drop(key(0))
	if _, ok := c.get(key(0), now); ok {
		t.Error("dropped, and still there")
	}
}

func TestGuardCacheKeepsNoLongerThanTheToken(t *testing.T) {
	var c guardCache
	now := time.Now()
	c.put([32]byte{1}, &Caller{Expires: now.Add(time.Second)}, now, now.Add(time.Minute))
	c.put([32]byte{2}, &Caller{Expires: now.Add(time.Hour)}, now, now.Add(time.Minute))
	for i, want := range map[byte]time.Duration{1: time.Second, 2: time.Minute} {
		if r, _ := c.get([32]byte{i}, now); r.until != now.Add(want).UnixMilli() {
			t.Errorf("%d: until %s", i, time.UnixMilli(r.until))
		}
	}
}

// What is over takes no room until others need it: tokens come and go all day.
func TestGuardCacheForgetsWhatIsOver(t *testing.T) {
	var c guardCache
	now := time.Now()
	for i := range 20_000 {
		now = now.Add(time.Second)
		c.put(sha256.Sum256(fmt.Append(nil, i)), &Caller{Expires: now.Add(time.Hour)}, now, now.Add(guardRemember))
	}
	n := 0
	for i := range c.shards {
		n += len(c.shards[i].young) + len(c.shards[i].old)
	}
	if most := int(3 * guardRemember / time.Second); n > most {
		t.Errorf("%d entries of the last %s are kept, more than %d", n, guardRemember, most)
	}
}
