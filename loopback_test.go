package doorward

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// covers: C-CB-02, C-CB-03, C-CB-04, S08
func TestAuthorizationResponse(t *testing.T) {
	const issuer, state = "https://as.example/t", "the-state"
	for name, c := range map[string]struct {
		query string
		iss   bool
		code  string
		mine  bool
		says  string // a word of the error
	}{
		"good":                       {"code=c&state=the-state&iss=https://as.example/t", true, "c", true, ""},
		"good, iss not promised":     {"code=c&state=the-state&iss=https://as.example/t", false, "c", true, ""},
		"no iss, not promised":       {"code=c&state=the-state", false, "c", true, ""},
		"no iss, promised":           {"code=c&state=the-state", true, "", true, "iss"},
		"empty iss":                  {"code=c&state=the-state&iss=", false, "", true, "iss"},
		"wrong iss, not promised":    {"code=c&state=the-state&iss=https://evil.example", false, "", true, "iss"},
		"slash":                      {"code=c&state=the-state&iss=https://as.example/t/", true, "", true, "iss"},
		"letter case":                {"code=c&state=the-state&iss=https://AS.example/t", true, "", true, "iss"},
		"default port":               {"code=c&state=the-state&iss=https://as.example:443/t", true, "", true, "iss"},
		"error of another":           {"error=access_denied&error_description=EVIL&state=the-state&iss=https://evil.example", true, "", true, "iss"},
		"error without iss":          {"error=access_denied&error_description=EVIL&state=the-state", true, "", true, "iss"},
		"error":                      {"error=access_denied&state=the-state&iss=https://as.example/t", true, "", true, "access_denied"},
		"other state":                {"code=c&state=x&iss=https://as.example/t", true, "", false, "no request"},
		"no state":                   {"code=c&iss=https://as.example/t", true, "", false, "no request"},
		"state twice":                {"code=c&state=the-state&state=the-state&iss=https://as.example/t", true, "", true, "repeated"},
		"state twice, one is ours":   {"code=c&state=x&state=the-state&iss=https://as.example/t", true, "", true, "repeated"},
		"code twice":                 {"code=c&code=d&state=the-state&iss=https://as.example/t", true, "", true, "repeated"},
		"iss twice":                  {"code=c&state=the-state&iss=https://as.example/t&iss=https://evil.example", true, "", true, "repeated"},
		"code and error":             {"code=c&error=x&state=the-state&iss=https://as.example/t", true, "", true, "code and an error"},
		"neither":                    {"state=the-state&iss=https://as.example/t", true, "", true, "no code"},
		"target in the query":        {"code=c&state=the-state&iss=https://as.example/t&next=https://evil.example", true, "c", true, ""},
		"error_uri goes nowhere":     {"error=x&error_uri=https://evil.example&state=the-state&iss=https://as.example/t", true, "", true, "x"},
		"error, characters replaced": {"error=x&error_description=%22%0a%1b&state=the-state&iss=https://as.example/t", true, "", true, "'"},
	} {
		q, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		code, mine, err := expected{issuer: issuer, state: state, iss: c.iss}.check(q)
		if code != c.code || mine != c.mine || (err == nil) != (c.says == "") {
			t.Errorf("%s: code %q, mine %v, error %v", name, code, mine, err)
		}
		if err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "EVIL") || strings.Contains(err.Error(), "evil.example")) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// Nothing but this machine reaches the listener.
//
// covers: C-CB-01
func TestListenerIsOnLoopback(t *testing.T) {
	for _, redirect := range []string{"http://127.0.0.1/callback", "http://localhost/callback"} {
		c, err := listen(redirect)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		for _, l := range c.listeners {
			if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() || a.Port == 0 {
				t.Errorf("%s: it listens on %v", redirect, l.Addr())
			}
		}
	}
}

// covers: C-CB-06, SEC-08, C-AUTHZ-03
func TestCallbackPage(t *testing.T) {
	c := &callback{path: "/callback", results: make(chan result, 1), outcome: make(chan error, 1)}
	e := expected{issuer: "https://as.example", state: "s"}
	c.settle(nil)
	get := func(query string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		c.answer(rec, httptest.NewRequest(http.MethodGet, "/callback?"+query, nil), e)
		return rec
	}
	rec := get("code=SECRET&state=s&next=https://evil.example&x=<script>")
	if rec.Code != 200 {
		t.Errorf("status %d", rec.Code)
	}
	for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		if got := rec.Header().Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if !strings.HasPrefix(rec.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Error("no strict Content-Security-Policy")
	}
	for _, word := range []string{"SECRET", "http", "script"} {
		if strings.Contains(rec.Body.String(), word) {
			t.Errorf("%q stands in the page %s", word, rec.Body)
		}
	}
	// The state was used: a second answer changes nothing, and says so.
	if rec := get("code=OTHER&state=s"); rec.Code != 400 || !strings.Contains(rec.Body.String(), "This sign-in is over") {
		t.Errorf("second answer: status %d, %s", rec.Code, rec.Body)
	}
	if r := <-c.results; r.code != "SECRET" {
		t.Errorf("code %q", r.code)
	}
	if rec := get("code=c;state=s"); rec.Code != 400 {
		t.Errorf("unreadable query: status %d", rec.Code)
	}
}

