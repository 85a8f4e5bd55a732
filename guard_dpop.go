package doorward

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"doorward/internal/dpop"
	"doorward/internal/jose"
	"doorward/internal/oauth"
	"doorward/internal/peer"
)

// GuardConfig.DPoP.
const (
	dpopOptional = "optional"
	dpopRequired = "required"
	dpopOff      = "off"
)

// Bounds on what is read to compare it with what a proof says of it, in bytes.
const (
	maxDigested         = 8 << 20  // of a body
	maxDigestedOfCaller = 64 << 20 // of all bodies of one caller that are in memory
)

// guardProofs is how a guard demands proofs of possession (RFC 9449 section 7).
type guardProofs struct {
	mode    string
	checker dpop.Checker
	seen    dpop.Seen
	bodies  digestedBodies
}

func (g *Guard) demandProofs() error {
	g.proofs.mode = g.c.DPoP
	switch g.c.DPoP {
	case "":
		g.proofs.mode = dpopOptional
	case dpopOptional, dpopRequired, dpopOff:
	default:
		return fmt.Errorf("doorward: GuardConfig.DPoP %q: optional, required or off", g.c.DPoP)
	}
	key := g.c.DPoPNonceKey
	switch {
	case key == nil:
		key = make([]byte, 32)
		rand.Read(key) // never fails
	case len(key) < 16:
		return errors.New("doorward: GuardConfig.DPoPNonceKey must have at least 16 bytes")
	}
	g.proofs.checker = dpop.Checker{Nonces: dpop.NewNonces(key), Now: g.c.Now}
	return nil
}

// describe adds to the metadata document (RFC 9728 section 2).
func (p *guardProofs) describe(m *oauth.ResourceMetadata) {
	if p.mode != dpopOff {
		m.DPoPSigningAlgsSupported = dpop.Algs()
		m.DPoPRequired = p.mode == dpopRequired
	}
}

// withDPoP reports whether a request's token has the scheme DPoP.
func (g *Guard) withDPoP(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return g.proofs.mode != dpopOff && strings.EqualFold(scheme, "DPoP")
}

// bindings are the members of cnf that are checked here: all that a token has
// must be among them, since it proves nothing without what it is bound to.
func (g *Guard) bindings(c *Caller) map[string]*string {
	if g.proofs.mode == dpopOff {
		return map[string]*string{"x5t#S256": &c.cert}
	}
	return map[string]*string{"jkt": &c.key, "x5t#S256": &c.cert}
}

// readBindings finds out what a token is bound to: a key (RFC 9449 section 6.1),
// a certificate (RFC 8705 section 3.1), or both.
func (g *Guard) readBindings(claims jose.Claims, c *Caller) error {
	if !claims.Has("cnf") {
		return nil
	}
	var cnf jose.Claims
	if err := claims.Decode("cnf", &cnf); err != nil {
		return &tokenFault{faultClaims, err}
	}
	bindings := g.bindings(c)
	for name := range cnf {
		into := bindings[name]
		if into == nil {
			return fault(faultClaims, "it is bound to something that is not asked for here")
		}
		text, err := cnf.Text(name)
		if err != nil || text == "" {
			return fault(faultClaims, "what it is bound to cannot be read")
		}
		*into = text
	}
	if len(cnf) == 0 {
		return fault(faultClaims, "it is bound to nothing that is named")
	}
	return nil
}

// holdsCertificate reports whether a request came with the certificate that its
// token is bound to (RFC 8705 section 3).
func holdsCertificate(r *http.Request, thumbprint string) bool {
	chain := peer.Certificates(r)
	return len(chain) > 0 && peer.Thumbprint(chain[0]) == thumbprint
}

// prove checks that a request with a good token has the key and the certificate
// that the token is bound to. A bound token does not come as a bearer token, nor the other way
// round (RFC 9449 sections 7.1, 7.2). over, if there is one, is to be called when
// the request is.
func (g *Guard) prove(w http.ResponseWriter, r *http.Request, c *Caller) (over func(), refusal *oauth.Error) {
	with := g.withDPoP(r)
	switch {
	case c.cert != "" && !holdsCertificate(r, c.cert):
		return nil, badToken(fault("token_certificate", "it is bound to a certificate, and came over a connection without it"))
	case with && c.key == "":
		return nil, badToken(fault("token_unbound", "it is bound to no key, and came with a proof of one"))
	case !with && c.key != "":
		return nil, badToken(fault("token_bound", "it is bound to a key, and came without a proof of it"))
	case !with && g.proofs.mode == dpopRequired:
		return nil, badToken(fault("dpop_required", "it is bound to no key, which is required here"))
	case !with:
		return nil, nil
	}
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	p, refusal := g.proofs.checker.Check(r.Header, dpop.Target{Method: r.Method, URL: g.target(r), Token: strings.Trim(token, " ")})
	switch {
	case refusal != nil:
	case p.Key() != c.key:
		return nil, badToken(fault(dpop.ReasonKey, "it is bound to another key than that of the proof"))
	case !g.proofs.seen.First(p, g.c.Now()): // before the body is read: one proof holds memory once
		refusal = dpop.Replayed()
	default:
		over, refusal = g.checkDigest(p, r, c)
	}
	if refusal != nil && refusal.Status == 0 {
		refusal.Status = http.StatusUnauthorized
	}
	if refusal == nil && p.Renew() || refusal != nil && refusal.Code == oauth.UseDPoPNonce { // section 8
		w.Header().Set(dpop.NonceHeader, g.proofs.checker.Nonces.Current(g.c.Now()))
	}
	return over, refusal
}

// target is the URL of a request as its client sees it: under the resource's
// own, whatever address a proxy in front reaches us by (RS-DPOP-05).
func (g *Guard) target(r *http.Request) string {
	at, path := strings.TrimSuffix(g.path, "/"), r.URL.EscapedPath()
	if path == at || strings.HasPrefix(path, at+"/") {
		return strings.TrimSuffix(g.c.Resource, g.path) + path
	}
	return g.c.Resource
}

// Challenge sets WWW-Authenticate for a refusal of a request: a Bearer and a
// DPoP challenge, as far as both are taken here, each with resource_metadata
// and the scopes to ask for. params (name, value, …: error, error_description,
// max_age, …) stand in the challenge of the scheme that the request used, and
// in that one only; none if the request had no token, so that there is no error
// to name (OAuth 2.1 section 5.3.1, RFC 9728 section 5.1, RFC 9449 section 7.2).
// The status is the caller's to write.
func (g *Guard) Challenge(w http.ResponseWriter, r *http.Request, scopes []string, params ...string) {
	var challenges []string
	add := func(scheme, algs string, used bool) {
		var all []string
		if used {
			all = append(all, params...)
		}
		challenges = append(challenges, oauth.FormatChallenge(scheme,
			append(all, "algs", algs, "resource_metadata", g.metadataURL, "scope", strings.Join(scopes, " "))...))
	}
	with, required := g.withDPoP(r), g.proofs.mode == dpopRequired
	if !required {
		add("Bearer", "", !with)
	}
	if g.proofs.mode != dpopOff {
		add("DPoP", strings.Join(dpop.Algs(), " "), with || required)
	}
	w.Header()["Www-Authenticate"] = challenges
}
