package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"doorward/internal/oauth"
)

// byDevice signs the person in by a code that they enter in a browser on any
// device (RFC 8628).
func (s signIn) byDevice(ctx context.Context, meta oauth.ServerMetadata) (idToken, error) {
	at := meta.DeviceAuthorizationEndpoint
	if at == "" {
		return idToken{}, fmt.Errorf("%s does not offer codes for devices (no device_authorization_endpoint): use --flow browser", s.Issuer)
	}
	if err := checkWebAddress(at); err != nil {
		return idToken{}, fmt.Errorf("%s: device_authorization_endpoint %w", s.Issuer, err)
	}
	d, err := s.askDevice(ctx, at, meta)
	if err != nil {
		return idToken{}, fmt.Errorf("%s gave no code: %w", s.Issuer, err)
	}
	for _, address := range []string{d.VerificationURI, d.VerificationURIComplete} {
		if err := checkWebAddress(address); err != nil && (address != "" || d.VerificationURI == "") {
			return idToken{}, fmt.Errorf("%s: its verification_uri %w", s.Issuer, err)
		}
	}
	if d.DeviceCode == "" || d.UserCode == "" || oauth.Printable(d.UserCode) != d.UserCode {
		return idToken{}, fmt.Errorf("%s gave no usable code", s.Issuer)
	}
	if err := s.ShowCode(ctx, d.UserCode, d.VerificationURI, d.VerificationURIComplete); err != nil {
		return idToken{}, err
	}
	conf := s.config(meta)
	tok, err := conf.DeviceAccessToken(context.WithValue(ctx, oauth2.HTTPClient, noRedirects(s.HTTP)), d)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return idToken{}, fmt.Errorf("nobody entered the code: %w", err)
	case err != nil:
		return idToken{}, fmt.Errorf("%s signed nobody in: %w", s.Issuer, withoutBody(err))
	}
	return s.signedIn(ctx, tok, "", meta) // RFC 8628 has no nonce
}

// checkWebAddress wants https, or http on loopback.
func checkWebAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && oauth.IsLoopbackHost(u.Host)) {
		return errors.New("is missing or no https URL (http is for loopback)")
	}
	return nil
}

// askDevice makes the device authorization request, with the client's
// authentication (RFC 8628 section 3.1).
func (s signIn) askDevice(ctx context.Context, at string, meta oauth.ServerMetadata) (*oauth2.DeviceAuthResponse, error) {
	form := url.Values{"scope": {strings.Join(s.scopes(meta), " ")}}
	req, err := formRequest(ctx, at, form, s.ClientID, s.ClientSecret, authStyle(s.ClientSecret, meta))
	if err != nil {
		return nil, err
	}
	resp, err := noRedirects(s.HTTP).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var a struct {
		Code       string  `json:"error"`
		Text       string  `json:"error_description"`
		DeviceCode string  `json:"device_code"`
		UserCode   string  `json:"user_code"`
		URI        string  `json:"verification_uri"`
		Complete   string  `json:"verification_uri_complete"`
		Life       float64 `json:"expires_in"`
		Interval   float64 `json:"interval"`
	}
	err = json.Unmarshal(body, &a)
	switch {
	case err == nil && a.Code != "":
		return nil, &oauth.Error{Code: oauth.Printable(a.Code), Description: oauth.Printable(a.Text)}
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("HTTP status %d", resp.StatusCode)
	case err != nil:
		return nil, fmt.Errorf("its answer is not the JSON that was expected: %w", err)
	}
	d := &oauth2.DeviceAuthResponse{DeviceCode: a.DeviceCode, UserCode: a.UserCode, VerificationURI: a.URI, VerificationURIComplete: a.Complete,
		Interval: int64(min(max(a.Interval, 0), 3600))} // 0: 5 seconds
	if a.Life > 0 {
		d.Expiry = s.Now().Add(time.Duration(min(a.Life, 3600)) * time.Second)
	}
	return d, nil
}
