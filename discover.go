package doorward

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/oauth"
)

// metadataTTL is how long an issuer's metadata is believed.
const metadataTTL = 5 * time.Minute

// need is what an MCP server's refusal asks for. Equal needs of one person
// share one attempt.
type need struct {
	server   address // that was called
	metadata string  // resource_metadata of the challenge
	scope    string
	demand   demand // RFC 9470
	rejected string // the token that was refused; empty: none was sent
	wider    bool   // 403 insufficient_scope
	quiet    bool   // nothing was refused: renewal before the end
	bound    bool   // it takes tokens that are bound to a key only
}

// target is where a token is for and who gives it.
type target struct {
	server   string       // URL that was called
	covers   string       // URL prefix that the token is for
	resource string       // identifier to send; empty in legacy mode
	issuer   string       // authorization server
	scopes   oauth.Scopes // scopes_supported of the resource
	legacy   bool         // REV-11: no resource metadata, issuer is the origin
	by       trust        // who named the issuer
	bound    bool         // tokens must be bound to a key (RFC 9449)
	algs     []string     // that its proofs may be signed with; none: not said
}

// readNeed reads what a refusal asks for (C-DISC-01); false: nothing that a
// token could change.
func readNeed(resp *http.Response, server address, sent string) (need, bool) {
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
		return need{}, false
	}
	all := oauth.ParseChallenges(resp.Header.Values("WWW-Authenticate"))
	c := bestChallenge(all)
	n := need{server: server, rejected: sent, metadata: c["resource_metadata"], scope: c["scope"], bound: asksProof(all)}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		if c["error"] == oauth.InsufficientUserAuth {
			n.demand = readDemand(c["acr_values"], c["max_age"])
		}
		return n, true
	case resp.StatusCode == http.StatusForbidden && c["error"] == oauth.InsufficientScope:
		n.wider = sent != ""
		return n, true
	}
	return need{}, false
}

// bestChallenge prefers the one that says what was wrong, which is the one for
// the scheme that was used; then Bearer, and among equals the one that names
// metadata. DPoP challenges name the same metadata.
func bestChallenge(all []oauth.Challenge) map[string]string {
	var best map[string]string
	rank := 0
	for _, c := range all {
		r := 0
		switch {
		case strings.EqualFold(c.Scheme, "Bearer"):
			r = 3
		case strings.EqualFold(c.Scheme, "DPoP"):
			r = 1
		}
		if r > 0 && c.Params["error"] != "" {
			r += 4
		}
		if r > 0 && c.Params["resource_metadata"] != "" {
			r++
		}
		if r > rank {
			best, rank = c.Params, r
		}
	}
	return best
}

// discover finds the resource and its authorization server (RFC 9728). The
// document is read again each time: a changed issuer shows only there
// (C-DISC-08).
func (t *Transport) discover(ctx context.Context, n need) (target, error) {
	called := n.server.String()
	server, err := checkEndpoint(called)
	if err != nil {
		return target{}, &Error{Step: stepDiscover, Server: called, Who: whoMaker, Description: "no token is sent to this URL", Err: err}
	}
	prm, found, err := t.resourceMetadata(ctx, server, n)
	if err != nil {
		return target{}, err
	}
	by := t.named(server)
	if !found {
		at, err := t.legacyTarget(server, by)
		at.bound = n.bound
		return at, err
	}
	// C-DISC-03, CONFLICT-3: same origin and a prefix of the path.
	covers, err := t.covers(prm.Resource, n.server)
	if err != nil {
		return target{}, err
	}
	issuer, err := t.chooseIssuer(called, prm.AuthorizationServers)
	if err != nil {
		return target{}, err
	}
	scopes, err := oauth.ParseScope(strings.Join(prm.ScopesSupported, " "))
	if err != nil {
		scopes = nil
	}
	if t.Flow.server().Issuer == issuer {
		by = byUser
	}
	return target{server: called, covers: covers, resource: prm.Resource, issuer: issuer, scopes: scopes, by: by,
		bound: n.bound || prm.DPoPRequired, algs: prm.DPoPSigningAlgsSupported}, nil
}

