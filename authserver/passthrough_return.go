package authserver

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// Clients compare the iss of an answer (RFC 9207) with the issuer that they
// asked, which is us. Where the separate server sends its own, the answers to
// clients that registered through us come back to us first: we compare that iss
// and put ours in its place. Their redirect URIs are kept for it, since the
// separate server then sees ours only.

// Bounds of what is kept of a registration.
const (
	maxRelayedID       = 200
	maxRelayedRedirect = 2000
)

// forRelay seals what a client waits for while the browser is away.
const forRelay = "relay"

// waiting is where an answer goes on to.
type waiting struct {
	Browser  string    `json:"browser"` // that asked: nobody else is sent there
	Redirect string    `json:"redirect"`
	State    string    `json:"state,omitempty"`
	HasState bool      `json:"has_state,omitempty"`
	Until    time.Time `json:"until"`
}

// returns is where answers come back to.
func (st *settings) returns() string { return st.cfg.URL + "/callback/" + separateName }

// named reports whether answers of the separate server carry its iss.
func (l *relay) named(its oauth.ServerMetadata) bool {
	return l.Issuer != "" && its.AuthorizationResponseIss
}

// withReturn is a registration with our address beside the client's own; false:
// there is nothing to add it to.
func withReturn(body []byte, ours string) ([]byte, bool) {
	var members map[string]json.RawMessage
	var uris []string
	if json.Unmarshal(body, &members) != nil || json.Unmarshal(members["redirect_uris"], &uris) != nil || len(uris) == 0 {
		return nil, false
	}
	return setRedirects(members, append(uris, ours))
}

// withoutReturn takes our address out of an answer, and says whose it is.
func withoutReturn(body []byte, ours string) (out []byte, id string, uris []string, ok bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil || json.Unmarshal(members["client_id"], &id) != nil ||
		json.Unmarshal(members["redirect_uris"], &uris) != nil || !slices.Contains(uris, ours) {
		return nil, "", nil, false
	}
	uris = slices.DeleteFunc(uris, func(uri string) bool { return uri == ours })
	out, ok = setRedirects(members, uris)
	return out, id, uris, ok
}

func setRedirects(members map[string]json.RawMessage, uris []string) ([]byte, bool) {
	var err error
	if members["redirect_uris"], err = json.Marshal(uris); err != nil {
		return nil, false
	}
	out, err := json.Marshal(members)
	return bytes.TrimSpace(out), err == nil
}

// keepReturn makes a registration that the separate server took with our address
// one whose answers come back by us. One that cannot be kept works as it stands.
func (s *Server) keepReturn(ctx context.Context, st *settings, answer *relayed) {
	body, id, uris, ok := withoutReturn(answer.body, st.returns())
	if !ok {
		return
	}
	answer.body = body
	if err := s.keepRelayed(ctx, st, id, uris); err != nil {
		s.log.WarnContext(ctx, "the redirect URIs of a registration could not be kept: answers to it have the iss of the separate server", "client", id, "error", err)
	}
}

// keepRelayed keeps the redirect URIs of a client that registered through us.
func (s *Server) keepRelayed(ctx context.Context, st *settings, id string, uris []string) error {
	if id == "" || len(id) > maxRelayedID || len(uris) == 0 || len(uris) > maxRedirectURIs ||
		slices.ContainsFunc(uris, func(uri string) bool {
			return len(uri) > maxRelayedRedirect || oauth.CheckRedirectURI(uri, true) != nil && !inCatalogue(uri)
		}) {
		return errors.New("the registration is too large to be kept, or has redirect URIs that nobody is sent to from here")
	}
	_, err := s.addClient(ctx, st, ledger.Client{ID: id, RedirectURIs: uris, Source: ledger.FromDynamic, Approved: st.othersPolicy() == othersAllow, AuthMethod: authNone,
		GrantTypes: []string{oauth.AuthorizationCode}, Created: s.now(), Expires: s.now().Add(st.unused())})
	return err
}

// relayedClient is a client that registered through us, if the redirect URI is
// its own.
func (s *Server) relayedClient(ctx context.Context, id, redirect string) (ledger.Client, bool, error) {
	if id == "" || redirect == "" {
		return ledger.Client{}, false, nil
	}
	c, err := s.ledger.Client(ctx, id)
	switch {
	case notFound(err):
		return c, false, nil
	case err != nil:
		return c, false, err
	}
	return c, oauth.MatchRedirect(c.RedirectURIs, redirect), nil
}

