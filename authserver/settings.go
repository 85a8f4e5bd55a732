package authserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/access"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// settings is an immutable snapshot of a Config with its look-up tables.
type settings struct {
	cfg       Config
	name      string // of the issuer, on pages
	path      string // of the issuer's URL; "" if it has none
	loopback  bool   // the issuer's host is this machine
	plain     bool   // http: cookies without Secure
	idp       bool
	bodyLimit int64
	tokens    Tokens // with their defaults

	clients     map[string]*ledger.Client
	resources   []*resource // in the order of the configuration
	resourceIDs []string
	issuers     map[string]*issuer         // by issuer identifier
	workloads   map[string]*workloadIssuer // likewise
	audiences   map[string]*audience       // likewise
	page        SignIn                     // what shows a page of its own; nil: none
	providers   []*provider                // in the order of the configuration
	proxied     *provider                  // the one of Separate; nil: mode direct
	relay       *relay                     // of Separate; nil: not mode passthrough
	directories map[string]*directory
	documents   *documents
	limits      *limits
	clientKeys  *clientKeys

	issuer map[string]issuerDocuments // by what signs now
}

// resource is a Resource with its look-up tables.
type resource struct {
	Resource
	rules   access.Rules
	scopes  oauth.Scopes // every scope, sorted
	implies map[string]oauth.Scopes
}

const (
	defaultBodyLimit = 1 << 20
	minSecret        = 16
	maxClientID      = 500 // with what stands before it, an index name of the store
	maxResourceID    = 500 // likewise
)

// newSettings checks cfg and makes its tables. protected are resources that
// the program added by Protect.
func newSettings(cfg Config, protected []Resource) (*settings, error) {
	issuer := cfg.URL
	if cfg.InsecurePublic {
		issuer = strings.Replace(issuer, "http://", "https://", 1)
	}
	if err := oauth.CheckIssuer(issuer); err != nil {
		return nil, fmt.Errorf("authserver: URL %q: %w", cfg.URL, err)
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || strings.HasSuffix(cfg.URL, "/") {
		return nil, fmt.Errorf("authserver: URL %q must not end in a slash", cfg.URL)
	}
	st := &settings{cfg: cfg, name: cfg.Name, path: u.Path, loopback: oauth.IsLoopbackHost(u.Host), plain: u.Scheme == "http",
		idp: cfg.Audiences != nil, bodyLimit: cfg.BodyLimit, tokens: cfg.Tokens.withDefaults()}
	st.documents = newDocuments(cfg, st.loopback)
	st.clientKeys = newClientKeys(cfg, st.documents)
	if st.name == "" {
		st.name = u.Host
	}
	if st.bodyLimit <= 0 {
		st.bodyLimit = defaultBodyLimit
	}
	steps := []func() error{
		st.addClients, func() error { return st.addResources(protected) }, st.addIssuers, st.addWorkloads, st.addSignIn, st.addSeparate, st.addDirectories, st.addAudiences, st.checkPolicy, st.checkDetailTypes,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, fmt.Errorf("authserver: %w", err)
		}
	}
	return st, nil
}

// mayBecome says why cfg cannot replace these settings while the server runs.
func (st *settings) mayBecome(cfg Config) error {
	switch {
	case cfg.URL != st.cfg.URL:
		return fmt.Errorf("authserver: URL cannot change from %s to %s while the server runs: restart it, with a new database", st.cfg.URL, cfg.URL)
	case !bytes.Equal(cfg.MasterKey, st.cfg.MasterKey):
		return fmt.Errorf("authserver: MasterKey cannot change while the server runs")
	case (cfg.Mode == modeProxy) != (st.proxied != nil), (cfg.Mode == modePassthrough) != (st.relay != nil):
		return fmt.Errorf("authserver: Mode cannot change while the server runs")
	case (cfg.Audiences != nil) != st.idp:
		return fmt.Errorf("authserver: an authorization server and an identity provider cannot become each other while the server runs")
	}
	return nil
}

func (t Tokens) withDefaults() Tokens {
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	if t.Alg == "" {
		t.Alg = jose.ES256
	}
	set(&t.Access, 15*time.Minute)
	set(&t.AccessIDJAG, time.Hour)
	set(&t.RefreshIdle, 7*24*time.Hour)
	set(&t.RefreshMax, 30*24*time.Hour)
	set(&t.RefreshGrace, time.Minute)
	set(&t.IDToken, time.Hour)
	set(&t.IDJAG, 5*time.Minute)
	return t
}

// longest is the longest life of anything that the signing key signs.
func (st *settings) longest() time.Duration {
	t := st.tokens
	return max(t.Access, t.AccessIDJAG, t.IDToken, t.IDJAG)
}

