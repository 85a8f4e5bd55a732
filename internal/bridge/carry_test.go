package bridge_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"doorward/internal/bridge"
)

// asked is one request that a server got.
type asked struct {
	verb, method, session, last string
	id                          any
	params                      map[string]any
	text                        string
	header                      http.Header
}

// recorded is a server that keeps what it is asked.
type recorded struct {
	mu  sync.Mutex
	all []asked
	url string
}

func (s *recorded) has(f func(asked) bool) bool { return s.count(f) > 0 }

func (s *recorded) count(f func(asked) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.all {
		if f(a) {
			n++
		}
	}
	return n
}

func (s *recorded) wait(t *testing.T, what string, f func(asked) bool) {
	t.Helper()
	for end := time.Now().Add(patience); !s.has(f); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never asked: %s", what)
		}
	}
}

func record(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, a asked)) *recorded {
	t.Helper()
	s := &recorded{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var m struct {
			ID     any            `json:"id"`
			Method string         `json:"method"`
			Params map[string]any `json:"params"`
		}
		_ = json.Unmarshal(body, &m) // a GET has none
		a := asked{r.Method, m.Method, r.Header.Get("Mcp-Session-Id"), r.Header.Get("Last-Event-ID"), m.ID, m.Params, string(body), r.Header}
		s.mu.Lock()
		s.all = append(s.all, a)
		s.mu.Unlock()
		answer(w, r, a)
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	s.url = srv.URL
	return s
}

func is(verb, method string) func(asked) bool {
	return func(a asked) bool { return a.verb == verb && a.method == method }
}

func reply(w http.ResponseWriter, a asked, result string) {
	id, err := json.Marshal(a.id)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result)
}

func refuse(w http.ResponseWriter, a asked, status, code int, message, data string) {
	id, err := json.Marshal(a.id)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%q,"data":%s}}`, id, code, message, data)
}

// stateful answers what is the same in all of these servers; it reports whether it did.
func stateful(w http.ResponseWriter, a asked, version, session string) bool {
	switch {
	case a.method == "initialize":
		if session != "" {
			w.Header().Set("Mcp-Session-Id", session)
		}
		reply(w, a, `{"protocolVersion":"`+version+`"}`)
	case a.verb == http.MethodDelete, strings.HasPrefix(a.method, "notifications/"), a.method == "" && a.verb == http.MethodPost:
		w.WriteHeader(http.StatusAccepted)
	case a.verb == http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	default:
		return false
	}
	return true
}

func (l *line) hello(version string) {
	l.t.Helper()
	l.send(`{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{"protocolVersion":"` + version + `"}}`)
	if _, text := l.next(); !strings.Contains(text, version) {
		l.t.Fatal(text)
	}
	l.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}

// meta is the envelope of the wire without sessions.
const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}`

// A batch goes to the server message by message, and comes back as one.
func TestBatches(t *testing.T) {
	s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) {
		if !stateful(w, a, "2025-03-26", "s") {
			time.Sleep(time.Duration(a.id.(float64)) * time.Millisecond)
			reply(w, a, `{"n":1}`)
		}
	})
	l := start(t, bridge.Config{URL: s.url})
	l.hello("2025-03-26")
	raw := func() string {
		return l.line()
	}
	l.send(`[{"jsonrpc":"2.0","id":30,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/roots/list_changed"},{"jsonrpc":"2.0","id":1,"method":"ping"}]`)
	var answers []struct{ ID int }
	if text := raw(); json.Unmarshal([]byte(text), &answers) != nil || len(answers) != 2 || answers[0].ID+answers[1].ID != 31 {
		t.Errorf("%s", text)
	}
	if !s.has(is("POST", "notifications/roots/list_changed")) || s.has(func(a asked) bool { return strings.HasPrefix(a.text, "[") }) {
		t.Errorf("the server was asked %v", s.all)
	}
	// Notifications alone have no answer: the next line is the next call's.
	l.send(`[{"jsonrpc":"2.0","method":"notifications/progress"}]`)
	l.send(`[{"jsonrpc":"2.0","id":5,"method":"initialize","params":{}},{"jsonrpc":"2.0","id":6,"method":"ping"}]`)
	if text := raw(); !strings.HasPrefix(text, "[") || strings.Count(text, "initialize must not") != 2 {
		t.Errorf("%s", text)
	}
	l.send(`[{"jsonrpc":"2.0","id":7,"method":"ping"},17]`)
	if m, text := l.next(); m["error"] == nil {
		t.Error(text)
	}
	l.end()

	later := record(t, func(w http.ResponseWriter, r *http.Request, a asked) { stateful(w, a, "2025-06-18", "") })
	l = start(t, bridge.Config{URL: later.url})
	l.hello("2025-06-18")
	l.send(`[{"jsonrpc":"2.0","id":8,"method":"ping"}]`)
	if text := raw(); !strings.Contains(text, `"id":8`) || !strings.Contains(text, "MCP 2025-06-18 has none") {
		t.Errorf("%s", text)
	}
	l.send(`[{"jsonrpc":"2.0","method":"notifications/progress"}]`)
	if m, text := l.next(); m["id"] != nil || m["error"] == nil {
		t.Error(text)
	}
	l.end()
}

