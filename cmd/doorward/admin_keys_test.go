package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// An administrator adds a client that signs: it has no secret, and its
// signature lets it in.
//
// covers: AS-CAUTH-04
func TestClientAddWithKeys(t *testing.T) {
	key, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.NewSet(key))
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(keys, set, 0o600); err != nil {
		t.Fatal(err)
	}
	inBothStates(t, "", func(t *testing.T, c *counter) {
		if out := c.does("client", "add", "signer", "--jwks", keys, "--grant", "client_credentials"); strings.Contains(out, "secret") || !strings.Contains(out, "signer") {
			t.Errorf("%s", out)
		}
		if out := c.does("client", "list"); !regexp.MustCompile(`signer +admin +confidential`).MatchString(out) || regexp.MustCompile(`signer +admin +public`).MatchString(out) {
			t.Errorf("it counts as public: %s", out)
		}
		assertion, err := key.Sign(oauth.TypClientAssertion, map[string]any{"iss": "signer", "sub": "signer", "aud": c.url, "jti": newPassword(), "exp": time.Now().Unix() + 60})
		if err != nil {
			t.Fatal(err)
		}
		// No rule lets the client in, but it is known: that is another answer.
		status, got := ask(t, c.url+"/token", "signer", "", "grant_type", "client_credentials", "resource", c.mcp(), "client_assertion", assertion, "client_assertion_type", oauth.ClientAssertionJWT)
		if status == http.StatusUnauthorized || got["error"] == oauth.InvalidClient {
			t.Errorf("%d %v", status, got)
		}
		if status, got := ask(t, c.url+"/token", "signer", "", "grant_type", "client_credentials", "resource", c.mcp()); status != http.StatusUnauthorized {
			t.Errorf("by its name: %d %v", status, got)
		}
		c.does("client", "add", "remote", "--jwks-uri", "https://keys.example/jwks", "--grant", "client_credentials")
		for want, args := range map[string][]string{
			"exclude each other":   {"--jwks", keys, "--public"},
			"must be an https URL": {"--jwks-uri", "http://keys.example/jwks"},
			"no such file":         {"--jwks", keys + "x"},
		} {
			if r := c.admin(append([]string{"client", "add", "bad", "--grant", "client_credentials"}, args...)...); r.code == 0 || !strings.Contains(r.errs, want) {
				t.Errorf("%q: exit %d %s", args, r.code, r.errs)
			}
		}
	})
}
