//go:build unix

package stdio

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestSession(t *testing.T) {
	t.Parallel()
	r := newRig(t, "good")
	s := r.begin("alice")
	if got := r.do(http.MethodPost, s, "alice", "{\"jsonrpc\":\"2.0\",\r\n\"method\":\"notifications/initialized\"}"); got.status != http.StatusAccepted || got.body != "" {
		t.Errorf("notification: %+v", got)
	}
	for _, id := range []string{`1`, `-7`, `"1"`, `"\u0061"`, `1.5`} {
		got := r.do(http.MethodPost, s, "alice", rpc(id, "echo", `"text":"line\nbreak `+"\u2028"+`"`))
		if got.status != http.StatusOK || got.id != id || string(got.result) != "\"line\\nbreak\u2028\"" && !strings.Contains(string(got.result), `line\nbreak`) {
			t.Errorf("id %s: %+v", id, got)
		}
	}
	pid := r.pid(s, "alice")
	if got := r.do(http.MethodDelete, s, "alice", ""); got.status != http.StatusNoContent {
		t.Errorf("DELETE: %+v", got)
	}
	r.eventually("the process ends", func() bool { return !alive(pid) })
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		body := ""
		if method == http.MethodPost {
			body = rpc("1", "echo", "")
		}
		if got := r.do(method, s, "alice", body); got.status != http.StatusNotFound || got.session != "" {
			t.Errorf("%s after the end: %+v", method, got)
		}
	}
}

// A session is its owner's, in a process of its own.
// covers: SEC-25, RS-TR-03
func TestSessionsApart(t *testing.T) {
	t.Parallel()
	r := newRig(t, "good")
	a, b, c := r.begin("alice"), r.begin("bob"), r.begin("alice")
	if pids := []int{r.pid(a, "alice"), r.pid(b, "bob"), r.pid(c, "alice")}; pids[0] == pids[1] || pids[0] == pids[2] || pids[1] == pids[2] {
		t.Errorf("processes are shared: %d", pids)
	}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		body := ""
		if method == http.MethodPost {
			body = rpc("1", "echo", "")
		}
		if got := r.do(method, a, "bob", body); got.status != http.StatusNotFound {
			t.Errorf("bob %s on alice's session: %+v", method, got)
		}
	}
	if got := r.do(http.MethodPost, a, "", rpc("1", "echo", "")); got.status != http.StatusInternalServerError {
		t.Errorf("nobody: %+v", got)
	}
	if got := r.do(http.MethodPost, a, "alice", rpc("1", "echo", `"text":"x"`)); string(got.result) != `"x"` {
		t.Errorf("alice: %+v", got)
	}
}

