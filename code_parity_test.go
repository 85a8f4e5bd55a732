package doorward_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward"
)

// covers: S11
func TestOrderOfScopes(t *testing.T) {
	for name, c := range map[string]struct {
		challenge  string
		listed     []string // scopes_supported of the resource
		configured []string
		want       string
	}{
		"the challenge's":            {"read", []string{"all", "others"}, nil, "read"},
		"the resource's":             {"", []string{"all", "others"}, nil, "all others"},
		"the configured":             {"", nil, []string{"mine"}, "mine"},
		"the challenge's and mine":   {"read", []string{"all"}, []string{"mine", "read"}, "read mine"},
		"none":                       {"", nil, nil, ""},
		"a challenge that is none":   {`a\b`, []string{"all"}, nil, "all"},
		"a resource that lists junk": {"", []string{`a"b`}, nil, ""},
	} {
		w := newWorld(t)
		w.scope = c.challenge
		if c.listed != nil {
			w.prm["scopes_supported"] = c.listed
		}
		flow := w.code()
		flow.Scopes = c.configured
		must(t, context.Background(), &doorward.Transport{Flow: flow}, w.url())
		if got, sent := w.sent[0].Get("scope"), w.sent[0].Has("scope"); got != c.want || sent != (c.want != "") {
			t.Errorf("%s: scope %q, sent %v", name, got, sent)
		}
	}
}

// covers: S15
func TestParametersOfTheRequest(t *testing.T) {
	w := newWorld(t)
	flow := w.code()
	flow.Parameters = map[string]string{"audience": "https://api.example", "login_hint": "alice@example.com", "prompt": "login"}
	must(t, context.Background(), &doorward.Transport{Flow: flow}, w.url())
	for name, want := range flow.Parameters {
		if got := w.sent[0][name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s = %q", name, got)
		}
	}
	for _, name := range []string{"", "state", "redirect_uri", "code_challenge", "code_challenge_method", "response_type", "response_mode", "client_id", "resource", "scope", "request", "request_uri"} {
		w := newWorld(t)
		flow := w.code()
		flow.Parameters = map[string]string{name: "x"}
		var e *doorward.Error
		if _, err := post(context.Background(), &doorward.Transport{Flow: flow}, w.url()); !errors.As(err, &e) || e.Step != "configure" || len(w.made)+len(w.sent) > 0 {
			t.Errorf("parameter %q: %v", name, err)
		}
	}
}

// covers: S16
func TestOfflineAccessAsksForConsent(t *testing.T) {
	for name, c := range map[string]struct {
		scope  string
		listed []string
		own    map[string]string
		want   string
	}{
		"offline access":              {"read", []string{"offline_access"}, nil, "consent"},
		"demanded by the server":      {"offline_access", nil, nil, "consent"},
		"none":                        {"read", nil, nil, ""},
		"the program wants something": {"read", []string{"offline_access"}, map[string]string{"prompt": "select_account consent"}, "select_account consent"},
	} {
		w := newWorld(t)
		w.scope, w.asMetadata["scopes_supported"] = c.scope, c.listed
		flow := w.code()
		flow.Parameters = c.own
		must(t, context.Background(), &doorward.Transport{Flow: flow}, w.url())
		if got := w.sent[0].Get("prompt"); got != c.want {
			t.Errorf("%s: prompt %q, want %q", name, got, c.want)
		}
	}
}

