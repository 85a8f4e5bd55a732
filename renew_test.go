package doorward

import (
	"testing"
	"time"
)

// covers: P05, T02
func TestRenewalIsSpread(t *testing.T) {
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	first, last := time.Hour, time.Duration(0)
	for ms := range 1000 {
		made := begun.Add(time.Duration(ms) * time.Millisecond / 1000)
		h := held{made: made, expires: made.Add(time.Hour)}
		at := 50 * time.Minute
		for ; !h.aging(made.Add(at)); at += time.Second {
			if at > time.Hour {
				t.Fatal("it is never renewed")
			}
		}
		if h.due(made.Add(at)) || h.over(made.Add(at)) {
			t.Fatalf("renewed only %v before the end", time.Hour-at)
		}
		first, last = min(first, at), max(last, at)
	}
	if first != 55*time.Minute || last < 55*time.Minute+50*time.Second || last > 56*time.Minute {
		t.Errorf("renewals between %v and %v", first, last)
	}
	if h := (held{made: begun}); h.aging(begun.Add(1e6 * time.Hour)) {
		t.Error("a token without an end is renewed")
	}
	for _, life := range []time.Duration{time.Second, time.Minute, 5 * time.Minute, time.Hour, 24 * time.Hour} {
		h := held{made: begun.Add(999 * time.Microsecond), expires: begun.Add(999 * time.Microsecond).Add(life)}
		if at := h.made.Add(life - min(30*time.Second, life/10)); !h.aging(at) || !h.due(at) {
			t.Errorf("%v: a request waits before the early renewal", life)
		}
	}
}
