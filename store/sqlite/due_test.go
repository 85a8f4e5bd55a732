package sqlite

import (
	"fmt"
	"testing"
	"time"

	"doorward/store"
)

// However often records live longer than they said, and however many of them
// come and go, the places that the sweep is to look at are few.
func TestFewPlacesAreDue(t *testing.T) {
	now := time.Date(2026, 7, 28, 12, 0, 0, 0, time.UTC)
	s, err := OpenConfig(Config{Path: memory, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const minutes, each = 120, 32
	for minute := range minutes {
		for i := range each { // a code, redeemed, and refreshed until it is an hour old
			key := func(minute int) string { return fmt.Sprint(minute, "/", i) }
			ops := []store.Op{store.Add(store.Record{Kind: "grant", Key: key(minute), Expires: now.Add(time.Minute)})}
			for of := max(0, minute-60); of < minute; of += 7 {
				ops = append(ops, store.Put(store.Record{Kind: "grant", Key: key(of), Expires: now.Add(30 * time.Minute)}))
			}
			if err := s.Commit(t.Context(), ops...); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(time.Minute)
		if _, err := s.Sweep(t.Context(), 10000); err != nil {
			t.Fatal(err)
		}
	}
	counted := func(query string) string {
		t.Helper()
		c := <-s.writer
		defer func() { s.writer <- c }()
		n, err := c.text(query)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := counted("SELECT count(*) FROM record WHERE ends <= " + fmt.Sprint(millis(now))); n != "0" {
		t.Errorf("%s records were left", n)
	}
	if n := counted("SELECT count(*) <= 2 * count(DISTINCT block) AND count(DISTINCT block) <= (SELECT max(row) / 64 + 1 FROM record) FROM due"); n != "1" {
		t.Errorf("%s places are due, of %s blocks; there are %s records", counted("SELECT count(*) FROM due"), counted("SELECT count(DISTINCT block) FROM due"), counted("SELECT count(*) FROM record"))
	}
	now = now.Add(time.Hour)
	if _, err := s.Sweep(t.Context(), 10000); err != nil {
		t.Fatal(err)
	}
	if records, places := counted("SELECT count(*) FROM record"), counted("SELECT count(*) FROM due"); records != "0" || places != "0" {
		t.Errorf("%s records and %s places are left", records, places)
	}
}
