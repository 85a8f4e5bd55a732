package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/internal/access"
	"doorward/internal/gateway"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// ticker is an upstream whose streams say an event whenever it is told to, and
// whose calls are never answered.
type ticker struct {
	*upstream
	mu   sync.Mutex
	open map[chan string]bool
}

func newTicker(t testing.TB) *ticker {
	k := &ticker{upstream: newUpstream(t), open: map[chan string]bool{}}
	k.respond(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			<-r.Context().Done()
			return
		}
		say := make(chan string, 10)
		k.mu.Lock()
		k.open[say] = true
		k.mu.Unlock()
		defer func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			delete(k.open, say)
		}()
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case text := <-say:
				fmt.Fprintf(w, "data: %s\n\n", text)
			case <-r.Context().Done():
				return
			}
		}
	})
	return k
}

func (k *ticker) say(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.open {
		c <- text
	}
}

func (k *ticker) streams() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.open)
}

// stream opens a GET stream; lines are what comes, closed when it ends.
func (r *rig) stream(path, token string) (lines chan string) {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, r.url+path, nil)
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.Fatal(err)
	}
	if resp.StatusCode != 200 {
		r.Fatal(resp.Status)
	}
	lines = make(chan string, 100)
	go func() {
		defer close(lines)
		defer resp.Body.Close()
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			if s.Text() != "" {
				lines <- s.Text()
			}
		}
	}()
	return lines
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// closesWithin fails unless the stream ends in time; it returns how long it took.
func closesWithin(t testing.TB, lines chan string, limit time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	timeout := time.After(limit)
	for {
		select {
		case _, ok := <-lines:
			if !ok {
				return time.Since(start)
			}
		case <-timeout:
			t.Fatalf("the stream is still open after %s", limit)
		}
	}
}

func next(t testing.TB, lines chan string) string {
	t.Helper()
	select {
	case line, ok := <-lines:
		if !ok {
			t.Fatal("the stream ended")
		}
		return line
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
	return ""
}

// Who leaves is out within a second: streams, calls under way, the next
// request. Who stays notices nothing.
// covers: RS-TR-05, RS-CHAL-04
func TestLeavingEndsWithinASecond(t *testing.T) {
	k := newTicker(t)
	r := newRig(t, map[string]gateway.Server{"files": files(k.URL)})
	_, alice := r.grant("alice", "/files/mcp", "files:read")
	_, bob := r.grant("bob", "/files/mcp", "files:read")
	aliceStream, bobStream := r.stream("/files/mcp", alice), r.stream("/files/mcp", bob)
	waitFor(t, "two streams", func() bool { return k.streams() == 2 })
	k.say("one")
	if a, b := next(t, aliceStream), next(t, bobStream); a != "data: one" || b != "data: one" {
		t.Fatal(a, b)
	}
	called := make(chan int, 1)
	before := k.requests()
	go func() {
		resp, _ := r.do(http.MethodPost, "/files/mcp", alice, toolCall("read_file"))
		called <- resp.StatusCode
	}()
	waitFor(t, "the call upstream", func() bool { return k.requests() == before+1 })

	start := time.Now()
	receipt, err := r.ledger.Leave(t.Context(), "corp/alice")
	if err != nil || len(receipt.Grants) != 1 {
		t.Fatal(receipt, err)
	}
	closesWithin(t, aliceStream, time.Second)
	select {
	case status := <-called:
		if status != 401 {
			t.Errorf("the call under way: %d", status)
		}
	case <-time.After(time.Second):
		t.Error("the call goes on")
	}
	waitFor(t, "the upstream's stream ends", func() bool { return k.streams() == 1 })
	if took := time.Since(start); took > time.Second {
		t.Errorf("all of it took %s", took)
	}
	resp, _ := r.do(http.MethodPost, "/files/mcp", alice, toolCall("read_file"))
	if c := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || !strings.Contains(c, `error="invalid_token"`) {
		t.Errorf("the next request: %d %s", resp.StatusCode, c)
	}
	k.say("two")
	if got := next(t, bobStream); got != "data: two" {
		t.Error(got)
	}
}

// covers: RS-TR-05
func TestStreamEndsWithItsToken(t *testing.T) {
	k := newTicker(t)
	r := newRig(t, map[string]gateway.Server{"files": files(k.URL)})
	exp := time.Now().Add(2 * time.Second).Truncate(time.Second)
	_, token := r.grantOf(oauth.Subject{ID: "corp/alice", Provider: "corp", Groups: []string{"alices"}}, "/files/mcp",
		map[string]any{"exp": exp.Unix()}, "files:read")
	lines := r.stream("/files/mcp", token)
	closesWithin(t, lines, time.Until(exp)+time.Second)
	if early := time.Until(exp); early > 0 {
		t.Errorf("it ended %s early", early)
	}
}

// A reload closes the streams of those whom the new rules keep out, of servers
// that are gone, and no others; a broken one changes nothing.
func TestReload(t *testing.T) {
	k := newTicker(t)
	other := files(k.URL)
	other.Path = "/other/mcp"
	r := newRig(t, map[string]gateway.Server{"files": files(k.URL), "other": other})
	_, alice := r.grant("alice", "/files/mcp", "files:read")
	_, bob := r.grant("bob", "/files/mcp", "files:read")
	_, elsewhere := r.grant("alice", "/other/mcp", "files:read")
	aliceStream, bobStream, otherStream := r.stream("/files/mcp", alice), r.stream("/files/mcp", bob), r.stream("/other/mcp", elsewhere)
	waitFor(t, "three streams", func() bool { return k.streams() == 3 })
	broken := files(k.URL)
	broken.Upstream = ""
	if err := r.gw.Reload(map[string]gateway.Server{"files": broken}); err == nil {
		t.Fatal("a server without upstream is taken")
	}
	k.say("one")
	next(t, aliceStream)
	next(t, bobStream)
	next(t, otherStream)
	changed := files(k.URL)
	changed.Rules.Deny = append(changed.Rules.Deny, access.Rule{Who: []string{"person:corp/bob"}})
	if err := r.gw.Reload(map[string]gateway.Server{"files": changed}); err != nil {
		t.Fatal(err)
	}
	closesWithin(t, bobStream, time.Second)
	closesWithin(t, otherStream, time.Second)
	k.say(`{"result":{"tools":[{"name":"read_file"},{"name":"delete_all"}]}}`)
	if got := next(t, aliceStream); got != `data: {"result":{"tools":[{"name":"read_file"}]}}` {
		t.Error(got)
	}
	if resp, _ := r.do(http.MethodPost, "/files/mcp", bob, `{"jsonrpc":"2.0","id":1,"method":"ping"}`); resp.StatusCode != 403 {
		t.Errorf("bob: %d", resp.StatusCode)
	}
}

// A reader that does not read cannot hold on to a stream.
func TestStuckReaderEndsWithinASecond(t *testing.T) {
	u := newUpstream(t)
	gone := make(chan bool)
	var written atomic.Int64
	u.respond(func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		w.Header().Set("Content-Type", "text/event-stream")
		event := "data: " + strings.Repeat("x", 64<<10) + "\n\n"
		for r.Context().Err() == nil {
			n, err := io.WriteString(w, event)
			if err != nil {
				return
			}
			written.Add(int64(n))
		}
	})
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	id, token := r.grant("alice", "/files/mcp", "files:read")
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /files/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\n\r\n", token)
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil { // and no more
		t.Fatal(err)
	}
	waitFor(t, "the stream is full", func() bool {
		before := written.Load()
		time.Sleep(100 * time.Millisecond)
		return before > 0 && written.Load() == before
	})
	if _, err := r.ledger.End(t.Context(), ledger.Which{Grant: id}, "test"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-time.After(time.Second):
		t.Error("the stream is held open by who does not read")
	}
}

