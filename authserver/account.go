package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/login"
	"doorward/internal/oauth"
	"doorward/store"
)

// accountPage shows the person who is signed in what they gave to whom (GET),
// and ends what they say (POST).
func (s *Server) accountPage(w http.ResponseWriter, r *http.Request) {
	v := s.visit(w, r)
	if r.Method == http.MethodPost && !v.sameSite() {
		v.failOtherSite()
		return
	}
	if v.session == nil && v.unread != nil {
		v.signInFailed(v.unread)
		return
	}
	if v.session == nil {
		v.see(v.st.path + "/login?attempt=" + v.seal(forLogin, attempt{Account: true}))
		return
	}
	if r.Method != http.MethodPost {
		v.showAccount()
		return
	}
	at, _, err := v.open(forAccount)
	switch {
	case errors.Is(err, errLate), err == nil && at.Person != v.session.Subject.ID:
		v.see(v.st.path + "/account") // an old page: show what holds now
	case err != nil:
		v.answerLost(at, err)
	default:
		v.endOfAccount()
	}
}

// given is what a person lets one client do at one server: their grants
// there, and the consent that is remembered.
type given struct {
	key              string // of the pair, as the form names it
	client, resource string
	grants           []ledger.Grant // active
	scopes           oauth.Scopes
	details          oauth.Details
	since, used      time.Time // used: zero if it is not known
	until            time.Time // of the last grant; without one, of the consent
}

// maxListed is how many grants of a person are looked at.
const maxListed = 5000

