package bridge_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"doorward"
	"doorward/authserver"
	"doorward/authtest"
	"doorward/internal/bridge"
)

const patience = 20 * time.Second

// line is a bridge that runs, and the program's end of it.
type line struct {
	t     *testing.T
	in    *io.PipeWriter
	lines *bufio.Scanner
	over  chan error
}

func start(t *testing.T, c bridge.Config) *line {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	c.In, c.Out = inR, outW
	if c.HTTP == nil {
		c.HTTP = &http.Client{}
	}
	if c.Backoff == 0 {
		c.Backoff = 5 * time.Millisecond
	}
	l := &line{t, inW, bufio.NewScanner(outR), make(chan error, 1)}
	l.lines.Buffer(nil, 1<<20)
	go func() {
		l.over <- bridge.Run(t.Context(), c)
		outW.Close()
	}()
	t.Cleanup(func() { inW.Close(); outR.Close() })
	return l
}

func (l *line) send(text string) {
	l.t.Helper()
	if _, err := io.WriteString(l.in, text+"\n"); err != nil {
		l.t.Fatal(err)
	}
}

// line is the next line.
func (l *line) line() string {
	l.t.Helper()
	got := make(chan bool, 1)
	go func() { got <- l.lines.Scan() }()
	select {
	case ok := <-got:
		if !ok {
			l.t.Fatal("the output ended")
		}
	case <-time.After(patience):
		l.t.Fatal("no answer")
	}
	return l.lines.Text()
}

// next is the next message, and its text.
func (l *line) next() (map[string]any, string) {
	l.t.Helper()
	var m map[string]any
	text := l.line()
	if err := json.Unmarshal([]byte(text), &m); err != nil || m["jsonrpc"] != "2.0" {
		l.t.Fatalf("stdout has %q", text)
	}
	return m, text
}

// end closes the input and waits for the end.
func (l *line) end() {
	l.t.Helper()
	l.in.Close()
	select {
	case err := <-l.over:
		if err != nil {
			l.t.Errorf("ended with %v", err)
		}
	case <-time.After(patience):
		l.t.Error("it does not end with its input")
	}
}

// sdkServer is an MCP server that reports progress and grows a tool on demand.
func sdkServer(stateless bool) http.Handler {
	s := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	type args struct {
		Steps int `json:"steps"`
	}
	mcp.AddTool(s, &mcp.Tool{Name: "walk"}, func(ctx context.Context, req *mcp.CallToolRequest, in args) (*mcp.CallToolResult, any, error) {
		for i := range in.Steps {
			if err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: req.Params.GetProgressToken(), Progress: float64(i + 1)}); err != nil {
				return nil, nil, err
			}
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprint(in.Steps)}}}, nil, nil
	})
	mcp.AddTool(s, &mcp.Tool{Name: "grow"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		mcp.AddTool(s, &mcp.Tool{Name: "grown"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			return nil, nil, nil
		})
		return &mcp.CallToolResult{}, nil, nil
	})
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{Stateless: stateless})
}

