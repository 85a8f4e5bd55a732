package authserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// Consent says who consents to what clients ask for: "person" (also ""), each
// for themselves, or "admin", an administrator for all.
//
// An administrator consents to a client of the configuration or of their own
// making by that, to known clients by naming them (KnownClients), and to any
// other by ApproveClient; until then nobody gets in with it. Their consent
// spares people the page only where the answer cannot arrive at somebody else
// who took the client's name: a public client with a loopback or private-use
// redirect URI is asked about each time (RFC 8252 section 8.6), as are devices,
// authorization_details, and requests with prompt=consent.
type Consent struct {
	Known  string // for known clients
	Others string // for all others
}

const (
	consentPerson = "person"
	consentAdmin  = "admin"
)

func (c Consent) check() error {
	for name, who := range map[string]string{"Known": c.Known, "Others": c.Others} {
		if who != "" && who != consentPerson && who != consentAdmin {
			return fmt.Errorf("the %s of Consent is %q: person or admin", name, who)
		}
	}
	return nil
}

// byAdmin reports whether consent to that client is an administrator's.
func (st *settings) byAdmin(c ledger.Client) bool {
	if c.Known != "" {
		return st.cfg.Consent.Known == consentAdmin
	}
	return st.cfg.Consent.Others == consentAdmin
}

// forAll reports whether an administrator consented to the client as it
// describes itself today.
func (st *settings) forAll(c ledger.Client) bool {
	return st.byAdmin(c) && (c.OfAdministrator() || c.Known != "" || c.Consented != "" && c.Consented == described(c))
}

// waits reports whether an administrator has yet to say yes to the client.
func (st *settings) waits(c ledger.Client) bool {
	return !c.Approved || st.byAdmin(c) && !st.forAll(c)
}

// ErrNoClient: there is no client with that id that could be approved.
var ErrNoClient = errors.New("there is no such client")

// ApproveClient lets in a client that registered itself, or the one of a
// metadata document, by an administrator's word. Where Consent.Others is "admin"
// it is also the consent for all, to the client as it describes itself now: one
// that changes waits for another. forAll says whether it was that.
func (s *Server) ApproveClient(ctx context.Context, id string) (forAll bool, err error) {
	st := s.current()
	c, err := s.ledger.Client(ctx, id)
	document := oauth.IsClientURL(id) && oauth.CheckClientURL(id) == nil
	switch {
	case notFound(err) && !document:
		return false, fmt.Errorf("%w: %s", ErrNoClient, oauth.Printable(id))
	case notFound(err):
		// Its metadata document says all the rest, each time anew.
		c = ledger.Client{ID: id, Source: ledger.FromDocument, AuthMethod: authNone, Created: s.now()}
	case err != nil:
		return false, err
	}
	c.Approved, c.Expires, c.Consented = true, time.Time{}, ""
	if st.cfg.Consent.Others == consentAdmin {
		as := c
		if c.Source == ledger.FromDocument {
			if as, err = st.documents.get(ctx, id, s.now()); err != nil {
				return false, fmt.Errorf("what the client says of itself, which the consent is to, cannot be read: %w", err)
			}
		}
		c.Consented, forAll = described(as), true
	}
	e := audit.Event{Client: c.ID}
	if forAll {
		e.Detail = "consent for all"
	}
	return forAll, s.commit(ctx, c.Put(), s.ledger.AuditOp(s.event("client.approve", e)))
}