func TestRequestsThatDoNotFit(t *testing.T) {
	t.Parallel()
	r := newRig(t, "good")
	s := r.begin("alice")
	for _, c := range []struct {
		name, method, session, body string
		status                      int
	}{
		{"no session", "POST", "", rpc("1", "tools/list", ""), 400},
		{"no session, a notification", "POST", "", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, 400},
		{"initialize without an id", "POST", "", `{"jsonrpc":"2.0","method":"initialize"}`, 400},
		{"initialize again", "POST", s, initialize, 400},
		{"no session, GET", "GET", "", "", 400},
		{"no such session", "POST", "x", rpc("1", "echo", ""), 404},
		{"no JSON", "POST", s, "{", 400},
		{"no message", "POST", s, "{}", 400},
		{"both", "POST", s, `{"jsonrpc":"2.0","id":1,"method":"x","result":1}`, 400},
		{"a batch", "POST", s, "[" + rpc("1", "echo", "") + "]", 400},
		{"an id that is none", "POST", s, `{"jsonrpc":"2.0","id":{},"method":"x"}`, 400},
		{"another method", "PUT", s, "", 405},
	} {
		if got := r.do(c.method, c.session, "alice", c.body); got.status != c.status || got.err == "" {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// A command's credentials come from its environment, and no token goes to it.
//
// covers: C-LOCAL-01
func TestWhatTheProcessGets(t *testing.T) {
	t.Setenv("DOORWARD_CANARY", "secret-of-ours")
	r := newRig(t, "good", func(c *Config) {
		c.Command = append(c.Command, "--flag", "a b")
		c.Env = map[string]string{"API_KEY": "k1", "LANG": "C"}
		c.Dir = t.TempDir()
		c.Lookup = func(name string) (string, bool) {
			v, ok := map[string]string{"PATH": "/bin", "HOME": "/h", "LANG": "de"}[name]
			return v, ok
		}
	})
	s := r.begin("alice")
	var env, args []string
	if err := json.Unmarshal(r.do(http.MethodPost, s, "alice", rpc("1", "env", "")).result, &env); err != nil {
		t.Fatal(err)
	}
	slices.Sort(env)
	if want := []string{"API_KEY=k1", "HOME=/h", "LANG=C", "PATH=/bin"}; !slices.Equal(env, want) {
		t.Errorf("environment: %q", env)
	}
	if err := json.Unmarshal(r.do(http.MethodPost, s, "alice", rpc("1", "args", "")).result, &args); err != nil {
		t.Fatal(err)
	}
	if len(args) != 3 || args[0] != "--flag" || args[1] != "a b" || !strings.HasSuffix(args[2], r.s.c.Dir) {
		t.Errorf("arguments and directory: %q", args)
	}
	if strings.Contains(r.log.String(), "k1") {
		t.Errorf("the log has a variable's value:\n%s", r.log)
	}
}

// Nothing to pass on is not everything: os/exec takes a nil list for that.
func TestWhatTheProcessGetsOfNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "good", func(c *Config) {
		c.Lookup = func(string) (string, bool) { return "", false }
	})
	var env []string
	if err := json.Unmarshal(r.do(http.MethodPost, r.begin("alice"), "alice", rpc("1", "env", "")).result, &env); err != nil {
		t.Fatal(err)
	}
	if len(env) != 0 {
		t.Errorf("environment: %d variables of ours", len(env))
	}
}

// Progress goes where it was asked for.
func TestProgress(t *testing.T) {
	t.Parallel()
	r := newRig(t, "good")
	s := r.begin("alice")
	get := r.stream(s, "alice")
	e := r.events(r.request(t.Context(), http.MethodPost, s, "alice", rpc("7", "work", `"n":3,"_meta":{"progressToken":"tok"}`)))
	for i := range 3 {
		if got := e.next(); !strings.Contains(got, fmt.Sprintf(`"progress":%d`, i+1)) {
			t.Errorf("event %d: %s", i, got)
		}
	}
	if got := e.next(); !strings.Contains(got, `"id":7,"result":"done"`) {
		t.Errorf("the answer: %s", got)
	}
	if got := e.next(); got != "" {
		t.Errorf("after the answer: %s", got)
	}
	// Progress of a token that nobody has, and other notifications, are for the GET.
	if got := r.do(http.MethodPost, s, "alice", rpc("8", "notify", `"n":2`)); string(got.result) != "null" {
		t.Errorf("%+v", got)
	}
	for i := range 2 {
		if got := get.next(); !strings.Contains(got, fmt.Sprintf(`"data":%d`, i)) {
			t.Errorf("GET, event %d: %s", i, got)
		}
	}
}

// A question of the server reaches the client by the stream that is there, and
// the answer goes back by POST.
func TestQuestions(t *testing.T) {
	t.Parallel()
	r := newRig(t, "good")
	const reply = `{"jsonrpc":"2.0","id":"q","result":{"text":"42"}}`
	answer := func(s string) {
		if got := r.do(http.MethodPost, s, "alice", reply); got.status != http.StatusAccepted {
			t.Errorf("%+v", got)
		}
	}
	const asked = `{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{}}`
	wanted, _ := json.Marshal(reply)
	t.Run("in the answer", func(t *testing.T) {
		s := r.begin("alice")
		e := r.events(r.request(t.Context(), http.MethodPost, s, "alice", rpc("1", "ask", "")))
		if got := e.next(); got != asked { // without its carriage return, which would end the line
			t.Fatalf("%s", got)
		}
		answer(s)
		if got := e.next(); !strings.Contains(got, string(wanted)) {
			t.Errorf("%s", got)
		}
	})
	t.Run("by GET", func(t *testing.T) {
		s := r.begin("alice")
		get := r.stream(s, "alice")
		done := make(chan json.RawMessage, 1)
		go func() { done <- r.do(http.MethodPost, s, "alice", rpc("1", "ask", "")).result }()
		if got := get.next(); got != asked {
			t.Fatalf("%s", got)
		}
		answer(s)
		if got := <-done; string(got) != string(wanted) {
			t.Errorf("%s", got)
		}
	})
}

// What nobody listens to waits, within bounds; a GET takes it, and a newer GET
// takes the place of an older one.
func TestStreams(t *testing.T) {
	t.Parallel()
	r := newRig(t, "good", func(c *Config) { c.Beat = 20 * time.Millisecond })
	s := r.begin("alice")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url, strings.NewReader(rpc("1", "notify", fmt.Sprintf(`"n":%d`, maxWaiting+50))))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Owner": {"alice"}, "Grant": {"alice's grant"}, sessionHeader: {s}, "Accept": {"application/json"}, "Content-Type": {"application/json"}}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.read(resp); string(got.result) != "null" {
		t.Fatalf("%+v", got)
	}
	first := r.stream(s, "alice")
	for i := range maxWaiting {
		if got := first.next(); !strings.Contains(got, fmt.Sprintf(`"data":%d`, i)) {
			t.Fatalf("%d: %s", i, got)
		}
	}
	if !strings.Contains(r.log.String(), "dropped") {
		t.Error("the log does not say that something was dropped")
	}
	second := r.stream(s, "alice")
	if got := first.next(); got != "" {
		t.Errorf("the older stream: %s", got)
	}
	r.do(http.MethodPost, s, "alice", rpc("2", "notify", `"n":1`))
	if got := second.next(); !strings.Contains(got, `"data":0`) {
		t.Errorf("the newer stream: %s", got)
	}
	// A silent stream has comments in it; so has a call that takes long.
	for _, e := range []*eventReader{second, r.events(r.request(t.Context(), http.MethodPost, s, "alice", rpc("3", "never", "")))} {
		for e.in.Scan() && e.in.Text() != ":" {
		}
		if e.in.Text() != ":" {
			t.Error("no comment")
		}
	}
	r.do(http.MethodDelete, s, "alice", "")
	if got := second.next(); got != "" {
		t.Errorf("after the end: %s", got)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t, "good")
	s := r.begin("alice")
	done := make(chan reply, 1)
	go func() { done <- r.do(http.MethodPost, s, "alice", rpc("9", "never", "")) }()
	r.eventually("the call waits", func() bool {
		one := r.s.find(s, "alice")
		one.mu.Lock()
		defer one.mu.Unlock()
		return len(one.pending) == 1
	})
	if got := r.do(http.MethodPost, s, "alice", rpc("9", "never", "")); got.status != http.StatusBadRequest || got.err != errSameID.Error() {
		t.Errorf("the same id: %+v", got)
	}
	r.do(http.MethodPost, s, "alice", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}`)
	if got := <-done; got.id != "9" || !strings.Contains(got.err, "cancelled") {
		t.Errorf("%+v", got)
	}
	// A client that goes away leaves nothing behind.
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		time.Sleep(50 * time.Millisecond)
		cancel()
	}()
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, r.url, strings.NewReader(rpc("10", "never", "")))
	req.Header = http.Header{"Owner": {"alice"}, "Grant": {"g"}, sessionHeader: {s}, "Content-Type": {"application/json"}}
	if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
		resp.Body.Close()
	}
	r.eventually("the call is forgotten", func() bool {
		one := r.s.find(s, "alice")
		one.mu.Lock()
		defer one.mu.Unlock()
		return len(one.pending) == 0
	})
}

// Processes that end, or can serve no longer: who waits is told, and the
// session is gone.
// covers: SEC-38
func TestProcessesThatEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, how, method, params, says string }{
		{"crash", "good", "exit", `"n":3`, "it ended (exit status 3)"},
		{"done", "good", "exit", `"n":0`, "it ended (exit status 0)"},
		{"closes its output", "good", "close", "", "it closed its output"},
		{"endless line", "good", "giant line", "", "it sent a message of more than 100000 bytes"},
		{"message too large", "good", "giant", `"n":100000`, "it sent a message of more than 100000 bytes"},
		{"closes its output and is stubborn", "stubborn", "close", "", "it closed its output"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.how, func(c *Config) { c.MaxMessage = 100_000 })
			s := r.begin("alice")
			pid := r.pid(s, "alice")
			get := r.stream(s, "alice")
			other := make(chan reply, 1)
			go func() { other <- r.do(http.MethodPost, s, "alice", rpc("1", "never", "")) }()
			r.eventually("the other call waits", func() bool {
				one := r.s.find(s, "alice")
				one.mu.Lock()
				defer one.mu.Unlock()
				return len(one.pending) == 1
			})
			for _, got := range []reply{r.do(http.MethodPost, s, "alice", rpc("2", c.method, c.params)), <-other} {
				if got.status != http.StatusOK || !strings.HasSuffix(got.err, "the session with the MCP server kid ended: "+c.says) {
					t.Errorf("%+v", got)
				}
			}
			if got := get.next(); got != "" {
				t.Errorf("the stream: %s", got)
			}
			if got := r.do(http.MethodPost, s, "alice", rpc("3", "echo", "")); got.status != http.StatusNotFound || got.id != "3" {
				t.Errorf("afterwards: %+v", got)
			}
			r.eventually("the process ends", func() bool { return !alive(pid) })
			if !strings.Contains(r.log.String(), c.says) {
				t.Errorf("the log:\n%s", r.log)
			}
		})
	}
}

func TestProcessThatDoesNotListen(t *testing.T) {
	t.Parallel()
	r := newRig(t, "good")
	s := r.begin("alice")
	pid := r.pid(s, "alice")
	if got := r.do(http.MethodPost, s, "alice", rpc("1", "close input", "")); string(got.result) != "null" {
		t.Fatalf("%+v", got)
	}
	if got := r.do(http.MethodPost, s, "alice", rpc("2", "never", "")); !strings.HasSuffix(got.err, "it closed its input") {
		t.Errorf("%+v", got)
	}
	r.eventually("the process ends", func() bool { return !alive(pid) })
	// One that reads nothing more, without saying so.
	s = r.begin("alice")
	r.do(http.MethodPost, s, "alice", rpc("1", "sleep", ""))
	note := fmt.Sprintf(`{"jsonrpc":"2.0","method":"x","params":{"text":%q}}`, strings.Repeat("x", 1<<10))
	accepted := 0
	for ; accepted < 1000; accepted++ {
		if got := r.do(http.MethodPost, s, "alice", note); got.status != http.StatusAccepted {
			if got.status != http.StatusServiceUnavailable || got.err != errNotRead.Error() {
				t.Errorf("%+v", got)
			}
			break
		}
	}
	if accepted < maxWaiting || accepted == 1000 {
		t.Errorf("%d were accepted", accepted)
	}
	if got := r.do(http.MethodPost, s, "alice", rpc("2", "never", "")); got.status != http.StatusServiceUnavailable || got.id != "2" {
		t.Errorf("%+v", got)
	}
}

// The last words of a process are read before its end is told.
func TestAnswerAndExit(t *testing.T) {
	t.Parallel()
	r := newRig(t, "good")
	for range 5 {
		s := r.begin("alice")
		if got := r.do(http.MethodPost, s, "alice", rpc("1", "answer and exit", "")); string(got.result) != `"bye"` {
			t.Errorf("%+v", got)
		}
	}
}

// covers: SEC-38
func TestProcessesThatDoNotStart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		how    string
		change func(*Config)
		says   string
		logs   string
	}{
		{"crash", func(*Config) {}, "it ended (exit status 3)", "cannot find my file"},
		{"mute", func(c *Config) { c.Start = 100 * time.Millisecond }, "it did not answer to initialize within 100ms", "did not answer"},
		{"good", func(c *Config) { c.Command = []string{"/no/such/program"} }, "the MCP server kid cannot be started", "/no/such/program"},
		{"good", func(c *Config) { c.Dir = "/no/such/directory" }, "the MCP server kid cannot be started", "/no/such/directory"},
	} {
		r := newRig(t, c.how, c.change)
		got := r.do(http.MethodPost, "", "alice", initialize)
		if got.status != http.StatusBadGateway || got.session != "" || got.id != `"i"` || !strings.Contains(got.err, c.says) || strings.Contains(got.body, "/no/such") {
			t.Errorf("%s: %+v", c.how, got)
		}
		r.eventually(c.logs+" in the log", func() bool { return strings.Contains(r.log.String(), c.logs) })
		if n := len(r.s.sessions) + len(r.s.starting); n != 0 {
			t.Errorf("%s: %d sessions are left", c.how, n)
		}
	}
	r := newRig(t, "refusing")
	if got := r.do(http.MethodPost, "", "alice", initialize); got.status != http.StatusOK || got.session != "" || got.err != "not you" {
		t.Errorf("refusing: %+v", got)
	}
	r.s.procs.Wait() // it ends, too
}

func TestRubbish(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rubbish")
	s := r.begin("alice")
	if got := r.do(http.MethodPost, s, "alice", rpc("1", "echo", `"text":"x"`)); string(got.result) != `"x"` {
		t.Errorf("%+v", got)
	}
	for _, line := range []string{"Welcome to my server!", "{not json}", "[1,2]", `\"id\":1`, "red"} {
		if !strings.Contains(r.log.String(), line) {
			t.Errorf("not in the log: %s\n%s", line, r.log)
		}
	}
	if strings.Contains(r.log.String(), "\x1b") {
		t.Error("the log has control characters")
	}
}

