package doorward_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"doorward"
	"doorward/internal/jose"
)

// xaa is one call by cross-app access in a world that was changed.
func xaa(t *testing.T, change func(*world, *doorward.CrossApp)) (*world, error) {
	t.Helper()
	w := newWorld(t)
	flow := w.crossApp()
	change(w, flow)
	_, err := post(as("alice"), &doorward.Transport{Flow: flow}, w.url())
	return w, err
}

// failed is the typed error, at its step.
func failed(t *testing.T, err error, step string) *doorward.Error {
	t.Helper()
	var e *doorward.Error
	if !errors.As(err, &e) || e.Step != step {
		t.Fatalf("error %v, want one at %s", err, step)
	}
	return e
}

// TestParityCrossApp has the cases of crossAppAccess.test.ts that no other test
// asserts.
//
// covers: N05, N10, N13, N15, N19, N22, N23, O05, O06
// covers: O09, O13
func TestParityCrossApp(t *testing.T) {
	html := func(rw http.ResponseWriter, status int) {
		rw.Header().Set("Content-Type", "text/html")
		rw.WriteHeader(status)
		_, _ = rw.Write([]byte("<html>out of order</html>"))
	}
	cases{
		"rejects a non-https token endpoint": func(t *testing.T) {
			w, err := xaa(t, func(w *world, _ *doorward.CrossApp) { w.idpMetadata["token_endpoint"] = "http://idp.example/token" })
			failed(t, err, "exchange")
			w2, err := xaa(t, func(w *world, _ *doorward.CrossApp) { w.asMetadata["token_endpoint"] = "http://as.example/token" })
			if e := failed(t, err, "redeem"); e == nil || w.count("idp") > 0 || w2.count("as") > 0 {
				t.Errorf("requests were sent: %v", err)
			}
		},
		"works without optional scope parameter": func(t *testing.T) {
			w, err := xaa(t, func(*world, *doorward.CrossApp) {})
			if err != nil || w.forms["idp"][0].Has("scope") || w.forms["as"][0].Has("scope") {
				t.Errorf("%v %v", err, w.forms)
			}
		},
		"omits client_secret from body when not provided (public client)": func(t *testing.T) {
			w, err := xaa(t, func(w *world, f *doorward.CrossApp) { f.IdP.Secret = "" })
			form := w.forms["idp"][0]
			if err != nil || form.Has("client_secret") || form.Get("client_id") != "app" || w.heads["idp"][0].Get("Authorization") != "" {
				t.Errorf("%v %v", err, form)
			}
		},
		"accepts token_type other than N_A": func(t *testing.T) {
			for _, kind := range []any{"Bearer", "n_a", nil} {
				if _, err := xaa(t, func(w *world, _ *doorward.CrossApp) {
					w.exchange = func(url.Values) (int, map[string]any) { return 200, m{"token_type": kind} }
				}); err != nil {
					t.Errorf("%v: %v", kind, err)
				}
			}
		},
		"handles non-OAuth error responses": func(t *testing.T) {
			for _, status := range []int{400, 500, 200} {
				odd := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { html(rw, status) }))
				for who, step := range map[string]string{"idp": "exchange", "as": "redeem"} {
					_, err := xaa(t, func(w *world, _ *doorward.CrossApp) {
						md := w.asMetadata
						if who == "idp" {
							md = w.idpMetadata
						}
						md["token_endpoint"] = odd.URL
					})
					if e := failed(t, err, step); strings.Contains(e.Error(), "<html>") || e.Code != "" {
						t.Errorf("%s, %d: %v", who, status, e)
					}
				}
				odd.Close()
			}
		},
		"throws error when token endpoint is not discovered": func(t *testing.T) {
			w, err := xaa(t, func(w *world, _ *doorward.CrossApp) { delete(w.idpMetadata, "token_endpoint") })
			if e := failed(t, err, "exchange"); e.Server != w.idp.URL || w.count("idp") > 0 {
				t.Errorf("%+v", e)
			}
		},
		"client_secret_basic by default": func(t *testing.T) {
			w, err := xaa(t, func(w *world, _ *doorward.CrossApp) { delete(w.asMetadata, "token_endpoint_auth_methods_supported") })
			r := http.Request{Header: w.heads["as"][0]}
			if id, secret, ok := r.BasicAuth(); err != nil || !ok || id != "agent" || secret != "as-secret" || w.forms["as"][0].Has("client_secret") {
				t.Errorf("%v %v", err, w.forms["as"])
			}
		},
		"supports client_secret_post": func(t *testing.T) {
			w, err := xaa(t, func(w *world, _ *doorward.CrossApp) {
				w.asMetadata["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"}
				w.idpMetadata["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"}
			})
			for who, secret := range map[string]string{"as": "as-secret", "idp": "idp-secret"} {
				if err != nil || w.forms[who][0].Get("client_secret") != secret || w.heads[who][0].Get("Authorization") != "" {
					t.Errorf("%s: %v %v", who, err, w.forms[who])
				}
			}
		},
		"supports authMethod none for public clients": func(t *testing.T) {
			w, err := xaa(t, func(w *world, f *doorward.CrossApp) { f.Server.Secret = "" })
			form := w.forms["as"][0]
			if err != nil || form.Get("client_id") != "agent" || form.Has("client_secret") || w.heads["as"][0].Get("Authorization") != "" {
				t.Errorf("%v %v", err, form)
			}
		},
		"none keeps the secret": func(t *testing.T) {
			w, err := xaa(t, func(w *world, _ *doorward.CrossApp) {
				w.asMetadata["token_endpoint_auth_methods_supported"] = []string{"none"}
			})
			if err != nil || w.forms["as"][0].Has("client_secret") || w.heads["as"][0].Get("Authorization") != "" {
				t.Errorf("%v %v", err, w.forms["as"])
			}
		},
		"validates token response with schema": func(t *testing.T) {
			for name, answer := range map[string]map[string]any{
				"no token": {"access_token": ""}, "token is a number": {"access_token": 7}, "no type": {"token_type": ""}, "null": {"access_token": nil},
			} {
				w, err := xaa(t, func(w *world, _ *doorward.CrossApp) {
					w.token = func(url.Values) (int, map[string]any) { return 200, answer }
				})
				if failed(t, err, "redeem"); len(w.bodies) > 0 {
					t.Errorf("%s: a call went out", name)
				}
			}
		},
	}.run(t)
}