func (st *settings) checkPolicy() error {
	switch st.cfg.OtherClients {
	case "", "allow", "ask-admin", "refuse":
	default:
		return fmt.Errorf("OtherClients %q: allow, ask-admin or refuse", st.cfg.OtherClients)
	}
	switch st.cfg.DPoP {
	case "", dpopOptional, dpopRequired, dpopOff:
	default:
		return fmt.Errorf("DPoP %q: optional, required or off", st.cfg.DPoP)
	}
	if err := st.cfg.Consent.check(); err != nil {
		return err
	}
	if err := st.cfg.Registration.check(); err != nil {
		return err
	}
	if err := st.cfg.Limits.check(); err != nil {
		return err
	}
	t := st.tokens
	if !slices.Contains(jose.Algs(), t.Alg) {
		return fmt.Errorf("Tokens.Alg %q: one of %s", t.Alg, strings.Join(jose.Algs(), ", "))
	}
	for _, d := range []time.Duration{t.Access, t.AccessIDJAG, t.RefreshIdle, t.RefreshMax, t.IDToken, t.IDJAG} {
		if d < time.Second {
			return fmt.Errorf("Tokens: a lifetime of %s is too short", d)
		}
	}
	return nil
}

func (st *settings) addClients() error {
	st.clients = make(map[string]*ledger.Client, len(st.cfg.Clients))
	providers := map[string]string{} // client ids by SAML entity id
	for id, c := range st.cfg.Clients {
		if id == "" || len(id) > maxClientID {
			return fmt.Errorf("client %q: the id must have 1 to %d characters", id, maxClientID)
		}
		if c.Secret != "" && len(c.Secret) < minSecret && !st.loopback && !st.cfg.InsecurePublic {
			return fmt.Errorf("client %s: the secret needs at least %d characters", id, minSecret)
		}
		if err := c.checkKeys(); err != nil {
			return fmt.Errorf("client %s: %w", id, err)
		}
		if err := st.checkCertClient(c); err != nil {
			return fmt.Errorf("client %s: %w", id, err)
		}
		for _, uri := range c.RedirectURIs {
			if err := oauth.CheckRedirectURI(uri, true); err != nil && !inCatalogue(uri) {
				return fmt.Errorf("client %s: redirect URI %q: %w", id, uri, err)
			}
		}
		if _, err := oauth.ParseScope(strings.Join(c.Scopes, " ")); err != nil {
			return fmt.Errorf("client %s: %w", id, err)
		}
		if (c.SAMLEntityID != "") != (len(c.SAMLACS) > 0) || c.SAMLEntityID != "" && !st.idp {
			return fmt.Errorf("client %s: SAMLEntityID and SAMLACS go together, at an identity provider", id)
		}
		if other, taken := providers[c.SAMLEntityID]; taken && c.SAMLEntityID != "" {
			return fmt.Errorf("clients %s and %s: one SAMLEntityID is one client's", min(id, other), max(id, other))
		}
		providers[c.SAMLEntityID] = id
		if slices.Contains(c.SAMLACS, "") { // an assertion without a Recipient would fit
			return fmt.Errorf("client %s: SAMLACS has an empty URL", id)
		}
		if err := st.checkLogoutURIs(c); err != nil {
			return fmt.Errorf("client %s: %w", id, err)
		}
		file := st.fileClient(id, c)
		st.clients[id] = &file
		if c.Introspects != nil && file.Public() {
			return fmt.Errorf("client %s: it introspects tokens, so it must be able to authenticate", id)
		}
	}
	return nil
}

func (st *settings) fileClient(id string, c Client) ledger.Client {
	out := ledger.Client{ID: id, Name: c.Name, RedirectURIs: c.RedirectURIs, GrantTypes: c.GrantTypes, Scopes: c.Scopes,
		Introspects: c.Introspects, Source: ledger.FromFile, Approved: true, DPoPBound: c.DPoPBound, CertBound: c.CertBound, TLSSubject: c.TLSSubject, PushedOnly: c.PushedOnly,
		SAMLEntityID: c.SAMLEntityID, SAMLACS: c.SAMLACS,
		Logout: ledger.Logout{Backchannel: c.BackchannelLogoutURI, Frontchannel: c.FrontchannelLogoutURI}}
	if out.Name == "" {
		out.Name = id
	}
	switch {
	case c.Secret != "":
		sum := sha256.Sum256([]byte(c.Secret))
		out.SecretHash = sum[:]
	case len(c.JWKS) > 0 || c.JWKSURI != "":
		out.AuthMethod, out.JWKS, out.JWKSURI = authPrivateKey, c.JWKS, c.JWKSURI
		if st.cfg.MTLS {
			out.AuthMethods = []string{authPrivateKey, authSelfSigned}
		}
	case c.TLSSubject != "":
		out.AuthMethod = authTLS
	default:
		out.AuthMethod = authNone
	}
	if out.GrantTypes == nil && c.Introspects == nil {
		out.GrantTypes = []string{oauth.AuthorizationCode, oauth.RefreshToken}
		if !out.Public() {
			out.GrantTypes = append(out.GrantTypes, st.assertionGrant())
		}
	}
	return out
}

// assertionGrant is the grant of cross-app access at this end of it.
func (st *settings) assertionGrant() string {
	if st.idp {
		return oauth.TokenExchange
	}
	return oauth.JWTBearer
}