// covers: C-TOK-01
func TestRealClientAndServer(t *testing.T) {
	for _, version := range []string{"2025-11-25", "2026-07-28"} {
		t.Run(version, func(t *testing.T) {
			w := authtest.New(t, authtest.Config{MCP: sdkServer(version == "2026-07-28")})
			inR, inW := io.Pipe()
			outR, outW := io.Pipe()
			over := make(chan error, 1)
			go func() {
				over <- bridge.Run(t.Context(), bridge.Config{URL: w.MCP, HTTP: &http.Client{Transport: &doorward.Transport{Flow: w.CrossApp("alice")}}, In: inR, Out: outW})
				outW.Close()
			}()
			progress, changed := make(chan float64, 16), make(chan struct{}, 16)
			client := mcp.NewClient(&mcp.Implementation{Name: "c", Version: "1"}, &mcp.ClientOptions{
				ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
					select {
					case progress <- r.Params.Progress:
					default: // of the calls below, which nobody counts
					}
				},
				ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) { changed <- struct{}{} },
			})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			s, err := client.Connect(ctx, &mcp.IOTransport{Reader: outR, Writer: inW}, &mcp.ClientSessionOptions{ProtocolVersion: version})
			if err != nil {
				t.Fatal(err)
			}
			if got := s.InitializeResult().ProtocolVersion; got != version {
				t.Errorf("speaks %s", got)
			}
			list, err := s.ListTools(ctx, nil)
			if err != nil || len(list.Tools) != 2 {
				t.Fatalf("%v %v", list, err)
			}
			params := &mcp.CallToolParams{Name: "walk", Arguments: map[string]any{"steps": 3}}
			params.SetProgressToken("p")
			res, err := s.CallTool(ctx, params)
			if err != nil || res.Content[0].(*mcp.TextContent).Text != "3" {
				t.Fatalf("%v %v", res, err)
			}
			for want := 1.0; want <= 3; want++ {
				select {
				case got := <-progress:
					if got != want {
						t.Errorf("progress %v, want %v", got, want)
					}
				case <-ctx.Done():
					t.Fatal("no progress")
				}
			}
			if _, err := s.CallTool(ctx, &mcp.CallToolParams{Name: "grow"}); err != nil {
				t.Fatal(err)
			}
			select {
			case <-changed:
			case <-ctx.Done():
				t.Fatal("the server's own notification did not come")
			}
			var many sync.WaitGroup
			for i := range 20 {
				many.Go(func() {
					res, err := s.CallTool(ctx, &mcp.CallToolParams{Name: "walk", Arguments: map[string]any{"steps": i}})
					if err != nil || res.Content[0].(*mcp.TextContent).Text != fmt.Sprint(i) {
						t.Errorf("%d: %v %v", i, res, err)
					}
				})
			}
			many.Wait()
			if _, err := s.CallTool(ctx, &mcp.CallToolParams{Name: "none"}); err == nil {
				t.Error("a tool that is not there was called")
			}
			inW.Close()
			if err := <-over; err != nil {
				t.Error(err)
			}
			s.Close()
		})
	}
}

// An error of the authorization is the error of the call, and says who can mend it.
// covers: C-EMA-08
func TestAuthorizationErrors(t *testing.T) {
	w := authtest.New(t, authtest.Config{Deny: []authserver.Rule{{Who: []string{"person:bob"}}}})
	l := start(t, bridge.Config{URL: w.MCP, HTTP: &http.Client{Transport: &doorward.Transport{Flow: w.CrossApp("bob")}}})
	l.send(`{"jsonrpc":"2.0","id":"a","method":"initialize","params":{}}`)
	m, text := l.next()
	e, _ := m["error"].(map[string]any)
	data, _ := e["data"].(map[string]any)
	if m["id"] != "a" || data["step"] != "exchange" || data["who"] != "IdP's administrator" || data["retry"] != false || data["reference"] == nil || data["server"] == nil || !strings.Contains(text, "deny[0]") {
		t.Errorf("%s", text)
	}
	l.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	l.send(`{"jsonrpc":"2.0","id":2,"method":"ping"}`)
	if m, text := l.next(); m["id"] != 2.0 || m["error"] == nil {
		t.Errorf("%s", text)
	}
	l.end()
}