// Each page says what happened, in words of ours, and needs nothing but itself.
func TestPagesAtTheEnd(t *testing.T) {
	const good, state = "https://as.example", "the-state"
	for name, c := range map[string]struct {
		query, says string
		outcome     error
		status      int
	}{
		"signed in":     {"code=SECRET&state=the-state&iss=" + good, "You are signed in", nil, 200},
		"not redeemed":  {"code=SECRET&state=the-state&iss=" + good, "could not be finished", errors.New("SECRET"), 502},
		"not allowed":   {"error=access_denied&error_description=SECRET&state=the-state&iss=" + good, "You did not allow it", nil, 403},
		"refused":       {"error=SECRET&state=the-state&iss=" + good, "was refused", nil, 400},
		"other issuer":  {"error=access_denied&state=the-state&iss=https://SECRET.example", "not accepted", nil, 400},
		"other sign-in": {"code=SECRET&state=SECRET", "belongs to no sign-in", nil, 400},
		"unreadable":    {"code=SECRET;%zz", "cannot be read", nil, 400},
	} {
		cb := &callback{path: "/callback", results: make(chan result, 1), outcome: make(chan error, 1)}
		cb.settle(c.outcome)
		rec := httptest.NewRecorder()
		cb.answer(rec, httptest.NewRequest(http.MethodGet, "/callback?"+c.query, nil), expected{issuer: good, state: state, client: `<b>"Me" & You</b>`})
		body := rec.Body.String()
		if rec.Code != c.status || !strings.Contains(body, c.says) || strings.Contains(body, "SECRET") {
			t.Errorf("%s: status %d, page %s", name, rec.Code, body)
		}
		if strings.Contains(body, "<b>") || strings.Contains(body, "<script") || strings.Contains(body, "://") || strings.Contains(body, "{}") {
			t.Errorf("%s: the page has more than our words: %s", name, body)
		}
		style := body[strings.Index(body, "<style>")+len("<style>") : strings.Index(body, "</style>")]
		if !strings.Contains(style, "prefers-color-scheme:dark") || !strings.Contains(rec.Header().Get("Content-Security-Policy"), pageStyleHash) || style != pageStyle {
			t.Errorf("%s: the style is not the one that the policy allows", name)
		}
	}
}

// covers: C-CB-01
func TestListenerIsOpenOnlyMeanwhile(t *testing.T) {
	c, err := listen("http://127.0.0.1/back")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(c.redirect)
	if err != nil || u.Hostname() != "127.0.0.1" || u.Port() == "" || u.Port() == "80" || u.Path != "/back" {
		t.Fatalf("redirect URI %q", c.redirect)
	}
	if second, err := listen("http://127.0.0.1/back"); err != nil || second.redirect == c.redirect {
		t.Errorf("a second listener: %v", err)
	} else {
		second.close()
	}
	if _, err := listen(c.redirect); err == nil {
		t.Error("a port that is taken was opened")
	}
	c.serve(expected{state: "s"})
	for path, want := range map[string]int{"/back": 400, "/": 404, "/back/": 404, "/back/x": 404, "/BACK": 404, "/favicon.ico": 404} {
		resp, err := http.Get("http://" + u.Host + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: status %d", path, resp.StatusCode)
		}
	}
	c.close()
	if _, err := http.Get(c.redirect); err == nil {
		t.Error("the listener is open after the sign-in")
	}
}

func FuzzAuthorizationResponse(f *testing.F) {
	f.Add("code=c&state=the-state&iss=https://as.example")
	f.Add("state=the-state&state=x&error=y")
	f.Add("code=c&iss=&state=the-state")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		code, mine, err := expected{issuer: "https://as.example", state: "the-state", iss: true}.check(q)
		if code != "" && (err != nil || !mine || q.Get("iss") != "https://as.example" || q.Get("state") != "the-state" || len(q["code"]) != 1) {
			t.Errorf("%q gave a code", query)
		}
		var e *Error
		if err != nil && mine && !errors.As(err, &e) {
			t.Errorf("error %v", err)
		}
	})
}

// A browser may go to either address of localhost: somebody else must not have
// the port at one of them.
//
// covers: C-CB-01
func TestPortIsOursAtBothAddresses(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		c, err := listen("http://localhost/cb")
		if err != nil || len(c.listeners) != 1 {
			t.Fatalf("without IPv6: %v", err)
		}
		c.close()
		return
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if c, err := listen("http://localhost:" + port + "/cb"); err == nil {
		c.close()
		t.Error("the port is somebody else's at ::1")
	}
	if all, at, err := listenAll([]string{"127.0.0.1", "::1"}, port); err == nil || at != "" || len(all) != 0 {
		t.Errorf("%d listeners, port %q, %v", len(all), at, err)
	}
	c, err := listen("http://localhost/cb")
	if err != nil || len(c.listeners) != 2 {
		t.Fatalf("any free port: %v", err)
	}
	c.close()
}