// A stream in which nothing happens costs little: 40 KiB of the gateway's
// process, both of its connections included.
func TestIdleStreamStaysUnder40KiB(t *testing.T) {
	if underRace {
		t.Skip("the race detector's own memory counts too")
	}
	const streams = 300
	var held sync.Map // connections: who is forgotten is closed
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // an upstream, and below readers, that cost next to nothing themselves
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			held.Store(conn, true)
			go func() {
				buf := make([]byte, 4096)
				for text := ""; !strings.Contains(text, "\r\n\r\n"); {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					text += string(buf[:n])
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n")
			}()
		}
	}()
	r := newRig(t, map[string]gateway.Server{"files": files("http://" + l.Addr().String() + "/mcp")})
	_, token := r.grant("alice", "/files/mcp", "files:read")
	open := func() net.Conn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /files/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\n\r\n", token)
		buf := make([]byte, 4096)
		for text := ""; !strings.Contains(text, "data: x"); {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatal(err, text)
			}
			text += string(buf[:n])
		}
		return conn
	}
	defer open().Close()
	used := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := used()
	var conns []net.Conn
	for range streams {
		conns = append(conns, open())
	}
	each := (int64(used()) - int64(before)) / streams
	t.Logf("%d bytes for each idle stream", each)
	if each > 40<<10 {
		t.Errorf("%d bytes for each idle stream", each)
	}
	for _, c := range conns {
		if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a stream was no longer open: %v", err)
		}
		_ = c.Close()
	}
	held.Range(func(c, _ any) bool { return c.(net.Conn).Close() == nil })
}

// The context of a request that is over must not linger.
func TestNothingLingers(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	_, token := r.grant("alice", "/files/mcp", "files:read")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if resp, _ := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file")); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	before := runtime.NumGoroutine()
	for range 200 {
		r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file"))
	}
	for runtime.NumGoroutine() > before+5 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if after := runtime.NumGoroutine(); after > before+5 {
		t.Errorf("%d goroutines became %d", before, after)
	}
}
