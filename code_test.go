package doorward_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward"
	"doorward/internal/oauth"
)

// covers: C-AUTHZ-01, C-AUTHZ-02, C-AUTHZ-03, C-AUTHZ-08, C-REG-04, C-REG-05, S04, S06, S09
func TestAuthorizationCode(t *testing.T) {
	w := newWorld(t)
	w.scope = "read"
	w.asMetadata["authorization_endpoint"] = w.as.URL + "/authorize?tenant=7"
	flow := w.code()
	flow.ClientName = "Test"
	flow.Scopes = []string{"more"}
	tr := &doorward.Transport{Flow: flow}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	must(t, ctx, tr, w.url())
	must(t, ctx, tr, w.url())

	if len(w.sent) != 1 {
		t.Fatalf("%d authorization requests", len(w.sent))
	}
	must(t, ctx, &doorward.Transport{Flow: flow}, w.url())
	if w.sent[0].Get("state") == w.sent[1].Get("state") || w.sent[0].Get("code_challenge") == w.sent[1].Get("code_challenge") {
		t.Error("state or verifier is used twice")
	}
	q, form := w.sent[0], w.forms["as"][0]
	for name, want := range map[string]string{"tenant": "7", "response_type": "code", "client_id": "dynamic-1",
		"code_challenge_method": "S256", "code_challenge": oauth.S256(form.Get("code_verifier")), "resource": w.url(), "scope": "read more"} {
		if got := q[name]; len(got) != 1 || got[0] != want {
			t.Errorf("authorization request: %s = %q, want %q", name, got, want)
		}
	}
	if len(q.Get("state")) < 22 || len(form.Get("code_verifier")) < 43 {
		t.Errorf("state %q, verifier of %d characters", q.Get("state"), len(form.Get("code_verifier")))
	}
	for name, want := range map[string]string{"grant_type": "authorization_code", "code": "code-1", "redirect_uri": q.Get("redirect_uri"), "client_id": "dynamic-1", "resource": w.url()} {
		if form.Get(name) != want {
			t.Errorf("token request: %s = %q, want %q", name, form.Get(name), want)
		}
	}
	made := w.made[0]
	if made["application_type"] != "native" || made["client_name"] != "Test" || made["token_endpoint_auth_method"] != "none" {
		t.Errorf("registration %v", made)
	}
	if grants, _ := made["grant_types"].([]any); !slices.Contains(grants, any("refresh_token")) {
		t.Errorf("grant_types %v", made["grant_types"])
	}
	u, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || u.Hostname() != "127.0.0.1" || u.Path != "/callback" {
		t.Fatalf("redirect URI %q", q.Get("redirect_uri"))
	}
	if c, err := net.DialTimeout("tcp", u.Host, time.Second); err == nil {
		c.Close()
		t.Error("the listener is still open")
	}
}

// covers: C-CB-02, C-CB-05, SEC-02, S07
func TestMixUp(t *testing.T) {
	for name, c := range map[string]struct {
		advertised bool
		change     func(w *world, q url.Values)
		ok         bool
	}{
		"right":                    {true, nil, true},
		"right, not advertised":    {false, nil, true},
		"missing":                  {true, func(_ *world, q url.Values) { q.Del("iss") }, false},
		"missing, not advertised":  {false, func(_ *world, q url.Values) { q.Del("iss") }, true},
		"wrong":                    {true, func(_ *world, q url.Values) { q.Set("iss", "https://evil.example") }, false},
		"wrong, not advertised":    {false, func(_ *world, q url.Values) { q.Set("iss", "https://evil.example") }, false},
		"slash":                    {true, func(w *world, q url.Values) { q.Set("iss", w.as.URL+"/") }, false},
		"repeated":                 {true, func(w *world, q url.Values) { q.Add("iss", w.as.URL) }, false},
		"error, right issuer":      {true, func(_ *world, q url.Values) { q.Del("code"); q.Set("error", "access_denied") }, false},
		"error, wrong issuer":      {true, func(_ *world, q url.Values) { q.Set("iss", "x"); q.Del("code"); q.Set("error", "access_denied") }, false},
		"code and error":           {true, func(_ *world, q url.Values) { q.Set("error", "access_denied") }, false},
		"neither code nor error":   {true, func(_ *world, q url.Values) { q.Del("code") }, false},
		"the right code, repeated": {true, func(_ *world, q url.Values) { q.Add("code", "code-2") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.asMetadata["authorization_response_iss_parameter_supported"] = c.advertised
			if c.change != nil {
				w.authorize = func(q url.Values) { c.change(w, q) }
			}
			_, err := post(context.Background(), &doorward.Transport{Flow: w.code()}, w.url())
			if ok := err == nil; ok != c.ok {
				t.Fatalf("error %v", err)
			}
			if !c.ok && w.count("as") > 0 {
				t.Error("the code went to a token endpoint")
			}
			var e *doorward.Error
			if err != nil && (!errors.As(err, &e) || e.Step != "authorize") {
				t.Errorf("error %v", err)
			}
			// C-CB-03: what another issuer says is not repeated.
			if e != nil && (e.Code == "access_denied") != (name == "error, right issuer") {
				t.Errorf("code %q", e.Code)
			}
		})
	}
}

