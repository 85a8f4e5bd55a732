package rig

import (
	"bytes"
	"compress/gzip"
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
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the database of Glewlwyd is filled here
)

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

// Glewlwyd is a running one: its administrator's JSON interface.
type Glewlwyd struct {
	Issuer string // of its OpenID Connect plugin
	base   string
	http   *http.Client
}

// GlewlwydSettings is what one starts with, in the words of its interface.
type GlewlwydSettings struct {
	Scopes    []string            // beside openid
	Resources map[string][]string // by scope: resource parameters (RFC 8707) of access tokens
	Clients   []map[string]any
	Users     []map[string]any
	Plugin    map[string]any // beside or instead of what is set here
}

// StartGlewlwyd starts one that the test's end ends, as the package of Debian
// installs it.
func StartGlewlwyd(t testing.TB, set GlewlwydSettings) *Glewlwyd {
	t.Helper()
	_, err := exec.LookPath("glewlwyd")
	Need(t, "Glewlwyd", err == nil)
	dir, at := t.TempDir(), Free(t)
	db, base := filepath.Join(dir, "g.db"), "http://"+at
	fill(t, db)
	conf := filepath.Join(dir, "g.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, glewlwydConf, Port(at), base, db), 0o600); err != nil {
		t.Fatal(err)
	}
	Start(t, nil, "glewlwyd", "--config-file="+conf)
	g := &Glewlwyd{Issuer: base + "/api/oidc", base: base}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if g.http, err = g.SignIn("admin", "password"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	for _, name := range set.Scopes {
		g.must(t, "/scope/", map[string]any{"name": name, "display_name": name, "description": name, "password_required": false, "password_max_age": 0, "scheme": map[string]any{}})
	}
	for _, c := range set.Clients {
		g.must(t, "/client/", c)
	}
	for _, u := range set.Users {
		g.must(t, "/user/", u)
	}
	key, cert := keyPair(t)
	plugin := map[string]any{
		"iss": g.Issuer, "jwt-type": "ecdsa", "jwt-key-size": "256", "key": key, "cert": cert,
		"access-token-duration": 300, "refresh-token-duration": 3600, "code-duration": 60, "refresh-token-rolling": true,
		"allow-non-oidc": true, "auth-type-client-enabled": true, "auth-type-code-enabled": true, "auth-type-token-enabled": false,
		"auth-type-id-token-enabled": true, "auth-type-none-enabled": false, "auth-type-password-enabled": false,
		"auth-type-refresh-enabled": true, "auth-type-device-enabled": false, "jwks-show": true, "pkce-allowed": true,
		"pkce-method-plain-allowed": false, "subject-type": "public", "resource-allowed": true,
		"resource-scope": set.Resources, "resource-scope-and-client-property": false,
	}
	for name, value := range set.Plugin {
		plugin[name] = value
	}
	g.must(t, "/mod/plugin/", map[string]any{"module": "oidc", "name": "oidc", "display_name": "oidc", "order_rank": 0, "readonly": false, "parameters": plugin})
	return g
}

// SignIn signs somebody in, as the pages of Glewlwyd do with JavaScript: the
// cookies are in the jar of the client.
func (g *Glewlwyd) SignIn(name, password string) (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	c := &http.Client{Jar: jar, Timeout: 10 * time.Second}
	return c, g.send(c, http.MethodPost, "/auth/", map[string]any{"username": name, "password": password})
}

// Cookies are those of somebody who signed in, and who gave a client scopes.
func (g *Glewlwyd) Cookies(name, password, client, scope string) ([]*http.Cookie, error) {
	c, err := g.SignIn(name, password)
	if err == nil {
		err = g.send(c, http.MethodPut, "/auth/grant/"+url.PathEscape(client), map[string]any{"scope": scope})
	}
	if err != nil {
		return nil, err
	}
	at, err := url.Parse(g.base + "/api/")
	return c.Jar.Cookies(at), err
}

// Admin asks the administrator's interface for a change.
func (g *Glewlwyd) Admin(method, path string, body map[string]any) error {
	return g.send(g.http, method, path, body)
}

func (g *Glewlwyd) must(t testing.TB, path string, body map[string]any) {
	t.Helper()
	if err := g.Admin(http.MethodPost, path, body); err != nil {
		t.Fatal(err)
	}
}

func (g *Glewlwyd) send(c *http.Client, method, path string, body map[string]any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, g.base+"/api"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", path, resp.Status, answer)
	}
	return nil
}

// fill makes the database that the package brings the script of.
func fill(t testing.TB, path string) {
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

func keyPair(t testing.TB) (private, public string) {
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