// covers: SEC-38
func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, "good")
	s := r.begin("alice")
	r.do(http.MethodPost, s, "alice", rpc("1", "shout", `"n":500`))
	r.do(http.MethodDelete, s, "alice", "")
	r.eventually("the rest is counted", func() bool { return strings.Contains(r.log.String(), "lines=380") })
	log := r.log.String()
	if n := strings.Count(log, "an MCP server says"); n != maxPerMinute || len(log) > 2*maxPerMinute*maxLogged || strings.Contains(log, "\x1b") {
		t.Errorf("%d lines, %d bytes", n, len(log))
	}
}

// What ends the session ends the process and all that it started, also if it
// does not want to.
func TestEndsWithinASecond(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"good", "stubborn", "fork", "rubbish"} {
		for name, end := range map[string]func(r *rig, s string){
			"delete": func(r *rig, s string) { r.do(http.MethodDelete, s, "alice", "") },
			"grant":  func(r *rig, _ string) { r.grants.end("alice's grant") },
			"close":  func(r *rig, _ string) { r.s.Close() },
			"crash":  func(r *rig, s string) { r.do(http.MethodPost, s, "alice", rpc("1", "exit", `"n":1`)) },
		} {
			t.Run(how+" "+name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, how, func(c *Config) { c.Grace = 0 })
				s := r.begin("alice")
				pids := []int{r.pid(s, "alice")}
				if how == "fork" {
					forked := regexp.MustCompile(`forked (\d+)`)
					r.eventually("it forks", func() bool { return forked.MatchString(r.log.String()) })
					pid, _ := strconv.Atoi(forked.FindStringSubmatch(r.log.String())[1])
					pids = append(pids, pid)
				}
				started := time.Now()
				end(r, s)
				r.eventually("all processes end", func() bool { return !slices.ContainsFunc(pids, alive) })
				if took := time.Since(started); took > time.Second {
					t.Errorf("it took %s", took)
				}
				if got := r.do(http.MethodPost, s, "alice", rpc("1", "echo", "")); got.status != http.StatusNotFound {
					t.Errorf("%+v", got)
				}
			})
		}
	}
}

