package authtest

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

// unknown is the answer to an unknown client and to a wrong secret.
func unknown(basic bool) *weakError {
	return &weakError{http.StatusUnauthorized, oauth.InvalidClient, "unknown client, or its authentication failed", basic}
}

// weakCredentials is what a request says of its client.
type weakCredentials struct {
	id, secret, method string
	twice              bool
}

func credentialsOf(r *http.Request, form url.Values) weakCredentials {
	c := weakCredentials{id: form.Get("client_id"), secret: form.Get("client_secret"), method: "none"}
	if c.secret != "" {
		c.method = "client_secret_post"
	}
	if id, secret, ok := r.BasicAuth(); ok {
		c.twice = c.secret != ""
		id, err1 := oauth.UnescapeBasic(id)
		secret, err2 := oauth.UnescapeBasic(secret)
		if err1 == nil && err2 == nil {
			c.id, c.secret, c.method = id, secret, "client_secret_basic"
		}
	}
	return c
}

// authenticate finds the client of a request. naked names the fault with which
// a confidential client needs no secret here.
func (w *Weak) authenticate(r *http.Request, form url.Values, naked string) (*weakClient, *weakError) {
	cred := credentialsOf(r, form)
	if cred.twice && !w.has("AS-CAUTH-01.twice") {
		return nil, weakRefusal(oauth.InvalidRequest, "the client authenticates twice")
	}
	basic := cred.method == "client_secret_basic"
	w.mu.Lock()
	c := w.clients[cred.id]
	w.mu.Unlock()
	switch {
	case c == nil && cred.secret == "" && w.has("AS-DCR-10.unknown"):
		return nil, weakRefusal(oauth.InvalidRequest, "unknown client")
	case c == nil && cred.secret != "" && w.has("AS-CAUTH-08.same"):
		return nil, &weakError{http.StatusUnauthorized, oauth.InvalidClient, "there is no such client", basic}
	case c == nil:
		return nil, unknown(basic)
	case c.secret == "" && cred.method == "none":
		return c, nil
	case c.secret != "" && cred.method == "none" && w.has(naked):
		return c, nil
	case c.secret == "" || cred.method == "none":
		return nil, unknown(basic)
	case cred.method != c.method && !w.has("AS-CAUTH-01.method"):
		return nil, unknown(basic)
	case subtle.ConstantTimeCompare([]byte(cred.secret), []byte(c.secret)) != 1 && !w.has("AS-CAUTH-08.secret"):
		return nil, unknown(basic)
	}
	return c, nil
}

// weakWish is a registration.
type weakWish struct {
	Name          string          `json:"client_name"`
	RedirectURIs  []string        `json:"redirect_uris"`
	GrantTypes    []string        `json:"grant_types"`
	ResponseTypes []string        `json:"response_types"`
	Method        string          `json:"token_endpoint_auth_method"`
	JWKS          json.RawMessage `json:"jwks"`
	JWKSURI       string          `json:"jwks_uri"`
}

const weakBody = 64 << 10

func (w *Weak) register(rw http.ResponseWriter, r *http.Request) {
	wish, e := w.readWish(r)
	if e == nil {
		e = w.checkWish(wish)
	}
	if e != nil {
		if w.has("AS-DCR-02.json") && strings.HasPrefix(e.text, "not JSON") {
			http.Error(rw, "SyntaxError: Unexpected end of JSON input", http.StatusBadRequest)
			return
		}
		w.refuse(rw, e)
		return
	}
	c := &weakClient{id: rand.Text(), name: wish.Name, method: wish.Method, redirects: wish.RedirectURIs, dynamic: true}
	if c.method == "" {
		c.method = "client_secret_basic"
	}
	for _, g := range wish.GrantTypes {
		if g == oauth.AuthorizationCode || g == oauth.RefreshToken || w.has("AS-DCR-08.grants") {
			c.grants = append(c.grants, g)
		}
	}
	if c.method != "none" {
		c.secret = rand.Text()
	}
	w.mu.Lock()
	w.clients[c.id] = c
	w.mu.Unlock()
	answer := map[string]any{"client_id": c.id, "client_name": c.name, "redirect_uris": c.redirects, "grant_types": c.grants,
		"response_types": []string{"code"}, "token_endpoint_auth_method": c.method}
	if c.secret != "" {
		answer["client_secret"], answer["client_secret_expires_at"] = c.secret, 0
	}
	if w.has("AS-DCR-03.expires") {
		delete(answer, "client_secret_expires_at")
	}
	if c.secret == "" && w.has("AS-DCR-03.none") {
		answer["client_secret"], answer["client_secret_expires_at"] = rand.Text(), 0
	}
	if !w.has("X-HTTP-04.register") {
		rw.Header().Set("Cache-Control", "no-store")
	}
	writeJSON(rw, http.StatusCreated, answer)
}

func (w *Weak) readWish(r *http.Request) (weakWish, *weakError) {
	var wish weakWish
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); (err != nil || t != "application/json") && !w.has("AS-DCR-02.type") {
		return wish, weakRefusal(oauth.InvalidRequest, "Content-Type must be application/json")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	switch {
	case err != nil:
		return wish, weakRefusal(oauth.InvalidRequest, "the body broke off")
	case len(body) > weakBody && !w.has("AS-DCR-09.body"):
		return wish, &weakError{http.StatusRequestEntityTooLarge, oauth.InvalidClientMetadata, "the document is too large", false}
	case json.Unmarshal(body, &wish) != nil:
		return wish, weakRefusal(oauth.InvalidClientMetadata, "not JSON")
	}
	if wish.GrantTypes == nil {
		wish.GrantTypes = []string{oauth.AuthorizationCode}
	}
	return wish, nil
}

func (w *Weak) checkWish(wish weakWish) *weakError {
	switch {
	case len(wish.RedirectURIs) == 0 && !w.has("AS-DCR-05.empty"):
		return weakRefusal(oauth.InvalidRedirectURI, "redirect_uris is missing")
	case len(wish.JWKS) > 0 && wish.JWKSURI != "" && !w.has("AS-DCR-06.jwks"):
		return weakRefusal(oauth.InvalidClientMetadata, "jwks and jwks_uri exclude each other")
	case wish.ResponseTypes != nil && !slices.Equal(wish.ResponseTypes, []string{"code"}) && !w.has("AS-DCR-04.contradiction"):
		return weakRefusal(oauth.InvalidClientMetadata, "response_types must be code")
	}
	for _, uri := range wish.RedirectURIs {
		if !w.mayRegister(uri) {
			return weakRefusal(oauth.InvalidRedirectURI, "this redirect URI is not taken")
		}
	}
	return nil
}

func (w *Weak) mayRegister(uri string) bool {
	if oauth.CheckRedirectURI(uri, false) == nil {
		return true
	}
	u, err := url.Parse(uri)
	if err != nil {
		return false
	}
	script := slices.Contains([]string{"javascript", "data", "file", "vbscript", "blob", "about"}, u.Scheme)
	switch {
	case !u.IsAbs():
		return w.has("AS-DCR-05.relative")
	case u.Fragment != "":
		return w.has("AS-DCR-05.fragment")
	case u.Scheme == "http":
		return w.has("AS-DCR-05.http")
	case script:
		return w.has("AS-DCR-05.script")
	}
	return w.has("AS-REDIR-04.private")
}
