package authtest

import (
	"crypto/rand"
	"iter"
	"maps"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

// The ways that a client comes by its id.
const (
	document     = "document"     // its id is the URL of its metadata document
	registration = "registration" // it registers itself (RFC 7591)
	typedIn      = "typed in"     // somebody registered it, and typed id and secret in
	enterprise   = "enterprise"   // typed in, and it comes with an ID-JAG
)

// How a client authenticates at the token endpoint.
const (
	authNone  = "none"
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
	authKey   = "private_key_jwt"
	authFirst = "the first listed" // the first method of the server's list, come what may
)

// What a client's state looks like, besides letters.
const (
	stateURL    = "vscode://dynamicauthprovider/auth.example.com/authorize?windowId=1&nonce="
	stateBase64 = "ey/lnTwSm9FUcQN+/Qds="
)

// habits are how a client does things; what is empty or false it does as
// everybody does.
type habits struct {
	way       string
	revision  string         // of MCP; "": 2025-11-25
	document  string         // real address of its metadata document
	name      string         // client_name
	redirects []string       // {port} is this run's port, {id} a name of its own making
	listed    []string       // redirect URIs as its document has them, if others
	comes     int            // which of redirects it comes back to
	registers int            // how many of redirects it registers; 0: all
	grants    []string       // nil: authorization_code and refresh_token
	members   map[string]any // further members of its document or registration
	auth      string
	state     string // what its state begins with

	registersAnew bool // for each connection
	noneListed    bool // takes its document only if metadata lists `none`
	ownRedirect   bool // looks for its redirect URI in the registration's answer
	sendsScope    bool // the registration has a scope, be it empty

	oidcFirst   bool // reads openid-configuration before RFC 8414's document
	rootOnly    bool // 2025-03-26: metadata at the server's origin, no resource metadata, no resource
	blind       bool // 2025-03-26 without metadata: /authorize, /token and /register at the origin
	exact       bool // resource metadata must name the URL that it called, letter by letter
	slash       bool // its URL type adds a slash to a resource that is an origin
	wantsPKCE   bool // metadata must list S256
	noSurprises bool // refuses iss where metadata does not announce it
	wantsBearer bool // token_type must be Bearer

	offline      bool // asks for offline_access, with prompt=consent, where metadata lists it
	allScopes    bool // asks for whatever scopes_supported has
	looksFirst   bool // gets the authorization URL by itself before it opens the browser
	longVerifier bool // of 128 characters
	renewsBare   bool // sends no resource when it renews
	browser      bool // its OAuth requests come from a page at http://localhost:6274
}

// metadata is what the client says of itself; port "" leaves ports out.
func (h habits) metadata(port string) map[string]any {
	redirects := h.redirects
	if port == "" && h.listed != nil {
		redirects = h.listed
	} else if h.registers > 0 {
		redirects = redirects[:h.registers]
	}
	grants := h.grants
	if grants == nil {
		grants = []string{oauth.AuthorizationCode, oauth.RefreshToken}
	}
	m := map[string]any{
		"client_name": h.name, "grant_types": grants, "response_types": []string{"code"}, "token_endpoint_auth_method": h.auth,
		"redirect_uris": slices.Collect(mapped(redirects, func(uri string) string { return fillURI(uri, port) })),
	}
	maps.Copy(m, h.members)
	return m
}

// redirect is the redirect URI that it comes back to.
func (h habits) redirect(port string) string { return fillURI(h.redirects[h.comes], port) }

// fillURI puts a port and an id into a redirect URI; without a port it has none.
func fillURI(uri, port string) string {
	if port == "" {
		uri = strings.Replace(uri, ":{port}", "", 1)
	}
	return strings.NewReplacer("{port}", port, "{id}", connectorID).Replace(uri)
}

// connectorID is what this run puts for {id}.
var connectorID = rand.Text()[:12]

func mapped(list []string, f func(string) string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, s := range list {
			if !yield(f(s)) {
				return
			}
		}
	}
}
