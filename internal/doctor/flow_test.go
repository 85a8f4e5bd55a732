package doctor_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward"
	"doorward/authserver"
	"doorward/authtest"
	"doorward/internal/doctor"
	"doorward/internal/oauth"
)

// chain is a world in which a part may be ruined on its way out.
type chain struct {
	*authtest.World
	client *doorward.CrossApp
	token  string // ID token
	ruin   ruin
}

// ruin changes an answer of a part to a token request of a grant.
type ruin struct {
	part, grant string
	with        func(status int, body map[string]any) (int, map[string]any)
}

func newChain(t *testing.T, c authtest.Config) *chain {
	x := &chain{}
	c.Wrap = func(part string, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			body, _ := io.ReadAll(req.Body)
			req.Body = io.NopCloser(strings.NewReader(string(body)))
			form, _ := url.ParseQuery(string(body))
			r := x.ruin
			if part != r.part || req.URL.Path != "/token" || form.Get("grant_type") != r.grant {
				h.ServeHTTP(w, req)
				return
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			var answer map[string]any
			_ = json.Unmarshal(rec.Body.Bytes(), &answer)
			status, answer := r.with(rec.Code, answer)
			w.Header().Set("Cache-Control", "no-store")
			writeJSON(w, status, answer)
		})
	}
	x.World = authtest.New(t, c)
	x.mend(x.IDToken("alice"))
	return x
}

// mend makes everything as it should be.
func (x *chain) mend(token string) {
	x.ruin, x.token = ruin{}, token
	x.client = &doorward.CrossApp{
		IdP:    doorward.Credentials{Issuer: x.IdP, ID: authtest.IdPClientID, Secret: authtest.IdPClientSecret},
		Server: doorward.Credentials{ID: authtest.ClientID, Secret: authtest.ClientSecret},
		Subject: func(context.Context) (doorward.Subject, error) {
			return doorward.Subject{Person: "alice", Token: x.token}, nil
		},
	}
}

func (x *chain) walk(t *testing.T) doctor.Report {
	return doctor.Walk(t.Context(), doctor.Config{Timeout: 20 * time.Second, Client: &doorward.Transport{Flow: x.client}}, x.MCP)
}

// The whole chain of cross-app access, decoded; no token and no signature is
// in what is said.
//
// covers: X-LOG-01
func TestEnterprise(t *testing.T) {
	x := newChain(t, authtest.Config{})
	r := x.walk(t)
	if bad := findings(r); !r.OK || len(bad) > 0 && bad[0].ID != "protocol" {
		t.Fatalf("%+v", bad)
	}
	for id, says := range map[string]string{
		"idp_metadata": x.IdP, "sign_in": x.IdP, "id_jag_claims": "aud " + x.Server, "redeem": "scope use", "access_token": "aud " + x.MCP, "call": "200",
	} {
		if s := find(r, id); s.Result != doctor.OK || !strings.Contains(s.Saw, says) {
			t.Errorf("%s: %+v", id, s)
		}
	}
	if s := find(r, "id_jag_claims"); !strings.Contains(s.Saw, "client_id "+authtest.ClientID) || !strings.Contains(s.Saw, "resource "+x.MCP) {
		t.Errorf("%+v", s)
	}
	all, _ := json.Marshal(r)
	text := string(all) + r.Text(nil)
	for name, secret := range map[string]string{"the ID token": x.token, "its signature": x.token[strings.LastIndexByte(x.token, '.')+1:], "a JWT": "eyJ",
		"a secret at the IdP": authtest.IdPClientSecret, "a secret at the server": authtest.ClientSecret} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is in the report", name)
		}
	}
}

// edit changes one claim or header member of a JWT; its signature is wrong then.
func edit(token string, part int, name string, value any) string {
	segments := strings.Split(token, ".")
	raw, _ := base64.RawURLEncoding.DecodeString(segments[part])
	var m map[string]any
	_ = json.Unmarshal(raw, &m)
	m[name] = value
	raw, _ = json.Marshal(m)
	segments[part] = base64.RawURLEncoding.EncodeToString(raw)
	return strings.Join(segments, ".")
}

