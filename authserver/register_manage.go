package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// A client manages its registration with the registration access token that it
// got with it (RFC 7592), of which only a hash is kept. A registration that
// others share (sameID) is nobody's to manage.

const (
	registrationToken = "token" // mode of registration
	managePath        = "/register/"
)

func (r Registration) check() error {
	switch r.Mode {
	case "", "off", "limited", "open":
		if r.Token != "" {
			return errors.New("Registration.Token goes with Mode token only")
		}
	case registrationToken:
		if len(r.Token) < minSecret {
			return fmt.Errorf("Registration.Token needs at least %d characters", minSecret)
		}
	default:
		return fmt.Errorf("Registration.Mode %q: off, limited, open or token", r.Mode)
	}
	if r.SecretLife < 0 {
		return errors.New("Registration.SecretLife is negative")
	}
	return nil
}

// namedRoute is the route of a path that ends in a name.
func (s *Server) namedRoute(path string) (route, bool) {
	if rt, ok := s.callbackRoute(path); ok {
		return rt, true
	}
	if rt, ok := s.backchannelRoute(path); ok {
		return rt, true
	}
	if s.current().relay != nil {
		return route{}, false
	}
	if rt, ok := s.scimRoute(path); ok {
		return rt, true
	}
	id, ok := strings.CutPrefix(path, s.current().path+managePath)
	if !ok || id == "" || strings.Contains(id, "/") {
		return route{}, false
	}
	return route{[]string{http.MethodGet, http.MethodPut, http.MethodDelete}, corsEndpoint, s.manage}, true
}

// manage is the client configuration endpoint (RFC 7592 section 2). A change is
// written, and its event kept for months, so it counts as a registration.
func (s *Server) manage(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPut:
		s.limitedTo(registering, s.answerJSON(http.StatusOK, s.replaceRegistration))(w, r)
	case http.MethodDelete:
		s.limited(func(w http.ResponseWriter, r *http.Request) {
			s.answer(w, r, http.StatusNoContent, nil, s.deleteRegistration(r.Context(), s.current(), r))
		})(w, r)
	default:
		s.limited(s.answerPlain(s.readRegistration))(w, r)
	}
}

// bearerToken is the one token of a request (RFC 6750 section 2.1).
func bearerToken(h http.Header) (string, error) {
	headers := h["Authorization"]
	if len(headers) != 1 {
		return "", &oauth.Error{Code: oauth.InvalidToken, Reason: reasonNoToken, Description: "one token is needed in the Authorization header"}
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", &oauth.Error{Code: oauth.InvalidToken, Reason: reasonNoToken, Description: "the Authorization header has no Bearer token"}
	}
	return token, nil
}

// managed adds where and with what the client manages its registration.
func (out registered) managed(st *settings, token string) registered {
	out.ManagedAt, out.Token = st.cfg.URL+managePath+out.ClientID, token
	return out
}

// owner is the client that the path names, if the token is its own. A client
// that is not there, or not managed, looks like a wrong token (AS-DCR-12).
func (s *Server) owner(ctx context.Context, st *settings, r *http.Request) (c ledger.Client, token string, err error) {
	if mode := st.cfg.Registration.Mode; mode == "" || mode == "off" {
		return c, "", st.mayRegister(r.Header)
	}
	if token, err = bearerToken(r.Header); err != nil {
		return c, "", err
	}
	c, err = s.ledger.Client(ctx, strings.TrimPrefix(r.URL.Path, st.path+managePath))
	if err != nil && !notFound(err) {
		return c, "", err
	}
	if !sameSecret(c.RegistrationHash, token) || c.Source != ledger.FromDynamic {
		return ledger.Client{}, "", &oauth.Error{Code: oauth.InvalidToken, Reason: "registration_token",
			Description: "the registration access token is not valid for this client"}
	}
	return c, token, nil
}

