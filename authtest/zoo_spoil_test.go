package authtest_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"

	"doorward/authtest"
)

// spoil makes a mistake of a server's: it stands before the real one.
type spoil func(*authtest.Documents) func(http.Handler) http.Handler

// plain is a mistake that needs no documents.
func plain(f func(next http.Handler, w http.ResponseWriter, r *http.Request)) spoil {
	return func(*authtest.Documents) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(next, w, r) })
		}
	}
}

// answers changes JSON answers of paths that begin with one of these.
func answers(change func(m map[string]any), paths ...string) spoil {
	return plain(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if !slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(r.URL.Path, p) }) || r.Method == http.MethodOptions {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		var m map[string]any
		if json.Unmarshal(body, &m) == nil {
			change(m)
			body, _ = json.Marshal(m)
		}
		for name, values := range rec.Header() {
			if name != "Content-Length" {
				w.Header()[name] = values
			}
		}
		w.WriteHeader(rec.Code)
		w.Write(body)
	})
}

const (
	asDocument   = "/.well-known/oauth-authorization-server"
	oidcDocument = "/.well-known/openid-configuration"
	prmDocument  = "/.well-known/oauth-protected-resource"
)

func without(name string, paths ...string) spoil {
	return answers(func(m map[string]any) { delete(m, name) }, paths...)
}

func with(name string, value any, paths ...string) spoil {
	return answers(func(m map[string]any) { m[name] = value }, paths...)
}

// asked is a request as its parameters, and gives it back whole.
func asked(r *http.Request) url.Values {
	if r.Method == http.MethodGet {
		return r.URL.Query()
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	return form
}

// refuses what comes to a path and meets a condition.
func refuses(path, code string, when func(url.Values) bool) spoil {
	return plain(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path && r.Method != http.MethodOptions && when(asked(r)) {
			http.Error(w, `{"error":"`+code+`"}`, http.StatusBadRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// wanted is a registration request.
type wanted struct {
	Name      string   `json:"client_name"`
	Redirects []string `json:"redirect_uris"`
	Grants    []string `json:"grant_types"`
	Method    string   `json:"token_endpoint_auth_method"`
	Scope     *string  `json:"scope"`
	Terms     string   `json:"tos_uri"`
}

func refusesClient(when func(wanted) bool) spoil {
	return plain(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/register" && r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			var c wanted
			if json.Unmarshal(body, &c) == nil && when(c) {
				w.Header().Set("Access-Control-Allow-Origin", "*")
				http.Error(w, `{"error":"invalid_client_metadata"}`, http.StatusBadRequest)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// refusesDocument refuses authorization requests of clients by what stands in
// their metadata document.
func refusesDocument(when func(w wanted, redirect string) bool) spoil {
	return func(docs *authtest.Documents) func(http.Handler) http.Handler {
		web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: docs.Roots()}}}
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				if r.URL.Path == "/authorize" && strings.HasPrefix(q.Get("client_id"), "https://") {
					var c wanted
					if resp, err := web.Get(q.Get("client_id")); err == nil {
						err = json.NewDecoder(resp.Body).Decode(&c)
						resp.Body.Close()
						if err == nil && when(c, q.Get("redirect_uri")) {
							http.Error(w, "this client is not wanted", http.StatusBadRequest)
							return
						}
					}
				}
				next.ServeHTTP(w, r)
			})
		}
	}
}

// refusesRedirect refuses authorization requests by the redirect URIs that the
// client registered itself with.
func refusesRedirect(when func(registered []string, redirect string) bool) spoil {
	return func(*authtest.Documents) func(http.Handler) http.Handler {
		var mu sync.Mutex
		registered := map[string][]string{}
		return func(next http.Handler) http.Handler {
			learn := answers(func(m map[string]any) {
				mu.Lock()
				defer mu.Unlock()
				id, _ := m["client_id"].(string)
				list, _ := m["redirect_uris"].([]any)
				if registered[id] != nil {
					return // the first registration counts
				}
				for _, uri := range list {
					if text, ok := uri.(string); ok {
						registered[id] = append(registered[id], text)
					}
				}
			}, "/register")(nil)(next)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				mu.Lock()
				list := registered[q.Get("client_id")]
				mu.Unlock()
				if r.URL.Path == "/authorize" && list != nil && when(list, q.Get("redirect_uri")) {
					http.Error(w, "redirect_uri is not registered", http.StatusBadRequest)
					return
				}
				learn.ServeHTTP(w, r)
			})
		}
	}
}

// registersOnce lets each name register one time.
func registersOnce() spoil {
	return func(*authtest.Documents) func(http.Handler) http.Handler {
		var mu sync.Mutex
		seen := map[string]bool{}
		return refusesClient(func(c wanted) bool {
			mu.Lock()
			defer mu.Unlock()
			was := seen[c.Name]
			seen[c.Name] = true
			return was
		})(nil)
	}
}

// spendsAtFirstLook lets an authorization URL be got one time.
func spendsAtFirstLook() spoil {
	return func(*authtest.Documents) func(http.Handler) http.Handler {
		var mu sync.Mutex
		seen := map[string]bool{}
		return refuses("/authorize", "invalid_request", func(q url.Values) bool {
			mu.Lock()
			defer mu.Unlock()
			was := seen[q.Get("state")]
			seen[q.Get("state")] = true
			return was
		})(nil)
	}
}

// bendsState sends the browser back with another state.
func bendsState(bend func(string) string) spoil {
	return plain(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		if at, err := url.Parse(rec.Header().Get("Location")); err == nil && at.Query().Has("code") {
			q := at.Query()
			q.Set("state", bend(q.Get("state")))
			at.RawQuery = q.Encode()
			rec.Header().Set("Location", at.String())
		}
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes())
	})
}

// takesHeader takes a header out of the answers to a method at paths.
func takesHeader(name, method, path string) spoil {
	return plain(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if r.Method != method || !strings.HasPrefix(r.URL.Path, path) {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		rec.Header().Del(name)
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes())
	})
}

// elsewhere has the endpoints under /oauth2 and nowhere else, and says so in
// its metadata.
func elsewhere() spoil {
	endpoints := []string{"/authorize", "/token", "/register"}
	moved := answers(func(m map[string]any) {
		for _, name := range []string{"authorization_endpoint", "token_endpoint", "registration_endpoint"} {
			if at, ok := m[name].(string); ok {
				i := strings.LastIndex(at, "/")
				m[name] = at[:i] + "/oauth2" + at[i:]
			}
		}
	}, asDocument, oidcDocument)
	return func(*authtest.Documents) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return moved(nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if path, ok := strings.CutPrefix(r.URL.Path, "/oauth2"); ok {
					r.URL.Path = path
				} else if slices.Contains(endpoints, r.URL.Path) && r.URL.Query().Has("response_type") || r.URL.Path == "/register" {
					http.NotFound(w, r)
					return
				}
				next.ServeHTTP(w, r)
			}))
		}
	}
}

// both makes two mistakes.
func both(a, b spoil) spoil {
	return func(d *authtest.Documents) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler { return a(d)(b(d)(next)) }
	}
}