// Each arrow of the chain that breaks is named, and who can mend it.
func TestEnterpriseBroken(t *testing.T) {
	refuse := func(status int, code string) func(int, map[string]any) (int, map[string]any) {
		return func(int, map[string]any) (int, map[string]any) { return status, map[string]any{"error": code} }
	}
	jag := func(part int, name string, value any) ruin {
		return ruin{"idp", oauth.TokenExchange, func(status int, body map[string]any) (int, map[string]any) {
			body["access_token"] = edit(body["access_token"].(string), part, name, value)
			return status, body
		}}
	}
	change := func(part, grant, name string, value any) ruin {
		return ruin{part, grant, func(status int, body map[string]any) (int, map[string]any) {
			body[name] = value
			return status, body
		}}
	}
	open, closed := newChain(t, authtest.Config{}), newChain(t, authtest.Config{Deny: []authserver.Rule{{Who: []string{"everyone"}}}})
	tokens := map[*chain]string{open: open.token, closed: closed.token}
	for _, c := range []struct {
		name   string
		world  *chain // nil: open
		ruin   ruin
		before func(*chain)
		id     string
		who    string
		saw    string
	}{
		{name: "another issuer of the IdP", before: func(x *chain) { x.client.IdP.Issuer += "/" }, id: "idp_metadata", who: doctor.Person, saw: "asked for"},
		{name: "no such IdP", before: func(x *chain) { x.client.IdP.Issuer = "http://127.0.0.1:1" }, id: "idp_metadata", who: doctor.Person, saw: "none"},
		{name: "nobody is signed in", before: func(x *chain) { x.token = "" }, id: "sign_in", who: doctor.Person, saw: "nobody"},
		{name: "the sign-in has ended", before: func(x *chain) { x.token = edit(x.token, 1, "exp", 1) }, id: "sign_in", who: doctor.Person, saw: "ended"},
		{name: "the sign-in is another client's", before: func(x *chain) { x.token = edit(x.token, 1, "aud", "somebody") }, id: "sign_in", who: doctor.Person, saw: "somebody"},
		{name: "a wrong secret at the IdP", before: func(x *chain) { x.client.IdP.Secret = "wrong" }, id: "exchange", who: doctor.Maker, saw: "invalid_client"},
		{name: "a token that the IdP did not sign", before: func(x *chain) { x.token = edit(x.token, 1, "sub", "bob") }, id: "exchange", who: doctor.Person, saw: "invalid_grant"},
		{name: "the IdP's rules", world: closed, id: "exchange", who: doctor.IdPAdmin, saw: "invalid_target"},
		{name: "the client may not exchange", ruin: ruin{"idp", oauth.TokenExchange, refuse(400, "unauthorized_client")}, id: "exchange", who: doctor.IdPAdmin, saw: "unauthorized_client"},
		{name: "the IdP wants a stronger sign-in", ruin: ruin{"idp", oauth.TokenExchange, refuse(400, "insufficient_user_authentication")}, id: "exchange", who: doctor.Person, saw: "insufficient"},
		{name: "an access token in the place of the ID-JAG", ruin: change("idp", oauth.TokenExchange, "issued_token_type", oauth.TokenTypeAccessToken), id: "exchange", who: doctor.IdPAdmin, saw: "issued_token_type"},
		{name: "typ JWT", ruin: jag(0, "typ", "JWT"), id: "id_jag_claims", who: doctor.IdPAdmin, saw: "typ"},
		{name: "alg none", ruin: jag(0, "alg", "none"), id: "id_jag_claims", who: doctor.IdPAdmin, saw: "none"},
		{name: "a slash too many in aud", ruin: jag(1, "aud", "https://a.example/"), id: "id_jag_claims", who: doctor.IdPAdmin, saw: "aud"},
		{name: "the client id of the IdP", ruin: jag(1, "client_id", authtest.IdPClientID), id: "id_jag_claims", who: doctor.IdPAdmin, saw: authtest.IdPClientID},
		{name: "another resource", ruin: jag(1, "resource", "https://other.example/mcp"), id: "id_jag_claims", who: doctor.IdPAdmin, saw: "resource"},
		{name: "another iss", ruin: jag(1, "iss", "https://other.example"), id: "id_jag_claims", who: doctor.IdPAdmin, saw: "iss"},
		{name: "no sub", ruin: jag(1, "sub", ""), id: "id_jag_claims", who: doctor.IdPAdmin, saw: "sub"},
		{name: "exp as text", ruin: jag(1, "exp", "soon"), id: "id_jag_claims", who: doctor.IdPAdmin, saw: "exp"},
		{name: "ended", ruin: jag(1, "exp", 1), id: "id_jag_claims", who: doctor.IdPAdmin, saw: "ended"},
		{name: "of the future", ruin: jag(1, "iat", time.Now().Add(time.Hour).Unix()), id: "id_jag_claims", who: doctor.IdPAdmin, saw: "future"},
		{name: "for a day", ruin: jag(1, "exp", time.Now().Add(24*time.Hour).Unix()), id: "id_jag_claims", who: doctor.IdPAdmin, saw: "lives for"},
		{name: "a key that is not published", ruin: jag(1, "jti", "changed"), id: "id_jag_claims", who: doctor.IdPAdmin, saw: "signature"},
		{name: "a wrong secret at the authorization server", before: func(x *chain) { x.client.Server.Secret = "wrong" }, id: "redeem", who: doctor.Maker, saw: "invalid_client"},
		{name: "an issuer that is not trusted", ruin: ruin{"server", oauth.JWTBearer, refuse(400, "invalid_grant")}, id: "redeem", who: doctor.Operator, saw: "invalid_grant"},
		{name: "ID-JAGs are off", ruin: ruin{"server", oauth.JWTBearer, refuse(400, "unsupported_grant_type")}, id: "redeem", who: doctor.Operator, saw: "unsupported_grant_type"},
		{name: "a token without a type", ruin: change("server", oauth.JWTBearer, "token_type", ""), id: "redeem", who: doctor.Operator, saw: "token_type"},
		{name: "a token that nobody knows", ruin: change("server", oauth.JWTBearer, "access_token", "opaque"), id: "call", who: doctor.Operator, saw: "401"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := c.world
			if x == nil {
				x = open
			}
			x.mend(tokens[x])
			x.ruin = c.ruin
			if c.before != nil {
				c.before(x)
			}
			r := x.walk(t)
			s := find(r, c.id)
			if s.Result != doctor.Fail || s.Who != c.who || !strings.Contains(s.Saw, c.saw) || s.Mend == "" || r.OK {
				t.Errorf("want a failure of %s by %s, got %+v\nall: %s", c.id, c.who, s, brief(r))
			}
			if all := brief(r); strings.Contains(all, "eyJ") {
				t.Errorf("a token is shown: %s", all)
			}
			if d := r.Draw(nil); !strings.Contains(d, "X") || !strings.Contains(d, "fail "+c.id) {
				t.Errorf("the arrow is not marked:\n%s", d)
			}
		})
	}
}

