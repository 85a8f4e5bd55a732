package authserver

import (
	"context"
	"html"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"doorward/internal/oauth"
)

// step is one thing that somebody does, right or (spoilt) nearly.
func (k *soaker) step(spoilt bool) {
	weights := []struct {
		n  int
		do func(bool)
	}{
		{14, k.redeem}, {14, k.rotate}, {8, k.clientToken}, {12, k.assert}, {8, k.exchange}, {4, k.register}, {6, k.revoke}, {8, k.introspect},
		{10, k.call}, {4, k.documents}, {6, k.walk}, {3, k.device}, {3, k.push},
	}
	sum := 0
	for _, w := range weights {
		sum += w.n
	}
	at := k.IntN(sum)
	for _, w := range weights {
		if at -= w.n; at < 0 {
			w.do(spoilt)
			return
		}
	}
}

// form sends a form that may be spoilt.
func (k *soaker) form(s *Server, path, who string, spoilt bool, f url.Values) reply {
	if spoilt {
		k.spoil(f)
		if k.IntN(4) == 0 {
			who = pick(k.Rand, []string{"", desktop, "other other-secret-0123456789", "agent " + agentSecret, "nobody nothing-0123456789", "desktop wrong-secret-0123456"})
		}
	}
	return k.post(s, path, who, f)
}

func (k *soaker) redeem(spoilt bool) {
	g := filesGrant("desktop")
	g.Subject.ID = "person" + strconv.Itoa(k.IntN(20))
	if k.IntN(3) == 0 {
		g.Resource, g.Scopes = asURL+"/extra", nil
	}
	code, err := k.as.newCode(context.Background(), g, oauth.AuthorizationRequest{CodeChallenge: oauth.S256(codeVerifier), CodeChallengeMethod: "S256"}, "http://127.0.0.1/callback")
	if err != nil {
		k.t.Error(err)
		return
	}
	k.codes.put(code)
	f := form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier)
	k.form(k.as, "/token", desktop, spoilt, f)
	if k.IntN(5) == 0 { // again
		k.post(k.as, "/token", desktop, f)
	}
}

func (k *soaker) rotate(spoilt bool) {
	f := form("grant_type=refresh_token", "refresh_token="+k.refresh.any(k.Rand))
	if k.IntN(3) == 0 {
		f.Set("scope", "files:read")
	}
	k.form(k.as, "/token", desktop, spoilt, f)
}

func (k *soaker) clientToken(spoilt bool) {
	k.form(k.as, "/token", "agent "+agentSecret, spoilt, form("grant_type=client_credentials", "scope=files:read", "resource="+filesURL))
}

func (k *soaker) assert(spoilt bool) {
	claims := map[string]any{"sub": "person" + strconv.Itoa(k.IntN(20))}
	if spoilt {
		claims[pick(k.Rand, []string{"iss", "aud", "client_id", "exp", "iat", "jti", "resource", "scope", "sub", "cnf"})] = pick(k.Rand, []any{nil, "", 7, "x", []string{"a", "b"}, -1, 1e300})
	}
	jag := k.jag(k.t, claims)
	k.jags.put(jag)
	k.form(k.as, "/token", desktop, spoilt && k.IntN(2) == 0, form("grant_type="+oauth.JWTBearer, "assertion="+jag, "resource="+filesURL))
}

func (k *soaker) exchange(spoilt bool) {
	subject := k.ids.any(k.Rand)
	if k.IntN(3) == 0 || !strings.Contains(subject, ".") {
		g := oauth.Grant{Client: "desktop-idp", Resource: idpURL, Scopes: oauth.Scopes{"openid"}, Subject: oauth.Subject{ID: "person1"}}
		code, err := k.idp.newCode(context.Background(), g, oauth.AuthorizationRequest{CodeChallenge: oauth.S256(codeVerifier), CodeChallengeMethod: "S256"}, "http://127.0.0.1/callback")
		if err != nil {
			k.t.Error(err)
			return
		}
		subject = k.post(k.idp, "/token", desktopIdP, form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier)).text("id_token")
	}
	k.form(k.idp, "/token", desktopIdP, spoilt, exchangeForm(subject, oauth.TokenTypeIDToken))
}

func (k *soaker) register(spoilt bool) {
	name, uri := "App "+strconv.Itoa(k.IntN(100)), "https://app.example/cb"
	if spoilt {
		name, uri = k.rubbish(), pick(k.Rand, []string{k.rubbish(), uri, "http://localhost/cb"})
	}
	body := `{"client_name":` + strconv.Quote(name) + `,"redirect_uris":[` + strconv.Quote(uri) + `],"token_endpoint_auth_method":"` +
		pick(k.Rand, []string{"none", "client_secret_post", "client_secret_basic"}) + `"}`
	k.clients.put(k.ask(k.as, http.MethodPost, "/register", "", "application/json", body, nil).text("client_id"))
}