// TestParityAuthExtensions has the cases of authExtensions.test.ts that no other
// test asserts.
//
// covers: R02, P20, P27, O10, O11
func TestParityAuthExtensions(t *testing.T) {
	cases{
		"unsupported algorithm": func(t *testing.T) {
			p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			w.asMetadata["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"}
			_, err = post(context.Background(), &doorward.Transport{Flow: &doorward.ClientCredentials{Client: doorward.Credentials{ID: "svc", Key: p384}}}, w.url())
			if failed(t, err, "configure"); w.count("as") > 0 {
				t.Error("a request was sent")
			}
		},
		"creates a signed JWT when using an RSA key": func(t *testing.T) {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			w.asMetadata["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"}
			must(t, context.Background(), &doorward.Transport{Flow: &doorward.ClientCredentials{Client: doorward.Credentials{ID: "svc", Key: key}}}, w.url())
			k, err := jose.NewKey(key, "")
			if err != nil {
				t.Fatal(err)
			}
			v, err := jose.Verify(w.forms["as"][0].Get("client_assertion"), jose.NewSet(k), []string{jose.RS256, jose.PS256}, []string{"client-authentication+jwt"})
			if err != nil {
				t.Fatal(err)
			}
			if aud, err := v.Claims().Text("aud"); err != nil || aud != w.as.URL {
				t.Errorf("aud %q, %v", aud, err)
			}
		},
		"passes custom fetchFn": func(t *testing.T) {
			w := newWorld(t)
			var paths []string
			base := roundTripper(func(r *http.Request) (*http.Response, error) {
				paths = append(paths, r.URL.Path)
				return http.DefaultTransport.RoundTrip(r)
			})
			must(t, as("alice"), &doorward.Transport{Flow: w.crossApp(), Base: base}, w.url())
			if len(paths) != 7 {
				t.Errorf("%d of 7 requests went over Base: %q", len(paths), paths)
			}
		},
		"Basic is form-encoded": func(t *testing.T) {
			const id, secret = "agént: 1", "a secret: with/odd+letters"
			w, err := xaa(t, func(_ *world, f *doorward.CrossApp) { f.Server.ID, f.Server.Secret = id, secret })
			r := http.Request{Header: w.heads["as"][0]}
			if gotID, gotSecret, _ := r.BasicAuth(); err != nil || gotID != url.QueryEscape(id) || gotSecret != url.QueryEscape(secret) {
				t.Errorf("%v: %q %q", err, gotID, gotSecret)
			}
		},
		"no Basic without a secret": func(t *testing.T) {
			w, err := xaa(t, func(w *world, f *doorward.CrossApp) {
				f.Server.Secret, w.asMetadata["token_endpoint_auth_methods_supported"] = "", []string{"client_secret_basic"}
			})
			if err != nil || w.heads["as"][0].Get("Authorization") != "" || w.forms["as"][0].Get("client_id") != "agent" {
				t.Errorf("%v %v", err, w.forms["as"])
			}
		},
		"no browser and no verifier": func(t *testing.T) {
			w, err := xaa(t, func(w *world, _ *doorward.CrossApp) {})
			if err != nil || len(w.sent)+len(w.made) > 0 || w.forms["as"][0].Has("code_verifier") || w.forms["as"][0].Has("redirect_uri") {
				t.Errorf("%v %v", err, w.forms["as"])
			}
		},
		"MissingIdTokenCallback": func(t *testing.T) {
			w, err := xaa(t, func(_ *world, f *doorward.CrossApp) { f.Subject = nil })
			if failed(t, err, "configure"); len(w.trace()) > 0 {
				t.Error("requests were sent")
			}
		},
		"MissingIdpConfig": func(t *testing.T) {
			w, err := xaa(t, func(_ *world, f *doorward.CrossApp) { f.IdP.Issuer = "" })
			if failed(t, err, "configure"); len(w.trace()) > 0 {
				t.Error("requests were sent")
			}
		},
		"MissingClientId": func(t *testing.T) {
			for _, change := range []func(*doorward.CrossApp){func(f *doorward.CrossApp) { f.IdP.ID = "" }, func(f *doorward.CrossApp) { f.Server.ID = "" }} {
				w, err := xaa(t, func(_ *world, f *doorward.CrossApp) { change(f) })
				if failed(t, err, "configure"); len(w.trace()) > 0 {
					t.Error("requests were sent")
				}
			}
		},
	}.run(t)
}