// What was recorded when the browser was sent away holds when it comes back,
// whatever the servers say by then.
//
// covers: C-AUTHZ-04
func TestIssuerIsRecordedBeforeTheBrowser(t *testing.T) {
	w, evil := newWorld(t), newWorld(t)
	flow := w.code()
	tr := &doorward.Transport{Flow: flow}
	flow.Open = func(ctx context.Context, address string) error {
		if !strings.HasPrefix(address, w.as.URL+"/") {
			return visit(ctx, address)
		}
		w.prm["authorization_servers"] = []string{evil.as.URL}
		w.asMetadata["token_endpoint"] = evil.as.URL + "/token"
		_, _ = tr.Token(ctx, w.mcp.URL+"/mcp/deep") // and somebody looks them up meanwhile
		return visit(ctx, address)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	evil.authorize = func(q url.Values) { q.Set("error", "access_denied"); q.Del("code") }
	must(t, ctx, tr, w.url())
	if w.count("as") != 1 || w.forms["as"][0].Get("code_verifier") == "" || evil.count("as") > 0 {
		t.Errorf("%d token requests at the issuer that was recorded, %d at the other", w.count("as"), evil.count("as"))
	}
}

// An attacker's own code does not sign anybody in as the attacker: not without
// our state, not with the attacker's, and not a second time.
//
// covers: SEC-12
func TestLoginCSRF(t *testing.T) {
	w := newWorld(t)
	get := func(ctx context.Context, address string) int {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	stolen := "" // the state of the attacker's own sign-in, with the attacker's program
	attacker := &doorward.AuthorizationCode{Open: func(_ context.Context, address string) error {
		u, _ := url.Parse(address)
		stolen = u.Query().Get("state")
		return errors.New("kept")
	}}
	_, _ = post(context.Background(), &doorward.Transport{Flow: attacker}, w.url())
	if stolen == "" {
		t.Fatal("the attacker has no state")
	}
	var after string
	victim := &doorward.AuthorizationCode{Open: func(ctx context.Context, address string) error {
		u, _ := url.Parse(address)
		back, state := u.Query().Get("redirect_uri"), u.Query().Get("state")
		for _, query := range []string{"", "&state=", "&state=" + stolen, "&state=" + strings.ToLower(state), "&state=" + state[:len(state)-1], "&state=" + state + "x"} {
			if status := get(ctx, back+"?code=attackers&iss="+url.QueryEscape(w.as.URL)+query); status != 400 {
				t.Errorf("%q: status %d", query, status)
			}
		}
		after = back + "?code=attackers&state=" + state + "&iss=" + url.QueryEscape(w.as.URL)
		err := visit(ctx, address)
		if status := get(ctx, after); status == 200 {
			t.Error("a state was used twice")
		}
		return err
	}}
	must(t, context.Background(), &doorward.Transport{Flow: victim}, w.url())
	for _, form := range w.forms["as"] {
		if form.Get("code") != "code-1" {
			t.Errorf("code %q was redeemed", form.Get("code"))
		}
	}
	if status := get(context.Background(), after); status != 0 {
		t.Errorf("after the sign-in: status %d", status)
	}
}

// Every method gets its token, is stepped up, and is sent again.
//
// covers: T11
func TestEveryMethodIsAuthorized(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPost, http.MethodHead, http.MethodPut} {
		w := newWorld(t)
		w.scope = "read"
		tr := &doorward.Transport{Flow: w.crossApp()}
		call := func() {
			req, _ := http.NewRequestWithContext(as("alice"), method, w.url(), nil)
			resp, err := tr.RoundTrip(req)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%s: %v %v", method, resp, err)
			}
			resp.Body.Close()
		}
		call()
		w.revoke()
		call()
		w.needs = "write"
		call()
		got := strings.Join(w.trace(), "\n")
		if strings.Count(got, "mcp "+method+" /mcp 401") != 2 || strings.Count(got, "mcp "+method+" /mcp 403") != 1 || strings.Count(got, "mcp "+method+" /mcp 200") != 3 {
			t.Errorf("%s:\n%s", method, got)
		}
	}
}

// A challenge is read as RFC 9110 writes it, wherever Bearer stands in it.
//
// covers: T15
func TestChallengesOfRealServers(t *testing.T) {
	for name, c := range map[string]struct {
		headers []string
		scope   string
	}{
		"Bearer second":         {[]string{`Basic realm="x", Bearer scope="read"`}, "read"},
		"Bearer in another":     {[]string{`Basic realm="x"`, `Bearer scope="read"`}, "read"},
		"empty realm":           {[]string{`Bearer realm="", scope="read"`}, "read"},
		"x_scope":               {[]string{`Bearer x_scope="bad", scope="read"`}, "read"},
		"x_scope alone":         {[]string{`Bearer x_scope="bad"`}, ""},
		"quotes in a text":      {[]string{`Bearer error_description="say \"scope=\"bad\"\", please", scope="read"`}, "read"},
		"a scope in a text":     {[]string{`Bearer error_description="no, scope=\"bad\""`}, ""},
		"a token":               {[]string{`Bearer scope=read`}, "read"},
		"comma in a text":       {[]string{`Bearer realm="a, b", scope="read"`}, "read"},
		"a scheme in a text":    {[]string{`Basic realm="x, Bearer scope=bad"`, `Bearer scope="read"`}, "read"},
		"letter case":           {[]string{`bearer SCOPE="read"`}, "read"},
		"scope of another kind": {[]string{`Basic scope="bad", Bearer realm="x"`}, ""},
	} {
		w := newWorld(t)
		s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path != "/mcp":
				reply(rw, 200, w.prm)
			case r.Header.Get("Authorization") == "":
				rw.Header()["Www-Authenticate"] = c.headers
				rw.WriteHeader(401)
			}
		}))
		w.prm["resource"] = s.URL + "/mcp"
		must(t, context.Background(), &doorward.Transport{Flow: w.code()}, s.URL+"/mcp")
		if got := w.sent[0].Get("scope"); got != c.scope {
			t.Errorf("%s: scope %q, want %q", name, got, c.scope)
		}
		s.Close()
	}
}
