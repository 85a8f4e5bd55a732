package authserver

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// providerTokens is what a provider's token endpoint answered.
type providerTokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	// ExpiresIn is a number, or a text of one (proxy_vault.go).
	ExpiresIn json.RawMessage `json:"expires_in"`
	// Error: some plain providers refuse with the status of a success.
	Error string `json:"error"`
}

// providerError is an error answer of a provider: its code and description,
// never what was sent to it.
type providerError struct {
	status            int
	mute              bool // 400 and nothing else
	Code, Description string
}

func (e *providerError) Error() string {
	s := fmt.Sprintf("the provider answered %d", e.status)
	if e.Code != "" {
		s += " " + e.Code
	}
	if e.Description != "" {
		s += ": " + e.Description
	}
	return s
}

// isRefused reports whether the provider answered that a code or refresh token
// is not good (any more). Some, such as Glewlwyd, say so without a word.
func isRefused(err error) bool {
	var e *providerError
	return errors.As(err, &e) && (e.mute || e.Code == oauth.InvalidGrant || e.Code == "bad_refresh_token") // as GitHub calls it
}

// redeem sends a token request. Nothing of what is sent comes back in an error.
func (p *provider) redeem(ctx context.Context, client *http.Client, meta providerMetadata, form url.Values) (providerTokens, error) {
	var out providerTokens
	req, err := p.post(ctx, meta, meta.TokenEndpoint, form)
	if err != nil {
		return out, err
	}
	status, body, err := exchange(client, req)
	if err != nil {
		return out, err
	}
	if p.plain != nil {
		body = asJSON(body)
	}
	if status != http.StatusOK {
		return out, errorOf(status, body, form.Get("code"), form.Get("refresh_token"), p.ClientSecret)
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return out, errors.New("the provider's token answer is not JSON")
	}
	if out.Error != "" {
		return providerTokens{}, errorOf(status, body, form.Get("code"), form.Get("refresh_token"), p.ClientSecret)
	}
	return out, nil
}

// sendsBasic reports whether the secret goes in the header: the default of
// OpenID Connect Discovery section 3 if nothing is said.
func (p *provider) sendsBasic(meta providerMetadata) bool {
	if p.separate != nil && p.separate.AuthMethod != "" {
		return p.separate.AuthMethod == oauth.AuthBasic
	}
	m := meta.TokenEndpointAuthMethodsSupported
	return len(m) == 0 || slices.Contains(m, oauth.AuthBasic)
}

func exchange(client *http.Client, req *http.Request) (int, []byte, error) {
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxIssuerDocument+1))
	if err == nil && len(body) > maxIssuerDocument {
		err = fmt.Errorf("the provider's answer is larger than %d bytes", maxIssuerDocument)
	}
	return res.StatusCode, body, err
}

// errorCode is what registered error codes look like.
var errorCode = regexp.MustCompile(`^[a-z_]{1,64}$`)

// errorOf reads RFC 6749 section 5.2, without a description that repeats a
// secret.
func errorOf(status int, body []byte, secrets ...string) error {
	e := &providerError{status: status, mute: status == http.StatusBadRequest && len(bytes.TrimSpace(body)) == 0}
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &said) != nil {
		return e
	}
	if errorCode.MatchString(said.Error) {
		e.Code = said.Error
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(said.Description, secret) {
			return e
		}
	}
	e.Description = oauth.Printable(said.Description)
	return e
}

