package authserver

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"doorward/internal/dpop"
	"doorward/internal/oauth"
)

// signedIn is everything that one person holds.
type signedIn struct {
	code, access, refresh, idCode, idAccess, idRefresh, idToken, jag string
	assertion, proof                                                 string // of a client
	caller, idCaller                                                 string // statements of who calls, by each server
}

// everything signs alice in at both servers and gives one of each.
func (w *world) everything(t *testing.T) signedIn {
	t.Helper()
	const back = "http://127.0.0.1/callback"
	redeem := func(s *Server, who, code string) reply {
		r := post(s, "/token", who, form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier))
		if r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.body)
		}
		return r
	}
	idGrant := oauth.Grant{Client: "desktop-idp", Resource: idpURL, Scopes: oauth.Scopes{"openid"}, Subject: oauth.Subject{ID: "alice"}}
	here := redeem(w.as, desktop, w.code(t, w.as, filesGrant("desktop"), back))
	there := redeem(w.idp, desktopIdP, w.code(t, w.idp, idGrant, back))
	x := signedIn{access: here.text("access_token"), refresh: here.text("refresh_token"),
		idAccess: there.text("access_token"), idRefresh: there.text("refresh_token"), idToken: there.text("id_token"),
		code: w.code(t, w.as, filesGrant("desktop"), back), idCode: w.code(t, w.idp, idGrant, back)}
	x.jag = post(w.idp, "/token", desktopIdP, exchangeForm(x.idToken, oauth.TokenTypeIDToken)).text("access_token")
	x.assertion = w.assertion(t, "signer", "es")
	proof, err := dpop.Make(testKeys()["es"], dpop.Target{Method: http.MethodPost, URL: asURL + "/token"}, "", w.now())
	if err != nil {
		t.Fatal(err)
	}
	x.proof = proof
	x.caller, x.idCaller = w.callerJWT(t, w.as, "desktop"), w.callerJWT(t, w.idp, "desktop-idp")
	return x
}

// callerJWT is a caller JWT about alice with that client, addressed to whom it
// would do the most harm at.
func (w *world) callerJWT(t *testing.T, s *Server, client string) string {
	t.Helper()
	token, err := s.SignCaller(oauth.CallerClaims{Audience: filesURL, Subject: "alice", Client: client, Scope: "files:read openid", Grant: "g"})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

const desktopIdP = "desktop-idp " + desktopIdPSecret

func exchangeForm(token, tokenType string) map[string][]string {
	return form("grant_type="+oauth.TokenExchange, "requested_token_type="+oauth.TokenTypeIDJAG, "audience="+asURL, "resource="+filesURL,
		"subject_token="+token, "subject_token_type="+tokenType)
}

// Each credential is good in its own place and nowhere else.
//
// covers: SEC-20, X-JWT-04, AS-AT-03, IDP-TX-13, IDP-TX-14
func TestConfusionMatrix(t *testing.T) {
	w := newWorld(t)
	if err := w.as.Protect("/files/mcp", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})); err != nil {
		t.Fatal(err)
	}
	x := w.everything(t)
	bearer := func(s *Server, path string) func(string) bool {
		return func(token string) bool {
			r := httptest.NewRequest("POST", s.current().cfg.URL+path, nil)
			r.Header.Set("Authorization", "Bearer "+token)
			return send(s, r).status == http.StatusOK
		}
	}
	token := func(s *Server, who, grantType, field string, more ...string) func(string) bool {
		return func(token string) bool {
			return post(s, "/token", who, form(append(more, "grant_type="+grantType, field+"="+token)...)).status == http.StatusOK
		}
	}
	places := []struct {
		name string
		good string
		try  func(string) bool
	}{
		{"guarded server", x.access, bearer(w.as, "/files/mcp")},
		{"userinfo", x.idAccess, bearer(w.idp, "/userinfo")},
		{"assertion", x.jag, token(w.as, desktop, oauth.JWTBearer, "assertion")},
		{"subject ID token", x.idToken, func(s string) bool {
			return post(w.idp, "/token", desktopIdP, exchangeForm(s, oauth.TokenTypeIDToken)).status == http.StatusOK
		}},
		{"subject refresh token", x.idRefresh, func(s string) bool {
			return post(w.idp, "/token", desktopIdP, exchangeForm(s, oauth.TokenTypeRefreshToken)).status == http.StatusOK
		}},
		{"refresh here", x.refresh, token(w.as, desktop, oauth.RefreshToken, "refresh_token")},
		{"refresh at the identity provider", x.idRefresh, token(w.idp, desktopIdP, oauth.RefreshToken, "refresh_token")},
		{"client assertion", x.assertion, func(s string) bool { return w.by("signer", s).status == http.StatusOK }},
		{"DPoP proof", x.proof, func(s string) bool {
			r := httptest.NewRequest(http.MethodPost, asURL+"/token", strings.NewReader(form("grant_type=client_credentials", "client_id=agent", "client_secret="+agentSecret).Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("DPoP", s)
			return send(w.as, r).status == http.StatusOK
		}},
		{"code here", x.code, token(w.as, desktop, oauth.AuthorizationCode, "code", "code_verifier="+codeVerifier)},
		{"code at the identity provider", x.idCode, token(w.idp, desktopIdP, oauth.AuthorizationCode, "code", "code_verifier="+codeVerifier)},
	}
	all := map[string]string{"code": x.code, "access token": x.access, "refresh token": x.refresh, "IdP's code": x.idCode,
		"IdP's access token": x.idAccess, "IdP's refresh token": x.idRefresh, "ID token": x.idToken, "ID-JAG": x.jag, "client assertion": x.assertion, "DPoP proof": x.proof, "caller JWT": x.caller, "IdP's caller JWT": x.idCaller}
	for _, p := range places {
		for name, credential := range all {
			if credential != p.good && p.try(credential) {
				t.Errorf("%s passes as %s", name, p.name)
			}
		}
	}
	for _, p := range places { // and each lived through all of that
		if !p.try(p.good) {
			t.Errorf("%s: refused", p.name)
		}
	}
}

// A client that has no keys here cannot come by a JWT of any kind.
func TestNoKeysNoAssertions(t *testing.T) {
	w := newWorld(t)
	x := w.everything(t)
	for _, assertion := range []string{x.access, x.idToken, x.jag, x.caller, "x"} {
		r := post(w.as, "/token", "", form("grant_type=client_credentials", "client_assertion="+assertion,
			"client_assertion_type="+oauth.ClientAssertionJWT))
		if r.status != http.StatusUnauthorized || r.text("error") != "invalid_client" {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
}
