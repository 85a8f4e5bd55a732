package doorward_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward"
)

// covers: P01, P02, C-DISC-01, C-EMA-02, C-EMA-06, N25, O16
func TestCrossAppIsEightRequests(t *testing.T) {
	w := newWorld(t)
	tr := &doorward.Transport{Flow: w.crossApp()}
	must(t, as("alice"), tr, w.url())
	must(t, as("alice"), tr, w.url())
	want := []string{
		"mcp POST /mcp 401",
		"mcp GET /.well-known/oauth-protected-resource/mcp 200",
		"as GET /.well-known/oauth-authorization-server 200",
		"idp GET /.well-known/openid-configuration 200",
		"idp POST /token 200",
		"as POST /token 200",
		"mcp POST /mcp 200",
		"mcp POST /mcp 200",
	}
	if got := w.trace(); !slices.Equal(got, want) {
		t.Errorf("requests:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// covers: N01, N02, N03, N06, N11, N17, O01, O02, O03, O04, C-EMA-04, C-AUTHZ-02
func TestCrossAppForms(t *testing.T) {
	w := newWorld(t)
	w.scope = "read write"
	flow := w.crossApp()
	flow.Scopes = []string{"extra"}
	flow.IdP.Secret = "a secret: with/odd+letters"
	must(t, as("alice"), &doorward.Transport{Flow: flow}, w.url())

	exchange := w.forms["idp"][0]
	for name, want := range map[string]string{
		"grant_type":           "urn:ietf:params:oauth:grant-type:token-exchange",
		"requested_token_type": "urn:ietf:params:oauth:token-type:id-jag",
		"subject_token":        "id-token-of-alice",
		"subject_token_type":   "urn:ietf:params:oauth:token-type:id_token",
		"audience":             w.as.URL,
		"resource":             w.url(),
		"scope":                "read write extra",
	} {
		if got := exchange[name]; len(got) != 1 || got[0] != want {
			t.Errorf("exchange: %s = %q, want %q", name, got, want)
		}
	}
	if len(exchange) != 7 {
		t.Errorf("exchange has other parameters: %v", exchange)
	}
	redeem := w.forms["as"][0]
	for name, want := range map[string]string{
		"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
		"assertion":  "jag-1-id-token-of-alice",
		"resource":   w.url(),
		"scope":      "read write extra",
	} {
		if got := redeem.Get(name); got != want {
			t.Errorf("redemption: %s = %q, want %q", name, got, want)
		}
	}
	r := http.Request{Header: w.heads["idp"][0]}
	if id, secret, _ := r.BasicAuth(); id != "app" || secret != url.QueryEscape("a secret: with/odd+letters") {
		t.Errorf("IdP: Basic parts %q %q are not form-urlencoded", id, secret)
	}
	r = http.Request{Header: w.heads["as"][0]}
	if id, secret, _ := r.BasicAuth(); id != "agent" || secret != "as-secret" {
		t.Errorf("AS: authenticated as %q %q", id, secret)
	}
}

// covers: P10, P11, S14
func TestFiftyCallersShareOneFlight(t *testing.T) {
	w := newWorld(t)
	tr := &doorward.Transport{Flow: w.crossApp()}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if status, err := post(as("alice"), tr, w.url()); err != nil || status != 200 {
				t.Errorf("status %d, error %v", status, err)
			}
		})
	}
	wg.Wait()
	n := map[string]int{}
	for _, line := range w.trace() {
		n[line]++
	}
	for _, line := range []string{"mcp GET /.well-known/oauth-protected-resource/mcp 200", "as GET /.well-known/oauth-authorization-server 200",
		"idp GET /.well-known/openid-configuration 200", "idp POST /token 200", "as POST /token 200"} {
		if n[line] != 1 {
			t.Errorf("%d times %q", n[line], line)
		}
	}
}

// Two paths under one resource are two needs, and one token.
//
// covers: S14
func TestOneTokenRequestAtATime(t *testing.T) {
	w := newWorld(t)
	goOn := make(chan bool)
	w.exchange = func(url.Values) (int, map[string]any) {
		<-goOn
		return 200, m{}
	}
	tr := &doorward.Transport{Flow: w.crossApp()}
	var wg sync.WaitGroup
	for _, path := range []string{"", "/deep"} {
		wg.Go(func() {
			if status, err := post(as("alice"), tr, w.url()+path); err != nil || status != 200 {
				t.Errorf("%s: status %d, error %v", path, status, err)
			}
		})
	}
	for len(w.peek("mcp GET /.well-known/oauth-protected-resource/mcp 200")) < 2 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // both are past discovery now
	close(goOn)
	wg.Wait()
	if w.count("idp") != 1 || w.count("as") != 1 {
		t.Errorf("%d exchanges, %d redemptions", w.count("idp"), w.count("as"))
	}
}

