package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/store"
	"doorward/store/sqlite"
)

// The test binary starts itself again as another process on the same file,
// with what it is to do in childRole and the file in childPath.
const (
	childRole = "DOORWARD_SQLITE_TEST_ROLE"
	childPath = "DOORWARD_SQLITE_TEST_PATH"
)

const (
	contenders = 4
	codes      = 150  // that they contend for
	increments = 50   // of one counter, by each
	jtis       = 1000 // likewise
)

func TestMain(m *testing.M) {
	role := map[string]func(context.Context, *sqlite.Store, io.Writer) error{
		"crash": commitForever, "contend": contend, "put": putOne, "use": useNames,
	}[os.Getenv(childRole)]
	if role == nil {
		os.Exit(m.Run())
	}
	s, err := sqlite.Open(os.Getenv(childPath))
	if err == nil {
		err = errors.Join(role(context.Background(), s, os.Stdout), s.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childRole+"="+role, childPath+"="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

func put(key string) store.Op {
	return store.Create(store.Record{Kind: "test", Key: key, Value: []byte("value of " + key), Index: []string{"all"}})
}

// commitForever prints each key after its commit returned.
func commitForever(ctx context.Context, s *sqlite.Store, out io.Writer) error {
	errs := make(chan error)
	var mu sync.Mutex
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d", w, i)
				if err := s.Commit(ctx, put(key), put(key+"-too"), store.Log(store.Record{Kind: "log", Key: key}), store.Once(key, time.Time{})); err != nil {
					errs <- err
					return
				}
				mu.Lock()
				fmt.Fprintln(out, key)
				mu.Unlock()
			}
		}()
	}
	return <-errs
}

func putOne(ctx context.Context, s *sqlite.Store, _ io.Writer) error {
	return s.Commit(ctx, put("of the child"))
}

// What a commit that returned wrote is there after the process was killed, and
// of the others all or nothing.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	cmd := child(t, "crash", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var printed []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		printed = append(printed, lines.Text())
		if len(printed) == 400 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child was not killed")
	}
	if len(printed) < 400 {
		t.Fatalf("the child committed only %d", len(printed))
	}

	s := open(t, sqlite.Config{Path: path})
	for _, key := range printed {
		if r, err := s.Get(t.Context(), "test", key); err != nil || string(r.Value) != "value of "+key {
			t.Fatalf("%s: %+v, %v", key, r, err)
		}
		if err := s.Commit(t.Context(), store.Once(key, time.Time{})); !errors.Is(err, store.ErrSeen) {
			t.Fatalf("%s can be used a second time: %v", key, err)
		}
	}
	used := keysOf(t, s, store.Query{Kind: store.KindOnce})
	all, logged := keysOf(t, s, store.Query{Kind: "test", Index: "all"}), keysOf(t, s, store.Query{Kind: "log"})
	for key := range all {
		if first, ok := strings.CutSuffix(key, "-too"); !all[first] || !ok && !all[key+"-too"] || !logged[first] || !used[first] {
			t.Errorf("half a commit: %s", key)
		}
	}
	if len(all) != 2*len(logged) || len(all) != 2*len(used) {
		t.Errorf("%d records, %d in the journal and %d names", len(all), len(logged), len(used))
	}
	if err := s.Commit(t.Context(), put("after")); err != nil {
		t.Error(err)
	}
}

func keysOf(t *testing.T, s *sqlite.Store, q store.Query) map[string]bool {
	t.Helper()
	q.Limit = 1000
	for all := map[string]bool{}; ; {
		recs, next, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			all[r.Key] = true
		}
		if q.After = next; next == "" {
			return all
		}
	}
}

// contend takes and uses once what it can get, prints what it won, and counts
// a common counter up. It starts when all contenders are there.
func contend(ctx context.Context, s *sqlite.Store, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	me := store.Record{Kind: "ready", Key: strconv.Itoa(os.Getpid())}
	if err := s.Commit(ctx, store.Create(me)); err != nil {
		return err
	}
	for ready := 0; ready < contenders; time.Sleep(time.Millisecond) {
		recs, _, err := s.List(ctx, store.Query{Kind: "ready"})
		if err != nil {
			return err
		}
		ready = len(recs)
	}
	for i := range codes {
		key := strconv.Itoa(i)
		if err := s.Commit(ctx, store.Take("code", key)); err == nil {
			fmt.Fprintln(out, "took", key)
		} else if !errors.Is(err, store.ErrTaken) {
			return err
		}
		if err := s.Commit(ctx, store.Once("jti"+key, time.Now().Add(time.Hour))); err == nil {
			fmt.Fprintln(out, "used", key)
		} else if !errors.Is(err, store.ErrSeen) {
			return err
		}
	}
	for done := 0; done < increments; {
		r, err := s.Get(ctx, "counter", "n")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(r.Value))
		if err != nil {
			return err
		}
		r.Value = []byte(strconv.Itoa(n + 1))
		if err = s.Commit(ctx, store.Put(r)); err == nil {
			done++
		} else if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}

