package stdio

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds whatever a test waits for.
const patience = 20 * time.Second

// rig is a server on loopback whose callers say in headers who they are, as a
// gateway would in the context.
type rig struct {
	testing.TB
	s      *Server
	url    string
	log    *logged
	grants *ends
}

type callerKey struct{}

// logged is the log, read while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// ends are grants that can end.
type ends struct {
	mu   sync.Mutex
	next int
	subs map[string]map[int]func()
}

func (e *ends) onEnd(grant string, fn func()) func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next++
	n := e.next
	if e.subs[grant] == nil {
		e.subs[grant] = map[int]func(){}
	}
	e.subs[grant][n] = fn
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.subs[grant], n)
	}
}

func (e *ends) end(grant string) {
	e.mu.Lock()
	subs := e.subs[grant]
	delete(e.subs, grant)
	e.mu.Unlock()
	for _, fn := range subs {
		fn()
	}
}

// newRig serves a child that behaves as how says.
func newRig(t testing.TB, how string, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{TB: t, log: &logged{}, grants: &ends{subs: map[string]map[int]func(){}}}
	c := Config{
		Name: "kid", Command: []string{os.Args[0], "child", how},
		Caller: func(ctx context.Context) (string, string) {
			who, _ := ctx.Value(callerKey{}).([2]string)
			return who[0], who[1]
		},
		OnEnd: r.grants.onEnd, Logger: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Start: 10 * time.Second, Grace: 200 * time.Millisecond,
	}
	for _, f := range change {
		f(&c)
	}
	var err error
	if r.s, err = New(c); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		who := [2]string{req.Header.Get("Owner"), req.Header.Get("Grant")}
		r.s.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), callerKey{}, who)))
	}))
	r.url = srv.URL
	t.Cleanup(func() {
		r.s.Close()
		srv.Close()
	})
	return r
}

// reply is what came back.
type reply struct {
	status  int
	session string
	body    string
	id      string
	result  json.RawMessage
	err     string // of the JSON-RPC error
}

// request sends one, and returns its answer unread.
func (r *rig) request(ctx context.Context, method, session, owner, body string) *http.Response {
	r.Helper()
	req, err := http.NewRequestWithContext(ctx, method, r.url, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	req.Header = http.Header{"Owner": {owner}, "Grant": {owner + "'s grant"}, "Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	if session != "" {
		req.Header.Set(sessionHeader, session)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.Fatal(err)
	}
	return resp
}

func (r *rig) do(method, session, owner, body string) reply {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	return r.read(r.request(ctx, method, session, owner, body))
}

func (r *rig) read(resp *http.Response) reply {
	r.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	out := reply{status: resp.StatusCode, session: resp.Header.Get(sessionHeader), body: string(b)}
	if resp.Header.Get("Content-Type") == "application/json" {
		var m struct {
			ID     json.RawMessage
			Result json.RawMessage
			Error  struct{ Message string }
		}
		if err := json.Unmarshal(b, &m); err != nil {
			r.Fatalf("%v: %s", err, b)
		}
		out.id, out.result, out.err = string(m.ID), m.Result, m.Error.Message
	}
	return out
}

const initialize = `{"jsonrpc":"2.0","id":"i","method":"initialize","params":{}}`

// begin starts a session.
func (r *rig) begin(owner string) string {
	r.Helper()
	got := r.do(http.MethodPost, "", owner, initialize)
	if got.status != http.StatusOK || got.session == "" || got.id != `"i"` {
		r.Fatalf("%+v\n%s", got, r.log)
	}
	return got.session
}

func rpc(id, method, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":%q,"params":{%s}}`, id, method, params)
}

// pid is the process of a session.
func (r *rig) pid(session, owner string) int {
	r.Helper()
	got := r.do(http.MethodPost, session, owner, rpc(`"p"`, "pid", ""))
	var pid int
	if err := json.Unmarshal(got.result, &pid); err != nil {
		r.Fatalf("%v %+v", err, got)
	}
	return pid
}

// events reads the data of an event stream, one event at a time.
type eventReader struct {
	t    testing.TB
	resp *http.Response
	in   *bufio.Scanner
}

func (r *rig) stream(session, owner string) *eventReader {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	r.Cleanup(cancel)
	resp := r.request(ctx, http.MethodGet, session, owner, "")
	if resp.StatusCode != http.StatusOK {
		r.Fatalf("GET: %d", resp.StatusCode)
	}
	return r.events(resp)
}

func (r *rig) events(resp *http.Response) *eventReader {
	r.Helper()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		r.Fatalf("Content-Type: %s", got)
	}
	r.Cleanup(func() { _ = resp.Body.Close() })
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 16<<20)
	return &eventReader{r, resp, in}
}

// next is the data of the next event, "" at the end.
func (e *eventReader) next() string {
	for e.in.Scan() {
		if data, ok := strings.CutPrefix(e.in.Text(), "data: "); ok {
			return data
		}
	}
	return ""
}

// eventually waits until ok.
func (r *rig) eventually(what string, ok func() bool) {
	r.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("never: %s\n%s", what, r.log)
		}
	}
}
