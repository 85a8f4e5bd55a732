package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"doorward/internal/access"
	"doorward/internal/jose"
	"doorward/internal/keyset"
	"doorward/internal/oauth"
)

// issuer is a TrustedIssuer with its defaults and its keys.
type issuer struct {
	TrustedIssuer
	name string // what its accounts begin with
	keys *keyset.Remote
	// directory: SCIM says who of its people is here, by the claims of Account.
	// An assertion that names somebody in another way names nobody whom the
	// directory could end.
	directory bool
}

// audience is an Audience with its rules.
type audience struct {
	Audience
	issuer string
	rules  access.Rules
}

var assertionAlgs = []string{jose.ES256, jose.RS256, jose.PS256, jose.EdDSA}

func (st *settings) addIssuers() error {
	st.issuers = make(map[string]*issuer, len(st.cfg.Issuers))
	for name, t := range st.cfg.Issuers {
		if err := oauth.CheckIssuer(t.Issuer); err != nil {
			return fmt.Errorf("issuer %s: %q: %w", name, t.Issuer, err)
		}
		algs := oauth.Scopes(t.Algs).Minus(assertionAlgs)
		switch {
		case name == "" || strings.Contains(name, "/"):
			return fmt.Errorf("issuer %q: the name must not be empty or have a slash", name)
		case t.Issuer == st.cfg.URL: // AS-JAG-25
			return fmt.Errorf("issuer %s: an issuer cannot honour ID-JAGs of itself", name)
		case st.issuers[t.Issuer] != nil:
			return fmt.Errorf("issuers %s and %s are the same", st.issuers[t.Issuer].name, name)
		case len(algs) > 0:
			return fmt.Errorf("issuer %s: algorithm %s is none of %s", name, algs, strings.Join(assertionAlgs, ", "))
		case !slices.Contains([]string{"", replayAuto, replayNever, replayUntilExpiry}, t.Replay):
			return fmt.Errorf("issuer %s: replay %q: auto, never or until-expiry", name, t.Replay)
		case t.SAML.Issuer == "" && t.SAML != (SAMLSubjects{}):
			return fmt.Errorf("issuer %s: SAML names without the issuer of the SAML identity provider", name)
		case t.MaxLifetime < 0:
			return fmt.Errorf("issuer %s: a negative lifetime", name)
		}
		if t.JWKSURI != "" {
			if err := checkKeysURL(t.JWKSURI); err != nil {
				return fmt.Errorf("issuer %s: %w", name, err)
			}
		}
		st.issuers[t.Issuer] = &issuer{TrustedIssuer: t.withDefaults(), name: name}
	}
	return nil
}

// checkKeysURL says whether keys may be fetched there: by TLS, or on loopback.
func checkKeysURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !oauth.IsLoopbackHost(u.Host)) {
		return fmt.Errorf("jwks_uri %q must be an https URL (http only on loopback)", text)
	}
	return nil
}

func (t TrustedIssuer) withDefaults() TrustedIssuer {
	if t.Algs == nil {
		t.Algs = assertionAlgs
	}
	if t.MaxLifetime == 0 {
		t.MaxLifetime = 5 * time.Minute
	}
	if t.Replay == "" {
		t.Replay = replayAuto
	}
	if len(t.Account) == 0 {
		t.Account = []string{"sub"}
	}
	if t.GroupsClaim == "" {
		t.GroupsClaim = "groups"
	}
	return t
}

func (st *settings) addAudiences() error {
	st.audiences = make(map[string]*audience, len(st.cfg.Audiences))
	for id, a := range st.cfg.Audiences {
		if err := oauth.CheckIssuer(id); err != nil {
			return fmt.Errorf("audience %q: %w", id, err)
		}
		if id == st.cfg.URL { // IDP-TX-13
			return fmt.Errorf("audience %s: ID-JAGs cannot be addressed to their own issuer", id)
		}
		if !slices.Contains([]string{"", "sub", "email"}, a.Subject) {
			return fmt.Errorf("audience %s: subject %q: sub or email", id, a.Subject)
		}
		if extra := oauth.Scopes(a.Claims).Minus(oauth.Scopes{"email", "groups", "name"}); len(extra) > 0 {
			return fmt.Errorf("audience %s: claim %s: email, groups or name", id, extra)
		}
		for _, r := range a.Resources {
			if err := oauth.CheckResource(r); err != nil {
				return fmt.Errorf("audience %s: resource %q: %w", id, r, err)
			}
		}
		if err := checkRules(a.Allow, a.Deny); err != nil {
			return fmt.Errorf("audience %s: %w", id, err)
		}
		st.audiences[id] = &audience{Audience: a, issuer: id,
			rules: access.Rules{Name: fmt.Sprintf("audiences[%q]", id), Allow: a.Allow, Deny: a.Deny}}
	}
	return nil
}

