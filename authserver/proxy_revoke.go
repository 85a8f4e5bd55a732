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

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// When a grant of mode proxy ends, its upstream tokens are revoked at the
// separate server (RFC 7009), where that says how. Whoever ends the grant, in
// whichever process, leaves them in the store in the same step; here they are
// revoked in the background, so that nothing there holds up an end.

const (
	// revokeEvery is how often those are looked for that could not be revoked.
	revokeEvery = 10 * time.Second
	// revokeAgain is the least time between two tries for one.
	revokeAgain = time.Minute
)

// errNotRevoked: the separate server does not revoke it, now or later.
var errNotRevoked = errors.New("the separate server refuses to revoke it")

// revokeEnded revokes in the background, until ctx ends.
func (s *Server) revokeEnded(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	err := s.ledger.Store.Watch(ctx, ledger.KindRevoke, func(store.Record) {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return fmt.Errorf("authserver: watching for upstream tokens to revoke: %w", err)
	}
	s.background.Go(func() {
		tick := time.NewTicker(revokeEvery)
		defer tick.Stop()
		for {
			if err := s.revokeDue(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("tokens of the separate server were not revoked, and will be tried again", "error", err)
				select { // the round's own writes woke it
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				continue
			}
			select {
			case <-ctx.Done():
				return
			case <-wake:
			case <-tick.C:
			}
		}
	})
	return nil
}

// revokeDue revokes all whose time it is. One that gets no answer ends the
// round: the server is down.
func (s *Server) revokeDue(ctx context.Context) error {
	for q := (store.Query{Kind: ledger.KindRevoke, Limit: store.MaxPage}); ; {
		st := s.current()
		if st.proxied == nil {
			return nil
		}
		recs, next, err := s.ledger.Store.List(ctx, q)
		if err != nil {
			return err
		}
		for _, rec := range recs {
			if err := s.revokeRecord(ctx, st, rec); err != nil {
				return err
			}
		}
		if q.After = next; next == "" {
			return nil
		}
	}
}

// revokeRecord revokes the tokens of one grant; of several processes one does.
func (s *Server) revokeRecord(ctx context.Context, st *settings, rec store.Record) error {
	var u upstreamTokens
	if err := json.Unmarshal(rec.Value, &u); err != nil {
		return fmt.Errorf("tokens of the separate server cannot be read: %w", err)
	}
	now := s.now()
	if now.Sub(u.Renewing) < revokeAgain {
		return nil
	}
	u.Renewing = now
	var err error
	if rec.Value, err = json.Marshal(u); err != nil {
		return err
	}
	err = s.ledger.Store.Commit(ctx, store.Put(rec))
	if errors.Is(err, store.ErrConflict) || notFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if u.Issuer == st.proxied.Issuer {
		err = s.revokeUpstream(ctx, st, strings.TrimSuffix(rec.Key, besideOld), u)
	}
	if errors.Is(err, errNotRevoked) {
		s.log.WarnContext(ctx, "a token of the separate server was not revoked", "grant", rec.Key, "error", err)
		err = nil
	}
	if err != nil {
		return err
	}
	return s.ledger.Store.Commit(ctx, store.Delete(ledger.KindRevoke, rec.Key))
}

// revokeUpstream is RFC 7009 section 2.1: of both tokens the one that makes
// others.
func (s *Server) revokeUpstream(ctx context.Context, st *settings, grant string, u upstreamTokens) error {
	p := st.proxied
	meta, err := p.metadata(ctx)
	if err != nil {
		return err
	}
	if meta.RevocationEndpoint == "" || checkProviderURL(meta.RevocationEndpoint) != nil {
		return nil
	}
	access, refresh, err := s.openUpstream(u, grant)
	if err != nil {
		return errors.Join(errNotRevoked, err)
	}
	form := url.Values{"token": {string(refresh)}, "token_type_hint": {"refresh_token"}}
	if len(refresh) == 0 {
		form = url.Values{"token": {string(access)}, "token_type_hint": {"access_token"}}
	}
	req, err := p.post(ctx, meta, meta.RevocationEndpoint, form)
	if err != nil {
		return err
	}
	status, body, err := exchange(issuerClient(st.cfg.HTTP), req)
	switch {
	case err != nil:
		return err
	case status == http.StatusOK:
		return nil
	case status >= http.StatusInternalServerError, status == http.StatusTooManyRequests:
		return errorOf(status, body, string(refresh), string(access), p.ClientSecret)
	}
	return errors.Join(errNotRevoked, errorOf(status, body, string(refresh), string(access), p.ClientSecret))
}

// post is a form for an endpoint of the provider, with our authentication there
// (RFC 6749 section 2.3.1).
func (p *provider) post(ctx context.Context, meta providerMetadata, endpoint string, form url.Values) (*http.Request, error) {
	basic := p.ClientSecret != "" && p.sendsBasic(meta)
	if !basic {
		form.Set("client_id", p.ClientID)
		if p.ClientSecret != "" {
			form.Set("client_secret", p.ClientSecret)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if basic {
		req.SetBasicAuth(oauth.EscapeBasic(p.ClientID), oauth.EscapeBasic(p.ClientSecret))
	}
	return req, nil
}
