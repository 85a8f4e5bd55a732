// Command embed is an authorization server and a guarded handler in one
// process: what a Go developer builds with the library.
package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"time"

	"doorward"
	"doorward/authserver"
	"doorward/store/sqlite"
)

func main() {
	h, err := build("http://127.0.0.1:8080", "embed.db")
	if err != nil {
		log.Fatal(err)
	}
	log.Println("http://127.0.0.1:8080/mcp is guarded; sign in as alice with the password of EMBED_PASSWORD")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", h))
}

// build makes the server. Every field of the configuration stands here; all
// but URL and Store may be left out.
func build(url, database string) (http.Handler, error) {
	db, err := sqlite.Open(database)
	if err != nil {
		return nil, err
	}
	as, err := authserver.New(authserver.Config{
		URL:       url,
		Store:     db,
		MasterKey: nil, // 32 bytes that seal the signing keys; nil: a random one in the same database
		SignIn: authserver.LocalPeople(map[string]authserver.LocalPerson{
			"alice": {Email: "alice@example.com", Groups: []string{"eng"}, Password: os.Getenv("EMBED_PASSWORD")},
		}),
		Name:                 "Embedded",
		ServiceDocumentation: "https://embed.example.com/docs",
		Clients: map[string]authserver.Client{
			"desktop": {
				Name: "Desktop", Secret: os.Getenv("EMBED_CLIENT_SECRET"), RedirectURIs: []string{"http://127.0.0.1/callback"},
				GrantTypes: []string{"authorization_code", "refresh_token"}, Scopes: []string{"notes:read"}, DPoPBound: false, PushedOnly: false,
				TLSSubject: "", CertBound: false, // for clients that come with a TLS certificate
				BackchannelLogoutURI: "", FrontchannelLogoutURI: "", SAMLEntityID: "", SAMLACS: nil, // of an identity provider's clients
			},
			"nightly": { // with a key instead of a secret; it may ask whether tokens for the notes still hold
				JWKS: nil, JWKSURI: "https://nightly.example.com/jwks", GrantTypes: []string{"client_credentials"}, Introspects: []string{url + "/notes/mcp"},
			},
		},
		Workloads: map[string]authserver.Workload{ // a pipeline comes with the JWT of the place where it runs, and needs no secret
			"deploy": {
				Issuer: "https://token.actions.example.com", JWKSURI: "https://token.actions.example.com/jwks", Algs: []string{"RS256"}, MaxLifetime: 10 * time.Minute,
				Claims: map[string][]string{"repository": {"example/*"}, "ref": {"refs/heads/main"}},
				Client: "", Resources: []string{url + "/notes/mcp"}, Scopes: []string{"notes:read"},
			},
		},
		Registration: authserver.Registration{Mode: "open", Token: "", Total: 100, Unused: 24 * time.Hour, SecretLife: 0},
		KnownClients: []string{"vscode", "claude-code"},
		OtherClients: "allow",
		Consent:      authserver.Consent{Known: "person", Others: "person"},
		Resources: []authserver.Resource{{
			ID: url + "/notes/mcp", Name: "Notes", Scopes: map[string]string{"notes:read": "Read your notes", "notes:write": "Change your notes"},
			DefaultScopes: []string{"notes:read"}, Implies: map[string][]string{"notes:write": {"notes:read"}}, Default: true,
			RuleName: "notes",
			Allow:    []authserver.Rule{{Who: []string{"group:eng"}, Tools: []string{"read_*"}, Scopes: []string{"notes:*"}, Require: authserver.Require{SignedInWithin: 8 * time.Hour, AMR: []string{"pwd"}}}},
			Deny:     []authserver.Rule{{Who: []string{"person:mallory"}}},
			Open:     false,
		}},
		AuthorizationDetails: map[string]authserver.DetailType{
			"note": {
				Check: func(_ string, d authserver.Detail) error {
					if len(d) == 0 {
						return errors.New("is empty")
					}
					return nil
				},
				Words: func(authserver.Detail) string { return "Read one note" },
			},
		},
		Issuers: map[string]authserver.TrustedIssuer{
			"corp": {
				Issuer: "https://idp.example.com", JWKSURI: "https://idp.example.com/jwks", Algs: []string{"ES256"}, MaxLifetime: 5 * time.Minute,
				Replay: "never", PublicClients: nil, Scopes: []string{"notes:read"}, Account: []string{"sub"}, ExistingOnly: false,
				Tenants: nil, EmailDomains: []string{"example.com"}, GroupsClaim: "groups", Encrypted: false,
			},
			"adfs": {
				Issuer: "https://adfs.example.com/adfs", Replay: "never", Account: []string{"sub"},
				SAML: authserver.SAMLSubjects{Issuer: "https://adfs.example.com/adfs/services/trust", NameIDFormat: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent", NameQualifier: "", SPNameQualifier: ""},
			},
		},
		Directories: map[string]authserver.Directory{"corp": {Token: cmp.Or(os.Getenv("EMBED_SCIM_TOKEN"), rand.Text()), Attribute: "externalId"}}, // its provisioning writes at /scim/corp
		Audiences:   nil,                                                                                                                           // an identity provider has them: {Resources, ClientIDs, Subject, Claims, PublicClients, Allow, Deny}
		Tokens: authserver.Tokens{Alg: "ES256",
			Access: 15 * time.Minute, AccessIDJAG: time.Hour, RefreshIdle: 168 * time.Hour, RefreshMax: 720 * time.Hour,
			RefreshGrace: time.Minute, IDToken: time.Hour, IDJAG: 5 * time.Minute,
		},
		DPoP: "optional",
		MTLS: false, ClientCAs: nil,
		Limits: authserver.Limits{
			Token: authserver.Rate{Requests: 100, Per: time.Second}, Authorize: authserver.Rate{Requests: 20, Per: time.Second}, Register: authserver.Rate{Requests: 20, Per: time.Hour},
		},
		Fetch:          authserver.Fetch{Roots: nil, Private: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}, MaxBytes: 5 << 10},
		InsecurePublic: false,
		KeyRotation:    90 * 24 * time.Hour,
		BodyLimit:      1 << 20,
		AuditKeep:      90 * 24 * time.Hour,
		HTTP:           http.DefaultTransport,
		Now:            time.Now,
		Logger:         slog.Default(),
	})
	if err != nil {
		return nil, err
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := doorward.CallerFrom(r.Context())
		fmt.Fprintf(w, "hello, %s (through %s)\n", who.Subject, who.ClientID)
	})
	if err := as.Protect("/mcp", hello); err != nil {
		return nil, err
	}
	return as, nil
}
