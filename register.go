package doorward

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
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
		return Credentials{Issuer: issuer, ID: r.id, Secret: f.Client.Secret, Key: f.Client.Key, KeyID: f.Client.KeyID}
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
		return registration{id: f.ClientIDMetadataURL}, true, nil
	}
	return f.registered(ctx, w, md)
}

// register makes a client at this issuer (RFC 7591); redirect "": one for
// devices, to which no browser comes back.
func (f *AuthorizationCode) register(ctx context.Context, w want, md *oauth.ServerMetadata, redirect string) (registration, error) {
	if md.RegistrationEndpoint == "" {
		return registration{}, &Error{Step: stepRegister, Server: md.Issuer, Who: whoMaker,
			Description: "this authorization server knows neither client ID metadata documents nor dynamic registration: register a client there and set AuthorizationCode.Client"}
	}
	asked := oauth.ClientMetadata{
		ClientName:              f.name(),
		RedirectURIs:            []string{redirect},
		GrantTypes:              []string{oauth.AuthorizationCode, oauth.RefreshToken},
		ResponseTypes:           []string{"code"},
		TokenEndpointAuthMethod: registrationMethod(md.TokenEndpointAuthMethodsSupported),
		ApplicationType:         "native", // its redirect URI is loopback (C-REG-05)
	}
	if redirect == "" {
		asked.RedirectURIs, asked.ResponseTypes = nil, nil
		asked.GrantTypes[0] = oauth.DeviceCode
	}
	body, err := json.Marshal(asked)
	if err != nil {
		return registration{}, misconfigured("the client cannot be described: %v", err)
	}
	status, data, err := w.t.post(ctx, md.RegistrationEndpoint, w.target.by, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return registration{}, unreachable(stepRegister, md.Issuer, err)
	}
	return f.readRegistration(ctx, w, md, status, data, redirect)
}

// readRegistration reads what the server made of it (RFC 7591 section 3.2).
func (f *AuthorizationCode) readRegistration(ctx context.Context, w want, md *oauth.ServerMetadata, status int, data []byte, redirect string) (registration, error) {
	var a struct {
		oauth.ClientMetadata
		ClientSecret     string `json:"client_secret"`
		SecretExpiresAt  int64  `json:"client_secret_expires_at"`
		Error            string `json:"error"`
		ErrorDescription string `json:"error_description"`
	}
	readable := json.Unmarshal(data, &a) == nil
	switch {
	case status != http.StatusCreated && status != http.StatusOK:
		return registration{}, refusal(stepRegister, md.Issuer, status, a.Error, a.ErrorDescription)
	case !readable || a.ClientID == "":
		return registration{}, unusable(stepRegister, md.Issuer, "the answer of its registration endpoint has no client_id")
	case redirect != "" && len(a.RedirectURIs) > 0 && !oauth.MatchRedirect(a.RedirectURIs, redirect):
		return registration{}, unusable(stepRegister, md.Issuer, "it registered other redirect URIs than %s", redirect)
	}
	r := registration{id: a.ClientID, secret: a.ClientSecret, method: a.TokenEndpointAuthMethod, dynamic: true, redirect: redirect}
	var until time.Time
	if a.SecretExpiresAt > 0 {
		until = time.Unix(a.SecretExpiresAt, 0)
	}
	return r, f.keepRegistration(ctx, w, md, r, until)
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

func (f *AuthorizationCode) name() string {
	if f.ClientName != "" {
		return f.ClientName
	}
	return "Doorward client"
}
