package doorward

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"doorward/internal/oauth"
)

// registration is a client as one authorization server knows it.
type registration struct {
	id      string
	secret  string
	method  string // client authentication that the server fixed; empty: by its metadata
	dynamic bool   // RFC 7591, so it can be made again
	// redirect is the URI that was registered; empty if any loopback port will do.
	redirect string
}

// credentials are what the registration authenticates with.
func (r registration) credentials(f *AuthorizationCode, issuer string) Credentials {
	if r.id == f.Client.ID || r.id == f.ClientIDMetadataURL {
		as := f.Client
		as.Issuer, as.ID = issuer, r.id
		return as
	}
	return Credentials{Issuer: issuer, ID: r.id, Secret: r.secret}
}

// known is the client that needs no registration now: the configured one, a
// client ID metadata document if the server takes them, one registered before
// with this issuer and no other (C-REG-01, C-REG-02).
func (f *AuthorizationCode) known(ctx context.Context, w want, md *oauth.ServerMetadata) (registration, bool, error) {
	switch {
	case f.Client.ID != "":
		return registration{id: f.Client.ID, secret: f.Client.Secret}, true, w.t.bound(f.Client, md.Issuer)
	case f.ClientIDMetadataURL != "" && md.ClientIDMetadataDocument:
		return registration{id: f.ClientIDMetadataURL}, true, w.t.bound(f.Client, md.Issuer)
	}
	return f.registered(ctx, w, md)
}

// register makes a client at this issuer (RFC 7591); redirect "": one for
// devices, to which no browser comes back.
func (f *AuthorizationCode) register(ctx context.Context, w want, md *oauth.ServerMetadata, redirect string) (registration, error) {
	if md.RegistrationEndpoint == "" {
		return registration{}, &Error{Step: stepRegister, Server: md.Issuer, Who: whoMaker,
			Description: "this authorization server knows neither client ID metadata documents nor dynamic registration: register a client there and give its id (AuthorizationCode.Client; --client-id)"}
	}
	asked := f.clientMetadata(redirect, registrationMethod(md.TokenEndpointAuthMethodsSupported))
	asked.DPoPBound = w.t.DPoP != nil
	if redirect == "" {
		asked.RedirectURIs, asked.ResponseTypes = nil, nil
		asked.GrantTypes[0] = oauth.DeviceCode
	}
	body, err := json.Marshal(asked)
	if err != nil {
		return registration{}, misconfigured("the client cannot be described: %v", err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if token := f.InitialAccessToken; token != "" {
		if err := w.t.bound(Credentials{Issuer: f.Client.Issuer, Secret: token}, md.Issuer); err != nil {
			return registration{}, err
		}
		header.Set("Authorization", "Bearer "+token)
	}
	status, data, err := w.t.post(ctx, md.RegistrationEndpoint, w.target.by, header, body)
	if err != nil {
		return registration{}, unreachable(stepRegister, md.Issuer, err)
	}
	if status != http.StatusCreated && status != http.StatusOK {
		e := refusedRegistration(md.Issuer, status, data, f.InitialAccessToken)
		e.Err = errors.New("the registration was " + oauth.Printable(string(body)))
		return registration{}, e
	}
	r, until, err := readRegistration(md.Issuer, data, redirect)
	if err != nil {
		return registration{}, err
	}
	return r, f.keepRegistration(ctx, w, md, r, until)
}

// refusedRegistration is what a registration endpoint said: an OAuth error (RFC
// 7591 section 3.2.2), or the beginning of whatever it sent instead.
func refusedRegistration(issuer string, status int, data []byte, token string) *Error {
	var a struct {
		Error            string `json:"error"`
		ErrorDescription string `json:"error_description"`
	}
	if json.Unmarshal(data, &a) != nil || a.Error == "" {
		a.ErrorDescription = strings.TrimSpace(string(data))
	}
	if len(token) >= 4 {
		a.Error = strings.ReplaceAll(a.Error, token, "...")
		a.ErrorDescription = strings.ReplaceAll(a.ErrorDescription, token, "...")
	}
	return refusal(stepRegister, issuer, status, a.Error, a.ErrorDescription[:min(len(a.ErrorDescription), 300)])
}

// readRegistration reads what the server made of it (RFC 7591 section 3.2), and
// until when that holds; zero: for ever.
func readRegistration(issuer string, data []byte, redirect string) (registration, time.Time, error) {
	var a struct {
		ClientID        string          `json:"client_id"`
		ClientSecret    string          `json:"client_secret"`
		SecretExpiresAt json.RawMessage `json:"client_secret_expires_at"` // a string, at some servers
		RedirectURIs    []string        `json:"redirect_uris"`
		Method          string          `json:"token_endpoint_auth_method"`
	}
	fail := func(format string, args ...any) (registration, time.Time, error) {
		return registration{}, time.Time{}, unusable(stepRegister, issuer, format, args...)
	}
	switch err := json.Unmarshal(data, &a); {
	case err != nil || a.ClientID == "":
		return fail("the answer of its registration endpoint has no client_id")
	case redirect != "" && len(a.RedirectURIs) > 0 && !oauth.MatchRedirect(a.RedirectURIs, redirect): // C-REG-08
		return fail("it registered other redirect URIs than %s", redirect)
	case a.ClientSecret == "" && (a.Method == oauth.AuthBasic || a.Method == oauth.AuthPost):
		return fail("it registered the client with %s and gave it no client_secret", a.Method)
	}
	var until time.Time
	if at, err := strconv.ParseFloat(strings.Trim(string(a.SecretExpiresAt), `"`), 64); err == nil && at > 0 && at < 1<<40 {
		until = time.Unix(int64(at), 0)
	}
	return registration{id: a.ClientID, secret: a.ClientSecret, method: a.Method, dynamic: true, redirect: redirect}, until, nil
}

// registrationMethod is the client authentication that a program on somebody's
// machine asks for: none, if the server takes public clients.
func registrationMethod(listed []string) string {
	for _, method := range []string{oauth.AuthNone, oauth.AuthBasic, oauth.AuthPost} {
		if slices.Contains(listed, method) {
			return method
		}
	}
	if len(listed) == 0 {
		return oauth.AuthBasic // RFC 8414 section 2: the default
	}
	return oauth.AuthNone
}
