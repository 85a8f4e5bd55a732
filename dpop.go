package doorward

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/dpop"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// nonceAt is where a nonce holds (RFC 9449 sections 8 and 9): an authorization
// server and an MCP server of one origin may each have nonces of their own.
type nonceAt struct {
	origin   origin
	resource bool
}

// maxNonce bounds what a server may have repeated with each request, in bytes.
const maxNonce = 1 << 10

// keyFor is the key that the next token for a target is bound to; nil: none,
// because neither the program nor the MCP server asks for that. A grant that
// has one keeps it: its refresh token may be bound to it.
func (t *Transport) keyFor(ctx context.Context, at target, h held) (*jose.Key, error) {
	if h.key != nil || t.DPoP == nil && !at.bound {
		return h.key, nil
	}
	md, err := t.metadata(ctx, at)
	if err != nil {
		return nil, err
	}
	return t.proofKey(md.Issuer, md.DPoPSigningAlgsSupported, at.algs)
}

// proofKey is the configured key, or one of this Transport's own, of an
// algorithm that all lists have; an empty list has all.
func (t *Transport) proofKey(server string, lists ...[]string) (*jose.Key, error) {
	taken := func(alg string) bool {
		return !slices.ContainsFunc(lists, func(l []string) bool { return len(l) > 0 && !slices.Contains(l, alg) })
	}
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	if t.DPoP != nil {
		return t.configuredKey(server, taken)
	}
	algs := jose.Algs()
	i := slices.IndexFunc(algs, taken)
	if i < 0 {
		return nil, unusable(stepDiscover, server, "it takes DPoP proofs of no algorithm that is known here (dpop_signing_alg_values_supported)")
	}
	if key := t.state.keys[algs[i]]; key != nil {
		return key, nil
	}
	key, err := jose.Generate(algs[i])
	if err != nil {
		return nil, &Error{Step: stepConfigure, Server: server, Who: whoMaker, Description: "no key for DPoP could be made", Err: err}
	}
	if t.state.keys == nil {
		t.state.keys = map[string]*jose.Key{}
	}
	t.state.keys[algs[i]] = key
	return key, nil
}

// configuredKey is Transport.DPoP, if its algorithm is taken.
func (t *Transport) configuredKey(server string, taken func(string) bool) (*jose.Key, error) {
	key := t.state.keys[""]
	if key == nil {
		var err error
		if key, err = jose.NewKey(t.DPoP, ""); err != nil {
			return nil, &Error{Step: stepConfigure, Who: whoMaker, Description: "Transport.DPoP cannot sign proofs", Err: err}
		}
		t.state.keys = map[string]*jose.Key{"": key}
	}
	if !taken(key.Alg()) {
		return nil, &Error{Step: stepConfigure, Server: server, Who: whoMaker,
			Description: "Transport.DPoP signs with " + key.Alg() + ", which is not among the dpop_signing_alg_values_supported there"}
	}
	return key, nil
}

// keyToKeep is a key of this Transport's own for the TokenStore, where it lies
// beside the tokens that are bound to it. The program keeps its own.
func (t *Transport) keyToKeep(key *jose.Key) []byte {
	if key == nil || t.DPoP != nil {
		return nil
	}
	der, err := key.Marshal()
	if err != nil {
		return nil // a kept token without its key is none: see keptKey
	}
	return der
}

// keptKey is the key of a kept grant; nil: it has none. false: it has one that
// is not there any more.
func (t *Transport) keptKey(k *keptGrant) (*jose.Key, bool) {
	if k.JKT == "" {
		return nil, true
	}
	var key *jose.Key
	var err error
	if t.DPoP != nil {
		key, err = t.proofKey(k.Issuer)
	} else {
		key, err = jose.ParseKey(k.Key, "")
	}
	return key, err == nil && key.ID() == k.JKT
}

// prove makes a proof for one request (RFC 9449 section 4.2). It returns the
// nonce in it, too.
func (t *Transport) prove(key *jose.Key, at nonceAt, to dpop.Target) (proof, nonce string, err error) {
	nonce, _ = t.state.nonces.get(t.now(), at)
	if proof, err = dpop.Make(key, to, nonce, t.now()); err != nil {
		err = &Error{Step: stepConfigure, Server: to.URL, Who: whoMaker, Description: "signing a DPoP proof failed", Err: err}
	}
	return proof, nonce, err
}

