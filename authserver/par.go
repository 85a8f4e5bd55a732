package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/internal/dpop"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// Pushed authorization requests (RFC 9126): the client sends the whole request
// here, authenticated, and the browser brings only a name of it.

const (
	pushedPrefix = "urn:ietf:params:oauth:request_uri:"
	pushedLife   = 90 * time.Second
	pushedPages  = 2 * attemptLife // from the end of that, of all pages until the code
)

// pushedRecord is a request that was pushed. Its key in the store is the
// SHA-256 of its name.
type pushedRecord struct {
	Request oauth.AuthorizationRequest `json:"request"`
	// Browser is the one that brought the name first: only it may come again
	// with it, when the person reloads the page.
	Browser string `json:"browser,omitempty"`
}

// pushedAnswer is RFC 9126 section 2.2.
type pushedAnswer struct {
	RequestURI string `json:"request_uri"`
	ExpiresIn  int64  `json:"expires_in"`
}

// par is the pushed authorization request endpoint (RFC 9126 section 2): client
// authentication as at the token endpoint, then every check that the
// authorization endpoint makes.
func (s *Server) par(ctx context.Context, st *settings, r *http.Request, form url.Values) (any, error) {
	auth, err := oauth.ParseTokenRequest(form)
	if err != nil {
		return nil, err
	}
	client, err := s.authenticate(ctx, st, r.Header, &auth)
	if err != nil {
		return nil, err
	}
	if strings.Join(form["request_uri"], "") != "" { // section 2.1
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "request_uri has no place in a pushed request"}
	}
	req, err := oauth.ParseAuthorizationRequest(form)
	if err != nil {
		return nil, err
	}
	req.ClientID = client.client.ID
	if len(queryOf(req).Encode()) > maxRequest {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Status: http.StatusRequestEntityTooLarge, Description: "the authorization request is too long"}
	}
	proof, err := s.pushedKey(st, r, &req)
	if err != nil {
		return nil, err
	}
	if _, err := s.examine(ctx, st, req); err != nil {
		return nil, err
	}
	answer, err := s.keepPushed(ctx, req, proof)
	if err != nil || !proof.Renew() {
		return answer, err
	}
	return withNonce{answer, s.nonces.Current(s.now())}, nil
}

// pushedKey takes the key that the code shall be bound to: of dpop_jkt, of a
// proof with this request, or of both if they are one (RFC 9449 section 10.1).
func (s *Server) pushedKey(st *settings, r *http.Request, req *oauth.AuthorizationRequest) (dpop.Proof, error) {
	if st.dpopMode() == dpopOff || !dpop.Sent(r.Header) {
		return dpop.Proof{}, nil
	}
	p, refusal := s.proofs().Check(r.Header, dpop.Target{Method: http.MethodPost, URL: st.cfg.URL + "/par"})
	switch {
	case refusal != nil:
		return p, refusal
	case req.DPoPKey != "" && req.DPoPKey != p.Key():
		return p, dpop.Refuse(dpop.ReasonKey, "dpop_jkt names another key than the proof", nil)
	}
	req.DPoPKey = p.Key()
	return p, nil
}

// keepPushed keeps a request under a new name, and spends the proof.
func (s *Server) keepPushed(ctx context.Context, req oauth.AuthorizationRequest, proof dpop.Proof) (any, error) {
	name := randomText(32)
	value, err := json.Marshal(pushedRecord{Request: req})
	if err != nil {
		return nil, fmt.Errorf("authserver: pushed request: %w", err)
	}
	ops := []store.Op{store.Create(store.Record{Kind: ledger.KindPushed, Key: codeKey(name), Value: value, Expires: s.now().Add(pushedLife)})}
	if proof.Key() != "" {
		ops = append(ops, store.Once(proof.Once()))
	}
	err = s.commit(ctx, ops...)
	if errors.Is(err, store.ErrSeen) {
		return nil, dpop.Replayed()
	}
	if err != nil {
		return nil, err
	}
	return pushedAnswer{RequestURI: pushedPrefix + name, ExpiresIn: seconds(pushedLife)}, nil
}

// errPushedOver: there is no such pushed request for this client and browser.
var errPushedOver = &oauth.Error{Code: oauth.InvalidRequest, Reason: "request_uri", Description: "this request_uri is unknown here, used or over"}

// pushedURI is the request_uri of a query if it is one of ours.
func pushedURI(query url.Values) (string, bool) {
	uris := query["request_uri"]
	if len(uris) != 1 || !strings.HasPrefix(uris[0], pushedPrefix) {
		return "", false
	}
	return uris[0], true
}

// authorizePushed goes on with a pushed request. Of the query only client_id
// counts besides its name (RFC 9126 section 4).
func (v *visit) authorizePushed(clients []string, uri string) {
	key := codeKey(strings.TrimPrefix(uri, pushedPrefix))
	req, until, err := v.firstBrowser(key, clients)
	if err != nil {
		v.turnDown(nil, err)
		return
	}
	v.goOn(attempt{Request: &req, Pushed: key, PushedUntil: until.Add(pushedPages)})
}

// firstBrowser reads a pushed request for the browser that brings its name, and
// its client's, first, and for no other; and until when the name is good.
func (v *visit) firstBrowser(key string, clients []string) (oauth.AuthorizationRequest, time.Time, error) {
	ctx, none := v.r.Context(), oauth.AuthorizationRequest{}
	for range attempts {
		rec, err := v.s.ledger.Store.Get(ctx, ledger.KindPushed, key)
		if notFound(err) {
			return none, time.Time{}, errPushedOver
		}
		if err != nil {
			return none, time.Time{}, err
		}
		var p pushedRecord
		if err := json.Unmarshal(rec.Value, &p); err != nil {
			return none, time.Time{}, fmt.Errorf("authserver: pushed request cannot be read: %w", err)
		}
		if len(clients) != 1 || clients[0] != p.Request.ClientID {
			return none, time.Time{}, errPushedOver
		}
		switch p.Browser {
		case v.browser():
			return p.Request, rec.Expires, nil
		case "":
		default:
			return none, time.Time{}, errPushedOver
		}
		p.Browser = v.browser()
		if rec.Value, err = json.Marshal(p); err != nil {
			return none, time.Time{}, fmt.Errorf("authserver: pushed request: %w", err)
		}
		err = v.s.ledger.Store.Commit(ctx, store.Put(rec))
		if !errors.Is(err, store.ErrConflict) { // else another browser was faster: look again
			return p.Request, rec.Expires, err
		}
	}
	return none, time.Time{}, errPushedOver
}

// pushedOnce lets a pushed request bring one code, however often its page was
// loaded: the mark lives as long as any of its pages can.
func (v *visit) pushedOnce(a *asking) []store.Op {
	if a.pushed == "" {
		return nil
	}
	return []store.Op{store.Once("pushed/"+a.pushed, a.pushedUntil)}
}
