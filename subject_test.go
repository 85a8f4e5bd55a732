package doorward_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward"
	"doorward/internal/jose"
)

const (
	typeIDToken = "urn:ietf:params:oauth:token-type:id_token"
	typeRefresh = "urn:ietf:params:oauth:token-type:refresh_token"
	typeSAML    = "urn:ietf:params:oauth:token-type:saml2"
)

// jwt is some token that ends.
func jwt(t *testing.T, sub string, exp time.Time) string {
	t.Helper()
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	token, err := key.Sign("JWT", map[string]any{"sub": sub, "exp": exp.Unix()})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// only is a flow for one Subject.
func (w *world) only(s doorward.Subject) *doorward.CrossApp {
	flow := w.crossApp()
	flow.Subject = func(context.Context) (doorward.Subject, error) { return s, nil }
	return flow
}

// An IdP whose metadata has nothing but an issuer and a token endpoint is
// enough (d3.2), and none at all if the endpoint is configured.
//
// covers: N25, M13, M14
func TestIdPByTokenEndpoint(t *testing.T) {
	w := newWorld(t)
	if len(w.idpMetadata) != 2 {
		t.Errorf("the IdP of these tests says more than issuer and token endpoint: %v", w.idpMetadata)
	}
	must(t, as("alice"), &doorward.Transport{Flow: w.crossApp()}, w.url())
	w.trace()
	flow := w.crossApp()
	flow.IdP.Issuer, flow.IdPTokenEndpoint = "", w.idp.URL+"/token"
	must(t, as("alice"), &doorward.Transport{Flow: flow}, w.url())
	if got := w.trace(); slices.Contains(got, "idp GET /.well-known/openid-configuration 200") || w.count("idp") != 2 {
		t.Errorf("requests %q", got)
	}
	r := http.Request{Header: w.heads["idp"][1]}
	if id, secret, _ := r.BasicAuth(); id != "app" || secret != "idp-secret" {
		t.Errorf("authenticated as %q %q", id, secret)
	}
	flow.IdPTokenEndpoint = "http://idp.example/token"
	var e *doorward.Error
	if _, err := post(as("alice"), &doorward.Transport{Flow: flow}, w.url()); !errors.As(err, &e) || e.Step != "configure" {
		t.Errorf("plain http: %v", err)
	}
}

// covers: A05, P18
func TestReadyAssertion(t *testing.T) {
	w := newWorld(t)
	w.scope = "read"
	var mu sync.Mutex
	var asked []string
	flow := w.crossApp()
	flow.IdP, flow.Scopes = doorward.Credentials{}, []string{"extra"}
	now := time.Now()
	jag := jwt(t, "alice", now.Add(5*time.Minute))
	flow.Assertion = func(ctx context.Context, s doorward.Subject, issuer, resource string, scopes []string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, s.Person+" "+issuer+" "+resource+" "+strings.Join(scopes, "+"))
		return jag, nil
	}
	tr := &doorward.Transport{Flow: flow, Now: func() time.Time { return now }}
	must(t, as("alice"), tr, w.url())
	w.revoke()
	must(t, as("alice"), tr, w.url())
	if want := []string{"alice " + w.as.URL + " " + w.url() + " read+extra"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	if w.count("idp") != 0 || w.count("as") != 2 || w.forms["as"][1].Get("assertion") != jag || w.forms["as"][1].Get("scope") != "read extra" {
		t.Errorf("forms %v", w.forms)
	}
	now = now.Add(10 * time.Minute)
	jag = jwt(t, "alice", now.Add(5*time.Minute))
	w.revoke()
	must(t, as("alice"), tr, w.url())
	if len(asked) != 2 {
		t.Errorf("an ID-JAG that had ended was used: %q", asked)
	}
	for name, brought := range map[string]struct {
		jag string
		err error
	}{"none": {"", nil}, "error": {"", errors.New("the vault is sealed")}} {
		flow.Assertion = func(context.Context, doorward.Subject, string, string, []string) (string, error) {
			return brought.jag, brought.err
		}
		_, err := post(as("alice"), &doorward.Transport{Flow: flow}, w.url())
		var e *doorward.Error
		if !errors.As(err, &e) || e.Step != "subject" || !errors.Is(err, brought.err) && brought.err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The IdP may take a refresh token for the person, and rotate it: it is then
// used once, whatever goes on at once (d1.6).
//
// covers: N08
func TestRefreshTokenProvesThePerson(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	valid, n := "refresh-1", 1
	w.exchange = func(form url.Values) (int, map[string]any) {
		mu.Lock()
		defer mu.Unlock()
		if form.Get("subject_token") != valid || form.Get("subject_token_type") != typeRefresh {
			return 400, m{"error": "invalid_grant"}
		}
		n++
		valid = "refresh-" + strings.Repeat("1", n)
		return 200, m{"refresh_token": valid}
	}
	var kept []doorward.Subject
	flow := w.only(doorward.Subject{Person: "alice", Token: "refresh-1", Type: typeRefresh, Keep: func(_ context.Context, s doorward.Subject) error {
		kept = append(kept, s)
		return nil
	}})
	tr := &doorward.Transport{Flow: flow}
	w.prm["resource"] = w.mcp.URL + "/mcp"
	must(t, t.Context(), tr, w.url())
	var wg sync.WaitGroup
	for _, scope := range []string{"a", "b", "c", "d"} { // four ID-JAGs at once
		other := newWorldBeside(t, w)
		other.scope = scope
		wg.Go(func() {
			if status, err := post(t.Context(), tr, other.url()); status != 200 || err != nil {
				t.Errorf("status %d, error %v", status, err)
			}
		})
	}
	wg.Wait()
	if len(kept) != 5 || kept[4].Token != valid || kept[4].Type != typeRefresh || kept[4].Person != "alice" {
		t.Errorf("kept %+v", kept)
	}

	// Whoever cannot keep the new one learns of it, and it is not lost.
	flow.Subject = func(context.Context) (doorward.Subject, error) {
		return doorward.Subject{Person: "bob", Token: valid, Type: typeRefresh, Keep: func(context.Context, doorward.Subject) error { return errors.New("disk full") }}, nil
	}
	given := valid
	_, err := post(t.Context(), tr, w.url())
	var e *doorward.Error
	if !errors.As(err, &e) || e.Step != "subject" || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("error %v", err)
	}
	flow.Subject = func(context.Context) (doorward.Subject, error) {
		return doorward.Subject{Person: "bob", Token: given, Type: typeRefresh}, nil
	}
	must(t, t.Context(), tr, w.url())
}

// newWorldBeside is another MCP server under the same authorization server.
func newWorldBeside(t *testing.T, w *world) *world {
	t.Helper()
	o := &world{forms: w.forms, heads: w.heads, live: map[string]url.Values{}}
	o.mcp = o.serve(t, "mcp", map[string]http.HandlerFunc{
		"/.well-known/oauth-protected-resource/mcp": func(rw http.ResponseWriter, r *http.Request) { reply(rw, 200, o.prm) },
		"/mcp": func(rw http.ResponseWriter, r *http.Request) {
			token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			w.mu.Lock()
			form, ok := w.live[token]
			w.mu.Unlock()
			if ok && form.Get("resource") == o.url() {
				return
			}
			rw.Header().Set("WWW-Authenticate", `Bearer scope="`+o.scope+`"`)
			rw.WriteHeader(http.StatusUnauthorized)
		},
	})
	o.prm = m{"resource": o.url(), "authorization_servers": []string{w.as.URL}}
	return o
}

// covers: N07, Q10
func TestSAMLAssertionProvesThePerson(t *testing.T) {
	assertion := `<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">alice?</saml:Assertion>`
	encoded := base64.RawURLEncoding.EncodeToString([]byte(assertion))
	t.Run("refresh token", func(t *testing.T) {
		w := newWorld(t)
		w.exchange = func(form url.Values) (int, map[string]any) {
			if form.Get("requested_token_type") == typeRefresh {
				return 200, m{"issued_token_type": typeRefresh, "access_token": "refresh-of-alice"}
			}
			return 200, m{}
		}
		var kept doorward.Subject
		tr := &doorward.Transport{Flow: w.only(doorward.Subject{Person: "alice", Token: assertion, Type: typeSAML,
			Keep: func(_ context.Context, s doorward.Subject) error { kept = s; return nil }})}
		must(t, t.Context(), tr, w.url())
		must(t, t.Context(), tr, newWorldBeside(t, w).url())
		forms := w.forms["idp"]
		if len(forms) != 3 {
			t.Fatalf("%d requests to the IdP, want one of the assertion and two of ID-JAGs", len(forms))
		}
		for name, want := range map[string]string{"subject_token": encoded, "subject_token_type": typeSAML, "scope": "openid offline_access", "audience": "", "resource": ""} {
			if got := forms[0].Get(name); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		for _, form := range forms[1:] {
			if form.Get("subject_token") != "refresh-of-alice" || form.Get("subject_token_type") != typeRefresh {
				t.Errorf("exchange %v", form)
			}
		}
		if kept.Token != "refresh-of-alice" || kept.Type != typeRefresh {
			t.Errorf("kept %+v", kept)
		}
	})
	t.Run("not offered", func(t *testing.T) {
		w := newWorld(t)
		w.exchange = func(form url.Values) (int, map[string]any) {
			if form.Get("requested_token_type") == typeRefresh {
				return 400, m{"error": "invalid_request"}
			}
			return 200, m{}
		}
		tr := &doorward.Transport{Flow: w.only(doorward.Subject{Person: "alice", Token: encoded, Type: typeSAML})}
		must(t, t.Context(), tr, w.url())
		must(t, t.Context(), tr, newWorldBeside(t, w).url())
		if forms := w.forms["idp"]; len(forms) != 3 || forms[1].Get("subject_token") != encoded || forms[2].Get("subject_token_type") != typeSAML {
			t.Errorf("forms %v", forms)
		}
	})
	t.Run("refused", func(t *testing.T) {
		w := newWorld(t)
		w.exchange = func(url.Values) (int, map[string]any) { return 400, m{"error": "access_denied"} }
		_, err := post(t.Context(), &doorward.Transport{Flow: w.only(doorward.Subject{Token: assertion, Type: typeSAML})}, w.url())
		var e *doorward.Error
		if !errors.As(err, &e) || e.Code != "access_denied" || w.count("idp") != 1 {
			t.Errorf("%v after %d requests", err, w.count("idp"))
		}
	})
	t.Run("an access token instead", func(t *testing.T) {
		w := newWorld(t)
		w.exchange = func(url.Values) (int, map[string]any) {
			return 200, m{"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}
		}
		_, err := post(t.Context(), &doorward.Transport{Flow: w.only(doorward.Subject{Token: assertion, Type: typeSAML})}, w.url())
		var e *doorward.Error
		if !errors.As(err, &e) || e.Step != "exchange" || w.count("idp") != 1 {
			t.Errorf("%v after %d requests", err, w.count("idp"))
		}
	})
}

// covers: N04, N09
func TestExchangeOptions(t *testing.T) {
	w := newWorld(t)
	flow := w.only(doorward.Subject{Person: "alice", Token: "t", Actor: "token-of-the-agent"})
	flow.OmitResource = true
	must(t, t.Context(), &doorward.Transport{Flow: flow}, w.url())
	form := w.forms["idp"][0]
	if form.Has("resource") || form.Get("audience") != w.as.URL {
		t.Errorf("exchange %v", form)
	}
	if form.Get("actor_token") != "token-of-the-agent" || form.Get("actor_token_type") != "urn:ietf:params:oauth:token-type:jwt" {
		t.Errorf("actor %v", form)
	}
	if w.forms["as"][0].Get("resource") != w.url() {
		t.Error("the authorization server was not told the resource")
	}
}

// covers: P08, P22
func TestPersonsTokenIsRenewed(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	var n atomic.Int32
	life := time.Hour
	s := doorward.Subject{Person: "alice", Renew: func(context.Context) (doorward.Subject, error) {
		n.Add(1)
		return doorward.Subject{Token: jwt(t, "alice", now.Add(life))}, nil
	}}
	tr := &doorward.Transport{Flow: w.only(s), Now: func() time.Time { return now }}
	var wg sync.WaitGroup
	for range 8 {
		one := newWorldBeside(t, w)
		wg.Go(func() {
			if status, err := post(t.Context(), tr, one.url()); status != 200 || err != nil {
				t.Errorf("status %d, error %v", status, err)
			}
		})
	}
	wg.Wait()
	if n.Load() != 1 || w.count("idp") != 8 {
		t.Errorf("the person was asked %d times for %d ID-JAGs", n.Load(), w.count("idp"))
	}
	now = now.Add(life)
	must(t, t.Context(), tr, newWorldBeside(t, w).url())
	if n.Load() != 2 {
		t.Errorf("after its end the token was renewed %d times", n.Load()-1)
	}

	// A token that the IdP calls invalid is renewed once, and only once.
	w.exchange = func(url.Values) (int, map[string]any) { return 400, m{"error": "invalid_grant"} }
	before := w.count("idp")
	_, err := post(t.Context(), tr, newWorldBeside(t, w).url())
	var e *doorward.Error
	if !errors.As(err, &e) || e.Code != "invalid_grant" || n.Load() != 3 || w.count("idp") != before+2 {
		t.Errorf("%v after %d renewals and %d exchanges", err, n.Load()-2, w.count("idp")-before)
	}
}

// covers: P22
func TestPersonWithoutToken(t *testing.T) {
	now := time.Now()
	renew := func(s doorward.Subject, err error) func(context.Context) (doorward.Subject, error) {
		return func(context.Context) (doorward.Subject, error) { return s, err }
	}
	for name, c := range map[string]struct {
		subject   doorward.Subject
		who, says string
	}{
		"nothing":            {doorward.Subject{}, "client's maker", "neither"},
		"no token":           {doorward.Subject{Person: "a"}, "person", "no Token"},
		"ended JWT":          {doorward.Subject{Person: "a", Token: jwt(t, "a", now.Add(-2*time.Minute))}, "person", "has ended"},
		"ended by Until":     {doorward.Subject{Person: "a", Token: "t", Until: now.Add(-2 * time.Minute)}, "person", "has ended"},
		"Renew fails":        {doorward.Subject{Person: "a", Renew: renew(doorward.Subject{}, errors.New("no browser"))}, "person", "no browser"},
		"Renew has nothing":  {doorward.Subject{Person: "a", Renew: renew(doorward.Subject{}, nil)}, "person", "brought no Token"},
		"Renew is late":      {doorward.Subject{Person: "a", Renew: renew(doorward.Subject{Token: jwt(t, "a", now.Add(-time.Hour))}, nil)}, "person", "has ended"},
		"Renew is somebody":  {doorward.Subject{Person: "a", Renew: renew(doorward.Subject{Person: "b", Token: "t"}, nil)}, "client's maker", "another person"},
		"Renew is cancelled": {doorward.Subject{Person: "a", Renew: renew(doorward.Subject{}, context.DeadlineExceeded)}, "", "deadline"},
	} {
		w := newWorld(t)
		_, err := post(t.Context(), &doorward.Transport{Flow: w.only(c.subject)}, w.url())
		var e *doorward.Error
		if !errors.As(err, &e) || e.Step != "subject" || e.Who != c.who || !strings.Contains(err.Error(), c.says) || w.count("idp") != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// covers: P09, P07, T06
func TestRefreshTokenOfTheAuthorizationServer(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	dead := false
	w.token = func(form url.Values) (int, map[string]any) {
		switch {
		case form.Get("grant_type") != "refresh_token":
			return 200, m{"refresh_token": "refresh-1"}
		case dead:
			return 400, m{"error": "invalid_grant"}
		}
		return 200, m{}
	}
	tr := &doorward.Transport{Flow: w.crossApp(), Now: func() time.Time { return now }}
	must(t, as("alice"), tr, w.url())
	for range 2 { // not rotated: it goes on
		now = now.Add(2 * time.Hour)
		must(t, as("alice"), tr, w.url())
	}
	forms := w.forms["as"]
	if w.count("idp") != 1 || len(forms) != 3 || forms[2].Get("grant_type") != "refresh_token" || forms[2].Get("refresh_token") != "refresh-1" || forms[2].Get("resource") != w.url() {
		t.Errorf("%d exchanges, forms %v", w.count("idp"), forms)
	}
	r := http.Request{Header: w.heads["as"][2]}
	if id, secret, _ := r.BasicAuth(); id != "agent" || secret != "as-secret" {
		t.Errorf("refreshed as %q %q", id, secret)
	}
	dead = true
	now = now.Add(2 * time.Hour)
	must(t, as("alice"), tr, w.url())
	if w.count("idp") != 2 || w.count("as") != 5 {
		t.Errorf("after invalid_grant: %d exchanges, %d token requests", w.count("idp"), w.count("as"))
	}
}

// A token that ends soon is used on while the next one is got, and a request
// that ends takes nothing with it (d5.1).
//
// covers: P05, T02
func TestRenewalNobodyWaitsFor(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	arrived, goOn := make(chan bool, 8), make(chan bool)
	slow := atomic.Bool{}
	w.token = func(url.Values) (int, map[string]any) {
		if slow.Load() {
			arrived <- true
			<-goOn
		}
		return 200, m{}
	}
	tr := &doorward.Transport{Flow: w.crossApp(), Now: clock}
	must(t, as("alice"), tr, w.url())
	slow.Store(true)
	pass(56*time.Minute + time.Second)
	for range 3 {
		ctx, cancel := context.WithCancel(as("alice"))
		must(t, ctx, tr, w.url())
		cancel()
	}
	<-arrived
	select {
	case <-arrived:
		t.Error("two renewals at once")
	default:
	}
	close(goOn)
	for w.liveTokens() < 2 {
		time.Sleep(time.Millisecond)
	}
	pass(4 * time.Minute)
	w.trace()
	for range 100 { // until the answer has been read
		must(t, as("alice"), tr, w.url())
	}
	if w.count("as") != 2 || w.count("idp") != 2 { // the first ID-JAG is long over
		t.Errorf("%d redemptions, %d exchanges", w.count("as"), w.count("idp"))
	}
}

func (w *world) liveTokens() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.live)
}