func (st *settings) addResources(protected []Resource) error {
	list := st.cfg.Resources
	if st.idp { // its access tokens are for userinfo and nothing else
		list = []Resource{{ID: st.cfg.URL, Name: st.name, Scopes: openIDScopes, DefaultScopes: []string{"openid"}, RuleName: "sign-in", Open: true}}
	}
	for _, p := range protected {
		if !slices.ContainsFunc(list, func(r Resource) bool { return r.ID == p.ID }) {
			list = append(slices.Clip(list), p)
		}
	}
	marked := ""
	for _, r := range list {
		res, err := newResource(r)
		if err != nil {
			return fmt.Errorf("resource %q: %w", r.ID, err)
		}
		if slices.Contains(st.resourceIDs, r.ID) {
			return fmt.Errorf("resource %q is there twice", r.ID)
		}
		if r.Default && marked != "" {
			return fmt.Errorf("resources %q and %q are both the default", marked, r.ID)
		}
		if r.Default {
			marked = r.ID
		}
		st.resources = append(st.resources, res)
		st.resourceIDs = append(st.resourceIDs, r.ID)
	}
	return nil
}

// openIDScopes are those of an identity provider (OpenID Connect Core section 5.4).
var openIDScopes = map[string]string{
	"openid": "Know who you are", "profile": "Know your name and groups", "email": "Know your e-mail address",
	"offline_access": "Stay signed in",
}

func newResource(r Resource) (*resource, error) {
	if err := oauth.CheckResource(r.ID); err != nil {
		return nil, err
	}
	if len(r.ID) > maxResourceID {
		return nil, fmt.Errorf("the identifier has more than %d bytes", maxResourceID)
	}
	if r.RuleName == "" {
		r.RuleName = fmt.Sprintf("resources[%q]", r.ID)
	}
	res := &resource{Resource: r, scopes: slices.Sorted(maps.Keys(r.Scopes)),
		rules:   access.Rules{Name: r.RuleName, Allow: r.Allow, Deny: r.Deny, Open: r.Open},
		implies: make(map[string]oauth.Scopes, len(r.Implies))}
	for broad, narrow := range r.Implies {
		res.implies[broad] = narrow
	}
	if _, err := oauth.ParseScope(strings.Join(res.scopes, " ")); err != nil {
		return nil, err
	}
	if extra := oauth.Scopes(r.DefaultScopes).Minus(res.scopes); len(extra) > 0 {
		return nil, fmt.Errorf("default scope %q is none of its scopes", extra)
	}
	return res, checkRules(r.Allow, r.Deny)
}

func checkRules(lists ...[]Rule) error {
	for _, rules := range lists {
		for _, rule := range rules {
			for _, who := range rule.Who {
				if err := access.CheckWho(who); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// bound is what a list of scopes (a client's, an issuer's) allows at the
// resource: an empty list is no bound, a broader scope includes what it implies.
func (res *resource) bound(scopes, by oauth.Scopes) oauth.Scopes {
	if len(by) == 0 {
		return scopes
	}
	return scopes.Intersect(by.Imply(res.implies))
}

// resource returns the one that the resource parameters mean: the only one of
// the issuer or its default if there are none. invalid_target otherwise
// (RFC 8707 section 2; one resource a token).
func (st *settings) resource(asked []string) (*resource, error) {
	switch {
	case len(asked) > 1:
		return nil, &oauth.Error{Code: oauth.InvalidTarget, Description: "one resource at a time"}
	case len(asked) == 1:
		if res := st.byID(asked[0]); res != nil {
			return res, nil
		}
		if err := oauth.CheckResource(asked[0]); err != nil {
			return nil, err
		}
		if res := st.byID(oauth.MatchResource(st.resourceIDs, asked[0])); res != nil {
			return res, nil
		}
		return nil, &oauth.Error{Code: oauth.InvalidTarget, Description: "no such resource here: " + oauth.Printable(asked[0])}
	case len(st.resources) == 1:
		return st.resources[0], nil
	}
	for _, res := range st.resources {
		if res.Default {
			return res, nil
		}
	}
	return nil, &oauth.Error{Code: oauth.InvalidTarget, Description: "name the resource: there are several and no default"}
}

// byID returns the resource with exactly this identifier, or nil.
func (st *settings) byID(id string) *resource {
	for _, res := range st.resources {
		if res.ID == id {
			return res
		}
	}
	return nil
}

// mayReach asks the access rules whether the person (or the client itself) may
// use the resource by the client at all.
func (s *Server) mayReach(ctx context.Context, st *settings, res *resource, subj oauth.Subject, clientID string) (access.Answer, error) {
	subj, err := s.today(ctx, st, subj)
	if err != nil {
		return access.Answer{}, err
	}
	return res.rules.Decide(access.Question{Subject: subjectOf(&subj, clientID), Resource: res.ID, Now: s.now()}), nil
}

// subjectOf is a grant's subject as the access rules see it.
func subjectOf(subj *oauth.Subject, clientID string) access.Subject {
	if subj.IsClient() {
		return access.Subject{Client: clientID}
	}
	return access.Subject{Person: subj.ID, Provider: subj.Provider, Email: subj.Email, Groups: subj.Groups, GroupsUnknown: subj.GroupsUnknown,
		AMR: subj.AMR, AuthTime: subj.AuthTime, Client: clientID}
}
