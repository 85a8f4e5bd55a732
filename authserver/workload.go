package authserver

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"doorward/internal/access"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// Workload says which programs get tokens by the JWT that the place where they
// run gave them (workload identity federation), what they are here and what
// they may have. Several of one issuer must agree in JWKSURI, Algs and
// MaxLifetime. A JWT that several fit gets what they give together, if they
// make it the same client.
type Workload struct {
	Issuer      string        // its issuer identifier; trusted for workloads only
	JWKSURI     string        // "": from its metadata
	Algs        []string      // nil: ES256, RS256, PS256, EdDSA
	MaxLifetime time.Duration // longest exp − iat; 0: 10 minutes, at most an hour
	// Claims must all be in the JWT, as strings that one of the patterns matches
	// as a whole, * being any run of characters. At least one claim, and one
	// pattern that is more than *, are required.
	Claims map[string][]string
	// Client is the client_id of its tokens, which access rules name
	// (client:ID). It may be a client of the configuration, whose bounds then
	// hold, too; no request can come as any other such client without the JWT.
	// "": the entry's name, which no client may have.
	Client    string
	Resources []string // identifiers of the resources that it may have tokens for
	Scopes    []string // upper bound; nil: the resources' own
}

// authWorkload is how a client that only a workload's JWT makes authenticates:
// no request can bring it as a client's authentication.
const authWorkload = "workload"

// Bounds of exp − iat.
const (
	workloadLifetime    = 10 * time.Minute // Kubernetes makes none that live shorter
	maxWorkloadLifetime = time.Hour
)

// workloadTypes are the header types of workload JWTs; "": none. SPIFFE allows
// JOSE. No ID-JAG, access token or logout token has one of them.
var workloadTypes = []string{"", oauth.TypIDToken, "JOSE"}

// workload is a Workload with its name.
type workload struct {
	Workload
	name   string
	client string
}

// workloadIssuer is an issuer of workload JWTs with what they are mapped to.
type workloadIssuer struct {
	issuer
	workloads []*workload // in the order of their names
}

func (st *settings) addWorkloads() error {
	st.workloads = map[string]*workloadIssuer{}
	made := map[string]bool{} // clients that only workloads are
	for _, name := range slices.Sorted(maps.Keys(st.cfg.Workloads)) {
		w := st.cfg.Workloads[name]
		if err := st.addWorkload(name, w, made); err != nil {
			return fmt.Errorf("workload %s: %w", name, err)
		}
	}
	return nil
}

func (st *settings) addWorkload(name string, w Workload, made map[string]bool) error {
	if w.MaxLifetime == 0 {
		w.MaxLifetime = workloadLifetime
	}
	t := TrustedIssuer{Issuer: w.Issuer, JWKSURI: w.JWKSURI, Algs: w.Algs, MaxLifetime: w.MaxLifetime}.withDefaults()
	if err := w.check(st, t); err != nil {
		return err
	}
	from := st.workloads[w.Issuer]
	if from == nil {
		from = &workloadIssuer{issuer: issuer{TrustedIssuer: t, name: "workloads"}}
		st.workloads[w.Issuer] = from
	}
	if from.JWKSURI != t.JWKSURI || from.MaxLifetime != t.MaxLifetime || !slices.Equal(from.Algs, t.Algs) {
		return fmt.Errorf("another entry of %s has another JWKSURI, MaxLifetime or Algs", w.Issuer)
	}
	client := w.Client
	if client == "" {
		client = name
	}
	switch _, there := st.clients[client]; {
	case there && w.Client == "" && !made[client]:
		return fmt.Errorf("there is a client of this name: name it as Client if it is meant")
	case !there:
		made[client] = true
		st.clients[client] = &ledger.Client{ID: client, Name: client, AuthMethod: authWorkload, GrantTypes: []string{oauth.JWTBearer},
			Source: ledger.FromFile, Approved: true}
	}
	from.workloads = append(from.workloads, &workload{Workload: w, name: name, client: client})
	return nil
}