// covers: C-TOK-05, C-TOK-06, T01, T02, T04
func TestRefresh(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	n := 0
	w.token = func(form url.Values) (int, map[string]any) {
		n++
		if form.Get("grant_type") == "refresh_token" && form.Get("refresh_token") == "gone" {
			return 400, m{"error": "invalid_grant"}
		}
		return 200, m{"refresh_token": []string{"", "r1", "r2", "gone", "r4"}[min(n, 4)]}
	}
	tr := &doorward.Transport{Flow: w.code(), Now: clock}
	must(t, context.Background(), tr, w.url())

	pass(time.Hour)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := post(context.Background(), tr, w.url()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if w.count("as") != 2 || w.forms["as"][1].Get("refresh_token") != "r1" || w.forms["as"][1].Get("resource") != w.url() {
		t.Errorf("%d token requests, the second %v", w.count("as"), w.forms["as"][1])
	}
	w.revoke() // a refused token is refreshed as well
	must(t, context.Background(), tr, w.url())
	if got := w.forms["as"][2].Get("refresh_token"); got != "r2" {
		t.Errorf("third: refresh token %q, want the rotated one", got)
	}
	pass(time.Hour)
	must(t, context.Background(), tr, w.url())
	if len(w.sent) != 2 || w.forms["as"][3].Get("refresh_token") != "gone" || w.forms["as"][4].Get("grant_type") != "authorization_code" {
		t.Errorf("after invalid_grant: %d authorization requests, token requests %v", len(w.sent), w.forms["as"][3:])
	}
}

// covers: T03, T10
func TestRefreshTokenIsKeptAndBypassed(t *testing.T) {
	w := newWorld(t)
	w.scope = "read"
	now := time.Now()
	w.token = func(form url.Values) (int, map[string]any) {
		if form.Get("grant_type") == "refresh_token" {
			return 200, m{}
		}
		return 200, m{"refresh_token": "only"}
	}
	tr := &doorward.Transport{Flow: w.code(), Now: func() time.Time { return now }}
	for range 3 {
		must(t, context.Background(), tr, w.url())
		now = now.Add(time.Hour)
	}
	if w.count("as") != 3 || len(w.sent) != 1 {
		t.Errorf("%d token requests, %d authorization requests", w.count("as"), len(w.sent))
	}
	must(t, context.Background(), tr, w.url())
	w.needs = "write"
	must(t, context.Background(), tr, w.url())
	if len(w.sent) != 2 || w.sent[1].Get("scope") != "read write" {
		t.Errorf("step-up: authorization requests %v", w.sent)
	}
}

// Without a refresh token nobody is bothered before the server asks.
func TestNoBrowserBeforeTheEnd(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	tr := &doorward.Transport{Flow: w.code(), Now: func() time.Time { return now }}
	must(t, context.Background(), tr, w.url())
	now = now.Add(time.Hour - 10*time.Second)
	must(t, context.Background(), tr, w.url())
	if len(w.sent) != 1 {
		t.Fatal("the browser was opened before the token's end")
	}
	now = now.Add(time.Minute)
	w.trace()
	must(t, context.Background(), tr, w.url())
	if line := w.trace()[0]; line != "mcp POST /mcp 401" || len(w.sent) != 2 {
		t.Errorf("first request after the end: %s", line)
	}
}

// covers: C-REG-01, C-REG-02, C-REG-07, S01, S03, T07
func TestRegistration(t *testing.T) {
	t.Run("pre-registered", func(t *testing.T) {
		w := newWorld(t)
		w.asMetadata["client_id_metadata_document_supported"] = true
		flow := w.code()
		flow.Client, flow.ClientIDMetadataURL = doorward.Credentials{ID: "known", Secret: "s"}, "https://app.example/client.json"
		must(t, context.Background(), &doorward.Transport{Flow: flow}, w.url())
		if w.sent[0].Get("client_id") != "known" || w.heads["as"][0].Get("Authorization") == "" {
			t.Errorf("request %v", w.sent[0])
		}
	})
	t.Run("metadata document", func(t *testing.T) {
		w := newWorld(t)
		w.asMetadata["client_id_metadata_document_supported"] = true
		flow := w.code()
		flow.ClientIDMetadataURL = "https://app.example/client.json"
		must(t, context.Background(), &doorward.Transport{Flow: flow}, w.url())
		if w.sent[0].Get("client_id") != flow.ClientIDMetadataURL || w.forms["as"][0].Get("client_id") != flow.ClientIDMetadataURL || len(w.made) > 0 {
			t.Errorf("request %v", w.sent[0])
		}
	})
	t.Run("nothing to offer", func(t *testing.T) {
		w := newWorld(t)
		delete(w.asMetadata, "registration_endpoint")
		var e *doorward.Error
		_, err := post(context.Background(), &doorward.Transport{Flow: w.code()}, w.url())
		if !errors.As(err, &e) || e.Step != "register" || len(w.sent) > 0 {
			t.Errorf("error %v", err)
		}
	})
	t.Run("forgotten by the server", func(t *testing.T) {
		w := newWorld(t)
		w.token = func(form url.Values) (int, map[string]any) {
			if form.Get("client_id") == "dynamic-1" && w.count("as") > 1 {
				return 401, m{"error": "invalid_client"}
			}
			return 200, m{}
		}
		tr := &doorward.Transport{Flow: w.code()}
		must(t, context.Background(), tr, w.url())
		w.revoke()
		must(t, context.Background(), tr, w.url())
		if len(w.made) != 2 || w.sent[1].Get("client_id") != "dynamic-1" || w.sent[2].Get("client_id") != "dynamic-2" {
			t.Errorf("%d registrations, authorization requests %v", len(w.made), w.sent)
		}
		if a, b := w.sent[0].Get("redirect_uri"), w.sent[1].Get("redirect_uri"); a != b {
			t.Errorf("the registered client came with %s instead of %s", b, a)
		}
		if w.sent[1].Get("state") == w.sent[2].Get("state") || w.sent[1].Get("code_challenge") == w.sent[2].Get("code_challenge") {
			t.Error("state or verifier was used twice")
		}
	})
	t.Run("never another issuer's", func(t *testing.T) {
		w, next := newWorld(t), newWorld(t)
		w.token = func(url.Values) (int, map[string]any) { return 200, m{"refresh_token": "old"} }
		tr := &doorward.Transport{Flow: w.code()}
		must(t, context.Background(), tr, w.url())
		w.prm["authorization_servers"] = []string{next.as.URL} // the server moves
		w.revoke()
		_, _ = post(context.Background(), tr, w.url())
		if len(next.made) != 1 || next.sent[0].Get("client_id") != "dynamic-1" || len(w.sent) != 1 {
			t.Errorf("%d registrations at the new issuer", len(next.made))
		}
		for _, form := range next.forms["as"] {
			if form.Get("grant_type") != "authorization_code" {
				t.Errorf("the new issuer got %v", form)
			}
		}
	})
	for name, answer := range map[string]string{"refused": `{"error":"invalid_redirect_uri","error_description":"no loopback"}`,
		"no client_id": `{}`, "other redirect URIs": `{"client_id":"x","redirect_uris":["https://evil.example/cb"]}`} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			odd := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if name == "refused" {
					rw.WriteHeader(400)
				}
				_, _ = rw.Write([]byte(answer))
			}))
			defer odd.Close()
			w.asMetadata["registration_endpoint"] = odd.URL
			_, err := post(context.Background(), &doorward.Transport{Flow: w.code()}, w.url())
			var e *doorward.Error
			if !errors.As(err, &e) || e.Step != "register" || len(w.sent) > 0 {
				t.Errorf("error %v", err)
			}
			if name == "refused" && (e.Code != "invalid_redirect_uri" || e.Status != 400 || e.Description != "no loopback") {
				t.Errorf("error %+v", e)
			}
		})
	}
}

