package bridge_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"doorward/internal/bridge"
)

// wire is a relay whose connections a test can cut.
type wire struct {
	at    string
	mu    sync.Mutex
	conns []net.Conn
}

func relay(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{at: "http://" + l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, c, s)
			w.mu.Unlock()
			go func() { io.Copy(s, c); s.Close() }()
			go func() { io.Copy(c, s); c.Close() }()
		}
	}()
	t.Cleanup(func() { l.Close(); w.cut() })
	return w
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// A connection that drops in the middle of a call: a real server that keeps its
// events has it taken up where it broke; one that keeps none cannot.
func TestConnectionDrops(t *testing.T) {
	for _, keeps := range []bool{true, false} {
		t.Run(fmt.Sprintf("keeps events %v", keeps), func(t *testing.T) {
			step, more := make(chan struct{}, 8), make(chan struct{})
			s := mcp.NewServer(&mcp.Implementation{Name: "t", Version: "1"}, nil)
			mcp.AddTool(s, &mcp.Tool{Name: "walk"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
				for i := range 3 {
					if err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "p", Progress: float64(i)}); err != nil {
						return nil, nil, err
					}
					step <- struct{}{}
					<-more
				}
				return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "there"}}}, nil, nil
			})
			options := &mcp.StreamableHTTPOptions{}
			if keeps {
				options.EventStore = mcp.NewMemoryEventStore(nil)
			}
			srv := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, options))
			defer srv.Close()
			defer srv.CloseClientConnections()
			w := relay(t, srv.Listener.Addr().String())
			l := start(t, bridge.Config{URL: w.at})
			l.send(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`)
			l.next()
			l.send(`{"jsonrpc":"2.0","method":"notifications/initialized","params":{}}`)
			l.send(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"walk","arguments":{},"_meta":{"progressToken":"p"}}}`)
			<-step
			if m, text := l.next(); m["method"] != "notifications/progress" {
				t.Fatal(text)
			}
			w.cut()
			close(more)
			if !keeps {
				if m, text := l.next(); m["id"] != 2.0 || !strings.Contains(text, "ended without the answer") {
					t.Error(text)
				}
				l.end()
				return
			}
			for i := 1.0; i < 3; i++ {
				m, text := l.next()
				if p, _ := m["params"].(map[string]any); p["progress"] != i {
					t.Errorf("%s, want step %v", text, i)
				}
			}
			if m, text := l.next(); m["id"] != 2.0 || !strings.Contains(text, "there") {
				t.Error(text)
			}
			l.end()
		})
	}
}

// A server that replays too much and sends nothing new on a stream that was
// taken up: nothing comes twice, nothing to nobody, and the rest is asked for.
func TestReplaysThatAreNot(t *testing.T) {
	note := func(id string, n int) string {
		return fmt.Sprintf("id: %s\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/n\",\"params\":{\"n\":%d}}\n\n", id, n)
	}
	var gets atomic.Int32
	s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) {
		switch {
		case a.method == "tools/call":
			sse(w, note("e1", 1)+note("e2", 2))
		case a.verb == http.MethodGet && gets.Add(1) == 1:
			w.WriteHeader(http.StatusConflict) // it still holds the one before
		case a.verb == http.MethodGet && a.last == "e2":
			sse(w, "id: p\ndata: {}\n\n"+note("e1", 1)+note("e3", 3))
			sse(w, "id: e4\ndata: {\"jsonrpc\":\"2.0\",\"id\":99,\"result\":{}}\n\n")
			<-r.Context().Done()
		case a.verb == http.MethodGet && a.last == "e4":
			sse(w, "id: e5\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n")
		}
	})
	l := start(t, bridge.Config{URL: s.url})
	l.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`)
	for n := 1.0; n <= 3; n++ {
		m, text := l.next()
		if p, _ := m["params"].(map[string]any); p["n"] != n {
			t.Errorf("%s, want %v", text, n)
		}
	}
	if m, text := l.next(); m["id"] != 1.0 || m["result"] == nil {
		t.Error(text)
	}
	l.end()
}

// A server that answers a call on the stream of its own messages, after the
// call's own was taken up: the call is over, and the end waits for nothing.
func TestAnswerOnAnotherStream(t *testing.T) {
	taken := make(chan struct{})
	s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) {
		switch {
		case a.method == "tools/call":
			sse(w, "id: e1\nretry: 1\ndata: {}\n\n")
		case a.verb == http.MethodGet && a.last == "e1":
			sse(w, "id: e2\ndata: {}\n\n")
			close(taken)
			<-r.Context().Done()
		case a.verb == http.MethodGet:
			sse(w, ": hello\n\n")
			<-taken
			for range 2 { // and twice
				sse(w, "id: g1\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"here\":true}}\n\n")
			}
			<-r.Context().Done()
		default:
			stateful(w, a, "2025-11-25", "s")
		}
	})
	l := start(t, bridge.Config{URL: s.url, Linger: time.Hour, Backoff: time.Minute})
	l.hello("2025-11-25")
	l.send(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x"}}`)
	if m, text := l.next(); m["id"] != 7.0 || !strings.Contains(text, "here") {
		t.Error(text)
	}
	l.end() // which has little patience
	if s.has(is(http.MethodPost, "notifications/cancelled")) {
		t.Error("the server was told that an answered call is given up")
	}
}

