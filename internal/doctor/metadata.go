package doctor

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

// get reads a JSON document; found is false where there is none.
func (w *walk) get(address string, into any) (found bool, err error) {
	sent := w.Now()
	r, err := w.fetch.Get(w.ctx, address)
	if err != nil {
		return false, err
	}
	if u, err := url.Parse(address); err == nil {
		w.date(u.Host, r.Header, sent)
	}
	switch {
	case r.Status >= 500:
		return false, fmt.Errorf("%s answered %d", address, r.Status)
	case r.Status != http.StatusOK:
		return false, nil
	}
	if err := json.Unmarshal(r.Body, into); err != nil {
		if !strings.Contains(r.Header.Get("Content-Type"), "json") {
			return false, nil // a page in the place of a document
		}
		return false, fmt.Errorf("%s is not the JSON object that it should be: %v", address, err)
	}
	return true, nil
}

func (w *walk) readChallenge() bool {
	s := Step{ID: "challenge", Title: "the challenge names the resource metadata", Rule: "RFC 9728 section 5.1", Who: Operator,
		Mend: `Send WWW-Authenticate: Bearer resource_metadata="…" with the 401.`}
	switch {
	case w.challenge == nil:
		s.Saw = "no Bearer challenge in WWW-Authenticate"
		return w.warn(s)
	case w.challenge["resource_metadata"] == "":
		s.Saw = "a Bearer challenge without resource_metadata"
		return w.warn(s)
	}
	saw := w.challenge["resource_metadata"]
	if scope := w.challenge["scope"]; scope != "" {
		saw += ", scope " + scope
	}
	return w.ok(s.ID, s.Title, saw)
}

// resourceMetadata looks where clients look: where the challenge says, else at
// the path-inserted place, else at the root.
func (w *walk) resourceMetadata() bool {
	s := Step{ID: "resource_metadata", Title: "the resource metadata is there", Rule: "RFC 9728 section 3", Who: Operator}
	inserted, err := oauth.ResourceMetadataURL(w.url.Scheme + "://" + w.url.Host + w.url.EscapedPath())
	if err != nil {
		s.Saw, s.Mend = err.Error(), "Give the server an address that can be a resource identifier."
		return w.fail(s)
	}
	places := []string{inserted, w.url.Scheme + "://" + w.url.Host + oauth.WellKnownPRM}
	if named := w.challenge["resource_metadata"]; named != "" {
		places = []string{named}
	}
	for _, place := range slices.Compact(places) {
		found, err := w.get(place, &w.resource)
		if err != nil {
			s.Saw, s.Mend = err.Error(), "Serve the document there, as JSON, to whoever asks."
			return w.fail(s)
		}
		if !found {
			continue
		}
		if place == inserted {
			return w.ok(s.ID, s.Title, place)
		}
		var other oauth.ResourceMetadata
		if found, err := w.get(inserted, &other); err == nil && found && other.Resource == w.resource.Resource {
			return w.ok(s.ID, s.Title, place+" and "+inserted)
		}
		s.Saw, s.Mend = "at "+place+", but not at "+inserted, "Serve it at the well-known place too: some clients look only there."
		return w.warn(s)
	}
	s.Saw, s.Mend = "none at "+strings.Join(places, " or "), "Serve the resource's metadata at "+inserted+" and name it in the challenge."
	return w.fail(s)
}

func (w *walk) resourceCovers() bool {
	s := Step{ID: "resource", Title: "the metadata is this server's", Saw: w.resource.Resource, Rule: "RFC 9728 section 3.3", Who: Operator}
	if !oauth.ResourceCovers(w.resource.Resource, w.report.URL) {
		s.Saw = fmt.Sprintf("it is for %q", w.resource.Resource)
		s.Mend = "Publish as resource exactly the address that clients call (behind a proxy: the public one)."
		return w.fail(s)
	}
	return w.ok(s.ID, s.Title, s.Saw)
}

func (w *walk) authorizationServer() bool {
	s := Step{ID: "authorization_servers", Title: "it names an authorization server", Rule: "RFC 9728 section 2; MCP authorization", Who: Operator,
		Mend: "List the issuer identifier under authorization_servers: https, without query and fragment."}
	if len(w.resource.AuthorizationServers) == 0 {
		s.Saw = "authorization_servers is empty or missing"
		return w.fail(s)
	}
	w.issuer = w.resource.AuthorizationServers[0]
	if err := oauth.CheckIssuer(w.issuer); err != nil {
		s.Saw = err.Error()
		return w.fail(s)
	}
	return w.ok(s.ID, s.Title, strings.Join(w.resource.AuthorizationServers, ", "))
}

func (w *walk) serverMetadata() bool {
	s := Step{ID: "as_metadata", Title: "the authorization server's metadata is there", Rule: "RFC 8414 section 3, OpenID Connect Discovery section 4", Who: Operator}
	places, err := oauth.MetadataURLs(w.issuer)
	if err != nil {
		s.Saw = err.Error()
		return w.fail(s)
	}
	for _, place := range places {
		found, err := w.get(place, &w.server)
		if err != nil {
			s.Saw, s.Mend = err.Error(), "Look why the authorization server does not answer there."
			return w.fail(s)
		}
		if found {
			return w.ok(s.ID, s.Title, place)
		}
	}
	s.Saw, s.Mend = "none at "+strings.Join(places, " or "), "Serve the metadata at the first of these places, or correct authorization_servers."
	return w.fail(s)
}

