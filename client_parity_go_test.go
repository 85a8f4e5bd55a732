package doorward_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward"
)

// TestParityGo has the cases of the Go SDK's suite that no other test asserts.
//
// covers: R01, R09, R07, S02, S04
func TestParityGo(t *testing.T) {
	background := context.Background()
	documents := func(at, issuer string) map[string]string {
		return map[string]string{"challenge": "Bearer", "/token": `{"access_token":"t","token_type":"bearer"}`,
			prm + "/mcp": `{"resource":"{}/mcp","authorization_servers":["` + issuer + `"]}`, at: `{"issuer":"` + issuer + `","token_endpoint":"{}/token"}`}
	}
	registered := func(answer string) *world {
		w := newWorld(t)
		w.asMetadata["token_endpoint_auth_methods_supported"] = []string{"client_secret_post", "none"}
		registrar(t, w, 201, answer)
		must(t, background, &doorward.Transport{Flow: w.code()}, w.url())
		return w
	}
	cases{
		"TestAuthorize_RefreshAfterContextCancel": func(t *testing.T) {
			for name, flow := range map[string]func(*world) doorward.Flow{
				"code":               func(w *world) doorward.Flow { return w.code() },
				"client credentials": func(w *world) doorward.Flow { return machine() },
				"cross-app access":   func(w *world) doorward.Flow { return w.crossApp() },
			} {
				w, now := newWorld(t), time.Now()
				w.token = func(url.Values) (int, map[string]any) { return 200, m{"refresh_token": "r"} }
				tr := &doorward.Transport{Flow: flow(w), Now: func() time.Time { return now }}
				first, cancel := context.WithCancel(as("alice"))
				must(t, first, tr, w.url())
				cancel() // the request is over
				now = now.Add(2 * time.Hour)
				if status, err := post(as("alice"), tr, w.url()); err != nil || status != 200 || w.count("as") != 2 {
					t.Errorf("%s: status %d, %v, %d token requests", name, status, err, w.count("as"))
				}
			}
		},
		"InvalidPreregistered_EmptyID": func(t *testing.T) {
			w := newWorld(t)
			flow := w.code()
			flow.Client.Secret = "nobody's"
			_, err := post(background, &doorward.Transport{Flow: flow}, w.url())
			for _, form := range w.forms["as"] {
				if form.Get("client_secret") == "nobody's" {
					t.Errorf("a secret without an id was sent: %v", err)
				}
			}
			if r := (http.Request{Header: w.heads["as"][0]}); r.Header.Get("Authorization") != "" {
				t.Errorf("it was sent: %v", r.Header)
			}
		},
		"TestInferApplicationType": func(t *testing.T) {
			for _, uri := range []string{"http://localhost/cb", "http://127.0.0.1/cb", "http://[::1]/cb"} {
				w := newWorld(t)
				flow := w.code()
				flow.RedirectURL = uri
				flow.Open = func(context.Context, string) error { return errors.New("no display") }
				_, _ = post(background, &doorward.Transport{Flow: flow}, w.url())
				if strings.Contains(uri, "[") && len(w.made) == 0 {
					continue // a machine without IPv6
				}
				if len(w.made) != 1 || w.made[0]["application_type"] != "native" {
					t.Errorf("%s: %v", uri, w.made)
				}
			}
		},
		"NotDuplicatedWhenAlreadyInScopes": func(t *testing.T) {
			w := newWorld(t)
			w.scope, w.asMetadata["scopes_supported"] = "read offline_access", []string{"read", "offline_access"}
			must(t, background, &doorward.Transport{Flow: w.code()}, w.url())
			if got := w.sent[0].Get("scope"); got != "read offline_access" {
				t.Errorf("scope %q", got)
			}
		},
		"OAuthEndpoint_Path":          func(t *testing.T) { foundAt(t, documents(asDoc+"/t", "{}/t"), asDoc+"/t") },
		"OpenIDEndpoint_Path":         func(t *testing.T) { foundAt(t, documents(oidc+"/t", "{}/t"), oidc+"/t") },
		"OpenIDAppendedEndpoint_Path": func(t *testing.T) { foundAt(t, documents("/t"+oidc, "{}/t"), "/t"+oidc) },
		"schemes in capitals": func(t *testing.T) {
			for _, endpoint := range []string{"JAVASCRIPT:alert(1)", "DATA:text/html,x", "VBSCRIPT:x"} {
				w := newWorld(t)
				w.asMetadata["authorization_endpoint"] = endpoint
				flow, opened := w.code(), false
				flow.Open = func(context.Context, string) error { opened = true; return nil }
				if _, err := post(background, &doorward.Transport{Flow: flow}, w.url()); err == nil || opened {
					t.Errorf("%s: opened %t, %v", endpoint, opened, err)
				}
			}
		},
		"client credentials that lack something": func(t *testing.T) {
			for name, c := range map[string]doorward.Credentials{"id": {Secret: "s"}, "secret": {ID: "svc"}, "both": {}} {
				w := newWorld(t)
				_, err := post(background, &doorward.Transport{Flow: &doorward.ClientCredentials{Client: c}}, w.url())
				if failed(t, err, "configure"); len(w.trace()) > 0 {
					t.Errorf("%s: requests were sent", name)
				}
			}
		},
		"bad_credentials": func(t *testing.T) {
			w := newWorld(t)
			w.token = func(url.Values) (int, map[string]any) { return 401, m{"error": "invalid_client"} }
			_, err := post(background, &doorward.Transport{Flow: machine()}, w.url())
			if e := failed(t, err, "token"); e.Code != "invalid_client" || e.Who != "client's maker" || e.Status != 401 {
				t.Errorf("%+v", e)
			}
		},
		"TestClientCredentialsHandler_ScopeAccumulation": func(t *testing.T) {
			w := newWorld(t)
			w.scope = "read"
			tr := &doorward.Transport{Flow: machine()}
			must(t, background, tr, w.url())
			w.needs = "write"
			must(t, background, tr, w.url())
			w.needs = "admin"
			must(t, background, tr, w.url())
			if got := w.forms["as"][2].Get("scope"); got != "read write admin" {
				t.Errorf("scope %q", got)
			}
		},
		"Success_with_200": func(t *testing.T) {
			w := newWorld(t)
			registrar(t, w, 200, `{"client_id":"dynamic-9"}`)
			must(t, background, &doorward.Transport{Flow: w.code()}, w.url())
			if got := w.sent[0].Get("client_id"); got != "dynamic-9" {
				t.Errorf("client_id %q", got)
			}
		},
		"full_response": func(t *testing.T) {
			w := registered(`{"client_id":"full","client_secret":"made-for-it","client_id_issued_at":1795800000,"client_secret_expires_at":4102444800,"client_name":"x",
				"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"client_secret_post","software_id":"y","more":{"a":[1]}}`)
			if f := w.forms["as"][0]; f.Get("client_id") != "full" || f.Get("client_secret") != "made-for-it" {
				t.Errorf("%v", f)
			}
		},
		"response_with_a_secret_that_does_not_expire": func(t *testing.T) {
			w := registered(`{"client_id":"c","client_secret":"s","client_secret_expires_at":0,"token_endpoint_auth_method":"client_secret_post"}`)
			if f := w.forms["as"][0]; f.Get("client_secret") != "s" {
				t.Errorf("%v", f)
			}
		},
		"unmarshal_with_zero_timestamp": func(t *testing.T) {
			w := registered(`{"client_id":"c","client_id_issued_at":0,"token_endpoint_auth_method":"none"}`)
			if f := w.forms["as"][0]; f.Get("client_id") != "c" || f.Has("client_secret") {
				t.Errorf("%v", f)
			}
		},
		"TestStreamableClientOAuth_CancelledAuthorize_NoReprompt": func(t *testing.T) {
			w := newWorld(t)
			ctx, cancel := context.WithCancel(background)
			prompts := 0
			flow := w.code()
			flow.Open = func(context.Context, string) error { prompts++; cancel(); return nil } // and nobody comes back
			if _, err := post(ctx, &doorward.Transport{Flow: flow}, w.url()); !errors.Is(err, context.Canceled) || prompts != 1 {
				t.Errorf("%d prompts, %v", prompts, err)
			}
		},
	}.run(t)
}

