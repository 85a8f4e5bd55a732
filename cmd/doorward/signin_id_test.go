package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/keep"
	"doorward/internal/oauth"
)

// idp is an OpenID provider that lets everybody in, and whose every word a test
// can change.
type idp struct {
	t      *testing.T
	url    string
	key    *jose.Key
	meta   map[string]any
	claims map[string]any // of the ID token; nil values are left out
	token  func(claims map[string]any) string
	answer func(q url.Values) // changes the answer to the authorization request

	mu    sync.Mutex
	asked url.Values // the authorization request
	forms []url.Values
	basic []string // client ids that came by HTTP Basic
}

func newIDP(t *testing.T) *idp {
	key, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	p := &idp{t: t, key: key, meta: map[string]any{}, claims: map[string]any{}, answer: func(url.Values) {}}
	p.token = func(c map[string]any) string { return p.sign("JWT", c) }
	srv := httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(srv.Close)
	p.url = srv.URL
	return p
}

func (p *idp) sign(typ string, claims map[string]any) string {
	token, err := p.key.Sign(typ, claims)
	if err != nil {
		p.t.Error(err)
	}
	return token
}

func (p *idp) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		meta := map[string]any{"issuer": p.url, "authorization_endpoint": p.url + "/authorize", "token_endpoint": p.url + "/token", "jwks_uri": p.url + "/jwks",
			"authorization_response_iss_parameter_supported": true, "scopes_supported": []string{"openid", "email"}}
		maps.Copy(meta, p.meta)
		json.NewEncoder(w).Encode(meta)
	case "/jwks":
		json.NewEncoder(w).Encode(jose.NewSet(p.key))
	case "/token":
		r.ParseForm()
		p.forms = append(p.forms, r.PostForm)
		if id, _, ok := r.BasicAuth(); ok {
			p.basic = append(p.basic, id)
		}
		if r.PostFormValue("grant_type") == "authorization_code" && oauth.S256(r.PostFormValue("code_verifier")) != p.asked.Get("code_challenge") {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"error":"invalid_grant"}`)
			return
		}
		now := time.Now().Unix()
		c := map[string]any{"iss": p.url, "sub": "u-1", "aud": "c", "iat": now, "exp": now + 300, "nonce": p.asked.Get("nonce")}
		for name, v := range p.claims {
			if c[name] = v; v == nil {
				delete(c, name)
			}
		}
		json.NewEncoder(w).Encode(map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": p.token(c), "refresh_token": "r-2"})
	}
}

// letIn is a browser at the provider.
func (p *idp) letIn(_ context.Context, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.asked = u.Query()
	q := url.Values{"code": {"the-code"}, "state": {p.asked.Get("state")}, "iss": {p.url}}
	p.answer(q)
	back := p.asked.Get("redirect_uri") + "?" + q.Encode()
	p.mu.Unlock()
	res, err := http.Get(back)
	if err == nil {
		res.Body.Close()
	}
	return err
}

func (p *idp) signIn(secret string, scopes ...string) (idToken, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Second)
	defer cancel()
	return signIn{Issuer: p.url, ClientID: "c", ClientSecret: secret, Scopes: scopes, RedirectURI: "http://127.0.0.1/callback", Open: p.letIn, Now: time.Now}.do(ctx)
}

// The code flow with PKCE brings the ID token: the request has openid, a state,
// a nonce and a challenge, each new every time, and scopes as far as the
// provider lists them. The code is sent once, in the way that the provider
// lists, and redeemed with the verifier.
//
// covers: Q01, Q08
func TestSignInBringsIDToken(t *testing.T) {
	for name, tt := range map[string]struct {
		secret  string
		methods any
		basic   bool
	}{
		"a public client":         {"", nil, false},
		"a secret":                {longSecret, nil, true},
		"a secret, in the body":   {longSecret, []string{"client_secret_post"}, false},
		"a secret, both are fine": {longSecret, []string{"client_secret_post", "client_secret_basic"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			if tt.methods != nil {
				p.meta["token_endpoint_auth_methods_supported"] = tt.methods
			}
			seen := map[string]bool{}
			for range 2 {
				id, err := p.signIn(tt.secret, "email", "offline_access")
				if err != nil || id.Subject != "u-1" || id.Refresh != "r-2" || id.Raw == "" {
					t.Fatalf("%+v, %v", id, err)
				}
				q := p.asked
				if q.Get("scope") != "openid email" || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("client_id") != "c" {
					t.Errorf("the request is %v", q)
				}
				for _, one := range []string{q.Get("state"), q.Get("nonce"), q.Get("code_challenge")} {
					if len(one) < 26 || seen[one] {
						t.Errorf("%q is short, or was used before", one)
					}
					seen[one] = true
				}
			}
			if len(p.forms) != 2 {
				t.Errorf("the token endpoint was asked %d times for 2 codes", len(p.forms))
			}
			form := p.forms[0]
			if form.Get("code") != "the-code" || form.Get("redirect_uri") != p.asked.Get("redirect_uri") && len(p.forms) == 1 {
				t.Errorf("the form is %v", form)
			}
			if (len(p.basic) == 2) != tt.basic || (form.Get("client_secret") != "") == (tt.basic || tt.secret == "") {
				t.Errorf("by Basic %d times, form %v", len(p.basic), form)
			}
		})
	}
}

// An answer that is not of this request or not of this issuer is not redeemed.
//
// covers: Q02, Q04
func TestSignInAnswerRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(url.Values)
		says   string
	}{
		"another state":  {func(q url.Values) { q.Set("state", "another-state") }, "nobody signed in"},
		"no state":       {func(q url.Values) { q.Del("state") }, "nobody signed in"},
		"two states":     {func(q url.Values) { q.Add("state", "another-state") }, "repeats state"},
		"another issuer": {func(q url.Values) { q.Set("iss", "https://other.example") }, "(iss)"},
		"no issuer":      {func(q url.Values) { q.Del("iss") }, "(iss)"},
		"two issuers":    {func(q url.Values) { q.Add("iss", "https://other.example") }, "repeats iss"},
		"two codes":      {func(q url.Values) { q.Add("code", "another-code") }, "repeats code"},
		"no code":        {func(q url.Values) { q.Del("code") }, "has no code"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newIDP(t)
			p.answer = tt.change
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := signIn{Issuer: p.url, ClientID: "c", RedirectURI: "http://127.0.0.1/callback", Open: p.letIn, Now: time.Now}.do(ctx)
			if err == nil || !strings.Contains(err.Error(), tt.says) || len(p.forms) != 0 {
				t.Errorf("%v; the token endpoint was asked %d times", err, len(p.forms))
			}
			if err != nil && (strings.Contains(err.Error(), p.asked.Get("state")) || strings.Contains(err.Error(), "another-state") || strings.Contains(err.Error(), "the-code")) {
				t.Errorf("the error shows a state or a code: %v", err)
			}
		})
	}
	// A provider that does not announce iss may leave it out; one that is there counts all the same.
	p := newIDP(t)
	p.meta["authorization_response_iss_parameter_supported"] = false
	p.answer = func(q url.Values) { q.Del("iss") }
	if _, err := p.signIn(""); err != nil {
		t.Error(err)
	}
	p.answer = func(q url.Values) { q.Set("iss", "https://other.example") }
	if _, err := p.signIn(""); err == nil {
		t.Error("an answer of another issuer was taken")
	}
}

// An ID token that is not what it must be signs nobody in.
//
// covers: Q03, Q05
func TestSignInIDTokenRefused(t *testing.T) {
	other, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, change := range map[string]func(*idp){
		"another nonce":   func(p *idp) { p.claims["nonce"] = "another" },
		"no nonce":        func(p *idp) { p.claims["nonce"] = nil },
		"another issuer":  func(p *idp) { p.claims["iss"] = p.url + "/" },
		"no issuer":       func(p *idp) { p.claims["iss"] = nil },
		"another client":  func(p *idp) { p.claims["aud"] = "d" },
		"no audience":     func(p *idp) { p.claims["aud"] = nil },
		"several, no azp": func(p *idp) { p.claims["aud"] = []string{"c", "d"} },
		"azp of another":  func(p *idp) { p.claims["azp"] = "d" },
		"azp a number":    func(p *idp) { p.claims["azp"] = 7 },
		"expired":         func(p *idp) { p.claims["exp"] = now.Add(-2 * time.Minute).Unix() },
		"no end":          func(p *idp) { p.claims["exp"] = nil },
		"from tomorrow":   func(p *idp) { p.claims["iat"] = now.Add(24 * time.Hour).Unix() },
		"no iat":          func(p *idp) { p.claims["iat"] = nil },
		"not yet":         func(p *idp) { p.claims["nbf"] = now.Add(time.Hour).Unix() },
		"nobody":          func(p *idp) { p.claims["sub"] = nil },
		"another key": func(p *idp) {
			p.token = func(c map[string]any) string { token, _ := other.Sign("JWT", c); return token }
		},
		"typ of an access token": func(p *idp) { p.token = func(c map[string]any) string { return p.sign("at+jwt", c) } },
		"typ of an ID-JAG":       func(p *idp) { p.token = func(c map[string]any) string { return p.sign("oauth-id-jag+jwt", c) } },
		"no signature": func(p *idp) {
			p.token = func(c map[string]any) string { t := p.sign("JWT", c); return t[:strings.LastIndex(t, ".")+1] }
		},
		"alg none": func(p *idp) {
			p.token = func(c map[string]any) string {
				_, rest, _ := strings.Cut(p.sign("JWT", c), ".")
				return "eyJhbGciOiJub25lIn0." + rest[:strings.Index(rest, ".")+1]
			}
		},
		"none":   func(p *idp) { p.token = func(map[string]any) string { return "" } },
		"no JWT": func(p *idp) { p.token = func(map[string]any) string { return "yes" } },
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			change(p)
			if id, err := p.signIn(""); err == nil || id.Subject != "" || len(p.forms) != 1 {
				t.Errorf("%+v %v, the token endpoint was asked %d times", id, err, len(p.forms))
			}
		})
	}
	p := newIDP(t)
	p.claims["aud"], p.claims["azp"] = []string{"d", "c"}, "c"
	if _, err := p.signIn(""); err != nil {
		t.Errorf("several audiences, authorized for this client: %v", err)
	}
}

// The refresh token renews the ID token, of the same person only (OpenID Connect
// Core section 12.2), and the newest refresh token is kept whatever else is
// wrong with the answer.
//
// covers: Q09
func TestSignInRenewed(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*idp)
		good   bool
	}{
		"the same person": {func(p *idp) { p.claims["nonce"] = nil }, true},
		"somebody else":   {func(p *idp) { p.claims["sub"] = "u-2" }, false},
		"another issuer":  {func(p *idp) { p.claims["iss"] = "https://other.example" }, false},
		"another client":  {func(p *idp) { p.claims["aud"] = "d" }, false},
		"expired":         {func(p *idp) { p.claims["exp"] = time.Now().Add(-time.Hour).Unix() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			tt.change(p)
			s := keep.SignIn{Issuer: p.url, ClientID: "c", Subject: "u-1", IDToken: "old", RefreshToken: "r-1"}
			changed, err := renew(t.Context(), &s, time.Now)
			if (err == nil) != tt.good || !changed || s.RefreshToken != "r-2" || s.Subject != "u-1" || (s.IDToken != "old") != tt.good {
				t.Errorf("%v %v, kept %q %q", changed, err, s.RefreshToken, s.IDToken)
			}
			if f := p.forms[0]; f.Get("grant_type") != "refresh_token" || f.Get("refresh_token") != "r-1" {
				t.Errorf("the form is %v", f)
			}
		})
	}
	s := keep.SignIn{Issuer: "https://idp.example", ClientID: "c", Subject: "u-1"}
	if _, err := renew(t.Context(), &s, time.Now); err == nil || errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "doorward login") {
		t.Errorf("without a refresh token: %v", err)
	}
}

// Nothing that is no https URL is taken for an issuer.
//
// covers: Q07
func TestLoginAtNoIssuer(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, issuer := range []string{"javascript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "http://idp.example", "https://idp.example/#x", "https://a@idp.example"} {
		d.refused(2, []string{"login", issuer, "--client-id", "c"}, "is no issuer")
	}
}
