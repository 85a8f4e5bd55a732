package authserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"doorward/internal/jsonobj"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// wish is a registration request (RFC 7591 section 2). Members that are not
// here are ignored: logo and policy addresses would only be strangers' text on
// our pages, and scopes are decided when they are asked for.
type wish struct {
	RedirectURIs  []string        `json:"redirect_uris"`
	Name          string          `json:"client_name"`
	URI           string          `json:"client_uri"`
	GrantTypes    []string        `json:"grant_types"`
	ResponseTypes []string        `json:"response_types"`
	AuthMethod    string          `json:"token_endpoint_auth_method"`
	AuthAlg       string          `json:"token_endpoint_auth_signing_alg"`
	Application   string          `json:"application_type"`
	JWKS          json.RawMessage `json:"jwks"`
	JWKSURI       string          `json:"jwks_uri"`
	DPoPBound     bool            `json:"dpop_bound_access_tokens"`
	PushedOnly    bool            `json:"require_pushed_authorization_requests"`
	Statement     json.RawMessage `json:"software_statement"`
	ledger.Logout
}

// parseWish reads the document: one JSON object.
func parseWish(body []byte) (wish, error) {
	var w wish
	if len(body) > maxRegistration {
		return w, &oauth.Error{Code: oauth.InvalidClientMetadata, Status: http.StatusRequestEntityTooLarge, Description: "the registration is too large"}
	}
	if w.readPlain(string(body)) {
		return w, nil
	}
	w = wish{}
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return w, badMetadata("the registration must be a JSON object")
	}
	if err := json.Unmarshal(body, &w); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			return w, badMetadata(wrongType.Field + " has the wrong type")
		}
		return w, badMetadata("the registration is not valid JSON")
	}
	return w, nil
}

// readPlain reads what nearly all registrations are. false: it is something
// else, and w is spoilt.
func (w *wish) readPlain(body string) bool {
	return jsonobj.ReadPlain(body, func(name string, v jsonobj.Plain) bool {
		switch name {
		case "redirect_uris":
			return v.Texts(&w.RedirectURIs)
		case "client_name":
			return v.Text(&w.Name)
		case "client_uri":
			return v.Text(&w.URI)
		case "grant_types":
			return v.Texts(&w.GrantTypes)
		case "response_types":
			return v.Texts(&w.ResponseTypes)
		case "token_endpoint_auth_method":
			return v.Text(&w.AuthMethod)
		case "token_endpoint_auth_signing_alg":
			return v.Text(&w.AuthAlg)
		case "application_type":
			return v.Text(&w.Application)
		case "jwks_uri":
			return v.Text(&w.JWKSURI)
		case "dpop_bound_access_tokens":
			return v.Bool(&w.DPoPBound)
		case "require_pushed_authorization_requests":
			return v.Bool(&w.PushedOnly)
		case "backchannel_logout_uri":
			return v.Text(&w.Backchannel)
		case "backchannel_logout_session_required":
			return v.Bool(&w.BackchannelSession)
		case "frontchannel_logout_uri":
			return v.Text(&w.Frontchannel)
		case "frontchannel_logout_session_required":
			return v.Bool(&w.FrontchannelSession)
		case "jwks", "software_statement":
			return false
		}
		return true
	})
}