// covers: P03, C-TOK-04
func TestTwoPeopleShareNothing(t *testing.T) {
	w := newWorld(t)
	tr := &doorward.Transport{Flow: w.crossApp()}
	var wg sync.WaitGroup
	for range 10 {
		for _, name := range []string{"alice", "bob"} {
			wg.Go(func() {
				req, _ := http.NewRequestWithContext(as(name), http.MethodPost, w.url(), strings.NewReader(name))
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
			})
		}
	}
	wg.Wait()
	if len(w.bodies) != 20 {
		t.Fatalf("%d calls were let in", len(w.bodies))
	}
	for i, name := range w.bodies {
		if !strings.HasSuffix(w.people[i], "id-token-of-"+name) {
			t.Errorf("a call of %s came with the token for %s", name, w.people[i])
		}
	}
	if w.count("idp") != 2 || w.count("as") != 2 {
		t.Errorf("%d exchanges and %d redemptions for two people", w.count("idp"), w.count("as"))
	}
	// Nor do two issuers, when the server moves from one to the other.
	next, flow := newWorld(t), w.crossApp()
	flow.Server.Secret = ""
	w.token = func(url.Values) (int, map[string]any) { return 200, m{"refresh_token": "of the first issuer"} }
	tr = &doorward.Transport{Flow: flow}
	must(t, as("alice"), tr, w.url())
	w.prm["authorization_servers"] = []string{next.as.URL}
	w.revoke()
	_, _ = post(as("alice"), tr, w.url()) // which knows no token of the second
	if next.count("as") != 1 || next.forms["as"][0].Has("refresh_token") || next.forms["as"][0].Get("assertion") == "" {
		t.Errorf("the second issuer was sent %v", next.forms["as"])
	}
}

// What the servers say of themselves is asked once, whoever calls: of the
// second person only the resource, which may have moved.
//
// covers: M18
func TestMetadataIsKeptBetweenPeople(t *testing.T) {
	w := newWorld(t)
	tr := &doorward.Transport{Flow: w.crossApp()}
	must(t, as("alice"), tr, w.url())
	w.trace()
	must(t, as("bob"), tr, w.url())
	want := []string{
		"mcp POST /mcp 401",
		"mcp GET /.well-known/oauth-protected-resource/mcp 200",
		"idp POST /token 200",
		"as POST /token 200",
		"mcp POST /mcp 200",
	}
	if got := w.trace(); !slices.Equal(got, want) {
		t.Errorf("requests:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A Subject without a Person is told apart by its token.
func TestPersonOfTheToken(t *testing.T) {
	w := newWorld(t)
	flow := w.crossApp()
	flow.Subject = func(ctx context.Context) (doorward.Subject, error) {
		return doorward.Subject{Token: ctx.Value(personKey{}).(string)}, nil
	}
	tr := &doorward.Transport{Flow: flow}
	must(t, as("t1"), tr, w.url())
	must(t, as("t2"), tr, w.url())
	must(t, as("t1"), tr, w.url())
	if w.count("idp") != 2 {
		t.Errorf("%d exchanges for two subject tokens", w.count("idp"))
	}
	var e *doorward.Error
	if _, err := post(as(""), tr, w.url()); !errors.As(err, &e) || e.Step != "subject" {
		t.Errorf("neither person nor token: %v", err)
	}
}

// covers: P19
func TestOneWaiterLeavesTheOthers(t *testing.T) {
	w := newWorld(t)
	arrived, goOn := make(chan bool, 1), make(chan bool)
	w.exchange = func(url.Values) (int, map[string]any) {
		arrived <- true
		<-goOn
		return 200, m{}
	}
	tr := &doorward.Transport{Flow: w.crossApp()}
	first, cancel := context.WithCancel(as("alice"))
	done := make(chan error, 1)
	go func() { _, err := post(first, tr, w.url()); done <- err }()
	<-arrived
	second := make(chan error, 1)
	go func() { _, err := post(as("alice"), tr, w.url()); second <- err }()
	for len(w.peek("mcp POST /mcp 401")) < 2 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // the second is on its way into the flight
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the waiter that left got %v", err)
	}
	close(goOn)
	if err := <-second; err != nil {
		t.Errorf("the waiter that stayed got %v", err)
	}
	if w.count("idp") != 1 {
		t.Errorf("%d exchanges", w.count("idp"))
	}
}

// peek is trace without taking.
func (w *world) peek(line string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.lines), func(l string) bool { return l != line })
}

