package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// byWorkload reports whether a token request names and proves no client but
// brings an assertion that is no ID-JAG: the JWT says who asks (AS-WIF-01).
func (st *settings) byWorkload(h http.Header, req *oauth.TokenRequest) bool {
	if len(st.workloads) == 0 || req.GrantType != oauth.JWTBearer || req.Assertion == "" || req.ClientID != "" ||
		req.ClientSecret != "" || req.ClientAssertion != "" || req.ClientAssertionType != "" || len(h["Authorization"]) > 0 {
		return false
	}
	header, _, err := jose.Peek(req.Assertion)
	return err != nil || header.Typ != oauth.TypIDJAG // AS-JAG-03
}

// identify finds out which client a workload is: by its JWT, and by the entries
// that the JWT fits.
func (s *Server) identify(ctx context.Context, a *asked) error {
	a.seen.Workload = "unknown"
	w, err := s.verifyWorkload(ctx, a.st, a.Assertion)
	if err != nil {
		return a.unacceptable(err)
	}
	a.seen.Issuer, a.seen.JTI, a.seen.Detail = w.from.Issuer, jtiHash(w.jti), oauth.Printable("workload "+w.sub)
	if err := w.mapped(a.st, a.Resources); err != nil {
		return err
	}
	a.workload, a.seen.Workload, a.seen.Resource = &w, w.fits[0].name, w.res.ID
	a.client = authenticated{client: a.st.clients[w.fits[0].client], proven: true}
	if c := callerOf(ctx); c != nil {
		return c.chargeClient(s.now(), a.client.client.ID)
	}
	return nil
}

// verifyWorkload finds the issuer in the list of those of workloads and checks
// type, signature and claims.
func (s *Server) verifyWorkload(ctx context.Context, st *settings, assertion string) (workloadJWT, error) {
	read, err := jose.Read(assertion)
	if err != nil {
		return workloadJWT{}, reject("malformed", "%v", err)
	}
	iss, err := read.Claims().Text("iss")
	if err != nil {
		return workloadJWT{}, reject("malformed", "%v", err)
	}
	from := st.workloads[iss]
	if from == nil {
		inVain(read)
		return workloadJWT{}, reject("unknown_issuer", "%.200q is no issuer of workload JWTs here", iss)
	}
	v, err := from.verify(ctx, read, workloadTypes)
	if err != nil {
		if !errors.Is(err, jose.ErrSignature) {
			inVain(read)
		}
		return workloadJWT{}, reject("signature", "%v", err)
	}
	return checkWorkloadJWT(v.Claims(), from, st.cfg.URL, s.now())
}

// mapped finds the entries that the JWT fits and the one resource that is
// asked for (AS-WIF-04). Whoever comes this far has a genuine JWT, and may know
// that nothing is mapped to it.
func (w *workloadJWT) mapped(st *settings, asked []string) error {
	refuse := func(reason, format string, args ...any) error {
		return &oauth.Error{Code: oauth.UnauthorizedClient, Reason: reason, Description: "this workload may not have tokens for this",
			Err: fmt.Errorf(format, args...)}
	}
	var names, resources []string
	for _, entry := range w.from.workloads {
		if entry.fits(w.claims) {
			w.fits, names, resources = append(w.fits, entry), append(names, entry.name), append(resources, entry.Resources...)
		}
	}
	if len(w.fits) == 0 {
		return refuse("workload_claims", "the claims of %.200q fit no entry of %s", w.sub, w.from.Issuer)
	}
	slices.Sort(resources)
	if resources = slices.Compact(resources); len(asked) == 0 && len(resources) == 1 {
		asked = resources
	}
	var err error
	if w.res, err = st.resource(asked); err != nil {
		return err
	}
	w.fits = slices.DeleteFunc(w.fits, func(entry *workload) bool { return !slices.Contains(entry.Resources, w.res.ID) })
	if len(w.fits) == 0 {
		return refuse("workload_resource", "%s, which %.200q fits, does not name %s", names, w.sub, w.res.ID)
	}
	for _, entry := range w.fits {
		if entry.client != w.fits[0].client {
			return refuse("workload_ambiguous", "%.200q fits %s and %s, which are different clients", w.sub, w.fits[0].name, entry.name)
		}
	}
	return nil
}

// scopes is the bound of all entries that fit; nil: none.
func (w *workloadJWT) scopes() oauth.Scopes {
	var bound oauth.Scopes
	for _, entry := range w.fits {
		if len(entry.Scopes) == 0 {
			return nil
		}
		bound = bound.Union(entry.Scopes)
	}
	return bound
}

// grantWorkload turns a workload's JWT, which identify has checked, into a
// grant, once: its jti is spent in the same commit (SEC-14).
func (s *Server) grantWorkload(_ context.Context, a *asked) (*granted, error) {
	w, c := a.workload, a.client.client
	if a.AuthorizationDetails != "" {
		return nil, &oauth.Error{Code: oauth.InvalidAuthzDetails, Description: "no type of authorization_details exists here"}
	}
	if err := confirmed(w.claims, a.proof.Key()); err != nil {
		return nil, a.unacceptable(err)
	}
	scopes, err := a.st.narrowed(c, w.res, a.Scope)
	if err != nil {
		return nil, err
	}
	if a.Scope = w.res.bound(scopes, w.scopes()); len(a.Scope) == 0 && len(w.res.scopes) > 0 {
		return nil, &oauth.Error{Code: oauth.InvalidScope, Description: "nothing is left of the scopes: name one that this workload may have"}
	}
	hash, now := sha256.Sum256([]byte(a.Assertion)), s.now()
	g := oauth.Grant{ID: newID(), Subject: oauth.Subject{ID: "client:" + c.ID, Name: c.Name}, Client: c.ID, Resource: w.res.ID,
		Scopes: a.Scope, Type: oauth.JWTBearer, Issuer: w.from.Issuer, Created: now, Expires: w.expires.Add(assertionSkew)}
	once := sha256.Sum256(fmt.Appendf(nil, "%q %q", w.from.Issuer, w.jti))
	return &granted{grant: g, stored: &ledger.Grant{Grant: g, Assertion: hash[:]}, rules: w.res.rules, life: a.st.tokens.AccessIDJAG, write: true,
		ops: []store.Op{store.Once("workload:"+hex.EncodeToString(once[:]), w.expires.Add(assertionSkew+afterwards))}}, nil
}
