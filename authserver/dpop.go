package authserver

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"doorward/internal/dpop"
	"doorward/internal/jose"
	"doorward/internal/oauth"
	"doorward/internal/peer"
	"doorward/store"
)

// Config.DPoP.
const (
	dpopOptional = "optional"
	dpopRequired = "required"
	dpopOff      = "off"
)

// dpopMode is Config.DPoP with its default.
func (st *settings) dpopMode() string {
	if st.cfg.DPoP == "" {
		return dpopOptional
	}
	return st.cfg.DPoP
}

// proofKey checks the DPoP proof of a token request (RFC 9449 section 5). The
// zero proof: none came, and none is needed here; an assertion may still need
// one (needProof).
func (s *Server) proofKey(a *asked, r *http.Request) (dpop.Proof, error) {
	mode, bound := a.st.dpopMode(), a.client.client.DPoPBound
	switch {
	case mode == dpopOff && bound:
		return dpop.Proof{}, dpop.Refuse(dpop.ReasonMissing, "this client takes DPoP-bound tokens only, and DPoP is off here", nil)
	case mode == dpopOff:
		return dpop.Proof{}, nil
	case dpop.Sent(r.Header):
		p, refusal := s.proofs().Check(r.Header, dpop.Target{Method: http.MethodPost, URL: a.st.cfg.URL + "/token"})
		if refusal != nil {
			return p, refusal
		}
		return p, nil
	case mode == dpopRequired && a.GrantType == oauth.JWTBearer: // AS-JAG-24
		return dpop.Proof{}, a.invalid(dpop.ReasonMissing, nil)
	case mode == dpopRequired || bound: // section 5.2
		return dpop.Proof{}, dpop.Refuse(dpop.ReasonMissing, "a DPoP proof is needed: tokens are bound to a key here", nil)
	}
	return dpop.Proof{}, nil
}

func (s *Server) proofs() dpop.Checker { return dpop.Checker{Nonces: s.nonces, Now: s.clock} }

// holds checks that the request proved possession of the key that a code, a
// refresh token or an assertion is bound to; "" is bound to none.
func (a *asked) holds(key string) error {
	if key == "" || key == a.proof.Key() || a.cert != "" && key == certPrefix+a.cert {
		return nil
	}
	return a.invalid(dpop.ReasonKey, nil)
}

// bindTo is the key that a refresh token is bound to from this request on: that
// of a public client, whose name proves nothing (RFC 9449 section 5, RFC 8705
// section 4). before is the one that it is bound to already.
func (a *asked) bindTo(before string) string {
	switch {
	case before != "" || a.client.proven:
		return before
	case a.proof.Key() == "" && a.cert != "":
		return certPrefix + a.cert
	}
	return a.proof.Key()
}

// proofOps let the proof be used once, in whatever process (RFC 9449 section
// 11.1): they are committed with what it was used for.
func (a *asked) proofOps() []store.Op {
	if a.proof.Key() == "" {
		return nil
	}
	return []store.Op{store.Once(a.proof.Once())}
}

// spendProof is for requests that write nothing else.
func (s *Server) spendProof(ctx context.Context, a *asked) error {
	if ops := a.proofOps(); ops != nil {
		return s.ledger.Store.Commit(ctx, ops...)
	}
	return nil
}

// seenBefore is the refusal after ErrSeen: the proof was used before, or the
// assertion was. nil: that was the same request, which may be answered again.
func (s *Server) seenBefore(ctx context.Context, a *asked) error {
	if name, _ := a.proof.Once(); a.proof.Key() != "" {
		_, err := s.ledger.Store.Get(ctx, store.Once(name, s.now()).Record.Kind, name)
		if err == nil {
			return dpop.Replayed()
		}
		if !notFound(err) {
			return err
		}
	}
	return s.usedBefore(ctx, a)
}

// tokenType is what the client is told of its token (RFC 9449 section 5).
func (a *asked) tokenType() string {
	if a.proof.Key() != "" {
		return "DPoP"
	}
	return "Bearer"
}

// confirmation says which key a token is bound to (RFC 7800 section 3.1).
type confirmation struct {
	Key  string `json:"jkt,omitempty"`      // RFC 9449 section 6.1
	Cert string `json:"x5t#S256,omitempty"` // RFC 8705 section 3.1
}

// confirm is the claim cnf of what is stated now; nil if it is bound to nothing.
func (a *asked) confirm() *confirmation {
	if a.proof.Key() == "" && a.cert == "" {
		return nil
	}
	return &confirmation{a.proof.Key(), a.cert}
}

// confirmKey is cnf of an ID-JAG, which is bound to DPoP keys only.
func (a *asked) confirmKey() *confirmation {
	if a.proof.Key() == "" {
		return nil
	}
	return &confirmation{Key: a.proof.Key()}
}

// possesses checks that who brings a token to this issuer's own resource has
// the key that it is bound to (RFC 9449 section 7.1), and that a bound token does
// not come as a bearer token, nor the other way round (section 7.2). refused is
// the answer to those.
func (s *Server) possesses(ctx context.Context, st *settings, r *http.Request, token string, c jose.Claims, refused *oauth.Error) error {
	to, ok := readConfirmation(c)
	chain := peer.Certificates(r)
	switch {
	case !ok || refused.DPoP != (to.key != ""):
		return refused
	case to.cert != "" && (!st.cfg.MTLS || len(chain) == 0 || peer.Thumbprint(chain[0]) != to.cert): // RFC 8705 section 3
		return refused
	case !refused.DPoP:
		return nil
	}
	p, refusal := s.proofs().Check(r.Header, dpop.Target{Method: r.Method, URL: st.cfg.URL + strings.TrimPrefix(r.URL.Path, st.path), Token: token})
	switch {
	case refusal != nil:
	case p.Key() != to.key:
		return refused
	default:
		if err := s.ledger.Store.Commit(ctx, store.Once(p.Once())); !errors.Is(err, store.ErrSeen) {
			return err
		}
		refusal = dpop.Replayed()
	}
	refusal.Status, refusal.DPoP = http.StatusUnauthorized, true
	return refusal
}

// challengeDPoP is the challenge of this issuer's own resource (RFC 9449
// section 7.1).
func challengeDPoP(code, description string) string {
	return oauth.FormatChallenge("DPoP", "error", code, "error_description", description, "algs", strings.Join(dpop.Algs(), " "))
}

// withNonce is an answer that brings a newer nonce (RFC 9449 section 8.2).
type withNonce struct {
	answer any
	nonce  string
}

// offerNonce adds the newest nonce to the answer of a client that uses them.
// Whoever was never asked for one gets none: a nonce that grows old would cost
// it a second round.
func (s *Server) offerNonce(a *asked, answer any) any {
	if !a.proof.Renew() {
		return answer
	}
	return withNonce{answer, s.nonces.Current(s.now())}
}
