package main

import (
	"net/http"
	"runtime/debug"
)

// calm answers a panic of a handler like any other fault of the server. What the
// panic says may be of the request, or of a record, so only where it was is
// logged; net/http would print it all. It stands inside what counts, so that the
// 500 is counted, and around everything.
func (i *instance) calm(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p != http.ErrAbortHandler {
				i.log.ErrorContext(r.Context(), "panic", "path", r.URL.Path, "stack", string(debug.Stack()))
				if c, ok := w.(interface{ Begun() bool }); ok && !c.Begun() {
					http.Error(w, "internal error", http.StatusInternalServerError)
					return
				}
			}
			panic(http.ErrAbortHandler) // what was said so far is not the whole
		}()
		h.ServeHTTP(w, r)
	})
}
