package authserver

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// accessTokenClaims are those of an access token of alice's desktop.
func (w *world) accessTokenClaims() map[string]any {
	now := w.now().Unix()
	return map[string]any{"iss": asURL, "sub": "alice", "aud": filesURL, "client_id": "desktop", "jti": newID(), "iat": now, "exp": now + 300,
		"scope": "files:read", "gid": newID()}
}

func (s *script) cmdAccess(_ bool, args []string) {
	s.signed(args, s.accessTokenClaims(), oauth.TypAccessToken, s.as.signingKey())
}

func (s *script) cmdAccept(_ bool, args []string) { s.accept = strings.Join(args, " ") }

func (s *script) cmdBody(neg bool, args []string) {
	if got := strings.TrimSpace(s.last.body); (got == args[0]) == neg {
		s.ts.Fatalf("the answer is %s", got)
	}
}

func (s *script) cmdKeep(_ bool, args []string) { s.ts.Setenv(args[0], strings.TrimSpace(s.last.body)) }

func (s *script) cmdInside(neg bool, args []string) {
	_, c := s.peek(args[0])
	var outer jose.Claims
	if err := c.Decode(args[1], &outer); err != nil {
		s.ts.Fatalf("%v", err)
	}
	var got any
	if err := outer.Decode(args[2], &got); err != nil {
		s.ts.Fatalf("%v", err)
	}
	s.compare(neg, "member "+args[2], got, outer.Has(args[2]), args[3:])
}

func (s *script) cmdGenuine(neg bool, args []string) {
	keys, err := jose.ParseSet([]byte(send(s.at, httptest.NewRequest("GET", s.at.current().cfg.URL+"/jwks", nil)).body))
	if err != nil {
		s.ts.Fatalf("%v", err)
	}
	if _, err := jose.Verify(args[0], keys, []string{jose.ES256}, nil); (err == nil) == neg {
		s.ts.Fatalf("signature: %v", err)
	}
}

// covers: AS-INT-04
func TestWantsSigned(t *testing.T) {
	for accept, want := range map[string]bool{
		"":                                    false,
		"*/*":                                 false,
		"application/*":                       false,
		"application/json":                    false,
		"application/token-introspection+jwt": true,
		"Application/Token-Introspection+JWT": true,
		"text/html, application/token-introspection+jwt":                    true,
		"application/token-introspection+jwt;q=0":                           false,
		"application/token-introspection+jwt;q=0.4, application/json;q=0.5": false,
		"application/token-introspection+jwt, application/json;q=0.5":       true,
		"application/token-introspection+jwt;q=x":                           true,
		"application/token-introspection":                                   false,
		", ;,":                                                              false,
	} {
		if got := wantsSigned([]string{accept}); got != want {
			t.Errorf("Accept: %s: %v", accept, got)
		}
	}
}

// A resource server that has no secret could be anybody.
func TestIntrospectsNeedsASecret(t *testing.T) {
	w := newWorld(t)
	cfg := w.asConfig(nil)
	cfg.Clients["files-server"] = Client{Introspects: []string{filesURL}}
	if err := w.as.Reload(cfg); err == nil || !strings.Contains(err.Error(), "files-server") {
		t.Errorf("Reload: %v", err)
	}
}

// An introspection answer is exactly what RFC 7662 says of a token that is
// none: no other member, whatever is in the record behind it.
//
// covers: AS-INT-02
func TestInactiveIsExactlyThat(t *testing.T) {
	b, err := json.Marshal(introspection{})
	if err != nil || string(b) != `{"active":false}` {
		t.Errorf("%s, %v", b, err)
	}
}
