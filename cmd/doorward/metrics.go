package main

import (
	"context"
	"errors"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"doorward/internal/ledger"
	own "doorward/internal/metrics"
	"doorward/store"
)

// meters are what an instance counts while it serves. Labels are words of the
// program and of the configuration; nothing that a caller sent is among them.
type meters struct {
	own.Registry
	committed, conflicts, failed *own.Series
	commit                       *own.Times
	grants                       atomic.Uint64
}

func newMeters() *meters {
	m := &meters{}
	commits := m.Counter("doorward_store_commits_total", "Commits to the store; a conflict is tried again or is a refusal.", "result")
	m.committed, m.conflicts, m.failed = commits.With("ok"), commits.With("conflict"), commits.With("failed")
	m.commit = m.Histogram("doorward_store_commit_seconds", "Time of a commit that was written.",
		[]float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1}).With()
	return m
}

// measure adds what other parts count, once they are there.
func (i *instance) measure() {
	m := i.meters
	m.Gauge("doorward_build_info", "Always 1; the version is a label.", func() float64 { return 1 }, "version", version, "role", string(i.role))
	m.Counts("doorward_tokens_issued_total", "Answers of the token endpoint with a token, by grant type.", "grant_type",
		func() map[string]uint64 { return i.engine.Counts().Tokens })
	m.Counts("doorward_refusals_total", "Refusals by the reason that `doorward why` explains.", "reason", i.engine.Attempts().Refused)
	m.Count("doorward_grants_made_total", "Grants that this process made.", m.grants.Load)
	m.Gauge("doorward_grants_ended", "Ended grants that a token which has not expired may name.", func() float64 { return float64(i.engine.Counts().Ended) })
	m.Gauge("doorward_audit_waiting", "Audit events that are not written yet.", func() float64 {
		return float64(i.audit.Waiting() + i.engine.Attempts().Waiting())
	})
	m.Gauge("go_goroutines", "Goroutines.", func() float64 { return float64(runtime.NumGoroutine()) })
	m.Gauge("go_memory_bytes", "Memory that the Go runtime holds.", func() float64 {
		s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		metrics.Read(s)
		return float64(s[0].Value.Uint64() - s[1].Value.Uint64())
	})
	m.Gauge("process_start_time_seconds", "When it began to serve, in seconds since 1970.", func() float64 {
		if t := i.since.Load(); t != nil {
			return float64(t.UnixMilli()) / 1000
		}
		return 0
	})
}

// owns reports whether there is something at a path.
func (i *instance) owns(path string) bool {
	return i.gate != nil && i.gate.Owns(path) || i.engine.Owns(path)
}

// countedStore counts the commits of a store.
type countedStore struct {
	store.Store
	meters *meters
}

// Commit is store.Store.
func (c countedStore) Commit(ctx context.Context, ops ...store.Op) error {
	begun := time.Now()
	err := c.Store.Commit(ctx, ops...)
	switch {
	case err == nil:
		c.meters.committed.Inc()
		c.meters.commit.Observe(time.Since(begun).Seconds())
		for _, op := range ops {
			if op.Record.Kind == ledger.KindGrant && op.Record.Version == 0 && (op.Do == store.DoPut || op.Do == store.DoCreate || op.Do == store.DoAdd) {
				c.meters.grants.Add(1)
			}
		}
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrTaken), errors.Is(err, store.ErrSeen), errors.Is(err, store.ErrNotFound):
		c.meters.conflicts.Inc()
	default:
		c.meters.failed.Inc()
	}
	return err
}