// keysets are the key sets of trusted issuers, over reloads: an issuer that
// stays keeps its set, one that goes is no longer asked.
type keysets struct {
	mu      sync.Mutex
	running map[string]runningSet // by issuer and jwks_uri
}

type runningSet struct {
	keys *keyset.Remote
	stop context.CancelFunc
}

// use gives every issuer of st its key set. New ones are fetched in the
// background, so that no answer's time tells whether an issuer is trusted
// (AS-JAG-04).
func (k *keysets) use(ctx context.Context, st *settings, now func() time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := make(map[string]runningSet, len(st.issuers))
	client := issuerClient(st.cfg.HTTP)
	all := slices.Collect(maps.Values(st.issuers))
	for _, w := range st.workloads {
		all = append(all, &w.issuer)
	}
	for _, i := range all {
		name := i.Issuer + " " + i.JWKSURI
		set, ok := k.running[name]
		if !ok {
			set, ok = next[name] // an issuer of ID-JAGs and of workload JWTs
		}
		if !ok {
			set = startSet(ctx, client, i.TrustedIssuer, now)
		}
		i.keys, next[name] = set.keys, set
	}
	for name, set := range k.running {
		if _, stays := next[name]; !stays {
			set.stop()
		}
	}
	k.running = next
}

func startSet(ctx context.Context, client *http.Client, t TrustedIssuer, now func() time.Time) runningSet {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	keys := keyset.New(keyset.Config{Now: now, Patience: issuerPatience, Fetch: func(ctx context.Context) ([]byte, error) {
		return fetchKeys(ctx, client, t)
	}})
	keys.Start(ctx)
	return runningSet{keys, stop}
}

func (k *keysets) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, set := range k.running {
		set.stop()
	}
	k.running = nil
}

// issuerPatience is how long a request waits for the keys of an issuer that is
// slow, if there are none of it yet or its token names one that is not among
// them; the fetch goes on.
const issuerPatience = 5 * time.Second

// verify checks the signature and the type of a token with the issuer's keys.
func (i *issuer) verify(ctx context.Context, token jose.Unverified, types []string) (jose.Verified, error) {
	return i.keys.VerifyRead(ctx, token, i.Algs, types)
}

const (
	maxIssuerDocument = 512 << 10
	issuerTimeout     = 10 * time.Second
)

// issuerClient asks trusted issuers. The operator named them, so their
// addresses are not checked; redirects are not followed.
func issuerClient(rt http.RoundTripper) *http.Client {
	return &http.Client{Transport: rt, Timeout: issuerTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// fetchKeys gets a trusted issuer's key set, by its metadata if the
// configuration does not say where it lies.
func fetchKeys(ctx context.Context, client *http.Client, t TrustedIssuer) ([]byte, error) {
	if t.JWKSURI != "" {
		return fetchDocument(ctx, client, t.JWKSURI)
	}
	urls, err := oauth.MetadataURLs(t.Issuer)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, u := range urls {
		doc, err := fetchDocument(ctx, client, u)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var m oauth.ServerMetadata
		if err := json.Unmarshal(doc, &m); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", u, err))
			continue
		}
		if m.Issuer != t.Issuer { // RFC 8414 section 3.3
			return nil, fmt.Errorf("%s names the issuer %q, not %q", u, m.Issuer, t.Issuer)
		}
		if m.JWKSURI == "" {
			errs = append(errs, fmt.Errorf("%s has no jwks_uri", u))
			continue
		}
		if err := checkKeysURL(m.JWKSURI); err != nil {
			return nil, fmt.Errorf("%s: %w", u, err)
		}
		return fetchDocument(ctx, client, m.JWKSURI)
	}
	return nil, errors.Join(errs...)
}

func fetchDocument(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxIssuerDocument+1))
	if err == nil && len(body) > maxIssuerDocument {
		err = fmt.Errorf("%s is larger than %d bytes", url, maxIssuerDocument)
	}
	return body, err
}