const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`

func sse(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, text)
	w.(http.Flusher).Flush()
}

// script is a server that answers each message as a test says.
func script(t *testing.T, f func(w http.ResponseWriter, r *http.Request, method string, id any)) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct {
			ID     any    `json:"id"`
			Method string `json:"method"`
		}
		json.NewDecoder(r.Body).Decode(&m)
		f(w, r, m.Method, m.ID)
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return srv.URL
}

func TestWhatServersGetWrong(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter)
		says   string
	}{
		"a page":    {func(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/html"); io.WriteString(w, "<p>") }, "text/html"},
		"nothing":   {func(w http.ResponseWriter) { w.WriteHeader(202) }, "202"},
		"not found": {func(w http.ResponseWriter) { w.WriteHeader(404) }, "is this the URL of an MCP server?"},
		"broken":    {func(w http.ResponseWriter) { w.WriteHeader(500) }, `"retry":true`},
		"forbidden": {func(w http.ResponseWriter) {
			w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", error_description="more\u0007 please"`)
			w.WriteHeader(403)
		}, "insufficient_scope: more"},
		"an own error": {func(w http.ResponseWriter) {
			w.WriteHeader(400)
			io.WriteString(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"own words"}}`)
		}, `"message":"own words"`},
		"no JSON": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `nope`)
		}, "no MCP"},
		"another's": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"jsonrpc":"2.0","id":99,"result":{}}`)
		}, "another call"},
		"elsewhere": {func(w http.ResponseWriter) { w.Header().Set("Location", "http://127.0.0.1:1/"); w.WriteHeader(307) }, "307"},
		"too much": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, strings.Repeat(" ", 5000))
		}, "larger"},
		"too much event": {func(w http.ResponseWriter) { sse(w, "data: "+strings.Repeat("x", 5000)+"\n\n") }, "larger"},
		"cut off":        {func(w http.ResponseWriter) { sse(w, "data: {}\n\n") }, "ended without the answer"},
		"cut with id":    {func(w http.ResponseWriter) { sse(w, "id: 1\ndata:\n\n") }, "again and again"},
	} {
		t.Run(name, func(t *testing.T) {
			url := script(t, func(w http.ResponseWriter, r *http.Request, _ string, _ any) { c.answer(w) })
			l := start(t, bridge.Config{URL: url, MaxMessage: 4000})
			l.send(`{"jsonrpc":"2.0","id":"x","method":"tools/list"}`)
			m, text := l.next()
			if m["id"] != "x" || m["error"] == nil || !strings.Contains(text, c.says) {
				t.Errorf("%s, want %q in it", text, c.says)
			}
			l.end()
		})
	}
}

func TestServerGone(t *testing.T) {
	l := start(t, bridge.Config{URL: "http://127.0.0.1:1"}) // nobody's port
	l.send(hello)
	if m, text := l.next(); m["id"] != 1.0 || !strings.Contains(text, "cannot be reached") {
		t.Error(text)
	}
	l.end()
}

func TestWhatProgramsGetWrong(t *testing.T) {
	url := script(t, func(w http.ResponseWriter, _ *http.Request, method string, id any) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0",%c"id":%v,"result":{}}`, '\n', id)
	})
	l := start(t, bridge.Config{URL: url, MaxMessage: 4000})
	for _, text := range []string{"hello", "[]", `{"jsonrpc":"2.0"}`, strings.Repeat("x", 9000)} {
		l.send(text)
		if m, got := l.next(); m["id"] != nil || m["error"] == nil {
			t.Errorf("%.20q: %s", text, got)
		}
	}
	l.send("")
	l.send(`{"jsonrpc":"2.0","id":5,"method":"ping"}`)
	if m, got := l.next(); m["id"] != 5.0 || m["result"] == nil {
		t.Error(got)
	}
	l.end()
}