// check says what is wrong with an entry. Protect may add its resources later.
func (w Workload) check(st *settings, t TrustedIssuer) error {
	if err := oauth.CheckIssuer(w.Issuer); err != nil {
		return fmt.Errorf("issuer %q: %w", w.Issuer, err)
	}
	if w.JWKSURI != "" {
		if err := checkKeysURL(w.JWKSURI); err != nil {
			return err
		}
	}
	algs := oauth.Scopes(t.Algs).Minus(assertionAlgs)
	switch {
	case st.idp:
		return fmt.Errorf("an identity provider takes no workload JWTs")
	case w.Issuer == st.cfg.URL:
		return fmt.Errorf("an issuer cannot honour workload JWTs of itself")
	case len(algs) > 0:
		return fmt.Errorf("algorithm %s is none of %s", algs, strings.Join(assertionAlgs, ", "))
	case t.MaxLifetime < 0 || t.MaxLifetime > maxWorkloadLifetime:
		return fmt.Errorf("MaxLifetime must be at most %s", maxWorkloadLifetime)
	case len(w.Resources) == 0:
		return fmt.Errorf("it names no resource")
	case len(w.Client) > maxClientID || oauth.IsClientURL(w.Client):
		return fmt.Errorf("client %q: 1 to %d characters, and no https URL", w.Client, maxClientID)
	}
	bounded := false
	for name, patterns := range w.Claims {
		if name == "" || len(patterns) == 0 || slices.Contains(patterns, "") {
			return fmt.Errorf("claim %q: an empty name or pattern", name)
		}
		bounded = bounded || !slices.ContainsFunc(patterns, func(p string) bool { return strings.Trim(p, "*") == "" })
	}
	if !bounded {
		return fmt.Errorf("its claims let every workload of the issuer in")
	}
	_, err := oauth.ParseScope(strings.Join(w.Scopes, " "))
	return err
}

// fits reports whether the JWT has what the entry wants.
func (w *workload) fits(c jose.Claims) bool {
	for name, patterns := range w.Claims {
		text, err := c.Text(name)
		if err != nil || text == "" || !slices.ContainsFunc(patterns, func(p string) bool { return access.Matches(p, text) }) {
			return false
		}
	}
	return true
}

// workloadJWT is an acceptable workload JWT.
type workloadJWT struct {
	from    *workloadIssuer
	claims  jose.Claims
	sub     string
	jti     string
	expires time.Time
	fits    []*workload // those of the one resource, all the same client
	res     *resource
}

// checkWorkloadJWT checks the claims of a JWT whose signature and type were
// checked (AS-WIF-02, 03, 05). own is this issuer.
func checkWorkloadJWT(c jose.Claims, from *workloadIssuer, own string, now time.Time) (workloadJWT, error) {
	w := workloadJWT{from: from, claims: c}
	for name, form := range map[string]claimForm{"cnf": anObject, "authorization_details": aList} { // null is not nothing
		if err := is(form, c, name); err != nil {
			return w, reject("claim_type", "%v", err)
		}
	}
	for name, to := range map[string]*string{"iss": new(string), "sub": &w.sub, "jti": &w.jti} {
		text, err := c.Text(name)
		if err != nil {
			return w, reject("claim_type", "%v", err)
		}
		if text == "" || len(text) > maxText {
			return w, reject("claim_missing", "%s is missing or too long", name)
		}
		*to = text
	}
	aud, err := c.Texts("aud")
	if err != nil {
		return w, reject("claim_type", "%v", err)
	}
	// Whoever else it is addressed to could bring it here as well.
	if len(aud) == 0 || slices.ContainsFunc(aud, func(a string) bool { return a != own && a != own+"/token" }) {
		return w, reject("wrong_audience", "aud is %.200q, not this issuer or its token endpoint alone", aud)
	}
	var dated idjag
	if err := dated.times(c, &from.issuer, now); err != nil {
		return w, err
	}
	w.expires = dated.expires
	return w, unsupported(c)
}