func (w *walk) sameIssuer() bool {
	if w.server.Issuer == w.issuer {
		return w.ok("issuer", "its issuer is the one that was named", w.issuer)
	}
	return w.fail(Step{ID: "issuer", Title: "its issuer is the one that was named", Rule: "RFC 8414 section 3.3", Who: Operator,
		Saw:  fmt.Sprintf("named was %q, the metadata is of %q", w.issuer, w.server.Issuer),
		Mend: "Write both letter by letter the same; a slash at the end counts."})
}

func (w *walk) endpoints() bool {
	s := Step{ID: "endpoints", Title: "its endpoints can be used", Rule: "RFC 8414 section 2", Who: Operator}
	usable := func(address string) bool {
		u, err := url.Parse(address)
		return err == nil && u.Hostname() != "" && u.Fragment == "" && (u.Scheme == "https" || u.Scheme == "http" && oauth.IsLoopbackHost(u.Host))
	}
	switch {
	case !usable(w.server.TokenEndpoint):
		s.Saw, s.Mend = fmt.Sprintf("token_endpoint %q", w.server.TokenEndpoint), "Publish an https token_endpoint."
		return w.fail(s)
	case w.server.AuthorizationEndpoint == "":
		s.Saw, s.Mend = "no authorization_endpoint", "Without one nobody signs in by the browser; programs and ID-JAGs only."
		return w.warn(s)
	case !usable(w.server.AuthorizationEndpoint):
		s.Saw, s.Mend = fmt.Sprintf("authorization_endpoint %q", w.server.AuthorizationEndpoint), "Publish an https authorization_endpoint."
		return w.fail(s)
	}
	return w.ok(s.ID, s.Title, w.server.AuthorizationEndpoint+", "+w.server.TokenEndpoint)
}

func (w *walk) pkce() bool {
	s := Step{ID: "pkce", Title: "PKCE with S256", Rule: "MCP authorization: code_challenge_methods_supported, RFC 7636", Who: Operator,
		Mend: "Publish code_challenge_methods_supported with S256: clients must refuse a server that does not."}
	if slices.Contains(w.server.CodeChallengeMethodsSupported, "S256") {
		return w.ok(s.ID, s.Title, "")
	}
	s.Saw = fmt.Sprintf("code_challenge_methods_supported is %q", w.server.CodeChallengeMethodsSupported)
	if w.server.AuthorizationEndpoint == "" {
		return w.ok(s.ID, s.Title, "not needed: no authorization_endpoint")
	}
	w.fail(s)
	return true // what follows can be seen all the same
}

func (w *walk) registration() bool {
	s := Step{ID: "registration", Title: "how clients become known", Rule: "MCP authorization: client registration", Who: Operator,
		Mend: "Clients have to be added by hand. Metadata documents (CIMD) or dynamic registration (DCR) let them come by themselves."}
	var ways []string
	if w.server.ClientIDMetadataDocument {
		ways = append(ways, "metadata documents (CIMD)")
		if methods := w.server.TokenEndpointAuthMethodsSupported; len(methods) > 0 && !slices.Contains(methods, oauth.AuthNone) {
			s.Saw, s.Mend = "CIMD, but token_endpoint_auth_methods_supported lacks none", "List none: common clients with a metadata document are public."
			return w.warn(s)
		}
	}
	if w.server.RegistrationEndpoint != "" {
		ways = append(ways, "dynamic registration (DCR)")
	}
	if len(ways) == 0 {
		s.Saw = "by hand only"
		return w.warn(s)
	}
	return w.ok(s.ID, s.Title, strings.Join(ways, ", "))
}

func (w *walk) keys() bool {
	s := Step{ID: "jwks", Title: "its keys can be read", Rule: "RFC 7517 section 5", Who: Operator, Mend: "Publish jwks_uri, and there a JWK Set with at least one key."}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if w.server.JWKSURI == "" {
		s.Saw = "no jwks_uri: resource servers must introspect"
		return w.warn(s)
	}
	found, err := w.get(w.server.JWKSURI, &set)
	switch {
	case err != nil:
		s.Saw = err.Error()
	case !found:
		s.Saw = "nothing at " + w.server.JWKSURI
	case len(set.Keys) == 0:
		s.Saw = "no keys in " + w.server.JWKSURI
	default:
		return w.ok(s.ID, s.Title, fmt.Sprintf("%d at %s", len(set.Keys), w.server.JWKSURI))
	}
	w.fail(s)
	return true
}

func (w *walk) issParameter() bool {
	if w.server.AuthorizationResponseIss || w.server.AuthorizationEndpoint == "" {
		return w.ok("iss", "it names itself in authorization responses", "")
	}
	return w.warn(Step{ID: "iss", Title: "it names itself in authorization responses", Rule: "RFC 9207 section 3", Who: Operator,
		Saw:  "authorization_response_iss_parameter_supported is not true",
		Mend: "Send iss with every authorization response and say so: clients of several servers can then tell them apart."})
}

func (w *walk) idJAG() bool {
	title := "it takes ID-JAGs (enterprise-managed authorization)"
	switch {
	case slices.Contains(w.server.AuthorizationGrantProfiles, oauth.ProfileIDJAG):
		return w.ok("id_jag", title, oauth.ProfileIDJAG)
	case slices.Contains(w.server.GrantTypesSupported, oauth.JWTBearer):
		return w.warn(Step{ID: "id_jag", Title: title, Rule: "ID-JAG section 7.2", Who: Operator, Saw: "jwt-bearer is listed, the profile is not",
			Mend: "List " + oauth.ProfileIDJAG + " under authorization_grant_profiles_supported: clients look for it."})
	}
	return w.warn(Step{ID: "id_jag", Title: title, Rule: "MCP enterprise-managed authorization", Who: Operator,
		Saw: "no", Mend: "Nothing is broken: people sign in by the browser. A Doorward in front would take ID-JAGs."})
}
