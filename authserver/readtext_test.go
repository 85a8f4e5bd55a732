package authserver

import (
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Forms are read into memory that is used again: none reads what another said.
func TestFormsAreReadApart(t *testing.T) {
	w := newWorld(t)
	st := w.as.current()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 200 {
				want := strings.Repeat(string(rune('a'+i)), 1+(n*7919)%40_000)
				r := httptest.NewRequest("POST", "/token", strings.NewReader(want))
				r.Header.Set("Content-Type", "text/plain")
				if n%3 == 0 {
					r.ContentLength = -1 // nobody says how long it is
				}
				if got, err := readText(httptest.NewRecorder(), r, st, "text/plain"); err != nil || got != want {
					t.Errorf("%d bytes of %q are %d, %v", len(want), want[:1], len(got), err)
					return
				}
			}
		})
	}
	all.Wait()
}
