package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// memory is a sink that remembers, and fails or waits as told.
type memory struct {
	mu     sync.Mutex
	events []Event
	writes []int
	fails  int // Writes that fail from now on; -1: all
	slow   time.Duration
	busy   bool
}

func (m *memory) Write(ctx context.Context, events []Event) error {
	m.mu.Lock()
	if m.busy {
		panic("two goroutines write")
	}
	m.busy = true
	slow := m.slow
	m.mu.Unlock()
	time.Sleep(slow)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy = false
	if m.fails != 0 {
		m.fails--
		return errors.New("the disk is full")
	}
	m.events = append(m.events, events...)
	m.writes = append(m.writes, len(events))
	return nil
}

func (m *memory) got() (events, writes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.events), len(m.writes)
}

// inOrder fails unless the sink has exactly the events 0 to n-1.
func inOrder(t *testing.T, m *memory, n int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.events) != n {
		t.Fatalf("%d events were written, want %d", len(m.events), n)
	}
	for i, e := range m.events {
		if e.Grant != fmt.Sprint(i) {
			t.Fatalf("event %d is %s", i, e.Grant)
		}
	}
}

func numbered(i int) Event { return Event{Action: "token.issue", Outcome: "ok", Grant: fmt.Sprint(i)} }

func TestWrittenTogetherWithin100ms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := New(func(err error) { t.Error(err) }, m)
		for i := range 5 {
			l.Add(numbered(i))
			time.Sleep(5 * time.Millisecond)
		}
		if n, _ := m.got(); n != 0 {
			t.Errorf("%d events were written one by one", n)
		}
		time.Sleep(75 * time.Millisecond)
		synctest.Wait()
		if n, w := m.got(); n != 5 || w != 1 {
			t.Errorf("%d events in %d writes after 100 ms, want 5 in 1", n, w)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		inOrder(t, m, 5)
	})
}

func TestCloseWritesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &memory{}, &memory{}
		var late error
		l := New(func(err error) { late = err }, a, b)
		for i := range 2500 {
			l.Add(numbered(i))
		}
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		inOrder(t, a, 2500)
		inOrder(t, b, 2500)
		for _, n := range a.writes {
			if n > batchSize {
				t.Errorf("a write of %d events", n)
			}
		}
		l.Add(numbered(0))
		if late == nil {
			t.Error("an event after the end vanished silently")
		}
	})
}

// What comes while a sink writes is not forgotten.
func TestAddDuringWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{slow: time.Second}
		l := New(nil, m)
		defer l.Close()
		for i := range 3 {
			l.Add(numbered(i))
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		inOrder(t, m, 3)
	})
}

func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := New(nil, m)
		defer l.Close()
		start := time.Now()
		for i := range 3 {
			l.Add(numbered(i))
		}
		if err := l.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		inOrder(t, m, 3)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("Flush waited %s", waited)
		}
		m.mu.Lock()
		m.slow = time.Second
		m.mu.Unlock()
		l.Add(numbered(3))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := l.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush of a slow sink: %v", err)
		}
		time.Sleep(2 * time.Second)
		inOrder(t, m, 4)
	})
}

func TestFailedBatchIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, healthy := &memory{fails: 2}, &memory{}
		var errs []error
		l := New(func(err error) { errs = append(errs, err) }, m, healthy)
		for i := range 3 {
			l.Add(numbered(i))
		}
		if err := l.Flush(t.Context()); err == nil {
			t.Error("Flush says nothing of the failure")
		}
		inOrder(t, healthy, 3) // one sink does not wait for the other
		time.Sleep(10 * time.Second)
		synctest.Wait()
		inOrder(t, m, 3)
		if len(errs) != 2 {
			t.Errorf("%d errors were told, want 2: %v", len(errs), errs)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		inOrder(t, m, 3)
	})
}

func TestAddBlocksAtTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{fails: -1}
		l := New(nil, m)
		done := make(chan struct{})
		const n = maxWaiting + 1
		go func() {
			for i := range n {
				l.Add(numbered(i))
			}
			close(done)
		}()
		time.Sleep(time.Minute)
		select {
		case <-done:
			t.Error("Add does not block while 10,000 events wait")
		default:
		}
		m.mu.Lock()
		m.fails = 0
		m.mu.Unlock()
		time.Sleep(time.Minute)
		<-done
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		inOrder(t, m, n)
	})
}

func TestCloseEndsWithADeadSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(nil, &memory{fails: -1})
		var callers sync.WaitGroup
		callers.Go(func() {
			for i := range maxWaiting + 1 {
				l.Add(numbered(i))
			}
		})
		time.Sleep(time.Second)
		err := l.Close()
		if err == nil || !strings.Contains(err.Error(), "10001 events were not written") {
			t.Errorf("Close: %v", err)
		}
		callers.Wait()
		if err := l.Flush(t.Context()); err == nil {
			t.Error("Flush after that: no error")
		}
	})
}

func TestManyCallers(t *testing.T) {
	m := &memory{}
	l := New(func(err error) { t.Error(err) }, m)
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for i := range 3000 {
				l.Add(numbered(i))
			}
		})
	}
	callers.Wait()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if n, _ := m.got(); n != 24000 {
		t.Errorf("%d events, want 24000", n)
	}
}

func TestSlog(t *testing.T) {
	var out bytes.Buffer
	s := Slog(slog.New(slog.NewJSONHandler(&out, nil)))
	err := s.Write(t.Context(), []Event{
		{Time: time.Unix(0, 0), Action: "token.issue", Outcome: "ok", Client: "c", JTI: "0123456789abcdef"},
		{Action: "sign_in", Outcome: "refused", Reason: "password", Detail: "a\nb"},
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2", len(lines))
	}
	var first, second map[string]any
	if err := errors.Join(json.Unmarshal([]byte(lines[0]), &first), json.Unmarshal([]byte(lines[1]), &second)); err != nil {
		t.Fatal(err)
	}
	if _, there := first["person"]; there || first["client"] != "c" || first["level"] != "INFO" {
		t.Errorf("first line: %v", first)
	}
	if second["reason"] != "password" || second["level"] != "WARN" || second["detail"] != "a\nb" {
		t.Errorf("second line: %v", second)
	}
}

// The queue keeps its order and every event, whatever comes while a batch is
// written, and holds on to no event that was written.
func TestQueueIsUsedAgain(t *testing.T) {
	for _, more := range []int{0, 1, batchSize, 3 * batchSize} {
		m := &memory{}
		ln := &lane{sink: m}
		ln.room.L = &ln.mu
		add := func(n int) {
			for range n {
				ln.queue = append(ln.queue, Event{Detail: strconv.Itoa(len(m.events) + len(ln.queue))})
			}
		}
		add(batchSize / 2)
		if err := ln.write(); err != nil || len(ln.queue) != 0 || cap(ln.queue) == 0 {
			t.Fatalf("%v; %d events wait in room for %d", err, len(ln.queue), cap(ln.queue))
		}
		for _, e := range ln.queue[:cap(ln.queue)] {
			if e != (Event{}) {
				t.Fatalf("%v is still there", e)
			}
		}
		add(batchSize + more)
		if err := ln.write(); err != nil || len(ln.queue) != 0 || cap(ln.queue) > 2*batchSize {
			t.Fatalf("%v; %d events wait in room for %d", err, len(ln.queue), cap(ln.queue))
		}
		for i, e := range m.events {
			if e.Detail != strconv.Itoa(i) {
				t.Fatalf("event %d is %s", i, e.Detail)
			}
		}
		if len(m.events) != batchSize/2+batchSize+more {
			t.Errorf("%d events", len(m.events))
		}
	}
}