// foundAt is a call that needs the metadata at one place.
func foundAt(t *testing.T, documents map[string]string, place string) {
	t.Helper()
	s := newSite(t, documents)
	if _, err := post(context.Background(), &doorward.Transport{Flow: machine()}, s.URL+"/mcp"); err != nil {
		t.Error(err)
	}
	if got := s.metadata(); got[len(got)-1] != place {
		t.Errorf("asked for %q", got)
	}
}

// TestParityAudience has the cases of the Go SDK's TestMatchesResource: a guard
// compares letter by letter, so that a slash is a difference too.
//
// covers: J17
func TestParityAudience(t *testing.T) {
	g := newGate(t, nil)
	aud := func(t *testing.T, aud any) string { return "Bearer " + g.token(t, map[string]any{"aud": aud}) }
	refused := func(one any) func(*testing.T) {
		return func(t *testing.T) { g.out(t, aud(t, one), 401, "invalid_token") }
	}
	cases{
		"exact_match":                           func(t *testing.T) { g.in(t, aud(t, guardedFiles)) },
		"claim_has_trailing_slash":              refused(guardedFiles + "/"),
		"claim_missing_trailing_slash":          refused("https://files.example"),
		"multiple_claims":                       func(t *testing.T) { g.in(t, aud(t, []string{"https://other.example/mcp", guardedFiles})) },
		"no_claims":                             refused(nil),
		"claim_does_not_match_resource":         refused("https://other.example/mcp"),
		"path_mismatch_is_not_tolerated":        refused("https://files.example/mcp/x"),
		"scheme_mismatch_is_not_tolerated":      refused("http://files.example/mcp"),
		"host_case_difference_is_not_tolerated": refused("https://FILES.example/mcp"),
		"default-port_elision_is_not_tolerated": refused("https://files.example:443/mcp"),
		"query_string_difference":               refused(guardedFiles + "?a=b"),
		"surrounding_whitespace":                refused(" " + guardedFiles + " "),
	}.run(t)
}