// givenBy lists what the person gave, the most recent first.
func (s *Server) givenBy(ctx context.Context, person string) ([]*given, error) {
	pairs := map[string]*given{}
	pair := func(client, resource string, scopes oauth.Scopes, since time.Time) *given {
		key := consentKey(person, client, resource)
		g := pairs[key]
		if g == nil {
			g = &given{key: key, client: client, resource: resource, since: since}
			pairs[key] = g
		}
		g.scopes = g.scopes.Union(scopes)
		if since.Before(g.since) {
			g.since = since
		}
		return g
	}
	err := s.eachOf(ctx, ledger.KindGrant, person, func(rec store.Record) error {
		g, err := s.ledger.Grant(ctx, rec.Key)
		if err != nil || !g.Active(s.now()) {
			return ignoreNotFound(err)
		}
		p := pair(g.Client, g.Resource, g.Scopes, g.Created)
		p.grants = append(p.grants, g)
		for _, d := range g.Details {
			if !p.details.Has(d) {
				p.details = append(p.details, d)
			}
		}
		if g.Expires.After(p.until) {
			p.until = g.Expires
		}
		if g.Refresh != nil && g.Refresh.Rotated.After(p.used) {
			p.used = g.Refresh.Rotated
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = s.eachOf(ctx, ledger.KindConsent, person, func(rec store.Record) error {
		var c consentRecord
		if err := json.Unmarshal(rec.Value, &c); err != nil {
			return fmt.Errorf("consent of %s cannot be read: %w", person, err)
		}
		if p := pair(c.Client, c.Resource, c.Scopes, c.Given); len(p.grants) == 0 {
			p.until = rec.Expires
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := make([]*given, 0, len(pairs))
	for _, g := range pairs {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *given) int {
		if c := b.since.Compare(a.since); c != 0 {
			return c
		}
		return strings.Compare(a.key, b.key)
	})
	return list, nil
}

// eachOf calls fn for the person's records of a kind.
func (s *Server) eachOf(ctx context.Context, kind store.Kind, person string, fn func(store.Record) error) error {
	seen := 0
	for after := ""; ; {
		recs, next, err := s.ledger.Store.List(ctx, store.Query{Kind: kind, Index: "person=" + person, After: after, Limit: store.MaxPage})
		if err != nil {
			return err
		}
		for _, rec := range recs {
			if err := fn(rec); err != nil {
				return err
			}
		}
		if seen += len(recs); next == "" || seen >= maxListed {
			return nil
		}
		after = next
	}
}

func ignoreNotFound(err error) error {
	if notFound(err) {
		return nil
	}
	return err
}

// endOfAccount ends what the form names: what a client may do at a server, or
// a sign-in. What is not there (any more) is no mistake: the page shows it.
func (v *visit) endOfAccount() {
	person, ctx := v.session.Subject.ID, v.r.Context()
	if key := v.field("given"); key != "" {
		if err := v.s.endGiven(ctx, person, key, address(v.r)); err != nil {
			v.turnDown(nil, err)
			return
		}
	}
	if id := v.field("session"); id == v.session.ID {
		v.signOut()
		return
	} else if id != "" {
		ended, err := v.s.sessions.EndOf(ctx, person, id)
		if err != nil {
			v.turnDown(nil, err)
			return
		}
		if ended {
			v.s.audit.Add(v.s.event("sign_out", audit.Event{Person: person, Address: address(v.r), Detail: "from another browser"}))
		}
	}
	v.see(v.st.path + "/account")
}

// endGiven ends the grants behind an entry of the page, and forgets the
// consent, so that the client has to ask again.
func (s *Server) endGiven(ctx context.Context, person, key, from string) error {
	g, err := s.givenAs(ctx, person, key)
	if err != nil || g == nil {
		return err
	}
	// The consent first: a grant that it lets through before is in the list then,
	// one after it has to be asked for.
	if err := s.ledger.Store.Commit(ctx, store.Delete(ledger.KindConsent, key)); err != nil {
		return err
	}
	if g, err = s.givenAs(ctx, person, key); err != nil || g == nil {
		return err
	}
	for _, grant := range g.grants {
		event := s.event("revoke", audit.Event{Grant: grant.ID, Person: person, Client: grant.Client, Resource: grant.Resource,
			Scope: grant.Scopes.String(), Address: from, Detail: "by the person"})
		if _, err := s.ledger.End(ctx, ledger.Which{Grant: grant.ID}, "ended by the person", s.ledger.AuditOp(event)); err != nil {
			return err
		}
	}
	return nil
}

// givenAs is the entry of the page with that key; nil: there is none.
func (s *Server) givenAs(ctx context.Context, person, key string) (*given, error) {
	list, err := s.givenBy(ctx, person)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(g *given) bool { return g.key == key })
	if i < 0 {
		return nil, nil
	}
	return list[i], nil
}

// accountView is what the account page shows.
type accountView struct {
	frame
	Person        string
	Action, Token string
	Given         []givenView
	Sessions      []sessionView
	Switch        string
}

type givenView struct {
	Key          string
	Client       string
	Unverified   bool // the client chose the name itself
	Server, ID   string
	Scopes       []string
	Since, Until moment
	Used         moment
	Remembered   bool // no access now, but it need not ask again
}

type sessionView struct {
	ID    string
	Since moment
	Here  bool
}

// moment is a time as people and as programs read it.
type moment struct{ time.Time }

// Words is the time to the minute.
func (m moment) Words() string { return m.UTC().Format("2 January 2006, 15:04 UTC") }

// Machine is the time for the attribute datetime.
func (m moment) Machine() string { return m.UTC().Format(time.RFC3339) }

func (v *visit) showAccount() {
	person, ctx := v.session.Subject.ID, v.r.Context()
	list, err := v.s.givenBy(ctx, person)
	var sessions []login.Session
	if err == nil {
		sessions, err = v.s.sessions.Of(ctx, person)
	}
	if err != nil {
		v.turnDown(nil, err)
		return
	}
	view := accountView{frame: v.frame("Your account"), Person: person, Action: v.st.path + "/account",
		Token:  v.seal(forAccount, attempt{Person: person}),
		Switch: v.st.path + "/login?attempt=" + v.seal(forLogin, attempt{Account: true, Switch: true})}
	for _, g := range list {
		view.Given = append(view.Given, v.entry(g))
	}
	for _, sess := range sessions {
		view.Sessions = append(view.Sessions, sessionView{sess.ID, moment{sess.Created}, sess.ID == v.session.ID})
	}
	v.show(http.StatusOK, "account.html", view, "")
}

// knownHere is a client, without asking anybody else: the page waits for no
// application's server.
func (v *visit) knownHere(id string) (ledger.Client, bool) {
	if _, inFile := v.st.clients[id]; !inFile && oauth.IsClientURL(id) {
		c, ok := v.st.documents.lastKept(id)
		c.Known = knownDocument(v.st.cfg.KnownClients, c)
		return c, ok
	}
	c, err := v.s.client(v.r.Context(), v.st, id)
	if err != nil {
		return ledger.Client{}, false
	}
	return *c, true
}

// entry is what was given in words. A client or a server that is no longer
// there is shown by its identifier.
func (v *visit) entry(g *given) givenView {
	out := givenView{Key: g.key, Client: g.client, Server: g.resource, ID: g.resource, Since: moment{g.since}, Until: moment{g.until},
		Used: moment{g.used}, Remembered: len(g.grants) == 0}
	if c, ok := v.knownHere(g.client); ok {
		if name := cleanName(c.Name); name != "" {
			out.Client = name
		}
		// As on the consent page: a name that the client gave itself counts for nothing.
		k, ok := knownClient(c.Known)
		if ok = ok && !onlyLoopback(c.RedirectURIs); ok {
			out.Client = k.Title
		}
		out.Unverified = !ok && (c.Source == ledger.FromDynamic || c.Source == ledger.FromDocument)
	}
	words := map[string]string{}
	if res := v.st.byID(g.resource); res != nil {
		out.Server, words = resourceName(res), res.Scopes
	}
	for _, scope := range g.scopes {
		if words[scope] != "" {
			scope = words[scope]
		}
		out.Scopes = append(out.Scopes, scope)
	}
	out.Scopes = append(out.Scopes, v.st.words(g.details)...)
	return out
}