// What only reads is asked again when its connection drops, and a call is not:
// nobody knows whether it was done.
func TestOnlyReadsAreAskedAgain(t *testing.T) {
	var cut atomic.Int32
	s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) {
		if cut.Add(1) == 2 || a.method == "tools/call" {
			panic(http.ErrAbortHandler)
		}
		reply(w, a, "{}")
	})
	l := start(t, bridge.Config{URL: s.url})
	for _, id := range []string{"1", "2"} {
		l.send(`{"jsonrpc":"2.0","id":` + id + `,"method":"tools/list"}`)
		if m, text := l.next(); m["result"] == nil {
			t.Error(text)
		}
	}
	l.send(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"x"}}`)
	if m, text := l.next(); m["error"] == nil {
		t.Error(text)
	}
	if n := s.count(is("POST", "tools/call")); n != 1 {
		t.Errorf("called %d times", n)
	}
	l.end()
}

// A server that is started again is waited for: nothing was sent.
func TestServerComesBack(t *testing.T) {
	listen := func(at string) (net.Listener, error) { return net.Listen("tcp", at) }
	one, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done atomic.Int32
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct{ ID any }
		_ = json.NewDecoder(r.Body).Decode(&m)
		done.Add(1)
		reply(w, asked{id: m.ID}, "{}")
	})
	srv := &http.Server{Handler: h}
	go srv.Serve(one)
	l := start(t, bridge.Config{URL: "http://" + one.Addr().String(), Backoff: 50 * time.Millisecond})
	l.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`)
	l.next()
	srv.Close()
	time.Sleep(20 * time.Millisecond) // until its end is seen: a call that may have been sent is not sent again
	l.send(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"x"}}`)
	time.Sleep(20 * time.Millisecond)
	two, err := listen(one.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	again := &http.Server{Handler: h}
	go again.Serve(two)
	defer again.Close()
	if m, text := l.next(); m["id"] != 2.0 || m["result"] == nil || done.Load() != 2 {
		t.Errorf("%s, %d calls", text, done.Load())
	}
	l.end()
}

// A new session is told what the one before was; the loss shows as 404, or as
// the 400 of servers made after an example, at a call or at the open stream.
func TestNewSessionKnowsWhatTheOldKnew(t *testing.T) {
	for name, c := range map[string]struct {
		lose     func(w http.ResponseWriter, a asked)
		byStream bool
	}{
		"404": {func(w http.ResponseWriter, a asked) { w.WriteHeader(404) }, false},
		"400": {func(w http.ResponseWriter, a asked) {
			refuse(w, a, 400, -32000, "Bad Request: No valid session ID provided", "null")
		}, false},
		"by its stream": {func(w http.ResponseWriter, a asked) { w.WriteHeader(404) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			var current atomic.Value
			current.Store("one")
			s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) {
				switch now := current.Load().(string); {
				case a.method != "initialize" && a.session != now:
					c.lose(w, a)
				case a.verb == http.MethodGet && c.byStream:
					sse(w, ": open\n\n")
					for r.Context().Err() == nil && current.Load() == now {
						time.Sleep(time.Millisecond)
					}
				case !stateful(w, a, "2025-11-25", now):
					reply(w, a, "{}")
				}
			})
			l := start(t, bridge.Config{URL: s.url})
			l.hello("2025-11-25")
			for i, said := range []string{`"logging/setLevel","params":{"level":"debug"}`, `"resources/subscribe","params":{"uri":"a:1"}`,
				`"resources/subscribe","params":{"uri":"a:2"}`, `"resources/unsubscribe","params":{"uri":"a:2"}`} {
				l.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%s}`, i, said))
				l.next()
			}
			if c.byStream {
				s.wait(t, "the stream", is("GET", ""))
			}
			current.Store("two")
			if !c.byStream {
				l.send(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x"}}`)
				if m, text := l.next(); m["id"] != 7.0 || m["result"] == nil {
					t.Error(text)
				}
			}
			in := func(method, uri string) func(asked) bool {
				return func(a asked) bool {
					return a.session == "two" && a.method == method && (uri == "" || a.params["uri"] == uri)
				}
			}
			s.wait(t, "initialized", in("notifications/initialized", ""))
			s.wait(t, "the level", in("logging/setLevel", ""))
			s.wait(t, "the subscription", in("resources/subscribe", "a:1"))
			if s.has(in("resources/subscribe", "a:2")) {
				t.Error("a subscription that was ended is back")
			}
			l.end()
			if !s.has(func(a asked) bool { return a.verb == http.MethodDelete && a.session == "two" }) {
				t.Error("the new session was not ended")
			}
		})
	}
}

