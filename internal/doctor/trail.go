package doctor

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"doorward/internal/fetch"
	"doorward/internal/oauth"
)

// trail carries the requests of a Transport and remembers those to token
// endpoints. It holds tokens: nothing of it is shown but what is decoded.
type trail struct {
	w   *walk
	idp *fetch.Fetcher  // for what the person typed: the identity provider
	own map[string]bool // its origins

	mu   sync.Mutex
	seen []tokenExchange
}

// tokenExchange is one request to a token endpoint and what came back.
type tokenExchange struct {
	grant  string
	status int
	answer oauth.TokenResponse
	raw    map[string]json.RawMessage
}

// RoundTrip keeps to the addresses that a walk may reach: a server's metadata
// leads where the server itself is, the identity provider's where that is.
func (t *trail) RoundTrip(req *http.Request) (*http.Response, error) {
	f := t.w.fetch
	if t.idp != nil && t.own[originOf(req.URL)] {
		f = t.idp
	}
	grant, err := grantOf(req)
	if err != nil {
		return nil, err
	}
	resp, err := f.RoundTripper().RoundTrip(req)
	if err != nil || grant == "" {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body) // bounded by the fetcher
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	x := tokenExchange{grant: grant, status: resp.StatusCode}
	if json.Unmarshal(body, &x.raw) == nil {
		for name, into := range map[string]*string{"access_token": &x.answer.AccessToken, "issued_token_type": &x.answer.IssuedTokenType, "token_type": &x.answer.TokenType, "scope": &x.answer.Scope} {
			_ = json.Unmarshal(x.raw[name], into) // what is no string is as good as missing
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = append(t.seen, x)
	return resp, nil
}

// grantOf is the grant_type of a token request; "": it is none.
func grantOf(req *http.Request) (string, error) {
	if req.Body == nil || !strings.HasPrefix(req.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return "", nil
	}
	body, err := io.ReadAll(req.Body)
	_ = req.Body.Close()
	if err != nil {
		return "", err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", nil
	}
	return form.Get("grant_type"), nil
}

// last is the last exchange of a grant; "": of any.
func (t *trail) last(grant string) (tokenExchange, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(t.seen) - 1; i >= 0; i-- {
		if grant == "" || t.seen[i].grant == grant {
			return t.seen[i], true
		}
	}
	return tokenExchange{}, false
}

func originOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}
