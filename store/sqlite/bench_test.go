//go:build unix

package sqlite_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"doorward/store"
	"doorward/store/sqlite"
)

// BenchmarkCommit writes one new record of 300 bytes a commit, durably.
func BenchmarkCommit(b *testing.B) {
	b.Run("serial", func(b *testing.B) { benchmarkCommit(b, 1) })
	b.Run("parallel-64", func(b *testing.B) { benchmarkCommit(b, 64) })
}

func benchmarkCommit(b *testing.B, callers int) {
	db, err := sqlite.Open(filepath.Join(b.TempDir(), "bench.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	value, expires := make([]byte, 300), time.Now().Add(time.Hour)
	var n atomic.Int64
	before := cpuTime()
	b.SetParallelism((callers + 1) / 2)
	b.ResetTimer()
	if callers == 1 {
		for range b.N {
			key := fmt.Sprintf("%016x", uint64(n.Add(1))*0x9e3779b97f4a7c15)
			if err := db.Commit(b.Context(), store.Create(store.Record{Kind: "bench", Key: key, Value: value, Expires: expires})); err != nil {
				b.Fatal(err)
			}
		}
	} else {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				key := fmt.Sprintf("%016x", uint64(n.Add(1))*0x9e3779b97f4a7c15)
				if err := db.Commit(b.Context(), store.Create(store.Record{Kind: "bench", Key: key, Value: value, Expires: expires})); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// BenchmarkGrant writes a record of a grant's size with its names, and writes it
// again as its code is redeemed, an event with each, durably, for 48 callers.
func BenchmarkGrant(b *testing.B) {
	db, err := sqlite.Open(filepath.Join(b.TempDir(), "bench.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	var n atomic.Int64
	names := []string{"person=corp/alice", "client=desktop", "resource=https://mcp.example/mcp"}
	key := func() string { return fmt.Sprintf("%012x%012x", time.Now().UnixMilli(), uint32(n.Add(1)*0x9e3779b9)) }
	event := func() store.Op {
		return store.Log(store.Record{Kind: "audit", Key: key(), Value: make([]byte, 250), Expires: time.Now().Add(2160 * time.Hour)})
	}
	before := cpuTime()
	b.SetParallelism(24)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := store.Record{Kind: "grant", Key: key(), Value: make([]byte, 550), Index: names, Expires: time.Now().Add(time.Minute)}
			if err := db.Commit(b.Context(), store.Add(r), event()); err != nil {
				b.Error(err)
				return
			}
			r.Version, r.Value, r.Expires = 1, make([]byte, 750), time.Now().Add(720*time.Hour)
			if err := db.Commit(b.Context(), store.Put(r), event()); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// BenchmarkAssertion writes what an assertion is redeemed with: a grant with four
// names, that the assertion was used, and an event, durably, for 48 callers.
func BenchmarkAssertion(b *testing.B) {
	db, err := sqlite.Open(filepath.Join(b.TempDir(), "bench.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	var n atomic.Int64
	names := []string{"person=corp/alice", "client=desktop", "resource=https://mcp.example/mcp", "issuer=https://idp.example"}
	before := cpuTime()
	b.SetParallelism(24)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := uint64(n.Add(1))
			key, now := fmt.Sprintf("%012x%016x", time.Now().UnixMilli(), i), time.Now()
			used := fmt.Sprintf("jag:%016x%048x", i*0x9e3779b97f4a7c15, i)
			if err := db.Commit(b.Context(),
				store.Add(store.Record{Kind: "grant", Key: key, Value: make([]byte, 600), Index: names, Expires: now.Add(720 * time.Hour)}),
				store.Once(used, now.Add(5*time.Minute)),
				store.Log(store.Record{Kind: "audit", Key: key, Value: make([]byte, 250), Expires: now.Add(2160 * time.Hour)})); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// BenchmarkGet reads one record of 300 bytes out of 10,000.
func BenchmarkGet(b *testing.B) {
	db, err := sqlite.Open(filepath.Join(b.TempDir(), "bench.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	var ops []store.Op
	for i := range 10000 {
		ops = append(ops, store.Create(store.Record{Kind: "bench", Key: fmt.Sprint(i), Value: make([]byte, 300), Index: []string{"person=corp/alice"}}))
	}
	if err := db.Commit(b.Context(), ops...); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := db.Get(b.Context(), "bench", fmt.Sprint(i%10000)); err != nil {
			b.Fatal(err)
		}
	}
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkList lists the ten records of one person out of 10,000, made far
// apart, with a hundred of a resource beside each.
func BenchmarkList(b *testing.B) {
	db, err := sqlite.Open(filepath.Join(b.TempDir(), "bench.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	var ops []store.Op
	for i := range 10000 {
		ops = append(ops, store.Create(store.Record{Kind: "bench", Key: fmt.Sprint(i), Value: make([]byte, 600),
			Index: []string{fmt.Sprint("person=", i%1000), fmt.Sprint("client=", i), "resource=https://mcp.example/mcp"}}))
	}
	if err := db.Commit(b.Context(), ops...); err != nil {
		b.Fatal(err)
	}
	for _, q := range []store.Query{{Index: "person=500"}, {Index: "client=5000"}, {Index: "resource=https://mcp.example/mcp"}} {
		q.Kind = "bench"
		b.Run(q.Index[:6], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if recs, _, err := db.List(b.Context(), q); err != nil || len(recs) == 0 {
					b.Fatal(len(recs), err)
				}
			}
		})
	}
}