// covers: P04, P05, P07, P14, C-EMA-06
func TestIDJAGIsKeptUntilItIsRefused(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	tr := &doorward.Transport{Flow: w.crossApp(), Now: func() time.Time { return now }}
	w.token = func(url.Values) (int, map[string]any) { return 200, m{"expires_in": 60} }
	must(t, as("alice"), tr, w.url())
	now = now.Add(50 * time.Second)
	must(t, as("alice"), tr, w.url())
	if w.count("as") != 1 {
		t.Error("a token was renewed long before its end")
	}
	now = now.Add(5 * time.Second) // a tenth of its life is left
	must(t, as("alice"), tr, w.url())
	if w.count("as") != 2 || w.count("idp") != 1 {
		t.Errorf("renewal: %d redemptions, %d exchanges; want the ID-JAG used again", w.count("as"), w.count("idp"))
	}
	if got := w.forms["as"][1].Get("assertion"); got != w.forms["as"][0].Get("assertion") {
		t.Error("another ID-JAG was redeemed")
	}
	w.token = func(f url.Values) (int, map[string]any) {
		if strings.HasPrefix(f.Get("assertion"), "jag-1-") {
			return 400, m{"error": "invalid_grant"}
		}
		return 200, m{"expires_in": 60}
	}
	now = now.Add(time.Minute)
	must(t, as("alice"), tr, w.url())
	if w.count("as") != 4 || w.count("idp") != 2 {
		t.Errorf("after a refusal: %d redemptions, %d exchanges; want one new ID-JAG", w.count("as"), w.count("idp"))
	}
	now = now.Add(10 * time.Minute)
	must(t, as("alice"), tr, w.url())
	if w.count("idp") != 3 {
		t.Error("an ID-JAG was used after its end")
	}
	w.token = func(url.Values) (int, map[string]any) { return 400, m{"error": "invalid_grant"} }
	w.revoke()
	before := w.count("idp")
	if _, err := post(as("alice"), tr, w.url()); err == nil {
		t.Error("a refused ID-JAG gave a token")
	}
	if w.count("idp") != before+1 {
		t.Errorf("%d exchanges after a refusal, want one", w.count("idp")-before)
	}
}

