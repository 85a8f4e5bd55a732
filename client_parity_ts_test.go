package doorward_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward"
)

// called is one call by the browser's flow in a world that was changed.
func called(t *testing.T, change func(*world, *doorward.AuthorizationCode)) (*world, error) {
	t.Helper()
	w := newWorld(t)
	flow := w.code()
	change(w, flow)
	_, err := post(context.Background(), &doorward.Transport{Flow: flow}, w.url())
	return w, err
}

// alone is a server of MCP 2025-03-26 that is its own authorization server, and
// the token requests that it got.
func alone(t *testing.T) (address string, forms *[]url.Values) {
	t.Helper()
	forms = &[]url.Values{}
	mux := http.NewServeMux()
	mux.HandleFunc("/mcp", func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			rw.WriteHeader(http.StatusUnauthorized)
		}
	})
	mux.HandleFunc("/register", func(rw http.ResponseWriter, _ *http.Request) { reply(rw, 201, m{"client_id": "old"}) })
	mux.HandleFunc("/authorize", func(rw http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		*forms = append(*forms, q)
		http.Redirect(rw, r, q.Get("redirect_uri")+"?code=c&state="+url.QueryEscape(q.Get("state")), http.StatusFound)
	})
	mux.HandleFunc("/token", func(rw http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		*forms = append(*forms, r.PostForm)
		reply(rw, 200, m{"access_token": "t", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "r"})
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL + "/mcp", forms
}

// TestParityDiscovery has the cases of auth.test.ts about discovery that no
// other test asserts.
//
// covers: M01, M07, M23
func TestParityDiscovery(t *testing.T) {
	cases{
		"invalid resource_metadata": func(t *testing.T) {
			for _, named := range []string{"not a url", "::", "/here"} {
				s := newSite(t, map[string]string{"challenge": `Bearer resource_metadata="` + named + `"`, prm + "/mcp": `{"resource":"{}/mcp","authorization_servers":["{}"]}`})
				_, err := post(context.Background(), &doorward.Transport{Flow: machine()}, s.URL+"/mcp")
				if failed(t, err, "discover"); len(s.metadata()) > 0 {
					t.Errorf("%s: asked for %q", named, s.metadata())
				}
			}
		},
		"network failure": func(t *testing.T) {
			w := newWorld(t)
			w.as.Close()
			_, err := post(context.Background(), &doorward.Transport{Flow: w.code()}, w.url())
			if e := failed(t, err, "discover"); e.Err == nil || !e.Retry || len(w.made) > 0 {
				t.Errorf("%+v", e)
			}
		},
		"a server without a path": func(t *testing.T) {
			var asked []string
			s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/" {
					rw.WriteHeader(http.StatusUnauthorized)
					return
				}
				asked = append(asked, r.URL.Path)
				rw.WriteHeader(http.StatusNotFound)
			}))
			defer s.Close()
			for _, address := range []string{s.URL, s.URL + "/"} {
				asked = nil
				_, err := post(context.Background(), &doorward.Transport{Flow: machine()}, address)
				if failed(t, err, "discover"); !slices.Equal(slices.Compact(asked), []string{prm}) {
					t.Errorf("%s: asked for %q", address, asked)
				}
			}
		},
		"iss flag of the OpenID Connect document": func(t *testing.T) {
			for flag, ok := range map[bool]bool{true: false, false: true} {
				w := newWorld(t)
				md := w.asMetadata
				md["authorization_response_iss_parameter_supported"] = flag
				s := w.serve(t, "op", map[string]http.HandlerFunc{
					oidc:         func(rw http.ResponseWriter, _ *http.Request) { reply(rw, 200, md) },
					"/token":     w.as.Config.Handler.ServeHTTP,
					"/authorize": w.browser,
					"/register":  w.register,
				})
				md["issuer"] = s.URL
				w.prm["authorization_servers"] = []string{s.URL}
				w.authorize = func(q url.Values) { q.Del("iss") }
				if _, err := post(context.Background(), &doorward.Transport{Flow: w.code()}, w.url()); (err == nil) != ok {
					t.Errorf("announced %t, and no iss: %v", flag, err)
				}
			}
		},
		"a received iss cannot forge a line": func(t *testing.T) {
			_, err := called(t, func(w *world, _ *doorward.AuthorizationCode) {
				w.authorize = func(q url.Values) { q.Set("iss", "https://evil.example\r\nlevel=INFO \x1b[2J") }
			})
			if e := failed(t, err, "authorize"); strings.ContainsFunc(e.Error(), func(r rune) bool { return r < ' ' }) {
				t.Errorf("%q", e.Error())
			}
		},
		"uses prefix of server URL from PRM resource": func(t *testing.T) {
			w, err := called(t, func(w *world, _ *doorward.AuthorizationCode) { w.prm["resource"] = w.mcp.URL })
			if err != nil || w.sent[0].Get("resource") != w.mcp.URL || w.forms["as"][0].Get("resource") != w.mcp.URL {
				t.Errorf("%v %v", err, w.sent)
			}
		},
		"a resource with a query": func(t *testing.T) {
			for _, named := range []bool{false, true} {
				w := newWorld(t)
				resource := w.url() + "?tenant=1"
				w.prm["resource"] = resource
				tr := &doorward.Transport{Flow: machine()}
				if named {
					tr.Resource = resource
				}
				_, err := post(context.Background(), tr, resource)
				if err != nil || w.forms["as"][0].Get("resource") != resource {
					t.Errorf("%v %v", err, w.forms["as"])
				}
			}
		},
		"no resource without Protected Resource Metadata": func(t *testing.T) {
			address, forms := alone(t)
			now := time.Now()
			tr := &doorward.Transport{Flow: &doorward.AuthorizationCode{Open: visit}, Legacy: true, Now: func() time.Time { return now }}
			must(t, context.Background(), tr, address)
			now = now.Add(2 * time.Hour)
			must(t, context.Background(), tr, address)
			if len(*forms) != 3 || (*forms)[2].Get("grant_type") != "refresh_token" {
				t.Fatalf("%v", *forms)
			}
			for _, f := range *forms {
				if f.Has("resource") {
					t.Errorf("%v", f)
				}
			}
		},
	}.run(t)
}

