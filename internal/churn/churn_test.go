package churn

import (
	"maps"
	"math/rand/v2"
	"runtime"
	"testing"
)

// A map whose entries are replaced one by one takes hardly more than twice what it
// took, and not five times as much.
func TestStaysSmall(t *testing.T) {
	const n, turns = 6200, 300
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return float64(s.HeapAlloc)
	}
	var m Map[[4]uint64, [4]uint64]
	var ring [n][4]uint64
	r := rand.New(rand.NewPCG(1, 2))
	replace := func(i int) {
		m.Delete(ring[i])
		ring[i] = [4]uint64{r.Uint64()}
		m.Set(ring[i], ring[i])
	}
	before := heap()
	for i := range n {
		replace(i)
	}
	small := heap() - before
	most := 0.0
	for range turns {
		for i := range n {
			replace(i)
		}
		most = max(most, heap()-before)
	}
	if m.Len() != n || small <= 0 || most > 2.5*small {
		t.Errorf("%d entries took %.0f KiB, and then %.0f", m.Len(), small/1024, most/1024)
	}
	runtime.KeepAlive(&m)
}

// It does what a map does, also while it is made anew below whoever looks through it.
func TestIsAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var m Map[int, int]
	want := map[int]int{}
	for i := range 100_000 {
		key := r.IntN(3000)
		switch r.IntN(5) {
		case 0, 1:
			m.Set(key, i)
			want[key] = i
		case 2, 3:
			m.Delete(key)
			delete(want, key)
		default:
			got, ok := m.Get(key)
			if v, there := want[key]; got != v || ok != there || m.Len() != len(want) {
				t.Fatalf("%d is %d, %v, want %d, %v; %d, want %d", key, got, ok, v, there, m.Len(), len(want))
			}
		}
	}
	if !maps.Equal(maps.Collect(m.All()), want) {
		t.Error("All is not all")
	}
	for i := range 10 * least {
		m.Set(i, i)
	}
	seen := 0
	for key := range m.All() {
		seen++
		m.Delete(key)
	}
	if seen != 10*least || m.Len() != 0 {
		t.Errorf("saw %d while %d were left", seen, m.Len())
	}
	m.Set(1, 1)
	if m.Clear(); m.Len() != 0 {
		t.Error("not cleared")
	}
}