// covers is the URL prefix that tokens for a resource are sent to: the resource
// itself, or the called URL alone where the caller named the resource.
func (t *Transport) covers(resource string, server address) (string, error) {
	called := server.String()
	switch {
	case t.Resource != "" && resource != t.Resource:
		return "", unusable(stepDiscover, called, "its resource metadata is for %q, and not for the resource %q that was named", resource, t.Resource)
	case oauth.ResourceCovers(resource, server.whole()):
		return resource, nil
	case t.Resource != "":
		return called, nil
	}
	return "", unusable(stepDiscover, called, "its resource metadata is for %q, which is not the server that was called", resource)
}

// chooseIssuer takes the issuer that the client was configured for, else the
// one that the program chooses, else the first that can be one (C-DISC-04).
func (t *Transport) chooseIssuer(server string, listed []string) (string, error) {
	if len(listed) == 0 {
		return "", unusable(stepDiscover, server, "its resource metadata lists no authorization_servers")
	}
	if own := t.Flow.server().Issuer; own != "" {
		if slices.Contains(listed, own) {
			return own, nil
		}
		return "", &Error{Step: stepDiscover, Server: server, Who: whoMaker, Description: oauth.Printable(
			"the client is registered with " + own + ", and this server is under " + strings.Join(listed, ", "))}
	}
	usable := slices.DeleteFunc(slices.Clone(listed), func(s string) bool { return oauth.CheckIssuer(s) != nil })
	if len(usable) == 0 {
		return "", unusable(stepDiscover, server, "its resource metadata lists an authorization server that cannot be one: %v", oauth.CheckIssuer(listed[0]))
	}
	if t.ChooseIssuer == nil {
		return usable[0], nil
	}
	chosen := t.ChooseIssuer(server, slices.Clone(usable))
	if !slices.Contains(usable, chosen) {
		return "", &Error{Step: stepDiscover, Server: server, Who: whoMaker, Description: oauth.Printable(
			"ChooseIssuer wants none of this server's authorization servers: " + strings.Join(usable, ", "))}
	}
	return chosen, nil
}

// resourceMetadata gets the document that the challenge names, else the
// path-inserted one, with the query and without it, else the root's
// (C-DISC-02). found is false if there is none at any well-known place.
func (t *Transport) resourceMetadata(ctx context.Context, server *url.URL, n need) (prm oauth.ResourceMetadata, found bool, err error) {
	if n.metadata != "" {
		found, err := t.readMetadata(ctx, n.metadata, t.named(server), nil, &prm)
		if err == nil && !found {
			err = unusable(stepDiscover, server.String(), "the resource metadata that it names is not at %s", n.metadata)
		}
		return prm, found, err
	}
	inserted, err := oauth.ResourceMetadataURL(n.server.whole())
	if err != nil {
		return prm, false, &Error{Step: stepDiscover, Server: server.String(), Who: whoMaker, Err: err}
	}
	plain, _, _ := strings.Cut(inserted, "?")
	root := server.Scheme + "://" + server.Host + oauth.WellKnownPRM
	var broken error
	for _, place := range slices.Compact([]string{inserted, plain, root}) {
		found, err := t.readMetadata(ctx, place, t.named(server), nil, &prm)
		if err = firstBroken(&broken, err); err != nil || found {
			return prm, found, err
		}
	}
	return prm, false, broken
}

// firstBroken keeps the first answer of the kind 5xx, after which the next place
// is looked at: many servers have such an answer for every path but one. All
// other errors it returns.
func firstBroken(broken *error, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Status < 500 {
		return err
	}
	if *broken == nil {
		*broken = err
	}
	return nil
}

// legacyTarget is the 2025-03-26 rule: the server is its own authorization
// server, at its origin (REV-11).
func (t *Transport) legacyTarget(server *url.URL, by trust) (target, error) {
	if !t.Legacy {
		return target{}, unusable(stepDiscover, server.String(), "it wants authorization but publishes no resource metadata (RFC 9728)")
	}
	origin := server.Scheme + "://" + server.Host
	return target{server: server.String(), covers: origin, resource: t.Resource, issuer: origin, legacy: true, by: by}, nil
}