// comesBack puts our address into an authorization request whose answer has to
// come by us, and the client's into state.
func (v *visit) comesBack(its oauth.ServerMetadata, q url.Values) error {
	if v.st.relay.ClientID != "" || !v.st.relay.named(its) || !q.Has("code_challenge") {
		return nil
	}
	c, ok, err := v.s.relayedClient(v.r.Context(), q.Get("client_id"), q.Get("redirect_uri"))
	if err != nil || !ok {
		return err
	}
	for _, name := range []string{"request", "request_uri", "response_mode"} { // what they say would lead past us
		if q.Has(name) && (name != "response_mode" || q.Get(name) != "query") {
			return &oauth.Error{Code: oauth.InvalidRequest, Description: name + " is not supported"}
		}
	}
	plain, err := json.Marshal(waiting{Browser: v.browser(), Redirect: q.Get("redirect_uri"), State: q.Get("state"), HasState: q.Has("state"), Until: v.s.now().Add(attemptLife)})
	if err != nil {
		return err
	}
	state := base64.RawURLEncoding.EncodeToString(v.s.vault.Seal("attempt/"+forRelay, plain))
	if len(state) > maxState {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "state is too long"}
	}
	q.Set("state", state)
	q.Set("redirect_uri", v.st.returns())
	v.s.stillUsed(v.r.Context(), v.st, c)
	return nil
}

// stillUsed makes a registration that is used last. If it cannot be written
// now, it will be the next time.
func (s *Server) stillUsed(ctx context.Context, st *settings, c ledger.Client) {
	until := s.now().Add(st.unused())
	if c.Expires.IsZero() || until.Sub(c.Expires) < st.unused()/2 {
		return
	}
	c.Expires = until
	if err := s.ledger.Store.Commit(ctx, c.Put()); err != nil {
		s.log.WarnContext(ctx, "a registration that is in use could not be extended", "client", c.ID, "error", err)
	}
}

// relayReturn brings an answer on to the client, with our iss for the separate
// server's (RFC 9207 section 2.4: that is compared first).
func (s *Server) relayReturn(w http.ResponseWriter, r *http.Request) {
	v := s.visit(w, r)
	if v.crowded() {
		return
	}
	q, err := onceEach(r.URL.RawQuery)
	var to waiting
	if err == nil {
		to, err = v.unsealWaiting(q.Get("state"))
	}
	if err == nil && q.Get("iss") != v.st.relay.Issuer {
		err = errors.New("the answer does not come from " + v.st.relay.Issuer + " (iss)")
	}
	if errors.Is(err, errOtherBrowser) {
		v.answerLost(attempt{}, err)
		return
	}
	if err != nil {
		v.answerWrong(err)
		return
	}
	q.Del("iss")
	q.Del("state")
	if to.HasState {
		q.Set("state", to.State)
	}
	q.Set("iss", v.st.cfg.URL)
	base, own, _ := strings.Cut(to.Redirect, "?")
	query := q.Encode()
	if own = withoutAnswers(own); own != "" {
		query = own + "&" + query
	}
	v.see(base + "?" + query)
}

func (v *visit) unsealWaiting(state string) (waiting, error) {
	var to waiting
	sealed, err := base64.RawURLEncoding.DecodeString(state)
	if err != nil || state == "" {
		return to, errNoAttempt
	}
	plain, err := v.s.vault.Open("attempt/"+forRelay, sealed)
	if err != nil {
		return to, errNoAttempt
	}
	if err := json.Unmarshal(plain, &to); err != nil {
		return to, err
	}
	if to.Browser == "" || to.Browser != v.browser() {
		return to, errOtherBrowser
	}
	if !v.s.now().Before(to.Until) {
		return to, errLate
	}
	return to, nil
}

func (v *visit) answerWrong(cause error) {
	err := &oauth.Error{Code: oauth.AccessDenied, Reason: "provider_answer", Description: "sign-in at the separate server", Err: cause}
	page := failure{Title: "The answer to the sign-in is not acceptable",
		Happened: "What came back does not belong to a request of an application, is too old, or comes from somebody else. Nothing was passed on.",
		Do:       "Go back to the application and connect again. If it stays, tell an administrator the reference.", Who: "an administrator of " + v.st.name}
	page.Reference = v.keepPage(err)
	v.fail(http.StatusBadRequest, page, err)
}

// returned puts our address into the redemption of a code that came by us.
func (s *Server) returned(r *http.Request, st *settings, its oauth.ServerMetadata, form url.Values) error {
	if st.relay.ClientID != "" || !st.relay.named(its) || form.Get("grant_type") != oauth.AuthorizationCode || !form.Has("code_verifier") {
		return nil
	}
	id := form.Get("client_id")
	if basic, _, ok := r.BasicAuth(); ok {
		if plain, err := url.QueryUnescape(basic); err == nil {
			id = plain
		}
	}
	if id == "" { // RFC 7523 section 3: sub is the client
		id = claimedSubject(form.Get("client_assertion"))
	}
	_, ok, err := s.relayedClient(r.Context(), id, form.Get("redirect_uri"))
	if err == nil && ok {
		form.Set("redirect_uri", st.returns())
	}
	return err
}

// claimedSubject is the claim sub of a JWT that the separate server will check.
func claimedSubject(assertion string) string {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return ""
	}
	var c struct {
		Sub string `json:"sub"`
	}
	plain, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(plain, &c) != nil {
		return ""
	}
	return c.Sub
}
