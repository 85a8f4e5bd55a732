package sqlite

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"sync"
	"time"

	"doorward/store"
)

const (
	pollEvery   = 200 * time.Millisecond
	keepChanges = 8192 // transactions that another process may lag behind without reading all again
	cutEvery    = 256  // transactions between two cuts of the log
)

// watchers are those who are told of puts: by the writer of what this process
// commits, by the poller of what others do.
type watchers struct {
	mu     sync.Mutex
	byKind map[store.Kind][]*watcher // slices are replaced, never changed
	poll   *poller                   // nil until somebody watches a file
}

type watcher struct {
	ctx context.Context
	fn  func(store.Record)
}

// Watch implements store.Store. fn may be called by two goroutines at once, the
// writer's and that which looks for other processes' commits. It must not
// commit: the writer waits for it. Of several puts to one record by another
// process within a moment it may see only the last.
func (s *Store) Watch(ctx context.Context, kind store.Kind, fn func(store.Record)) error {
	if err := (store.Query{Kind: kind}).Check(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock() // held, so that Close does not pass between the question and the poller
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	if !s.inMemory() {
		if err := s.startPoller(); err != nil {
			return explain(s.path, err)
		}
	}
	w := &watcher{ctx, fn}
	s.watch.add(kind, w)
	context.AfterFunc(ctx, func() { s.watch.remove(kind, w) })
	return nil
}

func (ws *watchers) add(kind store.Kind, w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.byKind == nil {
		ws.byKind = map[store.Kind][]*watcher{}
	}
	ws.byKind[kind] = append(slices.Clip(ws.byKind[kind]), w)
}

func (ws *watchers) remove(kind store.Kind, w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(ws.byKind[kind]), func(x *watcher) bool { return x == w })
	if ws.byKind[kind] = left; len(left) == 0 {
		delete(ws.byKind, kind)
	}
}

func (ws *watchers) of(kind store.Kind) []*watcher {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.byKind[kind]
}

func (ws *watchers) kinds() []store.Kind {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	kinds := make([]store.Kind, 0, len(ws.byKind))
	for k := range ws.byKind {
		kinds = append(kinds, k)
	}
	return kinds
}

// tell calls the watchers. Each gets a copy: the value is the committer's.
func (ws *watchers) tell(recs []store.Record) {
	for _, r := range recs {
		for _, w := range ws.of(r.Kind) {
			if w.ctx.Err() == nil {
				told := r
				told.Value, told.Index = bytes.Clone(r.Value), slices.Clone(r.Index)
				w.fn(told)
			}
		}
	}
}

func (ws *watchers) stop() error {
	if ws.poll == nil {
		return nil
	}
	<-ws.poll.ended
	return ws.poll.c.close()
}

// logChange writes down for other processes which records were put.
func (s *Store) logChange(t *transaction) error {
	named := make([]string, 0, 2*len(t.puts))
	for _, r := range t.puts {
		named = append(named, string(r.Kind), r.Key)
	}
	if err := t.c.exec(insertChange, s.id, pack(named...)); err != nil {
		return err
	}
	if s.trimming++; s.trimming < cutEvery {
		return nil
	}
	s.trimming = 0
	return t.c.exec(cutChanges, int64(keepChanges))
}

// poller looks for the commits of other processes.
type poller struct {
	s       *Store
	c       *conn
	last    int64 // the last change that was told
	version int64 // of the data, as this connection sees it
	ended   chan struct{}
}

// startPoller starts it, if it does not run yet. Changes count from here on.
func (s *Store) startPoller() error {
	if s.watch.poll != nil {
		return nil
	}
	c, err := openReader(s.connector)
	if err != nil {
		return err
	}
	p := &poller{s: s, c: c, version: -1, ended: make(chan struct{})}
	if p.last, err = c.number(lastChange); err != nil {
		return errors.Join(err, c.close())
	}
	s.watch.poll = p
	go p.run()
	return nil
}

func (p *poller) run() {
	defer close(p.ended)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.s.closing:
			return
		case <-tick.C:
			// What cannot be read now (the disk fails) is read by a later look:
			// last and version move only after success.
			_ = p.look()
		}
	}
}

// look tells of what changed since the last look.
func (p *poller) look() error {
	version, err := p.c.number(dataVersion)
	if err != nil || version == p.version {
		return err
	}
	upTo, err := p.c.number(lastChange)
	if err != nil {
		return err
	}
	changed, err := p.changed(upTo)
	if err != nil {
		return err
	}
	now := millis(p.s.now())
	for _, at := range changed {
		r, found, err := readRecord(p.c, at.kind, at.key, now)
		if err != nil {
			return err
		}
		if found {
			p.s.watch.tell([]store.Record{r})
		}
	}
	p.last, p.version = upTo, version
	return nil
}

// changed lists the watched records that others put between last and upTo.
func (p *poller) changed(upTo int64) ([]id, error) {
	watched := p.s.watch.kinds()
	if len(watched) == 0 || upTo <= p.last {
		return nil, nil
	}
	var changed []id
	seen := map[id]bool{}
	err := p.c.query(changesOfOthers, func(row []driver.Value) bool {
		for named := unpack(blob(row[0])); len(named) >= 2; named = named[2:] {
			at := id{store.Kind(named[0]), named[1]}
			if slices.Contains(watched, at.kind) && !seen[at] {
				seen[at] = true
				changed = append(changed, at)
			}
		}
		return true
	}, p.last, upTo, p.s.id)
	if err != nil {
		return nil, err
	}
	// If the log was cut behind us (this process was stopped for long) every
	// record of a watched kind may be new.
	first, err := p.c.number(firstChange)
	if err != nil || first <= p.last+1 {
		return changed, err
	}
	return p.all(watched)
}

// all lists every record of the kinds.
func (p *poller) all(kinds []store.Kind) ([]id, error) {
	var all []id
	for _, kind := range kinds {
		q := store.Query{Kind: kind, Limit: store.MaxPage}
		for after := []byte{}; after != nil; {
			recs, last, err := readPage(p.c, q, after, millis(p.s.now()))
			if err != nil {
				return nil, err
			}
			for _, r := range recs {
				all = append(all, id{kind, r.Key})
			}
			after = last
		}
	}
	return all, nil
}