// A subscription without sessions goes on over a stream that breaks off.
func TestSubscriptionIsAskedAgain(t *testing.T) {
	const ack = `data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true}}}` + "\n\n"
	var times atomic.Int32
	s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) {
		if a.method != "subscriptions/listen" {
			return
		}
		n := times.Add(1)
		sse(w, "id: e\n"+ack)
		sse(w, fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\",\"params\":{\"n\":%d}}\n\n", n))
		if n == 3 {
			<-r.Context().Done()
		}
	})
	l := start(t, bridge.Config{URL: s.url})
	l.send(`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},` + meta + `}}`)
	if m, text := l.next(); m["method"] != "notifications/subscriptions/acknowledged" {
		t.Error(text)
	}
	for n := 1.0; n <= 3; n++ {
		m, text := l.next()
		if p, _ := m["params"].(map[string]any); m["method"] != "notifications/tools/list_changed" || p["n"] != n {
			t.Errorf("%s, want %v", text, n)
		}
	}
	if s.has(is("GET", "")) {
		t.Error("this wire has no resumption")
	}
	l.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,` + meta + `}}`)
	l.end()
}

// A server that misses a header of a tool is asked for its tools, and gets it.
func TestHeadersOfAToolThatChanged(t *testing.T) {
	s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) {
		switch {
		case a.method == "tools/list":
			reply(w, a, `{"tools":[{"name":"q","inputSchema":{"properties":{"region":{"type":"string","x-mcp-header":"Region"}}}},
				{"name":"bad","inputSchema":{"properties":{"l":{"items":{"type":"string","x-mcp-header":"L"}}}}}],"ttl":5}`)
		case a.header.Get("Mcp-Param-Region") != "eu":
			refuse(w, a, 400, -32020, "no header", "null")
		default:
			reply(w, a, `{"content":[]}`)
		}
	})
	l := start(t, bridge.Config{URL: s.url})
	l.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"q","arguments":{"region":"eu"},` + meta + `}}`)
	if m, text := l.next(); m["id"] != 1.0 || m["result"] == nil {
		t.Error(text)
	}
	l.send(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"other",` + meta + `}}`)
	if m, text := l.next(); m["id"] != 2.0 || !strings.Contains(text, "-32020") {
		t.Error(text)
	}
	// A tool whose annotations break the rules is left out, and nothing else is.
	l.send(`{"jsonrpc":"2.0","id":3,"method":"tools/list","params":{` + meta + `}}`)
	if _, text := l.next(); strings.Contains(text, `"bad"`) || !strings.Contains(text, `"q"`) || !strings.Contains(text, `"ttl":5`) {
		t.Error(text)
	}
	l.end()
}

// Thousands of calls at once: all are answered, and the server has few at a time.
func TestFloodOfCalls(t *testing.T) {
	const calls, most = 3000, 16
	var now, peak atomic.Int32
	s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) {
		if n := now.Add(1); n > peak.Load() {
			peak.Store(n)
		}
		time.Sleep(200 * time.Microsecond)
		now.Add(-1)
		reply(w, a, "{}")
	})
	l := start(t, bridge.Config{URL: s.url, MaxCalls: most, MaxMessage: 1000, HTTP: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: most}}})
	go func() {
		w := bufio.NewWriter(l.in)
		for i := range calls {
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"x"}}`+"\n", i)
		}
		w.Flush()
	}()
	seen := map[any]bool{}
	for range calls {
		m, text := l.next()
		if m["result"] == nil || seen[m["id"]] {
			t.Fatal(text)
		}
		seen[m["id"]] = true
	}
	if p := peak.Load(); p > most {
		t.Errorf("%d at once", p)
	}
	l.end()
}

