package doorward

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"doorward/internal/dpop"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// Transport is an http.RoundTripper that gets, keeps and sends tokens for MCP
// servers. Only Flow is required. One Transport may serve many goroutines,
// people and servers; it must not be copied, nor changed once it is in use.
//
// A request with an Authorization header of its own, and one that a redirect
// led to another origin, is passed on untouched. A request whose body has no
// GetBody is buffered up to 4 MiB, so that it can be sent again; a larger one is
// sent once, and its 401 is returned.
type Transport struct {
	// Flow is the way to a token: *AuthorizationCode, *ClientCredentials,
	// *CrossApp or *Workload.
	Flow Flow
	// Base carries the requests. nil: http.DefaultTransport for what the caller
	// names (the MCP server, the IdP, an authorization server whose issuer is
	// configured), and a transport that refuses special-use addresses for what
	// an MCP server names. An *http.Transport is cloned for the latter, and its
	// client certificate goes there only with requests that authenticate the
	// client by it; any other RoundTripper carries everything, and keeping to
	// allowed addresses is then its own duty.
	Base http.RoundTripper
	// AllowPrivate lets URLs that an MCP server names lie in private and
	// loopback space. Without it they may only where the server's own address does.
	AllowPrivate bool
	// Legacy falls back to the rules of MCP 2025-03-26 for servers that publish
	// no resource metadata: the server's origin is its authorization server.
	Legacy bool
	// Resource is the resource identifier (RFC 8707) of the MCP server, for a
	// program that calls one server which names itself otherwise than by its
	// address, or not at all. Empty: found from the server, whose address it
	// has to cover.
	Resource string
	// Store keeps tokens between runs and shares them with other processes. nil:
	// they are kept in memory, and end with the Transport.
	Store TokenStore
	// ChooseIssuer picks one of the several authorization servers that an MCP
	// server lists (RFC 9728 section 7.6), for a Flow without an Issuer of its own.
	// nil: the first.
	ChooseIssuer func(server string, issuers []string) string
	// DPoP is the key that tokens are bound to (RFC 9449): ECDSA P-256, Ed25519,
	// or RSA of at least 2048 bits. Every token request and every request with a
	// token then carries a proof of it, and a token of another type than DPoP is
	// discarded. nil: bearer tokens, and for servers that demand bound ones a key
	// that this Transport makes and keeps in memory.
	DPoP crypto.Signer
	// Logger gets what happens, without secrets and tokens. nil: nothing is logged.
	Logger *slog.Logger
	// Now is the clock. nil: time.Now.
	Now func() time.Time

	state state
}

// state is what a Transport learns; its zero value is empty.
type state struct {
	mu        sync.Mutex
	guarded   map[guardedKey]http.RoundTripper
	pinned    string // issuer that a secret without issuer belongs to
	addresses cache[origin, reach]
	servers   fresh[metadataKey, *oauth.ServerMetadata]
	shelves   cache[place, *shelf]
	jags      cache[jagKey, jag]
	proofs    cache[proofKey, proof] // of people, to their IdP
	proving   flights[proving, proof]
	turns     turns[proofKey]
	resting   cache[restKey, *Error]
	clients   cache[string, registration]
	flights   flights[errand, held]
	looked    fresh[looked, bool]
	keys      map[string]*jose.Key // that proofs are signed with, by algorithm; "": Transport.DPoP
	nonces    cache[nonceAt, string]
	refusals  cache[refusedKey, *Error]
}

// errand is what one flight is for.
type errand struct {
	need
	person string
}

// errGiveUp is the answer to a need that was met before, without success.
var errGiveUp = errors.New("tried before")

// RoundTrip sends the request with the token that is held for it. A 401 brings
// a new token once, a 403 insufficient_scope one with more scopes, twice at
// most, a 401 insufficient_user_authentication one of a new sign-in, once (see
// [StepUp]); after that the answer is the caller's.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if _, own := req.Header["Authorization"]; own || crossedOrigin(req) {
		return t.typed().RoundTrip(req)
	}
	body, err := newReplay(req)
	if err != nil {
		return nil, err
	}
	defer body.close()
	who, err := t.who(req.Context())
	if err != nil {
		return nil, err
	}
	server := addressOf(req.URL)
	token, err := t.ready(req.Context(), server, who)
	if err != nil {
		return nil, err
	}
	for done := (efforts{}); ; {
		resp, err := t.send(req, &body, token)
		if err != nil {
			return nil, err
		}
		n, refused := readNeed(resp, server, token.access)
		if !refused {
			t.accepted(server, who.Person, token.access, done)
			return resp, nil
		}
		if token.key != nil && asksNonce(resp) {
			return resp, nil // the token is not to blame, and its nonce is kept for the next request
		}
		if !done.take(n) || !body.again() {
			t.refused(n, who.Person)
			return resp, nil
		}
		fresh, err := t.satisfy(req.Context(), n, who)
		if errors.Is(err, errGiveUp) {
			return resp, nil
		}
		drain(resp)
		if err != nil {
			return nil, err
		}
		token = fresh
	}
}

