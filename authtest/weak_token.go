package authtest

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/oauth"
)

func (w *Weak) token(rw http.ResponseWriter, r *http.Request) {
	answer, e := w.answerToken(r)
	if e != nil {
		if e.status == http.StatusMethodNotAllowed {
			rw.Header().Set("Allow", http.MethodPost)
		}
		w.refuse(rw, e)
		return
	}
	if !w.has("X-HTTP-04.token") {
		rw.Header().Set("Cache-Control", "no-store")
	}
	writeJSON(rw, http.StatusOK, answer)
}

// readToken reads the parameters of a token request.
func (w *Weak) readToken(r *http.Request) (url.Values, *weakError) {
	if r.Method != http.MethodPost {
		if r.Method == http.MethodGet && w.has("AS-TOKEN-01.get") {
			return r.URL.Query(), nil
		}
		return nil, &weakError{http.StatusMethodNotAllowed, oauth.InvalidRequest, "this endpoint takes POST", false}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	if err != nil {
		return nil, weakRefusal(oauth.InvalidRequest, "the body broke off")
	}
	if len(body) > 1<<20 && !w.has("X-HTTP-06.body") {
		return nil, &weakError{http.StatusRequestEntityTooLarge, oauth.InvalidRequest, "the body is too large", false}
	}
	form, err := url.ParseQuery(string(body))
	switch t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case t == "application/json" && w.has("AS-TOKEN-01.json"):
		var m map[string]string
		if json.Unmarshal(body, &m) != nil {
			return nil, weakRefusal(oauth.InvalidRequest, "the body is not JSON")
		}
		form = url.Values{}
		for name, value := range m {
			form.Set(name, value)
		}
	case t != "application/x-www-form-urlencoded" || err != nil:
		return nil, weakRefusal(oauth.InvalidRequest, "the body is not a form")
	}
	if w.has("AS-TOKEN-01.query") {
		for name, values := range r.URL.Query() {
			form[name] = append(form[name], values...)
		}
	}
	if name := repeated(form, "resource", "audience"); name != "" && !w.has("X-HTTP-03.token") {
		return nil, weakRefusal(oauth.InvalidRequest, name+" is there twice")
	}
	return form, nil
}

func (w *Weak) answerToken(r *http.Request) (map[string]any, *weakError) {
	form, e := w.readToken(r)
	if e != nil {
		return nil, e
	}
	type grant struct {
		naked  string // the fault with which no secret is needed
		answer func(c *weakClient, form url.Values, key string) (map[string]any, *weakError)
	}

	grants := map[string]grant{
		oauth.AuthorizationCode: {"AS-CAUTH-01.none", w.codeGrant},
		oauth.RefreshToken:      {"AS-RT-06.auth", w.refreshGrant},
		oauth.ClientCredentials: {"", w.credentialsGrant},
		oauth.JWTBearer:         {"AS-JAG-02.auth", w.assertionGrant},
	}
	if w.has("AS-AUTHZ-04.password") {
		grants["password"] = grant{"", w.passwordGrant}
	}
	g, ok := grants[form.Get("grant_type")]
	if !ok {
		return nil, w.unknownGrant(form.Get("grant_type"))
	}
	key, e := w.provenKey(r)
	if e != nil {
		return nil, e
	}
	c, e := w.authenticate(r, form, g.naked)
	if e != nil {
		return nil, e
	}
	return g.answer(c, form, key)
}

func (w *Weak) unknownGrant(name string) *weakError {
	code, text := oauth.UnsupportedGrantType, "unknown grant type"
	if w.has("AS-TOKEN-03.grant") {
		code = oauth.InvalidRequest
	}
	if w.has("X-HTTP-05.charset") {
		text += " \"" + name + "\""
	}
	return weakRefusal(code, text)
}

// codeGrant redeems a code.
func (w *Weak) codeGrant(c *weakClient, form url.Values, key string) (map[string]any, *weakError) {
	w.mu.Lock()
	code := w.codes[form.Get("code")]
	w.mu.Unlock()
	if code == nil {
		return nil, weakRefusal(oauth.InvalidGrant, "unknown code")
	}
	w.mu.Lock()
	if code.used && oauth.S256(form.Get("code_verifier")) != code.challenge && w.has("AS-CODE-03.invalid") {
		code.grant.dead = true
	}
	w.mu.Unlock()
	if e := w.checkCode(code, c, form); e != nil {
		return nil, e
	}
	if code.key != "" && code.key != key && !w.has("AS-DPOP-06.jkt") {
		return nil, weakRefusal(oauth.InvalidGrant, "the code is another key's")
	}
	w.mu.Lock()
	used := code.used
	if !w.has("AS-CODE-02.parallel") {
		code.used = true
	}
	w.mu.Unlock()
	if w.has("AS-CODE-02.parallel") { // looks, thinks, and writes later
		time.Sleep(50 * time.Millisecond)
		w.mu.Lock()
		code.used = true
		w.mu.Unlock()
	}
	if used && !w.has("AS-CODE-02.replay") {
		if !w.has("AS-CODE-03.revoke") {
			w.mu.Lock()
			code.grant.dead = true
			w.mu.Unlock()
		}
		return nil, weakRefusal(oauth.InvalidGrant, "the code was used")
	}
	w.mu.Lock()
	code.grant.key = key
	w.mu.Unlock()
	return w.issue(code.grant, true), nil
}

