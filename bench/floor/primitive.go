package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"doorward/bench/control"
)

// primitive measures one operation alone, n times by many goroutines, and
// answers with nanoseconds of CPU for each.
func (f *floor) primitive(w http.ResponseWriter, r *http.Request) {
	digest := sha256.Sum256([]byte("x"))
	signature, err := ecdsa.SignASN1(rand.Reader, f.key, digest[:])
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	op, ok := map[string]func(){
		"sign":   func() { ecdsa.SignASN1(rand.Reader, f.key, digest[:]) },
		"verify": func() { ecdsa.VerifyASN1(&f.key.PublicKey, digest[:], signature) },
	}[r.FormValue("name")]
	n, err := strconv.Atoi(r.FormValue("n"))
	if !ok || err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	const callers = 32
	before := control.CPU()
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range n / callers {
				op()
			}
		})
	}
	all.Wait()
	fmt.Fprint(w, (control.CPU()-before).Nanoseconds()/int64(n/callers*callers))
}
