package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// signIn brings a person's ID token from an OpenID provider by the code flow
// with PKCE (OpenID Connect Core section 3.1): for commands that start at the
// company's sign-in.
type signIn struct {
	Issuer       string
	ClientID     string
	ClientSecret string
	Scopes       []string                                    // besides openid, as far as the provider lists them
	RedirectURI  string                                      // a loopback URI; port 0: any free one
	Open         func(ctx context.Context, url string) error // the person's browser
	// ShowCode is for a person with a browser elsewhere, where the provider
	// offers that (RFC 8628).
	ShowCode func(ctx context.Context, userCode, uri, complete string) error
	HTTP     *http.Client
	Now      func() time.Time
}

// idToken is what the provider said about the person, checked.
type idToken struct {
	Raw     string
	Subject string
	Claims  jose.Claims
	Refresh string // refresh token beside it; "": none
}

func (s signIn) do(ctx context.Context) (idToken, error) {
	meta, err := s.metadata(ctx)
	if err != nil {
		return idToken{}, err
	}
	if s.ShowCode != nil && (s.Open == nil || meta.DeviceAuthorizationEndpoint != "") {
		return s.byDevice(ctx, meta)
	}
	a := answerTo{issuer: s.Issuer, state: rand.Text(), iss: meta.AuthorizationResponseIss}
	cb, err := listenCallback(s.RedirectURI, a)
	if err != nil {
		return idToken{}, err
	}
	defer cb.close()
	conf := s.config(meta)
	conf.RedirectURL = cb.uri
	nonce, verifier := rand.Text(), oauth2.GenerateVerifier()
	opened := make(chan error, 1)
	go func() {
		opened <- s.Open(ctx, conf.AuthCodeURL(a.state, oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("nonce", nonce)))
	}()
	code, err := cb.wait(ctx, opened)
	if err != nil {
		return idToken{}, err
	}
	tok, err := conf.Exchange(context.WithValue(ctx, oauth2.HTTPClient, noRedirects(s.HTTP)), code, oauth2.VerifierOption(verifier))
	if err != nil {
		return idToken{}, fmt.Errorf("%s did not redeem the code: %w", s.Issuer, withoutBody(err))
	}
	id, err := s.signedIn(ctx, tok, nonce, meta)
	if err == nil {
		cb.settle(true)
	}
	return id, err
}

// config is the client as the provider knows it.
func (s signIn) config(meta oauth.ServerMetadata) oauth2.Config {
	return oauth2.Config{
		ClientID: s.ClientID, ClientSecret: s.ClientSecret, Scopes: s.scopes(meta),
		Endpoint: oauth2.Endpoint{AuthURL: meta.AuthorizationEndpoint, TokenURL: meta.TokenEndpoint, AuthStyle: authStyle(s.ClientSecret, meta),
			DeviceAuthURL: meta.DeviceAuthorizationEndpoint},
	}
}

// signedIn reads what the token endpoint said of the person.
func (s signIn) signedIn(ctx context.Context, tok *oauth2.Token, nonce string, meta oauth.ServerMetadata) (idToken, error) {
	raw, _ := tok.Extra("id_token").(string)
	id, err := s.check(ctx, raw, nonce, meta)
	id.Refresh = tok.RefreshToken
	return id, err
}

// scopes are openid and those of Scopes that the provider lists
// (offline_access is never asked for blindly: C-AUTHZ-06).
func (s signIn) scopes(meta oauth.ServerMetadata) []string {
	all := []string{"openid"}
	for _, scope := range s.Scopes {
		if slices.Contains(meta.ScopesSupported, scope) {
			all = append(all, scope)
		}
	}
	return all
}

// withoutBody keeps the OAuth error of a token endpoint and drops its body,
// which may repeat what was sent.
func withoutBody(err error) error {
	var re *oauth2.RetrieveError
	if !errors.As(err, &re) {
		return err
	}
	if re.ErrorCode == "" {
		return fmt.Errorf("HTTP status %d", re.Response.StatusCode)
	}
	return &oauth.Error{Code: re.ErrorCode, Description: oauth.Printable(re.ErrorDescription)}
}

