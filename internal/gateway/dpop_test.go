package gateway_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"doorward/internal/access"
	"doorward/internal/dpop"
	"doorward/internal/gateway"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// bound is a grant's token that is bound to a key, and how to show both.
func (r *rig) bound(key *jose.Key, path string, scopes ...string) (token string, show func(method string) []string) {
	r.Helper()
	_, token = r.grantOf(oauth.Subject{ID: "corp/alice", Provider: "corp", Groups: []string{"alices"}, AuthTime: time.Now().Add(-time.Hour)}, path,
		map[string]any{"cnf": map[string]string{"jkt": key.ID()}}, scopes...)
	return token, func(method string) []string {
		proof, err := dpop.Make(key, dpop.Target{Method: method, URL: r.url + path, Token: token}, "", time.Now())
		if err != nil {
			r.Fatal(err)
		}
		return []string{"Authorization", "DPoP " + token, "Dpop", proof}
	}
}

// Somebody whose token is bound to a key calls tools like everybody else, with
// a proof for each request; nothing of it goes upstream, and every refusal is in
// their scheme.
// covers: RS-DPOP-01, RS-DPOP-02, RS-TOK-10, RS-CHAL-08
func TestCallsWithBoundTokens(t *testing.T) {
	u := newUpstream(t)
	strong := files(u.URL)
	strong.Path = "/strong/mcp"
	strong.Rules = access.Rules{Name: "servers.strong", Allow: []access.Rule{{Who: []string{"everyone"}, Require: access.Require{SignedInWithin: time.Minute}}}}
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL), "strong": strong})
	key, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	token, show := r.bound(key, "/files/mcp", "files:read")
	first := show("POST")
	for range 2 {
		if resp, body := r.do(http.MethodPost, "/files/mcp", "", toolCall("read_file"), append(show("POST"), "X-Copy", token)...); resp.StatusCode != 200 {
			t.Fatal(resp.Status, body)
		}
	}
	got, _ := u.last()
	for name, values := range got.Header {
		if all := strings.Join(values, " "); name == "Dpop" || name == "Authorization" || strings.Contains(all, token) {
			t.Errorf("upstream got %s: %s", name, all)
		}
	}
	n := u.requests()
	_, write := r.bound(key, "/strong/mcp", "files:read")
	for _, c := range []struct {
		name, path, body, bearer string
		header                   []string
		status                   int
		says                     string
	}{
		{"a bearer token", "/files/mcp", toolCall("read_file"), token, nil, 401, `Bearer error="invalid_token"`},
		{"a proof for GET", "/files/mcp", toolCall("read_file"), "", show("GET"), 401, `DPoP error="invalid_dpop_proof"`},
		{"a proof of another path", "/strong/mcp", toolCall("read_file"), "", show("POST"), 401, `DPoP error="invalid_token"`},
		{"a missing scope", "/files/mcp", toolCall("write_file"), "", show("POST"), 403, `DPoP error="insufficient_scope"`},
		{"an old sign-in", "/strong/mcp", toolCall("read_file"), "", write("POST"), 401, `DPoP error="insufficient_user_authentication", error_description="`},
	} {
		resp, body := r.do(http.MethodPost, c.path, c.bearer, c.body, c.header...)
		if all := strings.Join(resp.Header.Values("WWW-Authenticate"), "\n"); resp.StatusCode != c.status || strings.Count(all, "error=") != 1 || !strings.Contains(all, c.says) {
			t.Errorf("%s: %d %q %s", c.name, resp.StatusCode, all, body)
		}
	}
	if resp, _ := r.do(http.MethodPost, "/files/mcp", "", toolCall("read_file"), first...); resp.StatusCode != 200 {
		t.Errorf("a proof that was not used yet: %s", resp.Status)
	}
	if resp, _ := r.do(http.MethodPost, "/files/mcp", "", toolCall("read_file"), first...); resp.StatusCode != 401 {
		t.Errorf("the same again: %s", resp.Status)
	}
	if u.requests() != n+1 {
		t.Errorf("%d requests of the refused went upstream", u.requests()-n-1)
	}
}

// A server that wants bound tokens takes no others, and says so.
func TestServerThatRequiresBoundTokens(t *testing.T) {
	u := newUpstream(t)
	s := files(u.URL)
	s.DPoP = "required"
	r := newRig(t, map[string]gateway.Server{"files": s})
	_, free := r.grant("alice", "/files/mcp", "files:read")
	if resp, _ := r.do(http.MethodPost, "/files/mcp", free, toolCall("read_file")); resp.StatusCode != 401 || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), `DPoP error="invalid_token"`) {
		t.Errorf("a bearer token: %s %v", resp.Status, resp.Header)
	}
	if _, body := r.do(http.MethodGet, "/.well-known/oauth-protected-resource/files/mcp", "", ""); !strings.Contains(body, `"dpop_bound_access_tokens_required":true`) {
		t.Errorf("the metadata does not say so: %s", body)
	}
	s.DPoP = "sometimes"
	if err := r.gw.Reload(map[string]gateway.Server{"files": s}); err == nil {
		t.Error("an unknown mode is taken")
	}
}

// metered is a body that knows how much of it was read.
type metered struct {
	io.Reader
	n int
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.n += n
	return n, err
}

func (m *metered) Close() error { return nil }

// The limit of bodies is that of bodies with a digest, too.
// covers: X-HTTP-06, RS-DPOP-06
func TestBodyLimitBeforeTheDigest(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	r.config.BodyLimit = 1 << 10
	r.gw = r.with(nil)
	key, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	token, _ := r.bound(key, "/files/mcp", "files:read")
	for i, c := range []struct {
		body         string
		announced    bool
		status, most int
	}{
		{toolCall("read_file"), true, 200, 1 << 10},
		{toolCall("read_file"), false, 200, 1 << 10},
		{toolCall("read_file") + strings.Repeat(" ", 64<<10), false, 413, 1 << 11},
		{toolCall("read_file") + strings.Repeat(" ", 64<<10), true, 413, 1 << 9},
	} {
		sum := sha256.Sum256([]byte(c.body))
		proof, err := key.SignEmbedded(oauth.TypDPoP, map[string]any{"jti": fmt.Sprint("digest-", i), "htm": "POST", "htu": r.url + "/files/mcp", "iat": time.Now().Unix(),
			"ath": dpop.TokenHash(token), "content_digest": "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"})
		if err != nil {
			t.Fatal(err)
		}
		body := &metered{Reader: strings.NewReader(c.body)}
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/files/mcp", body)
		req.ContentLength = -1
		if c.announced {
			req.ContentLength = int64(len(c.body))
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "DPoP "+token)
		req.Header.Set("DPoP", proof)
		w := httptest.NewRecorder()
		if r.gw.ServeHTTP(w, req); w.Code != c.status || body.n > c.most {
			t.Errorf("%d bytes, announced %t: %d after %d bytes: %s", len(c.body), c.announced, w.Code, body.n, w.Body)
		}
	}
	if u.requests() != 2 {
		t.Errorf("%d requests went upstream", u.requests())
	}
}
