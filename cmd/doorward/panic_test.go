package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
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

// Each of the servers of an instance is calm, whatever stands before its
// handlers.
func TestEveryServerIsCalm(t *testing.T) {
	const secret = "cAnArY-7q1Fz-before-it-all"
	d := newDesk(t)
	file := filepath.Join(write(t, map[string]string{"c.yaml": "url: http://127.0.0.1:1\nstate: " + t.TempDir() + "\nservers: {files: {path: /mcp, run: sample, allow: [{who: everyone}]}}\n"}), "c.yaml")
	said := newBuffer()
	e := d.env(io.Discard, said)
	cfg, findings := loadConfig(file, roleServe, e.lookup)
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	i, err := openInstance(t.Context(), e, cfg, file)
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	var doors [2]net.Listener
	for at := range doors {
		if doors[at], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- i.serve(ctx, serving{main: doors[0], ops: doors[1], wrap: func(string, http.Handler) http.Handler {
			return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("token " + secret) })
		}})
	}()
	for _, door := range doors {
		if resp, err := http.Post("http://"+door.Addr().String()+"/x", "", nil); err == nil {
			resp.Body.Close()
			t.Errorf("%s answered %d", door.Addr(), resp.StatusCode)
		}
	}
	note, err := i.state.readNote()
	if err != nil {
		t.Fatal(err)
	}
	admin := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", note.Socket)
	}}}
	if resp, err := admin.Post("http://admin/x", "", nil); err == nil {
		resp.Body.Close()
		t.Errorf("the socket answered %d", resp.StatusCode)
	}
	stop()
	if err := <-served; err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if got := said.String(); strings.Count(got, "msg=panic") != 3 || strings.Contains(got, secret) {
		t.Errorf("the log:\n%s", got)
	}
}

// A panic in what the gateway carries a call to is a 500.
func TestPanicBehindTheGateway(t *testing.T) {
	r := newLeaverRig(t, "allow: [{who: everyone}]")
	token := r.token("alice")
	if err := r.i.gate.Reload(r.i.cfg.gatewayServers(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("here") }))); err != nil {
		t.Fatal(err)
	}
	status, body := r.send(http.MethodPost, "/mcp", "application/json", token, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami"}}`)
	if status != http.StatusInternalServerError {
		t.Errorf("%d %s", status, body)
	}
}