// covers: C-AUTHZ-06, S10
func TestOfflineAccess(t *testing.T) {
	for name, c := range map[string]struct {
		scope  string
		listed []string
		want   string
	}{
		"listed":     {"read", []string{"read", "offline_access"}, "read offline_access"},
		"not listed": {"read", []string{"read"}, "read"},
		"no scope":   {"", []string{"offline_access"}, ""},
	} {
		w := newWorld(t)
		w.scope, w.asMetadata["scopes_supported"] = c.scope, c.listed
		must(t, context.Background(), &doorward.Transport{Flow: w.code()}, w.url())
		if got := w.sent[0].Get("scope"); got != c.want {
			t.Errorf("%s: scope %q, want %q", name, got, c.want)
		}
	}
}

// covers: C-DISC-07, M15
func TestPKCEMustBePublished(t *testing.T) {
	for name, c := range map[string]struct {
		methods any
		assume  bool
		ok      bool
	}{
		"S256":                  {[]string{"plain", "S256"}, false, true},
		"absent":                {nil, false, false},
		"absent, assumed":       {nil, true, true},
		"plain only":            {[]string{"plain"}, false, false},
		"plain only, assumed":   {[]string{"plain"}, true, false},
		"assumed for another":   {nil, false, false},
		"empty list":            {[]string{}, false, false},
		"empty list, and given": {[]string{}, true, false},
	} {
		w := newWorld(t)
		w.asMetadata["code_challenge_methods_supported"] = c.methods
		if c.methods == nil {
			delete(w.asMetadata, "code_challenge_methods_supported")
		}
		flow := w.code()
		flow.AssumeS256For = []string{"https://other.example"}
		if c.assume {
			flow.AssumeS256For = append(flow.AssumeS256For, w.as.URL)
		}
		_, err := post(context.Background(), &doorward.Transport{Flow: flow}, w.url())
		if (err == nil) != c.ok || !c.ok && len(w.made)+len(w.sent) > 0 {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// covers: C-AUTHZ-07, SEC-08
func TestOnlyWebPagesAreOpened(t *testing.T) {
	for _, endpoint := range []string{"javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "vbscript:x", "ftp://h/x",
		"http://example.com/authorize", "https://user@example.com/authorize", "/authorize", ""} {
		w := newWorld(t)
		w.asMetadata["authorization_endpoint"] = endpoint
		opened := false
		flow := &doorward.AuthorizationCode{Open: func(context.Context, string) error { opened = true; return nil }}
		_, err := post(context.Background(), &doorward.Transport{Flow: flow}, w.url())
		if err == nil || opened {
			t.Errorf("%q: opened %v, error %v", endpoint, opened, err)
		}
	}
}

func TestBrowserThatDoesNotOpen(t *testing.T) {
	w := newWorld(t)
	var e *doorward.Error
	_, err := post(context.Background(), &doorward.Transport{Flow: &doorward.AuthorizationCode{}}, w.url())
	if !errors.As(err, &e) || e.Step != "configure" || !strings.Contains(err.Error(), "Open") || len(w.made) > 0 {
		t.Errorf("without Open: %v", err)
	}
	flow := &doorward.AuthorizationCode{Open: func(context.Context, string) error { return errors.New("no display") }}
	_, err = post(context.Background(), &doorward.Transport{Flow: flow}, w.url())
	if !errors.As(err, &e) || e.Step != "authorize" || !strings.Contains(err.Error(), "no display") {
		t.Errorf("Open fails: %v", err)
	}
	for _, bad := range []string{"https://app.example/callback", "http://10.0.0.1/callback", "http://127.0.0.1/cb?x=1", "app:/cb"} {
		_, err = post(context.Background(), &doorward.Transport{Flow: &doorward.AuthorizationCode{Open: visit, RedirectURL: bad}}, w.url())
		if !errors.As(err, &e) || e.Step != "configure" {
			t.Errorf("RedirectURL %s: %v", bad, err)
		}
	}
}

// Somebody else's answer ends nothing: the person's own still arrives.
//
// covers: C-AUTHZ-03
func TestForeignAnswerEndsNothing(t *testing.T) {
	w := newWorld(t)
	var statuses []int
	flow := &doorward.AuthorizationCode{RedirectURL: "http://localhost/back", Open: func(ctx context.Context, address string) error {
		u, _ := url.Parse(address)
		back := u.Query().Get("redirect_uri")
		for _, c := range []struct{ method, url string }{
			{"GET", back + "?state=guess&code=stolen&iss=" + w.as.URL},
			{"GET", back + "?code=stolen"},
			{"POST", back + "?state=" + u.Query().Get("state")},
			{"GET", strings.Replace(back, "/back", "/other", 1) + "?state=" + u.Query().Get("state")},
		} {
			req, _ := http.NewRequestWithContext(ctx, c.method, c.url, nil)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			resp.Body.Close()
			statuses = append(statuses, resp.StatusCode)
		}
		return visit(ctx, address)
	}}
	must(t, context.Background(), &doorward.Transport{Flow: flow}, w.url())
	if !slices.Equal(statuses, []int{400, 400, 405, 404}) {
		t.Errorf("statuses %v", statuses)
	}
	if got := w.forms["as"][0].Get("code"); got != "code-1" {
		t.Errorf("code %q was redeemed", got)
	}
	if !strings.HasPrefix(w.sent[0].Get("redirect_uri"), "http://localhost:") {
		t.Errorf("redirect URI %q", w.sent[0].Get("redirect_uri"))
	}
}