// covers: C-EMA-01, C-EMA-03, C-EMA-08, N18, N19, N20, O12, P25, N27, M22, O15
func TestCrossAppRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(w *world, f *doorward.CrossApp)
		step, who string
		code      string
	}{
		"policy of the IdP": {func(w *world, f *doorward.CrossApp) {
			w.exchange = func(url.Values) (int, map[string]any) {
				return 400, m{"error": "invalid_target", "error_description": "rule no-contractors"}
			}
		}, "exchange", "IdP's administrator", "invalid_target"},
		"access denied": {func(w *world, f *doorward.CrossApp) {
			w.exchange = func(url.Values) (int, map[string]any) { return 400, m{"error": "access_denied"} }
		}, "exchange", "IdP's administrator", "access_denied"},
		"scopes": {func(w *world, f *doorward.CrossApp) {
			w.exchange = func(url.Values) (int, map[string]any) { return 400, m{"error": "invalid_scope"} }
		}, "exchange", "IdP's administrator", "invalid_scope"},
		"old ID token": {func(w *world, f *doorward.CrossApp) {
			w.exchange = func(url.Values) (int, map[string]any) { return 400, m{"error": "invalid_grant"} }
		}, "exchange", "person", "invalid_grant"},
		"step-up": {func(w *world, f *doorward.CrossApp) {
			w.exchange = func(url.Values) (int, map[string]any) {
				return 400, m{"error": "insufficient_user_authentication", "acr_values": "phr", "max_age": 300}
			}
		}, "exchange", "person", "insufficient_user_authentication"},
		"wrong secret": {func(w *world, f *doorward.CrossApp) {
			w.exchange = func(url.Values) (int, map[string]any) { return 401, m{"error": "invalid_client"} }
		}, "exchange", "client's maker", "invalid_client"},
		"error under 200": {func(w *world, f *doorward.CrossApp) {
			w.exchange = func(url.Values) (int, map[string]any) { return 200, m{"error": "access_denied"} }
		}, "exchange", "IdP's administrator", "access_denied"},
		"an access token instead of an ID-JAG": {func(w *world, f *doorward.CrossApp) {
			w.exchange = func(url.Values) (int, map[string]any) {
				return 200, m{"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}
			}
		}, "exchange", "IdP's administrator", ""},
		"no access_token": {func(w *world, f *doorward.CrossApp) {
			w.exchange = func(url.Values) (int, map[string]any) { return 200, m{"access_token": ""} }
		}, "exchange", "IdP's administrator", ""},
		"AS does not know the person": {func(w *world, f *doorward.CrossApp) {
			w.token = func(url.Values) (int, map[string]any) { return 400, m{"error": "invalid_grant"} }
		}, "redeem", "operator", "invalid_grant"},
		"DPoP token": {func(w *world, f *doorward.CrossApp) {
			w.token = func(url.Values) (int, map[string]any) { return 200, m{"token_type": "DPoP"} }
		}, "redeem", "operator", ""},
		"N_A as access token": {func(w *world, f *doorward.CrossApp) {
			w.token = func(url.Values) (int, map[string]any) { return 200, m{"token_type": "N_A"} }
		}, "redeem", "operator", ""},
		"AS without ID-JAG": {func(w *world, f *doorward.CrossApp) {
			delete(w.asMetadata, "authorization_grant_profiles_supported")
		}, "discover", "operator", ""},
		"other issuer configured": {func(w *world, f *doorward.CrossApp) {
			f.Server.Issuer = "https://as.example"
		}, "discover", "client's maker", ""},
		"IdP with another name": {func(w *world, f *doorward.CrossApp) {
			w.idpMetadata["issuer"] = w.idp.URL + "/"
		}, "discover", "IdP's administrator", ""},
		"nobody signed in": {func(w *world, f *doorward.CrossApp) {
			f.Subject = func(context.Context) (doorward.Subject, error) {
				return doorward.Subject{}, errors.New("no cookie")
			}
		}, "subject", "person", ""},
		"no token to exchange": {func(w *world, f *doorward.CrossApp) {
			f.Subject = func(context.Context) (doorward.Subject, error) { return doorward.Subject{Person: "x"}, nil }
		}, "subject", "person", ""},
		"configuration": {func(w *world, f *doorward.CrossApp) { f.Server.ID = "" }, "configure", "client's maker", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			flow := w.crossApp()
			c.change(w, flow)
			_, err := post(as("alice"), &doorward.Transport{Flow: flow}, w.url())
			var e *doorward.Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v", err)
			}
			if e.Step != c.step || e.Who != c.who || e.Code != c.code {
				t.Errorf("step %q who %q code %q in %v", e.Step, e.Who, e.Code, e)
			}
			for _, secret := range []string{"idp-secret", "as-secret", "id-token-of", "jag-1"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%q stands in the error: %v", secret, err)
				}
			}
			if len(w.sent) > 0 {
				t.Error("the person was sent to the authorization endpoint")
			}
		})
	}
}

// covers: C-EMA-01
func TestConfiguredIssuerNeedsNoProfile(t *testing.T) {
	w := newWorld(t)
	delete(w.asMetadata, "authorization_grant_profiles_supported")
	w.prm["authorization_servers"] = []string{"https://other.example", w.as.URL}
	flow := w.crossApp()
	flow.Server.Issuer = w.as.URL
	must(t, as("alice"), &doorward.Transport{Flow: flow}, w.url())
}

func TestErrorTexts(t *testing.T) {
	for _, c := range []struct {
		err  doorward.Error
		want string
	}{
		{doorward.Error{Step: "exchange", Server: "https://idp.example", Code: "invalid_target", Description: "rule 7", Status: 400, Who: "IdP's administrator"},
			"doorward: exchange at https://idp.example: invalid_target: rule 7 (HTTP 400); the IdP's administrator has to allow this client, person and server; signing in again does not help"},
		{doorward.Error{Step: "exchange", Server: "https://idp.example", Code: "invalid_grant", Status: 400, Who: "person"},
			"doorward: exchange at https://idp.example: invalid_grant (HTTP 400); the person has to sign in at the IdP again"},
		{doorward.Error{Step: "token", Server: "https://as.example", Status: 503, Retry: true, Who: "operator"},
			"doorward: token at https://as.example (HTTP 503); try again later"},
		{doorward.Error{Step: "discover", Err: errors.New("cause")}, "doorward: discover: cause; check the address, its certificate, the network and the proxy"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