// A server's batches reach the program as messages, which every revision has.
func TestBatchesOfTheServer(t *testing.T) {
	const two = `[{"jsonrpc":"2.0","method":"notifications/message","params":{}},{"jsonrpc":"2.0","id":1,"result":{}}]`
	for name, answer := range map[string]func(w http.ResponseWriter){
		"in one piece": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, two)
		},
		"as an event": func(w http.ResponseWriter) { sse(w, "data: "+two+"\n\n") },
	} {
		t.Run(name, func(t *testing.T) {
			s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) { answer(w) })
			l := start(t, bridge.Config{URL: s.url})
			l.send(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
			if m, text := l.next(); m["method"] != "notifications/message" {
				t.Error(text)
			}
			if m, text := l.next(); m["id"] != 1.0 || m["result"] == nil {
				t.Error(text)
			}
			l.end()
		})
	}
}

// Where the two sides speak different wires, the error says which speaks what.
func TestWiresThatDoNotFit(t *testing.T) {
	old := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server {
		return mcp.NewServer(&mcp.Implementation{Name: "old", Version: "1"}, nil)
	}, nil)
	const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}`
	discover := `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{` + meta + `}}`
	call := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x",` + meta + `}}`
	answers := func(status, code int, message, data string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { refuse(w, asked{id: 1}, status, code, message, data) }
	}
	words := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", status) }
	}
	const onlyOld, onlyNew = "speaks only the wire with sessions", "speaks only the wire without sessions"
	for name, c := range map[string]struct {
		server http.Handler
		sent   string
		code   float64
		says   string // empty: the server's own words, and nothing of wires
	}{
		"the Go SDK with sessions":   {old, call, -32022, onlyOld},
		"1.x of the TypeScript SDK":  {answers(400, -32000, "Bad Request: Server not initialized", "null"), call, -32000, onlyOld},
		"discover is no method":      {answers(200, -32601, "Method not found", "null"), discover, -32601, onlyOld},
		"discover, plain words":      {words(400), discover, -32000, onlyOld},
		"supported, old ones":        {answers(400, -32022, "no", `{"supported":["2025-11-25"]}`), call, -32022, "2025-11-25"},
		"supported, new ones":        {answers(400, -32022, "no", `{"supported":["2026-12-01"]}`), call, -32022, ""},
		"headers":                    {answers(400, -32020, "mismatch", "null"), call, -32020, ""},
		"a method that is not there": {answers(404, -32601, "Method not found", "null"), call, -32601, ""},
		"no rights":                  {answers(403, -32000, "no session for you", "null"), call, -32000, ""},
		"initialize, strict":         {answers(400, -32022, "no", `{"supported":["2026-07-28"],"requested":"2025-06-18"}`), initialize, -32022, onlyNew},
		"initialize, no headers":     {answers(400, -32020, "missing", "null"), initialize, -32020, onlyNew},
		"initialize is no method":    {answers(404, -32601, "Method not found", "null"), initialize, -32601, onlyNew},
		"initialize, other versions": {answers(400, -32022, "no", `{"supported":["2025-11-25"]}`), initialize, -32022, ""},
		"initialize, broken":         {answers(500, -32603, "broken", "null"), initialize, -32603, ""},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(c.server)
			defer srv.Close()
			l := start(t, bridge.Config{URL: srv.URL})
			l.send(c.sent)
			m, text := l.next()
			e, _ := m["error"].(map[string]any)
			if m["id"] != 1.0 || e["code"] != c.code || !strings.Contains(text, c.says) || c.says == "" && strings.Contains(text, "wire") {
				t.Errorf("%s, want %v %q", text, c.code, c.says)
			}
			if c.says != "" && !strings.Contains(text, srv.URL) {
				t.Errorf("%s does not name the server", text)
			}
			l.end()
		})
	}
}

