package gateway

import (
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"doorward"
	"doorward/internal/access"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// exchange is one request and its answer.
type exchange struct {
	e         *endpoint
	w         http.ResponseWriter
	r         *http.Request
	caller    doorward.Caller
	subject   access.Subject
	call      call   // of a POST
	session   string // the upstream's own id of it; "" if the request names none
	lastEvent string // likewise
	name      string // of the person, for people to read
	// credential is Authorization for the upstream; "": none of this caller.
	credential string
	obtained   *obtained // what it is, by an exchange

	entered bool  // counts among those that are open
	held    int64 // bytes of its message that count
	life    lifetime
}

// person is what the rules ask of a grant's subject.
type person struct {
	subject access.Subject
	who     oauth.Subject // the same, as the grant has it
	until   time.Time     // the end of the token that it was looked up for
}

// maxPeople bounds one generation of the people who are remembered.
const maxPeople = 10_000

// identify finds out who is behind the token's grant.
func (x *exchange) identify() *refusal {
	g := x.e.g
	now := g.c.Now()
	if x.caller.Issuer != g.c.Issuer {
		x.caller.Grant = "" // if it names one, it is none of ours
		if !plainName(x.caller.Subject) || !plainName(x.caller.ClientID) {
			return x.invalidToken("it names somebody in more than 255 bytes, or with control characters")
		}
		x.subject = subjectElsewhere(x.caller)
		return nil
	}
	id := x.caller.Grant
	if id == "" {
		return x.invalidToken("the token names no grant")
	}
	if p, ok := g.people.get(id, maxPeople); ok && now.Before(p.until) {
		return x.today(p)
	}
	grant, err := g.c.Grant(x.r.Context(), id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return x.invalidToken("the grant is unknown")
	case err != nil:
		return x.undecided("the grant of a token could not be read", err)
	case !grant.Active(now):
		return x.invalidToken("the grant has ended")
	}
	p := &person{subject: subjectOf(grant), who: grant.Subject, until: x.caller.Expires}
	g.people.put(id, p, maxPeople)
	return x.today(p)
}

// today makes the exchange one of that person, with the groups of now.
func (x *exchange) today(p *person) *refusal {
	x.subject = p.subject
	if p.subject.Person != "" {
		x.name = p.who.Name
	}
	if x.e.g.c.Groups == nil || p.subject.Person == "" {
		return nil
	}
	groups, err := x.e.g.c.Groups(x.r.Context(), p.who)
	if err != nil {
		return x.undecided("the groups of somebody could not be read", err)
	}
	x.subject.Groups = groups
	return nil
}

func (x *exchange) undecided(what string, err error) *refusal {
	x.e.g.c.Logger.Error(what, "server", x.e.key, "error", err)
	return &refusal{status: http.StatusServiceUnavailable, code: codeInternal, reason: "store_unavailable",
		message: "this cannot be decided now; try again"}
}

func subjectOf(g ledger.Grant) access.Subject {
	s := access.Subject{Client: g.Client}
	if !g.Subject.IsClient() {
		s.Person, s.Provider, s.Email = g.Subject.ID, g.Subject.Provider, g.Subject.Email
		s.Groups, s.GroupsUnknown, s.AMR, s.AuthTime = g.Subject.Groups, g.Subject.GroupsUnknown, g.Subject.AMR, g.Subject.AuthTime
	}
	return s
}

// plainName keeps out what would mislead whoever reads the audit.
func plainName(s string) bool {
	return len(s) <= 255 && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) })
}

// subjectElsewhere is whom another issuer vouches for. No name of theirs is one
// of ours: an issuer identifier has no fragment, and a local name no colon.
func subjectElsewhere(c doorward.Caller) access.Subject {
	s := access.Subject{Issuer: c.Issuer, Client: c.Issuer + "#" + c.ClientID}
	if !c.IsClient() {
		s.Person, s.AMR, s.AuthTime = c.Issuer+"#"+c.Subject, c.AMR, c.AuthTime
	}
	return s
}

// read checks method and body. Who has no good token does not get as far.
func (x *exchange) read() *refusal {
	switch x.r.Method {
	case http.MethodPost:
		if x.r.ContentLength < 0 {
			x.r.Body = heldBody{x.r.Body, x}
		} else if n := x.r.ContentLength; n <= x.e.g.c.BodyLimit {
			if err := x.hold(n); err != nil {
				return tooManyOpen(err.Error())
			}
		}
		var refused *refusal
		if x.call, refused = readCall(x.r, x.e.g.c.BodyLimit); refused == nil {
			x.unhurry()
		}
		return refused
	case http.MethodGet, http.MethodDelete:
		if x.r.ContentLength == 0 {
			x.unhurry()
		}
		return nil
	}
	return &refusal{status: http.StatusMethodNotAllowed, code: codeInvalidRequest, allow: "GET, POST, DELETE",
		message: "an MCP endpoint takes POST, GET and DELETE"}
}

// unhurry takes the limit on the time of the body away, now that it was read:
// it would end a long stream.
func (x *exchange) unhurry() {
	_ = http.NewResponseController(x.w).SetReadDeadline(time.Time{})
}
