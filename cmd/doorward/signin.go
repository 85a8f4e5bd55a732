package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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
	HTTP         *http.Client
	Now          func() time.Time
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
	cb, err := listenCallback(s.RedirectURI)
	if err != nil {
		return idToken{}, err
	}
	defer cb.close()
	conf := oauth2.Config{
		ClientID: s.ClientID, ClientSecret: s.ClientSecret, RedirectURL: cb.uri, Scopes: s.scopes(meta),
		Endpoint: oauth2.Endpoint{AuthURL: meta.AuthorizationEndpoint, TokenURL: meta.TokenEndpoint, AuthStyle: authStyle(s.ClientSecret, meta)},
	}
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	if err := s.Open(ctx, conf.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("nonce", nonce))); err != nil {
		return idToken{}, fmt.Errorf("the browser did not come back from %s: %w", s.Issuer, err)
	}
	answer, err := cb.wait(ctx)
	if err != nil {
		return idToken{}, err
	}
	code, err := checkCallback(answer, state, s.Issuer, meta.AuthorizationResponseIss)
	if err != nil {
		return idToken{}, err
	}
	tok, err := conf.Exchange(context.WithValue(ctx, oauth2.HTTPClient, noRedirects(s.HTTP)), code, oauth2.VerifierOption(verifier))
	if err != nil {
		return idToken{}, fmt.Errorf("%s did not redeem the code: %w", s.Issuer, withoutBody(err))
	}
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
	switch {
	case iss != s.Issuer:
		return idToken{}, fmt.Errorf("the ID token is of %q, not of %s", iss, s.Issuer)
	case !slices.Contains(aud, s.ClientID):
		return idToken{}, fmt.Errorf("the ID token of %s is for another client", s.Issuer)
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

// checkCallback reads the authorization response: iss before anything else
// (RFC 9207 section 2.4), each parameter once, the state of this request.
func checkCallback(q url.Values, state, issuer string, issAdvertised bool) (code string, err error) {
	for _, name := range []string{"code", "state", "iss", "error"} {
		if len(q[name]) > 1 {
			return "", fmt.Errorf("the answer of %s repeats %s", issuer, name)
		}
	}
	switch {
	case q.Get("iss") != issuer && (q.Has("iss") || issAdvertised):
		return "", fmt.Errorf("the answer is not of %s (iss)", issuer)
	case q.Get("state") != state:
		return "", errors.New("the answer belongs to another sign-in (state)")
	case q.Get("error") != "":
		return "", &oauth.Error{Code: oauth.Printable(q.Get("error")), Description: oauth.Printable(q.Get("error_description"))}
	case q.Get("code") == "":
		return "", fmt.Errorf("the answer of %s has no code", issuer)
	}
	return q.Get("code"), nil
}

// callback is a listener on loopback for one authorization response.
type callback struct {
	uri string
	got chan url.Values
	srv *http.Server
}

func listenCallback(redirect string) (*callback, error) {
	u, err := url.Parse(redirect)
	if err != nil {
		return nil, err
	}
	host := u.Hostname()
	port := u.Port()
	if port == "" {
		port = "0"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("cannot listen for the browser's return: %w", err)
	}
	u.Host = net.JoinHostPort(host, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	c := &callback{uri: u.String(), got: make(chan url.Values, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+u.Path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		io.WriteString(w, "<!doctype html><meta charset=utf-8><title>Signed in</title><p>You can close this window and go back to the program.</p>")
		select {
		case c.got <- r.URL.Query():
		default:
		}
	})
	c.srv = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go c.srv.Serve(l)
	return c, nil
}

func (c *callback) wait(ctx context.Context) (url.Values, error) {
	select {
	case q := <-c.got:
		return q, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("nobody signed in: %w", ctx.Err())
	}
}

func (c *callback) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.srv.Shutdown(ctx)
}