// Where ID-JAGs are not taken, nobody is signed in and nothing is exchanged.
func TestEnterpriseWithoutIDJAG(t *testing.T) {
	s := newSite(t)
	delete(s.server, "authorization_grant_profiles_supported")
	s.server["grant_types_supported"] = []string{"authorization_code"}
	asked := false
	r := s.walk(t, func(c *doctor.Config) {
		c.Client = &doorward.Transport{Flow: &doorward.CrossApp{
			IdP: doorward.Credentials{Issuer: "https://idp.example.com", ID: "a"}, Server: doorward.Credentials{ID: "b"},
			Subject: func(context.Context) (doorward.Subject, error) { asked = true; return doorward.Subject{}, nil },
		}}
	})
	if s := find(r, "id_jag"); s.Result != doctor.Fail || s.Who != doctor.Operator || asked {
		t.Errorf("%+v, asked %t", s, asked)
	}
}

// A client for itself: its token is decoded, and the server called.
func TestClientFlow(t *testing.T) {
	s, now := newSite(t), time.Now().Unix()
	claims, _ := json.Marshal(map[string]any{"iss": "https://" + authHost, "aud": s.url, "sub": "agent", "exp": now + 300, "scope": "read"})
	token := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","typ":"at+jwt"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims) + ".AAAA"
	s.server["grant_types_supported"] = []string{"authorization_code", "client_credentials", oauth.JWTBearer}
	s.answer[authHost+"/token"] = func(w http.ResponseWriter, r *http.Request) {
		if _, secret, _ := r.BasicAuth(); secret != "right" || r.FormValue("grant_type") != "client_credentials" {
			s.auth(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		writeJSON(w, 200, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 300})
	}
	s.answer[mcpHost+"/mcp"] = func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer "+token:
			s.mcp(w, r)
		case r.Header.Get("Mcp-Method") == "server/discover":
			writeJSON(w, 200, json.RawMessage(`{"jsonrpc":"2.0","id":1,"result":{}}`))
		default:
			answers(200, "text/event-stream", "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\ndata: \"result\":{\"protocolVersion\":\"2025-11-25\"}}\n\n")(w, r)
		}
	}
	walk := func(secret string) doctor.Report {
		return s.walk(t, func(c *doctor.Config) {
			c.Client = &doorward.Transport{Flow: &doorward.ClientCredentials{Client: doorward.Credentials{ID: "agent", Secret: secret}}}
		})
	}
	r := walk("right")
	if p := find(r, "protocol"); !r.OK || len(findings(r)) > 0 || !strings.Contains(p.Saw, "2025-11-25 (initialize), 2026-07-28") || !strings.Contains(find(r, "access_token").Saw, "aud "+s.url) {
		t.Errorf("%+v\n%s", p, brief(r))
	}
	if p := find(walk("wrong"), "token"); p.Result != doctor.Fail || p.Who != doctor.Maker || !strings.Contains(p.Saw, "invalid_client") || !strings.Contains(p.Mend, "--client-secret") {
		t.Errorf("%+v", p)
	}
	s.server["issuer"] = "https://" + authHost
	claims, _ = json.Marshal(map[string]any{"iss": "https://" + authHost, "aud": "https://api.example.com", "exp": now + 300})
	token = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","typ":"at+jwt"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims) + ".AAAA"
	if p := find(walk("right"), "access_token"); p.Result != doctor.Fail || !strings.Contains(p.Saw, "api.example.com") {
		t.Errorf("%+v", p)
	}
}

// A server that takes only clients that somebody added: that is to be done, not
// to be looked up in a log.
func TestFlowWithoutARegistration(t *testing.T) {
	s := newSite(t)
	delete(s.server, "registration_endpoint")
	delete(s.server, "client_id_metadata_document_supported")
	r := s.walk(t, func(c *doctor.Config) {
		c.Client = &doorward.Transport{Flow: &doorward.AuthorizationCode{Open: func(context.Context, string) error { return nil }}}
	})
	p := find(r, "token")
	if p.Result != doctor.Fail || p.Who != doctor.Operator || !strings.Contains(p.Mend, "--client-id") || strings.Contains(p.Mend, "log") {
		t.Errorf("%+v\n%s", p, brief(r))
	}
	if p := find(r, "registration_endpoint"); p.Result == doctor.Fail {
		t.Errorf("an endpoint that nobody announced is broken: %+v", p)
	}
}