func (w *Weak) checkCode(code *weakCode, c *weakClient, form url.Values) *weakError {
	verifier := form.Get("code_verifier")
	right := oauth.S256(verifier) == code.challenge
	if code.method == "plain" || code.method == "" {
		right = verifier == code.challenge
	}
	switch {
	case code.grant.client != c.id && !w.has("AS-CODE-01.client"):
		return weakRefusal(oauth.InvalidGrant, "the code is another client's")
	case form.Get("redirect_uri") != "" && form.Get("redirect_uri") != code.redirect && !w.has("AS-REDIR-06.differs"):
		return weakRefusal(oauth.InvalidGrant, "redirect_uri differs")
	case code.challenge == "" && verifier != "":
		return weakRefusal(oauth.InvalidRequest, "the code has no code_challenge")
	case code.challenge == "":
	case verifier == "" && !w.has("AS-PKCE-04.missing"):
		return weakRefusal(oauth.InvalidRequest, "code_verifier is missing")
	case verifier == "":
	case !unreserved(verifier) && !w.has("AS-PKCE-03.verifier"):
		return weakRefusal(oauth.InvalidRequest, "code_verifier has 43 to 128 unreserved characters")
	case !right && !w.has("AS-PKCE-04.wrong"):
		return weakRefusal(oauth.InvalidGrant, "code_verifier is wrong")
	}
	if !w.rightResource(form, "AS-RES-03.code") {
		return weakRefusal(oauth.InvalidTarget, "the person approved another resource")
	}
	return nil
}

func (w *Weak) rightResource(form url.Values, fault string) bool {
	return form.Get("resource") == "" || form.Get("resource") == w.Resource || w.has(fault)
}

// refreshGrant rotates a refresh token.
func (w *Weak) refreshGrant(c *weakClient, form url.Values, key string) (map[string]any, *weakError) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.refresh[form.Get("refresh_token")]
	switch {
	case t == nil:
		return nil, weakRefusal(oauth.InvalidGrant, "unknown refresh token")
	case t.grant.client != c.id && !w.has("AS-RT-01.client"):
		return nil, weakRefusal(oauth.InvalidGrant, "the refresh token is another client's")
	case t.used && !w.has("AS-RT-03.replay"):
		if !w.has("AS-RT-03.family") {
			t.grant.dead = true
		}
		return nil, weakRefusal(oauth.InvalidGrant, "the refresh token was replaced")
	case c.secret == "" && t.grant.key != "" && key == "" && !w.has("AS-DPOP-04.none"),
		c.secret == "" && t.grant.key != "" && key != "" && key != t.grant.key && !w.has("AS-DPOP-04.key"):
		return nil, weakRefusal(oauth.InvalidGrant, "the refresh token is another key's")
	case t.grant.dead:
		return nil, weakRefusal(oauth.InvalidGrant, "the grant is over")
	case !within(form.Get("scope"), strings.Fields(t.grant.scope)) && !w.has("AS-RT-04.widen"):
		return nil, weakRefusal(oauth.InvalidScope, "the scope was not granted")
	case !w.rightResource(form, "AS-RES-03.refresh"):
		return nil, weakRefusal(oauth.InvalidTarget, "the person approved another resource")
	}
	g := *t.grant
	if scope := form.Get("scope"); scope != "" {
		g.scope = scope
	}
	answer := w.answerFor(&g)
	w.access[answer["access_token"].(string)] = t.grant
	if w.has("AS-RT-02.rotate") {
		return answer, nil
	}
	t.used = true
	next := rand.Text()
	w.refresh[next] = &weakRefresh{grant: t.grant}
	answer["refresh_token"] = next
	return answer, nil
}