// A server that floods a program that does not read is held back, and holds
// nothing up when the program goes.
func TestFloodOfTheServer(t *testing.T) {
	var wrote atomic.Int64
	s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) {
		w.Header().Set("Content-Type", "text/event-stream")
		note := "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":\"" + strings.Repeat("x", 60<<10) + "\"}}\n\n"
		for r.Context().Err() == nil {
			n, err := io.WriteString(w, note)
			if err != nil {
				return
			}
			wrote.Add(int64(n))
		}
	})
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	defer outR.Close()
	over := make(chan error, 1)
	go func() {
		over <- bridge.Run(t.Context(), bridge.Config{URL: s.url, HTTP: &http.Client{}, In: inR, Out: outW, Linger: 10 * time.Millisecond})
	}()
	io.WriteString(inW, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`+"\n")
	last := int64(-1)
	for end := time.Now().Add(patience); last != wrote.Load() || last <= 0; time.Sleep(150 * time.Millisecond) {
		if last = wrote.Load(); time.Now().After(end) {
			t.Fatalf("%d bytes, and it is not held back", last)
		}
	}
	if last > 64<<20 {
		t.Errorf("%d MiB lie between", last>>20)
	}
	inW.Close()
	select {
	case err := <-over:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("a write that nobody reads holds it")
	}
}

// The end of the input waits for calls that are answered in time; what is not,
// and what a signal cuts off, is cancelled, and the session ended.
func TestEnds(t *testing.T) {
	for _, signal := range []bool{false, true} {
		t.Run(fmt.Sprintf("signal %v", signal), func(t *testing.T) {
			s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) {
				switch {
				case a.id == 1.0:
					time.Sleep(50 * time.Millisecond)
					reply(w, a, `{}`)
				case a.id == 2.0:
					sse(w, ": open\n\n")
					<-r.Context().Done()
				default:
					stateful(w, a, "2025-11-25", "s")
				}
			})
			ctx, kill := context.WithCancel(t.Context())
			inR, inW := io.Pipe()
			outR, outW := io.Pipe()
			l := &line{t, inW, bufio.NewScanner(outR), make(chan error, 1)}
			go func() {
				l.over <- bridge.Run(ctx, bridge.Config{URL: s.url, HTTP: &http.Client{}, In: inR, Out: outW, Linger: 300 * time.Millisecond})
				outW.Close()
			}()
			l.hello("2025-11-25")
			l.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`)
			l.send(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"x"}}`)
			s.wait(t, "the calls", func(a asked) bool { return a.id == 2.0 })
			if signal {
				kill()
			} else {
				inW.Close()
				if m, text := l.next(); m["id"] != 1.0 || m["result"] == nil {
					t.Error(text)
				}
			}
			select {
			case err := <-l.over:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(3 * time.Second):
				t.Fatal("it does not end")
			}
			kill()
			if !s.has(func(a asked) bool { return a.method == "notifications/cancelled" && a.params["requestId"] == 2.0 }) {
				t.Error("the server was not told of the call that was given up")
			}
			if !s.has(func(a asked) bool { return a.verb == http.MethodDelete && a.session == "s" }) {
				t.Error("the session was not ended")
			}
		})
	}
}

// The end is seen while initialize still waits, as for a sign-in.
func TestEndsDuringInitialize(t *testing.T) {
	s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) { <-r.Context().Done() })
	l := start(t, bridge.Config{URL: s.url, Linger: 20 * time.Millisecond})
	l.send(hello)
	l.send(`{"jsonrpc":"2.0","id":2,"method":"ping"}`)
	l.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	l.end()
}

// Large messages both ways, and one that is too large, whose caller is told.
func TestLargeMessages(t *testing.T) {
	s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) {
		reply(w, a, `{"n":"`+strings.Repeat("y", len(a.params["n"].(string)))+`"}`)
	})
	l := start(t, bridge.Config{URL: s.url, MaxMessage: 3 << 20})
	l.lines.Buffer(nil, 4<<20)
	l.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"n":"` + strings.Repeat("x", 2<<20) + `"}}`)
	if m, text := l.next(); m["id"] != 1.0 || len(text) < 2<<20 {
		t.Errorf("%d bytes", len(text))
	}
	large := `"params":{"n":"` + strings.Repeat("x", 4<<20) + `","id":77}`
	for sent, want := range map[string]any{
		`{"jsonrpc":"2.0","id":2,"method":"tools/call",` + large + `}`:   2.0,
		`{"method":"tools/call",` + large + `,"jsonrpc":"2.0","id":"a"}`: "a",
		`{"method":"tools/call",` + large + `}`:                          nil,
	} {
		l.send(sent)
		if m, text := l.next(); m["id"] != want || !strings.Contains(text, "larger") {
			t.Errorf("%s, want %v", text, want)
		}
	}
	l.end()
}

// Idle is called when there is a silence, once for each.
func TestIdle(t *testing.T) {
	s := record(t, func(w http.ResponseWriter, r *http.Request, a asked) { reply(w, a, "{}") })
	idle := make(chan struct{}, 16)
	l := start(t, bridge.Config{URL: s.url, Idle: func() { idle <- struct{}{} }, IdleAfter: 50 * time.Millisecond})
	for range 2 {
		l.send(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)
		l.next()
		select {
		case <-idle:
		case <-time.After(patience):
			t.Fatal("the silence is not noticed")
		}
		select {
		case <-idle:
			t.Error("one silence counts twice")
		case <-time.After(150 * time.Millisecond):
		}
	}
	l.end()
}
