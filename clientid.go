package doorward

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"doorward/internal/oauth"
)

// ServeClientID serves the client ID metadata document of the client: what the
// program has to publish at ClientIDMetadataURL, so that authorization servers
// know it without a registration. It has no secret in it and may be kept for an
// hour. 404 where ClientIDMetadataURL is empty or cannot be one.
func (f *AuthorizationCode) ServeClientID(w http.ResponseWriter, r *http.Request) {
	document, err := f.clientDocument()
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=3600")
	_, _ = w.Write(document)
}

// clientDocument describes the client (C-REG-03). Loopback redirect URIs are
// compared without their port (OAuth 2.1 section 8.4.2).
func (f *AuthorizationCode) clientDocument() ([]byte, error) {
	if err := checkDocumentURL(f.ClientIDMetadataURL); err != nil {
		return nil, err
	}
	m := f.clientMetadata(f.redirect(), oauth.AuthNone)
	m.ClientID = f.ClientIDMetadataURL
	return json.Marshal(m)
}

// clientMetadata is what the client says of itself wherever it is registered.
func (f *AuthorizationCode) clientMetadata(redirect, method string) oauth.ClientMetadata {
	return oauth.ClientMetadata{
		ClientName:              f.name(),
		RedirectURIs:            []string{redirect},
		GrantTypes:              []string{oauth.AuthorizationCode, oauth.RefreshToken},
		ResponseTypes:           []string{"code"},
		TokenEndpointAuthMethod: method,
		ApplicationType:         "native", // its redirect URI is loopback (C-REG-05)
	}
}

func (f *AuthorizationCode) redirect() string {
	if f.RedirectURL != "" {
		return f.RedirectURL
	}
	return "http://127.0.0.1/callback"
}

func (f *AuthorizationCode) name() string {
	if f.ClientName != "" {
		return f.ClientName
	}
	return "Doorward client"
}

// checkDocumentURL says what of a URL keeps it from being a client ID metadata
// document's: https, a path, and nothing that two parties could read differently.
func checkDocumentURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "https" || u.Hostname() == "":
		return errors.New("must be an https URL")
	case u.Path == "" || u.Path == "/":
		return errors.New("must have a path")
	case u.User != nil || strings.Contains(address, "#"):
		return errors.New("must have neither user info nor a fragment")
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return errors.New("must have no . or .. in its path")
		}
	}
	return nil
}
