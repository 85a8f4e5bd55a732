// Package control is what the measured programs have beside what is measured:
// a second listener that says what the process has used, and profiles.
package control

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

// Listen opens a free port of this machine and returns its base URL.
func Listen() (net.Listener, string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	return l, "http://" + l.Addr().String(), nil
}

// ballast is that of the product (cmd/doorward), for the floor as for us.
var ballast = make([]byte, 6<<20)

// Serve serves h on l, and on a port of its own /cpu (nanoseconds),
// /gc, /free (memory back to the system), /debug/pprof/ and what more names. It prints both base URLs and ends with
// standard input, so that it does not outlive who started it.
func Serve(l net.Listener, h http.Handler, more map[string]http.HandlerFunc) error {
	own, url, err := Listen()
	if err != nil {
		return err
	}
	defer runtime.KeepAlive(ballast)
	mux := http.NewServeMux()
	mux.HandleFunc("/cpu", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, CPU().Nanoseconds()) })
	mux.HandleFunc("/gc", func(http.ResponseWriter, *http.Request) { runtime.GC() })
	mux.HandleFunc("/free", func(http.ResponseWriter, *http.Request) { debug.FreeOSMemory() })
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/allocs", pprof.Handler("allocs").ServeHTTP)
	for path, f := range more {
		mux.HandleFunc(path, f)
	}
	go http.Serve(own, mux)
	// The product's own limits (cmd/doorward), for the floor as for us.
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	go srv.Serve(l)
	fmt.Printf("http://%s %s\n", l.Addr(), url)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