// A session ends with each grant that it was used under.
func TestGrants(t *testing.T) {
	t.Parallel()
	r := newRig(t, "good")
	s := r.begin("alice")
	one := r.s.find(s, "alice")
	for i := range maxGrants + 5 {
		one.tie(fmt.Sprint(i))
		one.tie(fmt.Sprint(i))
	}
	if n := len(one.grants); n != maxGrants {
		t.Errorf("%d grants", n)
	}
	r.grants.end("0")
	if one.hasEnded() {
		t.Error("it ended with a grant of long ago")
	}
	r.grants.end(fmt.Sprint(maxGrants))
	if !one.hasEnded() {
		t.Error("it did not end with its grant")
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	r := newRig(t, "good", func(c *Config) { c.Idle = 150 * time.Millisecond })
	used, unused := r.begin("alice"), r.begin("alice")
	get := r.stream(used, "alice")
	pid := r.pid(unused, "alice")
	r.eventually("the process ends", func() bool { return !alive(pid) })
	if got := r.do(http.MethodPost, used, "alice", rpc("1", "echo", `"text":"x"`)); string(got.result) != `"x"` {
		t.Errorf("a session with a stream ended: %+v", got)
	}
	_ = get.resp.Body.Close()
	r.eventually("the other ends, too", func() bool { return r.s.find(used, "alice") == nil })
}

// covers: SEC-38
func TestBounds(t *testing.T) {
	t.Parallel()
	r := newRig(t, "good", func(c *Config) { c.MaxOwn, c.MaxSessions = 2, 3 })
	busy, idle := r.begin("alice"), r.begin("alice")
	r.stream(busy, "alice")
	third := r.begin("alice") // takes the place of the idle one
	for s, status := range map[string]int{busy: 200, idle: 404, third: 200} {
		if got := r.do(http.MethodPost, s, "alice", rpc("1", "echo", "")); got.status != status {
			t.Errorf("%+v", got)
		}
	}
	r.stream(third, "alice")
	if got := r.do(http.MethodPost, "", "alice", initialize); got.status != http.StatusTooManyRequests || got.err != errOwnFull.Error() {
		t.Errorf("a third at work: %+v", got)
	}
	r.begin("bob")
	if got := r.do(http.MethodPost, "", "carol", initialize); got.status != http.StatusServiceUnavailable || got.err != errFull.Error() {
		t.Errorf("a fourth in all: %+v", got)
	}
	r.s.Close()
	if got := r.do(http.MethodPost, "", "bob", initialize); got.status != http.StatusServiceUnavailable {
		t.Errorf("after the end: %+v", got)
	}
}

func TestOutboxIsBounded(t *testing.T) {
	o := newOutbox()
	if !o.put(make([]byte, 2*maxWaitingBytes)) || o.put([]byte("x")) {
		t.Error("one large message, and no more")
	}
	o.putLast([]byte("end"))
	if all := o.take(); len(all) != 2 || !all[1].last || all[0].last {
		t.Errorf("%d", len(all))
	}
	if !o.put([]byte("x")) {
		t.Error("nothing waits, and there is no room")
	}
}

func TestNew(t *testing.T) {
	caller := func(context.Context) (string, string) { return "", "" }
	for name, c := range map[string]Config{
		"no command": {Caller: caller}, "an empty one": {Command: []string{""}, Caller: caller}, "no caller": {Command: []string{os.Args[0]}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, s := range []string{initialize, `{"jsonrpc":"2.0","id":1,"result":{}}`, `{"id":null,"error":{}}`, `{"method":"notifications/progress","params":{"progressToken":1}}`, "[]", "{\"method\":\r\n\"x\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		if strings.ContainsAny(string(m.raw), "\r\n") || !json.Valid(m.raw) {
			t.Errorf("%q", m.raw)
		}
		if m.isRequest() && m.isResponse() {
			t.Errorf("both: %q", m.raw)
		}
	})
}
