package authserver

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"doorward"
	"doorward/internal/oauth"
)

func hello(w http.ResponseWriter, r *http.Request) {
	who, _ := doorward.CallerFrom(r.Context())
	io.WriteString(w, "hello "+who.Subject)
}

func call(s *Server, target, token string) reply {
	r := httptest.NewRequest("POST", target, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return send(s, r)
}

// A client that looks for the authorization server at the MCP server's origin
// only finds it there.
//
// covers: K04, RS-PRM-03
func TestProtect(t *testing.T) {
	w := newWorld(t)
	if err := w.as.Protect("/files/mcp", http.HandlerFunc(hello)); err != nil {
		t.Fatal(err)
	}
	r := call(w.as, filesURL, "")
	if r.status != http.StatusUnauthorized || !strings.Contains(r.header.Get("WWW-Authenticate"), "resource_metadata=") {
		t.Fatalf("%d %v", r.status, r.header)
	}
	r = ask(w.as, "GET", asURL+"/.well-known/oauth-protected-resource/files/mcp")
	if r.text("resource") != filesURL || !strings.Contains(r.body, asURL) || !strings.Contains(r.body, "files:read") {
		t.Errorf("metadata %s", r.body)
	}
	for _, path := range []string{"oauth-authorization-server", "openid-configuration"} {
		if r := ask(w.as, "GET", asURL+"/.well-known/"+path); r.text("issuer") != asURL || !strings.HasPrefix(filesURL, asURL+"/") {
			t.Errorf("%s: %s", path, r.body)
		}
	}
	token := post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+w.jag(t, nil))).text("access_token")
	if r := call(w.as, filesURL, token); r.body != "hello corp/alice" {
		t.Errorf("%d %s", r.status, r.body)
	}
	// The off switch works in the next request.
	if _, err := w.as.ledger.Leave(context.Background(), "corp/alice"); err != nil {
		t.Fatal(err)
	}
	if r := call(w.as, filesURL, token); r.status != http.StatusUnauthorized {
		t.Errorf("after leaving: %d %s", r.status, r.body)
	}
}

// A path that the configuration does not know is a resource of its own, also
// after a reload, and a token of another resource does not open it.
//
// covers: SEC-04
func TestProtectAddsAResource(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/extra", "/files/mcp"} {
		if err := w.as.Protect(path, http.HandlerFunc(hello)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.as.Reload(w.asCfg); err != nil {
		t.Fatal(err)
	}
	if r := ask(w.as, "GET", asURL+"/.well-known/oauth-authorization-server"); !strings.Contains(r.body, asURL+"/extra") {
		t.Errorf("not in the metadata: %s", r.body)
	}
	extra := post(w.as, "/token", "agent "+agentSecret, form("grant_type=client_credentials", "resource="+asURL+"/extra")).text("access_token")
	files := post(w.as, "/token", "agent "+agentSecret, form("grant_type=client_credentials", "resource="+filesURL)).text("access_token")
	for _, tt := range []struct {
		target, token string
		status        int
	}{
		{asURL + "/extra", extra, 200}, {asURL + "/extra", files, 401}, {filesURL, files, 200}, {filesURL, extra, 401},
	} {
		if r := call(w.as, tt.target, tt.token); r.status != tt.status {
			t.Errorf("%s: %d %s", tt.target, r.status, r.body)
		}
	}
}

func TestProtectRefuses(t *testing.T) {
	w := newWorld(t)
	h := http.HandlerFunc(hello)
	if err := w.as.Protect("/mcp", h); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", "/", "mcp", "/mcp", "/mcp/", "/token", "/.well-known/x", "/a b?c", "/a{b}"} {
		if err := w.as.Protect(path, h); err == nil {
			t.Errorf("%q passed", path)
		}
	}
	if err := w.idp.Protect("/mcp", h); err == nil {
		t.Error("an identity provider guards a server")
	}
}