// tokenRequestOnce sends a token request with a proof of w.key, if there is one. It
// is sent once more with the nonce that the server asks for (RFC 9449 section
// 8), and with a proof at all if the server's answer is that it wants one.
func (w want) tokenRequestOnce(ctx context.Context, step string, md *oauth.ServerMetadata, by trust, as Credentials, method string, form url.Values) (answer, error) {
	u, err := url.Parse(md.TokenEndpoint)
	if err != nil || md.TokenEndpoint == "" {
		return answer{}, unusable(step, md.Issuer, "its metadata names no token_endpoint")
	}
	at := nonceAt{origin: originOf(u)}
	for demanded, renewed := false, false; ; {
		var proof, used string
		if w.key != nil {
			if proof, used, err = w.t.prove(w.key, at, dpop.Target{Method: http.MethodPost, URL: addressOf(u).String()}); err != nil {
				return answer{}, err
			}
		}
		a, err := w.t.tokenRequest(ctx, step, md, by, as, method, form, proof)
		a.key = w.key
		switch {
		case w.key == nil && !demanded && (hasCode(err, oauth.InvalidDPoPProof) || hasCode(err, oauth.UseDPoPNonce)):
			demanded = true
			if w.key, err = w.t.proofKey(md.Issuer, md.DPoPSigningAlgsSupported); err != nil {
				return a, err
			}
		case w.key != nil && !renewed && hasCode(err, oauth.UseDPoPNonce) && w.t.newer(at, used):
			renewed = true
		default:
			return a, err
		}
	}
}

// checkType wants an access token of the type that goes with the request
// (C-TOK-03): one without a proof brings bearer tokens, and one with a proof
// tokens that are bound to its key (C-DPOP-03).
func (a answer) checkType(step, issuer string) error {
	switch {
	case strings.EqualFold(a.TokenType, tokenType(a.key)):
		return nil
	case a.key == nil:
		return unusable(step, issuer, "token_type is %.40q, and the request was for a bearer token", a.TokenType)
	}
	return unusable(step, issuer, "token_type is %.40q, and the token must be bound to a key (DPoP): it is discarded", a.TokenType)
}

// checkBinding wants an ID-JAG to be bound to the key whose proof went with the
// exchange (C-EMA-05), and to none if there was no proof: the authorization
// server would refuse it.
func (a answer) checkBinding(idp string) error {
	var cnf struct {
		Key string `json:"jkt"`
	}
	if _, claims, err := jose.Peek(a.AccessToken); err == nil && claims.Has("cnf") {
		if err := claims.Decode("cnf", &cnf); err != nil {
			return unusable(stepExchange, idp, "what the ID-JAG is bound to (cnf) cannot be read")
		}
	}
	switch {
	case cnf.Key == thumbprintOf(a.key):
		return nil
	case cnf.Key == "":
		return unusable(stepExchange, idp, "the ID-JAG is not bound to the key of the DPoP proof (cnf.jkt is missing): it is discarded")
	}
	return unusable(stepExchange, idp, "the ID-JAG is bound to another key than this client's (cnf.jkt): it is discarded")
}

// learn keeps the nonce of an answer, also of a good one (sections 8.2 and 9).
func (t *Transport) learn(at nonceAt, h http.Header) {
	values := h.Values(dpop.NonceHeader)
	if len(values) != 1 || !visible(values[0]) || len(values[0]) > maxNonce {
		return
	}
	t.state.nonces.put(t.now(), at, values[0], t.now().Add(time.Hour))
}

// newer reports whether there is another nonce than the one that was used.
func (t *Transport) newer(at nonceAt, used string) bool {
	nonce, ok := t.state.nonces.get(t.now(), at)
	return ok && nonce != used
}

// asksNonce reports whether an MCP server wants the request again, with the
// nonce of its answer (section 9).
func asksNonce(resp *http.Response) bool {
	return resp.StatusCode == http.StatusUnauthorized && slices.ContainsFunc(
		oauth.ParseChallenges(resp.Header.Values("WWW-Authenticate")),
		func(c oauth.Challenge) bool {
			return strings.EqualFold(c.Scheme, "DPoP") && c.Params["error"] == oauth.UseDPoPNonce
		})
}

// asksProof reports whether an MCP server takes tokens with proofs only: it
// challenges for DPoP and not for Bearer (section 7.1).
func asksProof(all []oauth.Challenge) bool {
	has := func(scheme string) bool {
		return slices.ContainsFunc(all, func(c oauth.Challenge) bool { return strings.EqualFold(c.Scheme, scheme) })
	}
	return has("DPoP") && !has("Bearer")
}

// tokenType is the type of a token by the key that it is bound to.
func tokenType(key *jose.Key) string {
	if key == nil {
		return "Bearer"
	}
	return "DPoP"
}

// headerOf are the values of Authorization that a token is sent as.
func headerOf(access string, key *jose.Key) []string {
	return []string{tokenType(key) + " " + access}
}

// thumbprintOf is the jkt of a key; "": there is none.
func thumbprintOf(key *jose.Key) string {
	if key == nil {
		return ""
	}
	return key.ID() // made without a kid of its own: see proofKey
}