func authStyle(secret string, meta oauth.ServerMetadata) oauth2.AuthStyle {
	m := meta.TokenEndpointAuthMethodsSupported
	if secret == "" || len(m) > 0 && !slices.Contains(m, oauth.AuthBasic) {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

func (s signIn) metadata(ctx context.Context) (oauth.ServerMetadata, error) {
	var meta oauth.ServerMetadata
	at := strings.TrimSuffix(s.Issuer, "/") + oauth.WellKnownOIDC
	if err := s.getJSON(ctx, at, &meta); err != nil {
		return meta, err
	}
	if meta.Issuer != s.Issuer {
		return meta, fmt.Errorf("%s names itself %q: an issuer must be the same to the letter", at, meta.Issuer)
	}
	for _, endpoint := range []struct{ name, at string }{
		{"authorization_endpoint", meta.AuthorizationEndpoint}, {"token_endpoint", meta.TokenEndpoint}, {"jwks_uri", meta.JWKSURI},
	} {
		u, err := url.Parse(endpoint.at)
		if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && oauth.IsLoopbackHost(u.Host)) {
			return meta, fmt.Errorf("%s: %s is missing or no https URL (http is for loopback)", at, endpoint.name)
		}
	}
	return meta, nil
}

// check is OpenID Connect Core section 3.1.3.7; nonce "": of a renewed token,
// which answers no authorization request (section 12.2).
func (s signIn) check(ctx context.Context, raw, nonce string, meta oauth.ServerMetadata) (idToken, error) {
	if raw == "" {
		return idToken{}, fmt.Errorf("%s sent no ID token: is openid among the client's scopes there?", s.Issuer)
	}
	var doc json.RawMessage
	if err := s.getJSON(ctx, meta.JWKSURI, &doc); err != nil {
		return idToken{}, err
	}
	keys, err := jose.ParseSet(doc)
	if err != nil {
		return idToken{}, fmt.Errorf("%s: %w", meta.JWKSURI, err)
	}
	v, err := jose.Verify(raw, keys, []string{jose.ES256, jose.RS256, jose.PS256, jose.EdDSA}, []string{"jwt", ""})
	if err != nil {
		return idToken{}, fmt.Errorf("the ID token of %s is not acceptable: %w", s.Issuer, err)
	}
	c := v.Claims()
	iss, _ := c.Text("iss")
	sub, _ := c.Text("sub")
	got, _ := c.Text("nonce")
	aud, _ := c.Texts("aud")
	azp, azpErr := c.Text("azp")
	switch {
	case iss != s.Issuer:
		return idToken{}, fmt.Errorf("the ID token is of %q, not of %s", iss, s.Issuer)
	case !slices.Contains(aud, s.ClientID):
		return idToken{}, fmt.Errorf("the ID token of %s is for another client", s.Issuer)
	case azpErr != nil, len(aud) > 1 && azp == "", azp != "" && azp != s.ClientID:
		return idToken{}, fmt.Errorf("the ID token of %s was made for another client (azp)", s.Issuer)
	case !c.Has("iat"):
		return idToken{}, fmt.Errorf("the ID token of %s does not say when it was made (iat)", s.Issuer)
	case nonce != "" && got != nonce:
		return idToken{}, fmt.Errorf("the ID token of %s answers another request (nonce)", s.Issuer)
	case sub == "":
		return idToken{}, fmt.Errorf("the ID token of %s names nobody", s.Issuer)
	}
	if err := jose.CheckTimes(c, s.Now(), time.Minute); err != nil {
		return idToken{}, fmt.Errorf("the ID token of %s: %w (are both clocks right?)", s.Issuer, err)
	}
	return idToken{Raw: raw, Subject: sub, Claims: c}, nil
}

func (s signIn) getJSON(ctx context.Context, at string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := noRedirects(s.HTTP).Do(req)
	if err != nil {
		return fmt.Errorf("%s cannot be reached: %w", s.Issuer, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", at, resp.Status)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%s is not the JSON that was expected: %w", at, err)
	}
	return nil
}

func noRedirects(c *http.Client) *http.Client {
	out := http.Client{Timeout: 30 * time.Second}
	if c != nil {
		out = *c
	}
	out.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &out
}

// formRequest is a form that a client sends, with its identity in one of the
// two styles.
func formRequest(ctx context.Context, at string, form url.Values, id, secret string, style oauth2.AuthStyle) (*http.Request, error) {
	if style == oauth2.AuthStyleInParams {
		form.Set("client_id", id)
		if secret != "" {
			form.Set("client_secret", secret)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if style == oauth2.AuthStyleInHeader {
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	return req, nil
}
