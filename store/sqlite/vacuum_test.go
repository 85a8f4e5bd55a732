package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"doorward/store"
)

// Whatever else is done to the file by somebody else's connection (VACUUM, which
// writes all of it anew, and checkpoints, which begin a new log), what is
// remembered is what lies there.
func TestRememberedThroughVacuum(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	stores := []*Store{openAt(t, path), openAt(t, path)}
	other, err := newConn(stores[0].connector, "PRAGMA busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.close() })
	rnd := rand.New(rand.NewPCG(3, 4))
	want := map[string][]byte{}
	for i := range 1500 {
		s, key := stores[rnd.IntN(len(stores))], fmt.Sprint(rnd.IntN(8))
		switch rnd.IntN(8) {
		case 0, 1:
			value := fmt.Append(nil, "value ", i)
			if err := s.Commit(t.Context(), store.Put(store.Record{Kind: "test", Key: key, Value: value})); err != nil {
				t.Fatal(err)
			}
			want[key] = value
		case 2:
			if err := s.Commit(t.Context(), store.Delete("test", key)); err != nil {
				t.Fatal(err)
			}
			delete(want, key)
		case 3:
			err := s.Commit(t.Context(), store.Create(store.Record{Kind: "test", Key: key, Value: []byte("new")}))
			if (want[key] == nil) != (err == nil) || err != nil && !errors.Is(err, store.ErrConflict) {
				t.Fatalf("step %d: %v", i, err)
			}
			if err == nil {
				want[key] = []byte("new")
			}
		case 4:
			done := []string{"VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA wal_checkpoint(RESTART)", "DELETE FROM record WHERE key = CAST('" + key + "' AS BLOB)"}[rnd.IntN(4)]
			if err := other.script(done); err != nil {
				t.Fatalf("%s: %v", done, err)
			}
			if done[0] == 'D' {
				delete(want, key)
			}
		default:
			r, err := s.Get(t.Context(), "test", key)
			if want[key] == nil && !errors.Is(err, store.ErrNotFound) || want[key] != nil && (err != nil || !bytes.Equal(r.Value, want[key])) {
				t.Fatalf("step %d: %q %v, want %q", i, r.Value, err, want[key])
			}
		}
	}
}