func (s *Server) readRegistration(ctx context.Context, st *settings, r *http.Request) (any, error) {
	c, token, err := s.owner(ctx, st, r)
	if err != nil {
		return nil, err
	}
	return answerFor(c, c.RedirectURIs).managed(st, token), nil
}

// replaceRegistration puts a new record in place of the whole old one (RFC 7592
// section 2.2). What an administrator approved was the old one: a client that
// says something else of itself is asked about again.
func (s *Server) replaceRegistration(ctx context.Context, st *settings, r *http.Request, body []byte) (any, error) {
	for range attempts {
		old, token, err := s.owner(ctx, st, r)
		if err != nil {
			return nil, err
		}
		w, err := parseWish(body)
		if err != nil {
			return nil, err
		}
		if err := checkUpdate(body, old); err != nil {
			return nil, err
		}
		c, err := st.wished(&w)
		if err != nil {
			return nil, err
		}
		c.ID, c.Created, c.Expires, c.RegistrationHash, c.Version = old.ID, old.Created, old.Expires, old.RegistrationHash, old.Version
		c.Approved = c.Approved || old.Approved && described(c) == described(old)
		c.Consented = old.Consented            // to what it said then
		if c.Expires.IsZero() && !c.Approved { // it was approved for good, and is no more
			c.Expires = s.now().Add(st.unused())
		}
		secret := ""
		if expired := !old.SecretExpires.IsZero() && !s.now().Before(old.SecretExpires); len(old.SecretHash) == 0 || expired {
			secret = s.newSecret(st, &c)
		} else if c.AuthMethod == authBasic || c.AuthMethod == authPost {
			c.SecretHash, c.SecretExpires = old.SecretHash, old.SecretExpires
		}
		err = s.commit(ctx, c.Put(), s.ledger.AuditOp(s.event("client.update", audit.Event{Client: c.ID, Detail: c.Name, Address: address(r)})))
		if errors.Is(err, store.ErrConflict) {
			continue // the token may be over by now
		}
		if err != nil {
			return nil, err
		}
		out := answerFor(c, w.redirectURIs())
		out.Secret = secret
		return out.managed(st, token), nil
	}
	return nil, &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "too many changes of the same registration at once"}
}

// checkUpdate checks what an update says besides the metadata: which client it
// is, and nothing that is not the client's to set.
func checkUpdate(body []byte, c ledger.Client) error {
	var m map[string]json.RawMessage
	var id, secret string
	if err := json.Unmarshal(body, &m); err != nil {
		return badMetadata("the registration is not valid JSON")
	}
	for _, name := range []string{"registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"} {
		if _, there := m[name]; there {
			return badMetadata(name + " is not the client's to set")
		}
	}
	if json.Unmarshal(m["client_id"], &id) != nil || id != c.ID {
		return badMetadata("client_id must be that of the registration")
	}
	if raw, there := m["client_secret"]; there {
		if json.Unmarshal(raw, &secret) != nil || !sameSecret(c.SecretHash, secret) {
			return badMetadata("client_secret must be the current one, or left out")
		}
	}
	return nil
}

// deleteRegistration ends the client and what it has. Grants end before the
// record goes, so that a failure leaves a registration that can be deleted
// again, and once more after it, for what was made meanwhile.
func (s *Server) deleteRegistration(ctx context.Context, st *settings, r *http.Request) error {
	c, _, err := s.owner(ctx, st, r)
	if err != nil {
		return err
	}
	const why = "the client deleted its registration"
	if _, err := s.ledger.End(ctx, ledger.Which{Client: c.ID}, why); err != nil {
		return err
	}
	err = s.ledger.Store.Commit(ctx, store.Delete(ledger.KindClient, c.ID),
		s.ledger.AuditOp(s.event("client.delete", audit.Event{Client: c.ID, Detail: c.Name, Address: address(r)})))
	if err != nil {
		return err
	}
	_, err = s.ledger.End(ctx, ledger.Which{Client: c.ID}, why)
	return err
}