// A server that has answered without sessions is not said to want them.
func TestWiresThatFitted(t *testing.T) {
	s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) {
		if a.method == "tools/list" {
			reply(w, a, `{"tools":[]}`)
			return
		}
		refuse(w, a, 400, -32000, "not today", "null")
	})
	l := start(t, bridge.Config{URL: s.url})
	l.send(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + meta + `}}`)
	l.next()
	l.send(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"x",` + meta + `}}`)
	if _, text := l.next(); strings.Contains(text, "wire") || !strings.Contains(text, "not today") {
		t.Error(text)
	}
	l.end()
}

// With sessions a cancellation follows its call to the server; without, the end
// of the request is the message and nothing else is sent.
func TestCancellation(t *testing.T) {
	for _, version := range []string{"2025-11-25", "2026-07-28"} {
		t.Run(version, func(t *testing.T) {
			gone := make(chan struct{}, 8)
			told := make(chan struct{}, 8)
			s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) {
				if a.method == "notifications/cancelled" {
					told <- struct{}{}
					time.Sleep(20 * time.Millisecond)
				}
				if a.method == "tools/call" {
					sse(w, ": open\n\n")
					select {
					case <-told: // some servers answer what is cancelled
						sse(w, fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"id\":%v,\"result\":{}}\n\n", a.id))
					case <-r.Context().Done():
					}
					gone <- struct{}{}
				} else if a.method == "ping" {
					reply(w, a, "{}")
				} else {
					stateful(w, a, version, "s")
				}
			})
			l := start(t, bridge.Config{URL: s.url})
			with := meta
			if version < "2026-07-28" {
				l.hello(version)
				with = `"x":1`
			}
			for id := 9; id <= 10; id++ { // the first may be given up before it is sent
				l.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"x",%s}}`, id, with))
				if id == 10 {
					s.wait(t, "the call", func(a asked) bool { return a.id == 10.0 })
				}
				l.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d,%s}}`, id, with))
			}
			select {
			case <-gone:
			case <-time.After(patience):
				t.Fatal("the request goes on")
			}
			l.send(`{"jsonrpc":"2.0","id":11,"method":"ping","params":{` + with + `}}`)
			if m, text := l.next(); m["id"] != 11.0 {
				t.Errorf("a call that was given up is answered: %s", text)
			}
			l.end()
			s.mu.Lock()
			defer s.mu.Unlock()
			for id := 9.0; id <= 10; id++ {
				call := slices.IndexFunc(s.all, func(a asked) bool { return a.id == id })
				told := slices.IndexFunc(s.all, func(a asked) bool { return a.method == "notifications/cancelled" && a.params["requestId"] == id })
				if version >= "2026-07-28" && told >= 0 || version < "2026-07-28" && (call >= 0) != (told > call) {
					t.Errorf("%v: call %d, cancellation %d", id, call, told)
				}
			}
		})
	}
}

// What a server asks, and takes back, goes through; so do the answers.
func TestServerAsksAndCancels(t *testing.T) {
	var open atomic.Value
	s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) {
		switch {
		case a.method == "tools/call":
			sse(w, `data: {"jsonrpc":"2.0","id":"q1","method":"sampling/createMessage","params":{}}`+"\n\n")
			sse(w, `data: {"jsonrpc":"2.0","id":"q2","method":"elicitation/create","params":{}}`+"\n\n")
			sse(w, `data: {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"q2"}}`+"\n\n")
			for open.Load() == nil {
				time.Sleep(time.Millisecond)
			}
			sse(w, `data: {"jsonrpc":"2.0","id":1,"result":{"got":"`+open.Load().(string)+`"}}`+"\n\n")
		case a.id == "q1":
			open.Store("forty-two")
			w.WriteHeader(http.StatusAccepted)
		default:
			stateful(w, a, "2025-11-25", "s")
		}
	})
	l := start(t, bridge.Config{URL: s.url})
	l.hello("2025-11-25")
	l.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`)
	for _, want := range []string{"sampling/createMessage", "elicitation/create", "notifications/cancelled"} {
		if m, text := l.next(); m["method"] != want {
			t.Errorf("%s, want %s", text, want)
		}
	}
	l.send(`{"jsonrpc":"2.0","id":"q1","result":{"role":"assistant"}}`)
	if m, text := l.next(); m["id"] != 1.0 || !strings.Contains(text, "forty-two") {
		t.Error(text)
	}
	if !s.has(func(a asked) bool { return a.id == "q1" && a.session == "s" }) {
		t.Error("the answer was not in the session")
	}
	l.end()
}