func (w *Weak) credentialsGrant(c *weakClient, _ url.Values, key string) (map[string]any, *weakError) {
	may := slices.Contains(c.grants, oauth.ClientCredentials) && !c.dynamic
	may = may || c.secret == "" && w.has("AS-CC-01.public") || c.dynamic && c.secret != "" && w.has("AS-DCR-08.credentials")
	if !may {
		return nil, weakRefusal(oauth.UnauthorizedClient, "this client may not use client_credentials")
	}
	return w.issue(&weakGrant{client: c.id, person: "client:" + c.id, scope: weakScopes()[0], resource: w.Resource, key: key}, false), nil
}

func (w *Weak) passwordGrant(c *weakClient, form url.Values, key string) (map[string]any, *weakError) {
	if form.Get("password") != form.Get("username")+"-password-12" {
		return nil, weakRefusal(oauth.InvalidGrant, "wrong")
	}
	return w.issue(&weakGrant{client: c.id, person: form.Get("username"), scope: weakScopes()[0], resource: w.Resource, key: key}, true), nil
}

// issue gives the tokens of a grant.
func (w *Weak) issue(g *weakGrant, refresh bool) map[string]any {
	w.mu.Lock()
	defer w.mu.Unlock()
	answer := w.answerFor(g)
	w.access[answer["access_token"].(string)] = g
	if refresh {
		t := rand.Text()
		w.refresh[t] = &weakRefresh{grant: g}
		answer["refresh_token"] = t
	}
	return answer
}

func (w *Weak) answerFor(g *weakGrant) map[string]any {
	life := 900
	if w.has("AS-TOKEN-05.lifetime") {
		life = 30 * 86400
	}
	kind := "Bearer"
	if g.key != "" && !w.has("AS-DPOP-03.bound") {
		kind = "DPoP"
	}
	return map[string]any{"access_token": w.accessToken(g), "token_type": kind, "expires_in": life, "scope": g.scope}
}

func (w *Weak) accessToken(g *weakGrant) string {
	now := time.Now().Unix()
	claims := map[string]any{"iss": w.Issuer, "sub": g.person, "aud": g.resource, "client_id": g.client, "scope": g.scope, "iat": now, "exp": now + 900, "jti": rand.Text()}
	if g.key != "" && !w.has("AS-DPOP-03.bound") {
		claims["cnf"] = map[string]any{"jkt": g.key}
	}
	typ := oauth.TypAccessToken
	if w.has("AS-AT-01.typ") {
		typ = "JWT"
	}
	if w.has("AS-AT-01.claims") {
		delete(claims, "client_id")
	}
	if w.has("AS-RES-02.audience") {
		claims["aud"] = w.Issuer
	}
	token, err := w.key.Sign(typ, claims)
	if err != nil {
		panic(err) // strings and numbers of ours only
	}
	return token
}

// revoke ends the grant of a client's own token.
func (w *Weak) revoke(rw http.ResponseWriter, r *http.Request) {
	if r.ParseForm() != nil {
		w.refuse(rw, weakRefusal(oauth.InvalidRequest, "the body is not a form"))
		return
	}
	c, e := w.authenticate(r, r.PostForm, "AS-REV-01.auth")
	if e != nil {
		w.refuse(rw, e)
		return
	}
	w.mu.Lock()
	g := w.access[r.PostForm.Get("token")]
	if t := w.refresh[r.PostForm.Get("token")]; t != nil {
		g = t.grant
	}
	forgets := w.has("AS-REV-03.refresh") && c.secret == "" && g != nil && g.client == c.id
	if g != nil && (g.client == c.id || w.has("AS-REV-01.other")) && !forgets {
		g.dead = true
	}
	w.mu.Unlock()
	if g == nil && w.has("AS-REV-02.unknown") {
		w.refuse(rw, weakRefusal(oauth.InvalidGrant, "unknown token"))
	}
}

// introspect tells the client of the configuration about any token.
func (w *Weak) introspect(rw http.ResponseWriter, r *http.Request) {
	if r.ParseForm() != nil {
		w.refuse(rw, weakRefusal(oauth.InvalidRequest, "the body is not a form"))
		return
	}
	c, e := w.authenticate(r, r.PostForm, "")
	if (e != nil || c.secret == "") && !w.has("AS-INT-01.auth") {
		w.refuse(rw, unknown(false))
		return
	}
	w.mu.Lock()
	g := w.access[r.PostForm.Get("token")]
	active := g != nil && !g.dead && (c == nil || !c.dynamic || w.has("AS-INT-02.foreign"))
	w.mu.Unlock()
	rw.Header().Set("Cache-Control", "no-store")
	if !active {
		writeJSON(rw, http.StatusOK, map[string]any{"active": false})
		return
	}
	writeJSON(rw, http.StatusOK, map[string]any{"active": true, "client_id": g.client, "sub": g.person, "scope": g.scope, "aud": g.resource, "iss": w.Issuer})
}