func (k *soaker) revoke(spoilt bool) {
	tokens := pick(k.Rand, []*pool{&k.access, &k.refresh})
	k.form(k.as, "/revoke", desktop, spoilt, form("token="+tokens.any(k.Rand)))
}

func (k *soaker) introspect(spoilt bool) {
	k.form(k.as, "/introspect", "files-server files-server-secret-0123456789", spoilt, form("token="+k.access.any(k.Rand)))
}

func (k *soaker) call(spoilt bool) {
	token := k.access.any(k.Rand)
	if spoilt {
		token = k.rubbish()
	}
	k.ask(k.as, pick(k.Rand, []string{"GET", "POST", "DELETE"}), "/extra", "", "", "", http.Header{"Authorization": {"Bearer " + token}})
}

func (k *soaker) documents(bool) {
	k.ask(pick(k.Rand, []*Server{k.as, k.idp}), http.MethodGet, pick(k.Rand, []string{"/jwks", oauth.WellKnownAS, oauth.WellKnownOIDC}), "", "", "", nil)
}

// walk is somebody at a browser: from the authorization request to the code, or
// to wherever a spoilt one leads.
func (k *soaker) walk(spoilt bool) {
	if k.IntN(3) == 0 {
		clear(k.jar) // another browser
	}
	f := form("response_type=code", "client_id=web", "redirect_uri=https://web.example/callback", "state=s", "code_challenge="+oauth.S256(codeVerifier), "code_challenge_method=S256",
		"resource="+filesURL, "scope=files:read files:write")
	if k.IntN(3) == 0 {
		f.Set("prompt", pick(k.Rand, []string{"login", "consent", "none"}))
	}
	if spoilt {
		k.spoil(f)
	}
	k.browse(k.ask(k.as, http.MethodGet, "/authorize", f.Encode(), "", "", nil), spoilt)
}

// browse follows redirects of ours and presses the first button of a page.
func (k *soaker) browse(r reply, spoilt bool) {
	for range 6 {
		var path, query, body string
		method := http.MethodGet
		if to := r.header.Get("Location"); to != "" {
			u, err := url.Parse(to)
			if err != nil || u.Host != "" {
				if err == nil {
					k.codes.put(u.Query().Get("code"))
				}
				return
			}
			path, query = u.Path, u.RawQuery
			k.attempts.put(u.Query().Get("attempt"))
		} else if m := formTag.FindStringSubmatch(r.body); m != nil && r.status == http.StatusOK {
			f := url.Values{"decision": {"yes"}}
			for _, h := range hiddenTag.FindAllStringSubmatch(m[2], -1) {
				f.Set(h[1], html.UnescapeString(h[2]))
			}
			if spoilt && k.IntN(3) == 0 {
				k.spoil(f)
			}
			method, path, body = http.MethodPost, html.UnescapeString(m[1]), f.Encode()
		} else {
			return
		}
		kind := ""
		if body != "" {
			kind = formKind
		}
		r = k.ask(k.as, method, path, query, kind, body, http.Header{"Sec-Fetch-Site": {"same-origin"}})
	}
}

func (k *soaker) device(spoilt bool) {
	f := form("client_id=tv", "scope=files:read", "resource="+filesURL)
	r := k.form(k.as, "/device_authorization", "", spoilt, f)
	k.devices.put(r.text("device_code"))
	k.users.put(r.text("user_code"))
	k.form(k.as, "/token", "", spoilt, form("grant_type="+oauth.DeviceCode, "client_id=tv", "device_code="+k.devices.any(k.Rand)))
	q := url.Values{"user_code": {k.users.any(k.Rand)}}
	k.browse(k.ask(k.as, http.MethodGet, "/device", q.Encode(), "", "", nil), spoilt)
}

func (k *soaker) push(spoilt bool) {
	f := form("response_type=code", "redirect_uri=http://127.0.0.1:5000/callback", "code_challenge="+oauth.S256(codeVerifier), "code_challenge_method=S256", "scope=files:read", "resource="+filesURL)
	k.pushed.put(k.form(k.as, "/par", desktop, spoilt, f).text("request_uri"))
	q := form("client_id=desktop", "request_uri="+k.pushed.any(k.Rand))
	k.browse(k.ask(k.as, http.MethodGet, "/authorize", q.Encode(), "", "", nil), spoilt)
}
