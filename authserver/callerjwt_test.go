package authserver

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// A caller JWT has a class, an issuer, a time and an id of its own, whatever it
// is asked for with, and is signed with a key that everybody finds at /jwks.
//
// covers: SEC-20
func TestSignCaller(t *testing.T) {
	w := newWorld(t)
	now := w.now().Unix()
	for name, c := range map[string]struct {
		expires, want int64
	}{
		"no end":       {0, now + 60},
		"a later end":  {now + 3600, now + 60},
		"an early end": {now + 5, now + 5},
	} {
		token, err := w.as.SignCaller(oauth.CallerClaims{Issuer: "https://else.example", ID: "x", IssuedAt: 1, Expires: c.expires,
			Audience: "http://10.0.0.1:3001/mcp", Subject: "alice", Client: "desktop"})
		if err != nil {
			t.Fatal(err)
		}
		keys, err := jose.ParseSet([]byte(get(w.as, "/jwks").body))
		if err != nil {
			t.Fatal(err)
		}
		v, err := jose.Verify(token, keys, []string{jose.ES256}, []string{oauth.TypCallerJWT})
		if err != nil {
			t.Fatal(err)
		}
		iss, _ := v.Claims().Text("iss")
		jti, _ := v.Claims().Text("jti")
		exp, _ := v.Claims().Time("exp")
		iat, _ := v.Claims().Time("iat")
		if iss != asURL || jti == "x" || len(jti) < 16 || exp.Unix() != c.want || iat.Unix() != now {
			t.Errorf("%s: %s", name, v.Claims())
		}
	}
	for name, c := range map[string]oauth.CallerClaims{
		"over":        {Audience: "http://a", Subject: "a", Client: "c", Expires: now},
		"no audience": {Subject: "a", Client: "c"},
		"no subject":  {Audience: "http://a", Client: "c"},
		"no client":   {Audience: "http://a", Subject: "a"},
	} {
		if token, err := w.as.SignCaller(c); err == nil {
			t.Errorf("%s: %s", name, token)
		}
	}
}

// An issuer that relays signs them, too: its own keys are at /jwks, and its
// metadata names those of the server that makes the tokens.
func TestSignCallerInPassthrough(t *testing.T) {
	s, _, _ := newRelay(t, nil)
	token, err := s.SignCaller(oauth.CallerClaims{Audience: "http://10.0.0.1:3001/mcp", Subject: "issuer#sub", Client: "issuer#client"})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := jose.ParseSet([]byte(get(s.Server, "/jwks").body))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jose.Verify(token, keys, []string{jose.ES256}, []string{oauth.TypCallerJWT}); err != nil {
		t.Error(err)
	}
}

// It is nothing that this issuer introspects, and ends nothing when it is revoked.
//
// covers: SEC-20
func TestCallerJWTIsNoToken(t *testing.T) {
	w := newWorld(t)
	x := w.everything(t)
	v, err := w.as.verifyOwn(t.Context(), x.access, oauth.TypAccessToken)
	if err != nil {
		t.Fatal(err)
	}
	grant, _ := v.Claims().Text("gid")
	caller, err := w.as.SignCaller(oauth.CallerClaims{Audience: filesURL, Subject: "alice", Client: "desktop", Scope: "files:read", Grant: grant, Expires: w.now().Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	active := func(token string) bool {
		r := post(w.as, "/introspect", desktop, form("token="+token))
		return r.status == http.StatusOK && strings.Contains(r.body, `"active":true`)
	}
	if active(caller) || !active(x.access) {
		t.Errorf("active: %v; the access token: %v", active(caller), active(x.access))
	}
	for _, hint := range []string{"access_token", "refresh_token"} {
		post(w.as, "/revoke", desktop, form("token="+caller, "token_type_hint="+hint))
	}
	if !active(x.access) {
		t.Error("revoking the statement ended the grant that it names")
	}
	r := httptest.NewRequest(http.MethodGet, idpURL+"/userinfo", nil)
	r.Header.Set("Authorization", "Bearer "+x.idCaller)
	if got := send(w.idp, r); got.status != http.StatusUnauthorized {
		t.Errorf("userinfo: %d %s", got.status, got.body)
	}
	for _, tokenType := range []string{oauth.TokenTypeJWT, oauth.TokenTypeAccessToken, oauth.TokenTypeIDToken} {
		r := post(w.idp, "/token", desktopIdP, exchangeForm(x.idCaller, tokenType))
		if r.status != http.StatusBadRequest {
			t.Errorf("subject_token of type %s: %d %s", tokenType, r.status, r.body)
		}
	}
}