// Token returns a token for the MCP server at address without calling a tool:
// one that is held, or a new one. It has no refresh token: that stays here. One
// of the type DPoP is of use through this Transport only, which has its key.
func (t *Transport) Token(ctx context.Context, address string) (*oauth2.Token, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, misconfigured("the address of the MCP server is no URL")
	}
	who, err := t.who(ctx)
	if err != nil {
		return nil, err
	}
	server := addressOf(u)
	token, err := t.ready(ctx, server, who)
	if err != nil {
		return nil, err
	}
	if token.access == "" {
		n, err := t.challengeOf(ctx, u)
		if err != nil {
			return nil, err
		}
		if _, err = t.satisfy(ctx, n, who); err != nil {
			return nil, err
		}
	}
	held, ok := t.held(server, who.Person)
	if !ok {
		return nil, unusable(stepToken, server.String(), "the token ended at once")
	}
	return held.oauth2(), nil
}

// challengeOf asks the server what it wants, with an unauthenticated GET. A
// server that has no challenge for it is asked by its well-known documents.
func (t *Transport) challengeOf(ctx context.Context, u *url.URL) (need, error) {
	server := addressOf(u)
	if _, err := checkEndpoint(server.String()); err != nil {
		return need{}, misconfigured("no token is sent to %s: %v", server, err)
	}
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(t.observe(ctx, u), http.MethodGet, u.String(), nil)
	if err != nil {
		return need{}, misconfigured("the address of the MCP server is no URL")
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	resp, err := t.typed().RoundTrip(req)
	if err != nil {
		return need{}, unreachable(stepDiscover, server.String(), err)
	}
	resp.Body.Close() // unread: it may be a stream without end
	if n, refused := readNeed(resp, server, ""); refused {
		return n, nil
	}
	return need{server: server}, nil
}

// who names the person of this request.
func (t *Transport) who(ctx context.Context) (Subject, error) {
	if t.Flow == nil {
		return Subject{}, misconfigured("Transport needs a Flow")
	}
	if f, ok := t.Flow.(*ClientCredentials); ok {
		if err := f.provable(t); err != nil {
			return Subject{}, err
		}
	}
	return t.Flow.subject(ctx)
}

// send sends the request with a token and, if that is bound to a key, a new
// proof; once more if the server wants its nonce in it (RFC 9449 section 9).
func (t *Transport) send(req *http.Request, body *replay, token held) (*http.Response, error) {
	if token.access == "" || token.key == nil {
		return t.sendWith(req, body, token, "")
	}
	at := nonceAt{originOf(req.URL), true}
	to := dpop.Target{Method: cmp.Or(req.Method, http.MethodGet), URL: addressOf(req.URL).String(), Token: token.access}
	for again := false; ; again = true {
		proof, used, err := t.prove(token.key, at, to)
		if err != nil {
			return nil, err
		}
		resp, err := t.sendWith(req, body, token, proof)
		if err != nil {
			return nil, err
		}
		t.learn(at, resp.Header)
		if again || !asksNonce(resp) || !t.newer(at, used) || !body.again() {
			return resp, nil
		}
		drain(resp)
	}
}

// sendWith sends a copy of the request, with a header of its own: all else is the
// caller's, which no RoundTripper changes. The answer shows the caller's
// request, in which there is no token.
func (t *Transport) sendWith(req *http.Request, body *replay, token held, proof string) (*http.Response, error) {
	out := req.WithContext(t.observe(req.Context(), req.URL))
	var err error
	if out.Body, err = body.next(); err != nil {
		return nil, err
	}
	out.ContentLength = body.length
	if token.access != "" {
		if out.Header = maps.Clone(req.Header); out.Header == nil {
			out.Header = http.Header{}
		}
		out.Header["Authorization"] = token.header
		if proof != "" {
			out.Header[dpop.Header] = []string{proof}
		}
	}
	resp, err := t.typed().RoundTrip(out)
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}

// crossedOrigin reports whether redirects have led the request away from where
// the caller sent it (C-TOK-02).
func crossedOrigin(req *http.Request) bool {
	if req.Response == nil {
		return false
	}
	here := originOf(req.URL)
	for resp := req.Response; resp != nil && resp.Request != nil; resp = resp.Request.Response {
		if originOf(resp.Request.URL) != here {
			return true
		}
	}
	return false
}

// address is a URL without what does not name a server (fragment, user). Its
// query may name one of several (RFC 9728 section 3.1).
type address struct{ scheme, host, path, rawPath, query string }

func addressOf(u *url.URL) address { return address{u.Scheme, u.Host, u.Path, u.RawPath, u.RawQuery} }

func (a address) url() *url.URL {
	return &url.URL{Scheme: a.scheme, Host: a.host, Path: a.path, RawPath: a.rawPath}
}

// String is what errors and logs call the server: without the query, which may
// hold what is nobody's business.
func (a address) String() string { return a.url().String() }

// whole is the URL that resources are compared with.
func (a address) whole() string {
	u := a.url()
	u.RawQuery = a.query
	return u.String()
}

func (t *Transport) now() time.Time {
	if t.Now != nil {
		return t.Now()
	}
	return time.Now()
}

func (t *Transport) log() *slog.Logger {
	if t.Logger != nil {
		return t.Logger
	}
	return slog.New(slog.DiscardHandler)
}