// TestParityAuthorization has the cases of auth.test.ts about registration,
// scopes and tokens that no other test asserts.
//
// covers: S11, S16, S18, T03, N21
func TestParityAuthorization(t *testing.T) {
	cases{
		"honors DCR-returned token_endpoint_auth_method": func(t *testing.T) {
			w := newWorld(t)
			delete(w.asMetadata, "token_endpoint_auth_methods_supported")
			registrar(t, w, 201, `{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"client_secret_post"}`)
			must(t, context.Background(), &doorward.Transport{Flow: w.code()}, w.url())
			if f := w.forms["as"][0]; f.Get("client_secret") != "s" || w.heads["as"][0].Get("Authorization") != "" {
				t.Errorf("%v", f)
			}
		},
		"tolerates a non-enum application_type": func(t *testing.T) {
			w := newWorld(t)
			registrar(t, w, 201, `{"client_id":"c","application_type":"service"}`)
			must(t, context.Background(), &doorward.Transport{Flow: w.code()}, w.url())
		},
		"string expires_in": func(t *testing.T) {
			w, now := newWorld(t), time.Now()
			w.token = func(url.Values) (int, map[string]any) { return 200, m{"expires_in": "60", "refresh_token": "r"} }
			tr := &doorward.Transport{Flow: w.code(), Now: func() time.Time { return now }}
			must(t, context.Background(), tr, w.url())
			now = now.Add(30 * time.Second)
			must(t, context.Background(), tr, w.url())
			if w.count("as") != 1 {
				t.Error("it was renewed at once")
			}
			now = now.Add(31 * time.Second)
			must(t, context.Background(), tr, w.url())
			if w.count("as") != 2 {
				t.Error("it was not renewed after its end")
			}
		},
		"https guard on the refresh branch": func(t *testing.T) {
			w, now := newWorld(t), time.Now()
			w.token = func(url.Values) (int, map[string]any) { return 200, m{"refresh_token": "r"} }
			tr := &doorward.Transport{Flow: w.code(), Now: func() time.Time { return now }}
			must(t, context.Background(), tr, w.url())
			now = now.Add(2 * time.Hour)
			w.asMetadata["token_endpoint"] = "http://as.example/token"
			if _, err := post(context.Background(), tr, w.url()); err == nil || len(w.sent) != 1 || w.count("as") != 1 {
				t.Errorf("%v, %d sign-ins", err, len(w.sent))
			}
		},
		"validates the answer to a refresh": func(t *testing.T) {
			w, now := newWorld(t), time.Now()
			w.token = func(f url.Values) (int, map[string]any) {
				if f.Get("grant_type") == "refresh_token" {
					return 200, m{"access_token": ""}
				}
				return 200, m{"refresh_token": "r"}
			}
			tr := &doorward.Transport{Flow: w.code(), Now: func() time.Time { return now }}
			must(t, context.Background(), tr, w.url())
			now = now.Add(2 * time.Hour)
			if _, err := post(context.Background(), tr, w.url()); err == nil || len(w.bodies) != 1 {
				t.Errorf("%v, %d calls went out", err, len(w.bodies))
			}
		},
		"uses client_secret_post for refresh token": func(t *testing.T) {
			w, now := newWorld(t), time.Now()
			w.asMetadata["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"}
			w.token = func(url.Values) (int, map[string]any) { return 200, m{"refresh_token": "r"} }
			flow := w.code()
			flow.Client = doorward.Credentials{ID: "known", Secret: "s"}
			tr := &doorward.Transport{Flow: flow, Now: func() time.Time { return now }}
			must(t, context.Background(), tr, w.url())
			now = now.Add(2 * time.Hour)
			must(t, context.Background(), tr, w.url())
			if f := w.forms["as"][1]; f.Get("grant_type") != "refresh_token" || f.Get("client_id") != "known" || f.Get("client_secret") != "s" {
				t.Errorf("%v", f)
			}
		},
		"uses scopes_supported from PRM when scope is not provided": func(t *testing.T) {
			w, err := called(t, func(w *world, _ *doorward.AuthorizationCode) { w.prm["scopes_supported"] = []string{"a", "b"} })
			if err != nil || w.sent[0].Get("scope") != "a b" {
				t.Errorf("%v %v", err, w.sent)
			}
		},
		"configured scopes only": func(t *testing.T) {
			w, err := called(t, func(w *world, f *doorward.AuthorizationCode) { f.Scopes = []string{"mine"} })
			if err != nil || w.sent[0].Get("scope") != "mine" || w.sent[0].Has("prompt") {
				t.Errorf("%v %v", err, w.sent)
			}
		},
		"configured scopes with offline_access": func(t *testing.T) {
			w, err := called(t, func(w *world, f *doorward.AuthorizationCode) {
				f.Scopes, w.asMetadata["scopes_supported"] = []string{"mine"}, []string{"mine", "offline_access"}
			})
			if err != nil || w.sent[0].Get("scope") != "mine offline_access" || w.sent[0].Get("prompt") != "consent" {
				t.Errorf("%v %v", err, w.sent)
			}
		},
		"metadata document of another scheme": func(t *testing.T) {
			for _, id := range []string{"javascript:alert(1)", "data:application/json,{}"} {
				w, err := called(t, func(w *world, f *doorward.AuthorizationCode) {
					w.asMetadata["client_id_metadata_document_supported"], f.ClientIDMetadataURL = true, id
				})
				if failed(t, err, "configure"); len(w.sent)+len(w.made) > 0 {
					t.Errorf("%s: sent %v", id, w.sent)
				}
			}
		},
	}.run(t)
}