// A session that the server has forgotten is made anew, and ended at the end.
func TestSessionIsRenewed(t *testing.T) {
	var mu sync.Mutex
	var log []string
	restarted := false
	url := script(t, func(w http.ResponseWriter, r *http.Request, method string, id any) {
		mu.Lock()
		defer mu.Unlock()
		session := r.Header.Get("Mcp-Session-Id")
		log = append(log, fmt.Sprintf("%s %s %s %s", r.Method, method, session, r.Header.Get("Mcp-Protocol-Version")))
		current := "one"
		if restarted {
			current = "two"
		}
		switch {
		case method == "initialize":
			w.Header().Set("Mcp-Session-Id", current)
			idText, _ := json.Marshal(id)
			sse(w, fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"protocolVersion\":\"2025-11-25\"}}\n\n", idText))
		case session != current:
			w.WriteHeader(404)
		case r.Method == http.MethodGet:
			w.WriteHeader(405)
		case method == "ping":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%v,"result":{"in":%q}}`, id, session)
		default:
			w.WriteHeader(202)
		}
	})
	l := start(t, bridge.Config{URL: url})
	l.send(hello)
	l.next()
	l.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	l.send(`{"jsonrpc":"2.0","id":2,"method":"ping"}`)
	if _, text := l.next(); !strings.Contains(text, `"in":"one"`) {
		t.Error(text)
	}
	mu.Lock()
	restarted = true
	mu.Unlock()
	l.send(`{"jsonrpc":"2.0","id":3,"method":"ping"}`)
	if m, text := l.next(); m["id"] != 3.0 || !strings.Contains(text, `"in":"two"`) {
		t.Error(text)
	}
	l.end()
	mu.Lock()
	defer mu.Unlock()
	all := strings.Join(log, "\n")
	for _, want := range []string{"POST initialize  \n", "POST notifications/initialized one 2025-11-25", "POST notifications/initialized two 2025-11-25", "DELETE  two 2025-11-25"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in\n%s", want, all)
		}
	}
}

// A call's stream, and the server's own, are taken up where they broke.
func TestStreamsAreTakenUpAgain(t *testing.T) {
	var mu sync.Mutex
	own := 0
	url := script(t, func(w http.ResponseWriter, r *http.Request, method string, id any) {
		mu.Lock()
		defer mu.Unlock()
		last := r.Header.Get("Last-Event-ID")
		switch {
		case method == "initialize":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%v,"result":{"protocolVersion":"2025-06-18"}}`, id)
		case method == "slow":
			sse(w, "id: s1\nretry: 1\ndata:\n\n")
		case r.Method == http.MethodGet && last == "s1":
			sse(w, "id: s2\ndata: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"late\":true}}\n\n")
		case r.Method == http.MethodGet && own < 3:
			if own++; own == 2 && last != "g1" {
				t.Errorf("the stream was taken up at %q", last)
			}
			sse(w, fmt.Sprintf("id: g%d\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/n%d\"}\n\n", own, own))
		case r.Method == http.MethodGet:
			w.WriteHeader(405)
		default:
			w.WriteHeader(202)
		}
	})
	l := start(t, bridge.Config{URL: url})
	l.send(hello)
	l.next()
	l.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	for i := 1; i <= 3; i++ {
		if m, text := l.next(); m["method"] != fmt.Sprintf("notifications/n%d", i) {
			t.Error(text)
		}
	}
	l.send(`{"jsonrpc":"2.0","id":2,"method":"slow"}`)
	if m, text := l.next(); m["id"] != 2.0 || !strings.Contains(text, "late") {
		t.Error(text)
	}
	l.end()
}

// Cancelling without sessions ends the request; what is cut off at the end of
// the input does not hold the bridge for long.
func TestCancelAndEnd(t *testing.T) {
	gone := make(chan string, 4)
	url := script(t, func(w http.ResponseWriter, r *http.Request, method string, _ any) {
		if method == "notifications/cancelled" {
			w.WriteHeader(202)
			return
		}
		sse(w, ": open\n\n")
		<-r.Context().Done()
		gone <- method
	})
	l := start(t, bridge.Config{URL: url, Linger: 10 * time.Millisecond})
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}`
	l.send(`{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{` + meta + `}}`)
	l.send(`{"jsonrpc":"2.0","id":"seven","method":"prompts/list","params":{` + meta + `}}`)
	time.Sleep(50 * time.Millisecond) // both are under way
	l.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,` + meta + `}}`)
	if got := <-gone; got != "tools/list" {
		t.Errorf("%s was ended", got)
	}
	l.end()
	if got := <-gone; got != "prompts/list" {
		t.Errorf("%s was ended", got)
	}
	if l.lines.Scan() {
		t.Errorf("a call that was given up is answered: %s", l.lines.Text())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestEndsWithItsOutput(t *testing.T) {
	in, w := io.Pipe()
	defer w.Close()
	go io.WriteString(w, "rubbish\n")
	err := bridge.Run(t.Context(), bridge.Config{URL: "http://127.0.0.1:1", HTTP: &http.Client{}, In: in, Out: brokenWriter{}})
	if err == nil || !strings.Contains(err.Error(), "broken pipe") {
		t.Error(err)
	}
}

func TestEndsWithItsContext(t *testing.T) {
	in, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := bridge.Run(ctx, bridge.Config{URL: "http://127.0.0.1:1", HTTP: &http.Client{}, In: in, Out: io.Discard}); err != nil {
		t.Error(err)
	}
}
