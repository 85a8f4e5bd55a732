package main

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"doorward/internal/jose"
)

const takesWorkloads = `
url: URL
state: STATE
ops: ""
workloads:
  batch: {issuer: ISSUER, max_lifetime: 1h, claims: {sub: "system:serviceaccount:prod:*"}, servers: [files], scopes: ["files:read"]}
servers:
  files: {path: /files/mcp, run: sample, scopes: {"files:read": Read, "files:write": Write}, allow: [{who: "client:batch"}]}
  notes: {path: /notes/mcp, run: sample, allow: [{who: "client:batch"}]}
`

// platform is where programs run: an issuer that is found by its metadata.
func platform(t *testing.T) (issuer string, sign func(change map[string]any) string) {
	t.Helper()
	key, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	for path, v := range map[string]any{"/jwks": jose.NewSet(key),
		"/.well-known/openid-configuration": map[string]any{"issuer": s.URL, "jwks_uri": s.URL + "/jwks"}} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) })
	}
	return s.URL, func(change map[string]any) string {
		t.Helper()
		now := time.Now().Unix()
		claims := map[string]any{"iss": s.URL, "sub": "system:serviceaccount:prod:report", "iat": now, "nbf": now, "exp": now + 3600, "jti": rand.Text()}
		for name, v := range change {
			claims[name] = v
		}
		token, err := key.Sign("", claims)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
}

// A program in a pod gets a token by its service account token, by the
// configuration file and the commands alone, and is ended as any client is.
//
// covers: AS-WIF-01, AS-WIF-02, AS-WIF-04
func TestWorkloadGetsIn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	issuer, sign := platform(t)
	origin := "http://" + free(t)
	text := strings.NewReplacer("URL", origin, "STATE", filepath.Join(t.TempDir(), "state"), "ISSUER", issuer).Replace(takesWorkloads)
	file := filepath.Join(write(t, map[string]string{"c.yaml": text}), "c.yaml")
	p := d.start("serve", "--config", file)
	jwt := filepath.Join(t.TempDir(), "jwt")
	token := func(server string, change map[string]any) ran {
		t.Helper()
		if change == nil {
			change = map[string]any{}
		}
		change["aud"] = []string{origin}
		if err := os.WriteFile(jwt, []byte(sign(change)), 0o600); err != nil {
			t.Fatal(err)
		}
		return d.run("token", origin+server, "--flow", "workload", "--workload-jwt", "file:"+jwt)
	}
	one := token("/files/mcp", nil)
	if one.code != 0 {
		t.Fatalf("%d %s%s", one.code, one.out, one.errs)
	}
	held := strings.TrimSpace(one.out)
	if !opens(t, origin+"/files/mcp", held) {
		t.Error("the token does not open the server")
	}
	if opens(t, origin+"/notes/mcp", held) {
		t.Error("the token opens another server")
	}
	if r := d.run("token", origin+"/files/mcp", "--flow", "workload", "--workload-jwt", "file:"+jwt); r.code != 1 || !strings.Contains(r.errs, "invalid_grant") {
		t.Errorf("the same JWT again: %d %s", r.code, r.errs)
	}
	for name, r := range map[string]ran{"another namespace": token("/files/mcp", map[string]any{"sub": "system:serviceaccount:dev:report"}), "another server": token("/notes/mcp", nil)} {
		if r.code != 1 || !strings.Contains(r.errs, "unauthorized_client") {
			t.Errorf("%s: %d %s", name, r.code, r.errs)
		}
		if why := d.must("why", refOf(t, r.errs), "--config", file); !strings.Contains(why, "workloads") {
			t.Errorf("%s: %s", name, why)
		}
	}
	if out := d.must("ls", "clients", "--config", file); !strings.Contains(out, "batch") {
		t.Errorf("ls clients: %s", out)
	}
	d.refused(1, []string{"client", "add", "batch", "--config", file}, "batch")
	d.must("revoke", "issuer:"+issuer, "--config", file)
	if opens(t, origin+"/files/mcp", held) {
		t.Error("the token opens the server after its issuer was revoked")
	}
	// An entry that says something else ends what came of it at the next start.
	second := strings.TrimSpace(token("/files/mcp", nil).out)
	if !opens(t, origin+"/files/mcp", second) {
		t.Fatal("a second token does not open the server")
	}
	p.stop()
	if err := os.WriteFile(file, []byte(strings.Replace(text, "prod:*", "prod:report", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start("serve", "--config", file)
	if opens(t, origin+"/files/mcp", second) {
		t.Error("a token of the entry as it was opens the server")
	}
	if r := token("/files/mcp", nil); r.code != 0 {
		t.Errorf("with the new entry: %s", r.errs)
	}
}
