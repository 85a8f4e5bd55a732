package main

import (
	"bytes"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"doorward/internal/metrics"
)

// A panic wherever it comes from is a fault of the server that the log and the
// metrics have, and what it says is nowhere.
//
// covers: SEC-27, X-LOG-01
func TestPanicSaysNothing(t *testing.T) {
	const secret = "cAnArY-7q1Fz-in-a-panic"
	var logged bytes.Buffer
	i := &instance{log: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	var meters metrics.Registry
	counted := meters.Served(i.calm(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			io.WriteString(w, strings.Repeat("x", 8<<10))
		}
		panic("token " + secret)
	})), func(string) bool { return true })
	srv := httptest.NewUnstartedServer(i.calm(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/before" {
			panic("token " + secret)
		}
		counted.ServeHTTP(w, r)
	})))
	srv.Config.ErrorLog = log.New(&logged, "", 0)
	srv.Start()
	defer srv.Close()

	resp, err := http.Get(srv.URL + "/quiet")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("%d %q %v", resp.StatusCode, body, err)
	}
	if resp, err := http.Post(srv.URL+"/before", "", nil); err == nil {
		resp.Body.Close()
		t.Error("an answer that nobody knows the beginning of")
	}
	if resp, err = http.Get(srv.URL + "/begun"); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err == nil {
		t.Error("an answer that broke off looks whole")
	}
	srv.Close()
	text := httptest.NewRecorder()
	meters.ServeHTTP(text, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(text.Body.String(), `route="/quiet",status="500"`) {
		t.Errorf("metrics:\n%s", text.Body)
	}
	if got := logged.String(); strings.Count(got, "msg=panic") != 3 || !strings.Contains(got, "panic_test.go") {
		t.Errorf("the log does not say where:\n%s", got)
	}
	for where, said := range map[string]string{"log": logged.String(), "answers": string(body) + string(rest), "metrics": text.Body.String()} {
		if strings.Contains(said, secret) {
			t.Errorf("%s: %s", where, said)
		}
	}
}
