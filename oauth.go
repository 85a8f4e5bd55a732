package doorward

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/oauth2"
)

// handler fits the OAuthHandler of the MCP Go SDK.
type handler struct {
	t      *Transport
	mu     sync.Mutex
	server address // that it is for, once known
	mixed  bool    // it was used for two servers
}

// OAuth returns a new OAuthHandler for the MCP Go SDK, for one connection to one
// server: the SDK does not say where a token goes, so a handler that is shared by
// two servers stops with an error. Handlers of one Transport share its tokens.
//
// With the Transport as the HTTPClient of the SDK's transport instead, all
// requests are covered: the SDK asks an OAuthHandler for POSTs only, and takes
// the person from the connection's context rather than the request's. Tokens
// that are bound to a key (DPoP) work in no other way: an OAuthHandler can set a
// bearer token only, and this one then stops with an error that says so.
func (t *Transport) OAuth() *handler { return &handler{t: t} } //nolint:revive // its methods are what it is for

// TokenSource returns the source of the token that is held for the server, or
// nil before the first authorization.
func (h *handler) TokenSource(ctx context.Context) (oauth2.TokenSource, error) {
	server, err := h.pin(address{})
	if err == nil && h.t.DPoP != nil {
		err = needsClient()
	}
	if server == (address{}) || err != nil {
		return nil, err
	}
	who, err := h.t.who(ctx)
	if err != nil {
		return nil, err
	}
	token, err := h.t.ready(ctx, server, who)
	if token.access == "" || err != nil {
		return nil, err
	}
	held, ok := h.t.held(server, who.Person)
	switch {
	case !ok:
		return nil, nil
	case held.key != nil:
		return nil, needsClient()
	}
	return oauth2.StaticTokenSource(held.oauth2()), nil
}

// Authorize gets a token for the request that was refused with 401 or 403. The
// response's body is closed. nil means that TokenSource has the token to try
// again with.
func (h *handler) Authorize(ctx context.Context, req *http.Request, resp *http.Response) error {
	defer resp.Body.Close()
	if crossedOrigin(req) {
		return unusable(stepDiscover, addressOf(req.URL).String(), "a redirect led here from another server: no token is sent")
	}
	server, err := h.pin(addressOf(req.URL))
	if err != nil {
		return err
	}
	who, err := h.t.who(ctx)
	if err != nil {
		return err
	}
	if h.t.DPoP != nil {
		return needsClient()
	}
	scheme, sent, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		sent = ""
	}
	n, refused := readNeed(resp, server, sent)
	if !refused {
		e := unusable(stepDiscover, server.String(), "it refused the request and names nothing that a token could change")
		e.Status = resp.StatusCode
		return e
	}
	if n.bound {
		return needsClient()
	}
	h.t.refused(n, who.Person) // nobody tells here which tokens are accepted
	token, err := h.t.satisfy(ctx, n, who)
	if err == nil && token.key != nil {
		return needsClient()
	}
	if err != nil {
		if errors.Is(err, errGiveUp) {
			e := unusable(stepToken, server.String(), "it refuses new tokens again and again")
			e.Status = resp.StatusCode
			return e
		}
		return err
	}
	return nil
}

// needsClient is the error where tokens are bound to a key: an OAuthHandler can
// set a bearer token and nothing else.
func needsClient() *Error {
	return misconfigured("tokens that are bound to a key (DPoP) need a proof with each request, which an OAuthHandler cannot send: set HTTPClient of the SDK's transport to &http.Client{Transport: t}, t being this Transport, in the place of OAuthHandler")
}

// pin fixes the server of the handler at the first call with one.
func (h *handler) pin(server address) (address, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.server == (address{}) {
		h.server = server
	}
	h.mixed = h.mixed || server != (address{}) && server != h.server
	if h.mixed {
		return address{}, misconfigured("an OAuthHandler is for one server: call OAuth once for each connection")
	}
	return h.server, nil
}