// Of several processes one wins each Take and each Once, and no increment is
// lost.
// covers: AS-CODE-02
func TestProcessesContend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	s := open(t, sqlite.Config{Path: path})
	ops := []store.Op{store.Put(store.Record{Kind: "counter", Key: "n", Value: []byte("0")})}
	for i := range codes {
		ops = append(ops, store.Create(store.Record{Kind: "code", Key: strconv.Itoa(i)}))
	}
	if err := s.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	const children = contenders - 1
	outs := make([]strings.Builder, contenders)
	errs := make([]error, contenders)
	var wg sync.WaitGroup
	for i := range children {
		cmd := child(t, "contend", path)
		cmd.Stdout = &outs[i]
		wg.Go(func() { errs[i] = cmd.Run() })
	}
	errs[children] = contend(t.Context(), s, &outs[children])
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	won := map[string]int{}
	for i := range outs {
		for line := range strings.Lines(outs[i].String()) {
			won[line]++
		}
	}
	for line, n := range won {
		if n != 1 {
			t.Errorf("%d winners %s", n, line)
		}
	}
	if len(won) != 2*codes {
		t.Errorf("%d won, want %d", len(won), 2*codes)
	}
	r, err := s.Get(t.Context(), "counter", "n")
	if want := strconv.Itoa(contenders * increments); err != nil || string(r.Value) != want {
		t.Errorf("counted %s, %v, want %s", r.Value, err, want)
	}
}

// useNames uses each of many names once, several at a time, and prints which it
// was that used them.
func useNames(ctx context.Context, s *sqlite.Store, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	const workers = 8
	var printing sync.Mutex
	errs := make([]error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := w; i < jtis; i += workers {
				name := fmt.Sprint("jti", i)
				err := s.Commit(ctx, store.Once(name, time.Now().Add(time.Hour)))
				if err == nil {
					printing.Lock()
					fmt.Fprintln(out, name)
					printing.Unlock()
				} else if !errors.Is(err, store.ErrSeen) {
					errs[w] = err
					return
				}
				if _, err := s.Get(ctx, store.KindOnce, name); err != nil {
					errs[w] = fmt.Errorf("%s was used and is not there: %w", name, err)
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Of two processes that use the same thousand names at once, one uses each.
// covers: AS-JAG-09, SEC-14
func TestProcessesUseNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	s := open(t, sqlite.Config{Path: path})
	var theirs, ours strings.Builder
	cmd := child(t, "use", path)
	cmd.Stdout = &theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(useNames(t.Context(), s, &ours), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	won := map[string]int{}
	for line := range strings.Lines(theirs.String() + ours.String()) {
		won[line]++
	}
	for line, n := range won {
		if n != 1 {
			t.Errorf("%d processes used %s", n, line)
		}
	}
	if len(won) != jtis {
		t.Errorf("%d names were used, want %d", len(won), jtis)
	}
}

// A watcher hears of another process's commit within a second, and of what
// another Store of this process commits.
func TestWatchAcross(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	watching, other := open(t, sqlite.Config{Path: path}), open(t, sqlite.Config{Path: path})
	heard := make(chan store.Record, 100)
	if err := watching.Watch(t.Context(), "test", func(r store.Record) { heard <- r }); err != nil {
		t.Fatal(err)
	}
	hear := func(key string) {
		t.Helper()
		select {
		case r := <-heard:
			if r.Key != key || string(r.Value) != "value of "+key || r.Version != 1 || len(r.Index) != 1 {
				t.Fatalf("heard %+v, want %s", r, key)
			}
		case <-time.After(time.Second):
			t.Fatalf("did not hear of %s within a second", key)
		}
	}
	commit := func(s *sqlite.Store, ops ...store.Op) {
		t.Helper()
		if err := s.Commit(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	commit(other, put("of the other"), store.Put(store.Record{Kind: "unwatched", Key: "x"}))
	hear("of the other")
	commit(watching, put("own"))
	hear("own")
	commit(other, put("second"))
	hear("second")
	if err := child(t, "put", path).Run(); err != nil {
		t.Fatal(err)
	}
	hear("of the child")
	commit(watching, store.Take("test", "own"))
	time.Sleep(500 * time.Millisecond) // two polls: what was heard at once is not told again
	if len(heard) > 0 {
		t.Fatalf("heard again: %+v", <-heard)
	}
}
