package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"doorward/internal/jose"
)

// trusting is an MCP server whose authorization server takes workload JWTs.
func trusting(t *testing.T, bound bool) (address string, asked *[]url.Values) {
	t.Helper()
	asked = &[]url.Values{}
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	answer := func(path string, v map[string]any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if r.Method == http.MethodPost && r.ParseForm() == nil {
				*asked = append(*asked, r.PostForm)
			}
			_ = json.NewEncoder(w).Encode(v)
		})
	}
	kind := "Bearer"
	if bound {
		kind = "DPoP"
	}
	answer("/.well-known/oauth-protected-resource/mcp", map[string]any{"resource": s.URL + "/mcp", "authorization_servers": []string{s.URL}, "dpop_bound_access_tokens_required": bound})
	answer("/.well-known/oauth-authorization-server", map[string]any{"issuer": s.URL, "token_endpoint": s.URL + "/token", "token_endpoint_auth_methods_supported": []string{"none"}})
	answer("/token", map[string]any{"access_token": "the-token", "token_type": kind, "expires_in": 60})
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	return s.URL + "/mcp", asked
}

// platformToken is the file of a JWT for the server at address.
func platformToken(t *testing.T, address string) (path, jwt string) {
	t.Helper()
	key, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	jwt, err = key.Sign("JWT", map[string]any{"sub": "job", "aud": strings.TrimSuffix(address, "/mcp")})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(jwt+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, jwt
}

// The JWT is read from the file that the platform replaces, readable by others
// or not, and auto takes it.
//
// covers: C-WIF-01, V03
func TestTokenOfAWorkload(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	address, asked := trusting(t, false)
	path, jwt := platformToken(t, address)
	for _, flow := range []string{"workload", "auto"} {
		r := d.run("token", address, "--flow", flow, "--workload-jwt", "file:"+path, "--scope", "read")
		if r.out != "the-token\n" || r.code != 0 {
			t.Fatalf("%s: %d %s %s", flow, r.code, r.out, r.errs)
		}
	}
	if form := (*asked)[0]; len(*asked) != 2 || form.Get("assertion") != jwt || form.Get("scope") != "read" || form.Has("client_id") {
		t.Errorf("asked for %v", *asked)
	}
	for name, jwt := range map[string]string{"is no JWT": "not-a-token", "is empty": " \n", "addressed to another": "eyJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJ4In0.AA"} {
		if err := os.WriteFile(path, []byte(jwt), 0o600); err != nil {
			t.Fatal(err)
		}
		d.refused(1, []string{"token", address, "--flow", "workload", "--workload-jwt", "file:" + path}, name)
	}
	d.refused(1, []string{"token", address, "--flow", "workload", "--workload-jwt", "file:" + path + "-nowhere"}, "no such file")
	d.refused(1, []string{"token", address, "--flow", "workload", "--workload-jwt", "env:NOWHERE"}, "NOWHERE is not set")
	if len(*asked) != 2 {
		t.Errorf("%d token requests", len(*asked))
	}
}

// A token that needs proofs is not printed as if it were of use.
func TestTokenThatNeedsProofs(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	address, _ := trusting(t, true)
	path, _ := platformToken(t, address)
	d.refused(1, []string{"token", address, "--workload-jwt", "file:" + path, "--header"}, "doorward connect has the key")
}
