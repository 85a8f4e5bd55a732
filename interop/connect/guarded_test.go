//go:build unix

package connect_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	authorization "doorward"
	"doorward/internal/browse"
	"doorward/interop/rig"
)

// guarded is the small server behind our Guard, whose tokens another maker's
// authorization server makes. issuer is asked for when the resource is known.
func guarded(t *testing.T, stateless bool, issuer func(resource string) string) (resource string) {
	t.Helper()
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	resource = srv.URL + "/mcp"
	guard, err := authorization.NewGuard(authorization.GuardConfig{Resource: resource, Issuers: []string{issuer(resource)}, Scopes: []string{"mcp"}})
	if err != nil {
		t.Fatal(err)
	}
	guard.Mount(mux, small(t, stateless))
	return resource
}

// npm's oidc-provider: connect registers itself there, and the person signs in
// in a browser.
func TestOIDCProvider(t *testing.T) {
	needNode(t)
	for wire, stateless := range map[string]bool{"stateful": false, "stateless": true} {
		t.Run(wire, func(t *testing.T) {
			t.Parallel()
			resource := guarded(t, stateless, func(resource string) string {
				at := rig.Free(t)
				run(t, nil, "node", "idp.mjs", rig.Port(at), resource).Wait(t, patience, "ready at", 1)
				return "http://" + at
			})
			if said := client(t, seated(t, "ada"), "small", wire, []string{resource, "--flow", "browser"}, nil); !strings.HasSuffix(said, "all is well") {
				t.Errorf("%s", said)
			}
		})
	}
}

// seated is the environment in which a program that opens the system's browser
// finds somebody there. The SDK's client starts a second process to find out
// which wire its server speaks, so they may be asked more than once.
func seated(t *testing.T, name string) []string {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\necho \"$1\" >> " + filepath.Join(dir, "opened") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	t.Cleanup(func() { cancel(); <-over })
	go func() {
		defer close(over)
		for done := 0; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
			text, err := os.ReadFile(filepath.Join(dir, "opened"))
			if err != nil {
				continue // nobody has opened anything yet
			}
			lines := strings.SplitAfter(string(text), "\n")
			for ; done < len(lines)-1; done++ {
				person, err := browse.New(name, "", http.DefaultTransport)
				if err == nil {
					err = person.Open(ctx, strings.TrimSpace(lines[done]))
				}
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		}
	}()
	return []string{"PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH")}
}

// Glewlwyd, whose metadata stands below its issuer only.
func TestGlewlwyd(t *testing.T) {
	needNode(t)
	_, err := exec.LookPath("glewlwyd")
	rig.Need(t, "Glewlwyd", err == nil)
	for wire, stateless := range map[string]bool{"stateful": false, "stateless": true} {
		t.Run(wire, func(t *testing.T) {
			t.Parallel()
			resource := guarded(t, stateless, func(resource string) string { return glewlwyd(t, resource) })
			said := client(t, deskSecret, "small", wire, []string{resource, "--flow", "client", "--client-id", "desk", "--client-secret", "env:DESK_SECRET"}, nil)
			if said != "all is well" {
				t.Errorf("%s", said)
			}
		})
	}
}

const glewlwydConf = `
port=%s
bind_address="127.0.0.1"
external_url="%s"
api_prefix="api"
log_mode="console"
log_level="WARNING"
cookie_secure=0
session_key="G"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="/usr/lib/glewlwyd/user"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
hash_algorithm="SHA512"
database = { type = "sqlite3"; path = "%s"; };
`

// glewlwyd starts one with a client and a scope for resource, and returns the
// issuer.
func glewlwyd(t *testing.T, resource string) string {
	t.Helper()
	dir, at := t.TempDir(), rig.Free(t)
	db, base := filepath.Join(dir, "g.db"), "http://"+at
	fill(t, db)
	conf := filepath.Join(dir, "g.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, glewlwydConf, rig.Port(at), base, db), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, nil, "glewlwyd", "--config-file="+conf)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	admin := &http.Client{Jar: jar, Timeout: 10 * time.Second}
	post := func(path string, body map[string]any) error {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		resp, err := admin.Post(base+"/api"+path, "application/json", bytes.NewReader(text))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s %s", path, resp.Status, answer)
		}
		return nil
	}
	signIn := func() error {
		return post("/auth/", map[string]any{"username": "admin", "password": "password"}) // as the package installs it
	}
	for end := time.Now().Add(patience); signIn() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(signIn())
		}
	}
	issuer := base + "/api/oidc"
	key, cert := keyPair(t)
	for _, step := range []struct {
		path string
		body map[string]any
	}{
		{"/scope/", map[string]any{"name": "mcp", "display_name": "mcp", "description": "mcp", "password_required": false, "password_max_age": 0, "scheme": map[string]any{}}},
		{"/client/", map[string]any{"client_id": "desk", "name": "desk", "confidential": true, "enabled": true, "password": "secret-of-the-desk-client",
			"authorization_type": []string{"client_credentials"}, "redirect_uri": []string{"http://127.0.0.1/cb"}, "scope": []string{"mcp"},
			"token_endpoint_auth_method": []string{"client_secret_basic"}}},
		{"/mod/plugin/", map[string]any{"module": "oidc", "name": "oidc", "display_name": "oidc", "order_rank": 0, "readonly": false, "parameters": map[string]any{
			"iss": issuer, "jwt-type": "ecdsa", "jwt-key-size": "256", "key": key, "cert": cert,
			"access-token-duration": 300, "refresh-token-duration": 3600, "code-duration": 60, "refresh-token-rolling": true,
			"allow-non-oidc": true, "auth-type-client-enabled": true, "auth-type-code-enabled": true, "auth-type-token-enabled": false,
			"auth-type-id-token-enabled": true, "auth-type-none-enabled": false, "auth-type-password-enabled": false,
			"auth-type-refresh-enabled": true, "auth-type-device-enabled": false, "jwks-show": true, "pkce-allowed": true,
			"pkce-method-plain-allowed": false, "subject-type": "public", "resource-allowed": true,
			"resource-scope": map[string]any{"mcp": []string{resource}}, "resource-scope-and-client-property": false,
		}}},
	} {
		if err := post(step.path, step.body); err != nil {
			t.Fatal(err)
		}
	}
	return issuer
}

// fill makes the database that the package brings the script of.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open("/usr/share/doc/glewlwyd/database/init.sqlite3.sql.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	script, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(string(script)); err != nil {
		t.Fatal(err)
	}
}

func keyPair(t *testing.T) (private, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	one, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	two, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: one})), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: two}))
}
