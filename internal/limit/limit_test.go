package limit

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/time/rate"
)

var noon = time.Date(2026, 7, 28, 12, 0, 0, 0, time.UTC)

func TestRateOfAKey(t *testing.T) {
	l := New(Rate{3, time.Minute}, 10)
	for i := range 3 {
		if wait := l.Take(noon, "a"); wait != 0 {
			t.Fatalf("use %d has to wait %v", i, wait)
		}
	}
	if wait := l.Wait(noon, "a"); wait != 20*time.Second {
		t.Errorf("the fourth has to wait %v", wait)
	}
	if wait := l.Take(noon, "b"); wait != 0 {
		t.Errorf("another key has to wait %v", wait)
	}
	if wait := l.Take(noon.Add(19*time.Second), "a"); wait <= 0 || wait > 2*time.Second {
		t.Errorf("after 19 s it has to wait %v", wait)
	}
	if wait := l.Take(noon.Add(20*time.Second), "a"); wait != 0 {
		t.Errorf("after 20 s it has to wait %v", wait)
	}
	if wait := l.Take(noon.Add(20*time.Second), "a"); wait == 0 {
		t.Error("20 s give two uses back")
	}
	if wait := l.Take(noon.Add(time.Hour), "a"); wait != 0 {
		t.Errorf("after an hour it has to wait %v", wait)
	}
}

func TestWaitUsesNothing(t *testing.T) {
	l := New(Rate{1, time.Minute}, 10)
	for range 5 {
		if wait := l.Wait(noon, "a"); wait != 0 {
			t.Fatalf("wait %v", wait)
		}
	}
	if l.Take(noon, "a") != 0 || l.Take(noon, "a") == 0 {
		t.Error("Wait changed the count")
	}
	if New(Rate{0, time.Minute}, 1).Take(noon, "a") == 0 {
		t.Error("a rate of none allows one")
	}
	if (*Limiter)(nil).Take(noon, "a") != 0 {
		t.Error("no limiter refuses")
	}
}

// Whoever comes under ever new names costs a bounded amount of memory, and what
// is in use is not forgotten for it.
//
// covers: SEC-38
func TestMemoryIsBounded(t *testing.T) {
	l, s := New(Rate{1, time.Hour}, 100), NewSet(time.Hour, 100)
	for i := range 10_000 {
		l.Take(noon, fmt.Sprint(i))
		s.Add(noon, fmt.Sprint(i))
		if l.Take(noon, "busy") == 0 && i > 0 {
			t.Fatalf("the busy key was forgotten after %d others", i)
		}
	}
	if n := l.buckets.byKey.Len(); n != 100 || l.buckets.order.Len() != 100 {
		t.Errorf("%d keys are kept", n)
	}
	if n := s.seen.byKey.Len(); n != 100 || s.Has(noon, "1") || !s.Has(noon, "9999") {
		t.Errorf("%d keys are remembered", n)
	}
	if s.Has(noon.Add(time.Hour), "9999") {
		t.Error("a key is remembered for ever")
	}
}

func TestManyAtOnceGetNoMore(t *testing.T) {
	l := New(Rate{50, time.Hour}, 10)
	var allowed atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if l.Take(noon, "a") == 0 {
					allowed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := allowed.Load(); n != 50 {
		t.Errorf("%d of 50 were allowed", n)
	}
}

func TestNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7:4711": "192.0.2.7", "192.0.2.7": "192.0.2.7", "[::ffff:192.0.2.7]:1": "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64", "2001:db8:1:2:ffff::1": "2001:db8:1:2::/64", "[fe80::1%eth0]:80": "fe80::/64",
		"@": "@", "": "",
	} {
		if got := Network(address); got != want {
			t.Errorf("%q: %q, not %q", address, got, want)
		}
	}
}

// A long key costs no more than a short one, is told from others that begin
// like it, and none holds on to the request that it is a piece of.
//
// covers: SEC-38
func TestKeysAreShort(t *testing.T) {
	l, s := New(Rate{1, time.Hour}, 100), NewSet(time.Hour, 100)
	request := strings.Repeat("x", 1<<20)
	for i, key := range []string{request[:20], request[:1<<19], request} {
		if wait := l.Take(noon, key); wait != 0 {
			t.Errorf("key %d is another's", i)
		}
		if wait := l.Wait(noon, key); wait == 0 {
			t.Errorf("key %d is not counted", i)
		}
		if s.Has(noon, key) {
			t.Errorf("key %d is another's in the set", i)
		}
		if s.Add(noon, key); !s.Has(noon, key) {
			t.Errorf("key %d is not in the set", i)
		}
	}
	for key := range l.buckets.byKey.All() {
		if len(key) > maxKey || unsafe.StringData(key) == unsafe.StringData(request) {
			t.Errorf("%d bytes are kept, or a piece of the request", len(key))
		}
	}
	for el := l.buckets.order.Front(); el != nil; el = el.Next() {
		if key := el.Value.(*entry[*rate.Limiter]).key; len(key) > maxKey || unsafe.StringData(key) == unsafe.StringData(request) {
			t.Errorf("%d bytes are in order, or a piece of the request", len(key))
		}
	}
}
