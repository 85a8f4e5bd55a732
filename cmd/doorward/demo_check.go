package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

// The checks of the demo's steps: each reads one recorded exchange.

func (d *demo) checkChallenge(x *exchange) (string, map[string]any, error) {
	if err := wantStatus(x, 401); err != nil {
		return "", nil, err
	}
	ch := oauth.ParseChallenges(x.answer.Values("WWW-Authenticate"))
	if len(ch) == 0 || ch[0].Params["resource_metadata"] == "" {
		return "", nil, errors.New("the 401 names no resource metadata")
	}
	return "challenged: resource_metadata, scope=" + ch[0].Params["scope"],
		map[string]any{"resource_metadata": ch[0].Params["resource_metadata"], "scope": ch[0].Params["scope"]}, nil
}

func (d *demo) checkResource(x *exchange) (resource, what string, err error) {
	if err := wantStatus(x, 200); err != nil {
		return "", "", err
	}
	var m oauth.ResourceMetadata
	if err := x.answerJSON(&m); err != nil {
		return "", "", err
	}
	if m.Resource != d.server+"/mcp" {
		return "", "", fmt.Errorf("the metadata is of the resource %q, not of %s/mcp", m.Resource, d.server)
	}
	if !slices.Equal(m.AuthorizationServers, []string{d.server}) {
		return "", "", fmt.Errorf("the metadata names the authorization servers %v", m.AuthorizationServers)
	}
	return m.Resource, "resource=" + m.Resource, nil
}

func (d *demo) checkServer(x *exchange) (string, map[string]any, error) {
	if err := wantStatus(x, 200); err != nil {
		return "", nil, err
	}
	var m oauth.ServerMetadata
	if err := x.answerJSON(&m); err != nil {
		return "", nil, err
	}
	if m.Issuer != d.server {
		return "", nil, fmt.Errorf("the metadata is of the issuer %q", m.Issuer)
	}
	if !slices.Contains(m.AuthorizationGrantProfiles, oauth.ProfileIDJAG) {
		return "", nil, errors.New("the metadata does not list the ID-JAG profile")
	}
	return "issuer=" + m.Issuer + ", takes ID-JAGs", map[string]any{"issuer": m.Issuer}, nil
}

func (d *demo) checkExchange(x *exchange, resource string) (string, map[string]any, error) {
	if err := wantStatus(x, 200); err != nil {
		return "", nil, err
	}
	var t oauth.TokenResponse
	if err := x.answerJSON(&t); err != nil {
		return "", nil, err
	}
	typ, claims := decoded(t.AccessToken)
	switch {
	case typ != oauth.TypIDJAG:
		return "", nil, fmt.Errorf("the answer holds no ID-JAG (typ %q)", typ)
	case claims["aud"] != d.server:
		return "", nil, fmt.Errorf("the ID-JAG is for %v, not for %s", claims["aud"], d.server)
	case claims["resource"] != resource:
		return "", nil, fmt.Errorf("the ID-JAG is for the resource %v, not for %s", claims["resource"], resource)
	}
	return fmt.Sprintf("ID token → ID-JAG: sub=%v client_id=%v aud=%v", claims["sub"], claims["client_id"], claims["aud"]), claims, nil
}

func (d *demo) checkRedemption(x *exchange, resource, provider string) (token, what string, claims map[string]any, err error) {
	if err := wantStatus(x, 200); err != nil {
		return "", "", nil, err
	}
	var t oauth.TokenResponse
	if err := x.answerJSON(&t); err != nil {
		return "", "", nil, err
	}
	typ, claims := decoded(t.AccessToken)
	sub, _ := claims["sub"].(string)
	switch {
	case typ != oauth.TypAccessToken:
		return "", "", nil, fmt.Errorf("the answer holds no access token (typ %q)", typ)
	case claims["aud"] != resource:
		return "", "", nil, fmt.Errorf("the token is for %v, not for %s", claims["aud"], resource)
	case !strings.HasPrefix(sub, provider+"/"):
		return "", "", nil, fmt.Errorf("the token is of %q, nobody of %s", sub, provider)
	}
	return t.AccessToken, fmt.Sprintf("ID-JAG → token: sub=%s scope=%v, no consent screen", sub, claims["scope"]), claims, nil
}