// checkIDToken is OpenID Connect Core section 3.1.3.7. nonce "" is for a
// refreshed one (section 12.2).
func (p *provider) checkIDToken(ctx context.Context, token, nonce string, now time.Time) (jose.Claims, error) {
	if token == "" {
		return nil, errors.New("the provider sent no ID token: is openid among the client's scopes there?")
	}
	v, err := p.keys.Verify(ctx, token, p.trust.Algs, []string{"jwt", ""})
	if err != nil {
		return nil, fmt.Errorf("ID token: %w", err)
	}
	c := v.Claims()
	texts := map[string]string{}
	for _, name := range []string{"iss", "sub", "azp", "nonce"} {
		if texts[name], err = c.Text(name); err != nil {
			return nil, fmt.Errorf("ID token: %w", err)
		}
	}
	aud, err := c.Texts("aud")
	switch {
	case err != nil:
		return nil, fmt.Errorf("ID token: %w", err)
	case texts["iss"] != p.Issuer:
		return nil, fmt.Errorf("ID token: iss is %.200q, not %q", texts["iss"], p.Issuer)
	case !slices.Contains(aud, p.ClientID):
		return nil, fmt.Errorf("ID token: aud is %.200q, not this client", aud)
	case len(aud) > 1 && texts["azp"] == "", texts["azp"] != "" && texts["azp"] != p.ClientID:
		return nil, fmt.Errorf("ID token: azp is %.200q, not this client", texts["azp"])
	case texts["sub"] == "" || len(texts["sub"]) > maxText:
		return nil, errors.New("ID token: sub is missing or too long")
	case !c.Has("iat"):
		return nil, errors.New("ID token: iat is missing")
	case nonce != "" && subtle.ConstantTimeCompare([]byte(texts["nonce"]), []byte(nonce)) != 1:
		return nil, errors.New("ID token: it answers another sign-in (nonce)")
	}
	if err := jose.CheckTimes(c, now, assertionSkew); err != nil {
		return nil, fmt.Errorf("ID token: %w (are both clocks right?)", err)
	}
	return c, nil
}

// complete asks userinfo for what the ID token leaves out (OpenID Connect Core
// section 5.4: scopes are answered there). What the ID token says stays, and
// what says how somebody signed in is never taken from elsewhere.
func (p *provider) complete(ctx context.Context, client *http.Client, meta providerMetadata, c jose.Claims, access string) error {
	wanted := append([]string{"name", p.trust.GroupsClaim}, p.trust.Account...)
	if len(p.EmailDomains) > 0 || slices.Contains(p.trust.Account, "email") {
		wanted = append(wanted, "email", "email_verified")
	}
	if len(p.Tenants) > 0 {
		wanted = append(wanted, "tid")
	}
	if !c.Has("email") { // an address and whether it was verified are one statement
		delete(c, "email_verified")
	}
	wanted = slices.DeleteFunc(wanted, func(name string) bool {
		return c.Has(name) || slices.Contains([]string{"iss", "sub", "aud", "tenant", "aud_sub", "aud_tenant"}, name)
	})
	if len(wanted) == 0 || meta.UserinfoEndpoint == "" || access == "" {
		return nil
	}
	info, err := userinfo(ctx, client, meta.UserinfoEndpoint, access)
	if err != nil {
		return err
	}
	is, err1 := info.Text("sub")
	was, err2 := c.Text("sub")
	if err1 != nil || err2 != nil || is == "" || is != was { // section 5.3.2
		return errors.New("userinfo: the answer is about somebody else")
	}
	if !c.Has(p.trust.GroupsClaim) { // distributed claims say so here, too
		wanted = append(wanted, "_claim_names", "hasgroups")
	}
	for _, name := range wanted {
		if info.Has(name) && !c.Has(name) {
			c[name] = info[name]
		}
	}
	return nil
}

// userinfo asks whom an access token stands for.
func userinfo(ctx context.Context, client *http.Client, endpoint, access string) (jose.Claims, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+access)
	req.Header.Set("Accept", "application/json")
	status, body, err := exchange(client, req)
	if err != nil {
		return nil, fmt.Errorf("userinfo: %w", err)
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("userinfo: %w", &providerError{status: status})
	}
	var info jose.Claims
	if err := json.Unmarshal(body, &info); err != nil {
		return nil, errors.New("userinfo: the answer is no JSON object")
	}
	return info, nil
}

// subject is who signed in, by the same rules as for ID-JAGs of this issuer,
// so that one person is one account whichever way they come.
func (p *provider) subject(c jose.Claims) (oauth.Subject, error) {
	var a idjag
	if err := a.account(c, p.trust); err != nil {
		return oauth.Subject{}, err
	}
	if err := a.person(c, p.trust); err != nil {
		return oauth.Subject{}, err
	}
	return a.subject, nil
}