// metadata is the metadata of the target's authorization server.
func (t *Transport) metadata(ctx context.Context, at target) (*oauth.ServerMetadata, error) {
	key := metadataKey{issuer: at.issuer, by: at.by, legacy: at.legacy}
	return t.state.servers.get(ctx, t.now, key, metadataTTL, func(ctx context.Context) (*oauth.ServerMetadata, error) {
		places, err := oauth.MetadataURLs(at.issuer)
		if err != nil {
			return nil, unusable(stepDiscover, at.server, "%v", err)
		}
		var header http.Header
		if at.legacy {
			header = http.Header{"Mcp-Protocol-Version": {"2025-03-26"}} // REV-13
		}
		md, err := t.serverMetadata(ctx, at.issuer, places, at.by, header)
		if md == nil && err == nil && at.legacy {
			return defaultEndpoints(at.issuer), nil
		}
		if md == nil && err == nil {
			err = unusable(stepDiscover, at.issuer, "no authorization server metadata at %s", strings.Join(places, " or "))
		}
		return md, err
	})
}

// idpMetadata is the metadata of the configured IdP: at the place of OpenID
// Connect first, and without a word about PKCE, which its token endpoint does
// not need (decision of C-DISC-07: it is for the code flow).
func (t *Transport) idpMetadata(ctx context.Context, issuer string) (*oauth.ServerMetadata, error) {
	return t.state.servers.get(ctx, t.now, metadataKey{issuer: issuer, by: byUser, idp: true}, metadataTTL, func(ctx context.Context) (*oauth.ServerMetadata, error) {
		places, err := oauth.MetadataURLs(issuer)
		if err != nil {
			return nil, misconfigured("IdP.Issuer: %v", err)
		}
		first := strings.TrimSuffix(issuer, "/") + oauth.WellKnownOIDC
		places = append([]string{first}, slices.DeleteFunc(places, func(p string) bool { return p == first })...)
		md, err := t.serverMetadata(ctx, issuer, places, byUser, nil)
		var e *Error
		if errors.As(err, &e) && e.Who == whoOperator {
			e.Who = whoIdP
		}
		if md == nil && err == nil {
			err = &Error{Step: stepDiscover, Server: issuer, Who: whoMaker,
				Description: "no metadata of the IdP at " + strings.Join(places, " or ") + ": check IdP.Issuer"}
		}
		return md, err
	})
}

type metadataKey struct {
	issuer      string
	by          trust
	legacy, idp bool
}

// serverMetadata gets the first document that answers; nil if none does. Its
// issuer is identical to the one asked for (C-DISC-06, RFC 8414 section 3.3).
func (t *Transport) serverMetadata(ctx context.Context, issuer string, places []string, by trust, header http.Header) (*oauth.ServerMetadata, error) {
	var broken error
	for _, place := range places {
		var md oauth.ServerMetadata
		found, err := t.readMetadata(ctx, place, by, header, &md)
		if err = firstBroken(&broken, err); err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		if md.Issuer != issuer {
			return nil, unusable(stepDiscover, issuer, "its metadata at %s is that of the issuer %q", place, md.Issuer)
		}
		t.useAliases(&md, by)
		return &md, nil
	}
	return nil, broken
}

// readMetadata gets one JSON document. found is false where there is none: a
// 3xx or 4xx, or a page instead of a document.
func (t *Transport) readMetadata(ctx context.Context, place string, by trust, header http.Header, into any) (found bool, err error) {
	d, err := t.get(ctx, place, by, header)
	place, _, _ = strings.Cut(place, "?") // as errors show it
	switch {
	case err != nil:
		e := unreachable(stepDiscover, place, err)
		if !e.Retry {
			e.Who = whoOperator
		}
		return false, e
	case d.status >= 500 || d.status == http.StatusTooManyRequests:
		e := unusable(stepDiscover, place, "it cannot be read now")
		e.Status, e.Retry = d.status, true
		return false, e
	case d.status != http.StatusOK:
		return false, nil
	}
	if err := json.Unmarshal(d.body, into); err != nil {
		if !d.json {
			return false, nil
		}
		return false, unusable(stepDiscover, place, "the document is not the JSON object that it should be")
	}
	return true, nil
}

// defaultEndpoints stand in for metadata in legacy mode (MCP 2025-03-26).
func defaultEndpoints(origin string) *oauth.ServerMetadata {
	return &oauth.ServerMetadata{
		Issuer:                        origin,
		AuthorizationEndpoint:         origin + "/authorize",
		TokenEndpoint:                 origin + "/token",
		RegistrationEndpoint:          origin + "/register",
		CodeChallengeMethodsSupported: []string{"S256"},
	}
}
