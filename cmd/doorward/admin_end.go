package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/store"
)

type leaveIn struct {
	Person string `json:"person"`
	Undo   bool   `json:"undo,omitempty"`
}

type receipt struct {
	What     string              `json:"what"`
	Reason   string              `json:"reason"`
	Grants   []ledger.EndedGrant `json:"grants"`
	Sessions int                 `json:"sessions"`
	Consents int                 `json:"consents"`
	Time     time.Time           `json:"time"`
	TookMS   float64             `json:"took_ms"`
	Note     string              `json:"note,omitempty"`
}

func (i *instance) leave(ctx context.Context, in leaveIn) (receipt, error) {
	start := time.Now()
	id, err := i.person(ctx, in.Person)
	if err != nil {
		return receipt{}, err
	}
	if in.Undo {
		return i.comeBack(ctx, id, start)
	}
	got, err := i.ledger.Leave(ctx, id, i.ledger.AuditOp(audit.Event{Time: start, Action: "leave", Outcome: "ok", Person: id}))
	if err != nil {
		return receipt{}, err
	}
	return i.receipt("person "+id, "leave", got, start), nil
}

// comeBack is leave --undo.
func (i *instance) comeBack(ctx context.Context, id string, start time.Time) (receipt, error) {
	a, err := i.ledger.Account(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return receipt{}, err
	}
	r := i.receipt("person "+id, "return", ledger.Receipt{}, start)
	if r.Note = "had not left"; !a.Left.IsZero() {
		if err := i.ledger.Return(ctx, id, i.ledger.AuditOp(audit.Event{Time: start, Action: "return", Outcome: "ok", Person: id})); err != nil {
			return receipt{}, fmt.Errorf("%s: %w", id, err)
		}
		r.Note = "may sign in again; what had ended stays ended"
	}
	if _, scim := i.config().directories()[a.Provider]; errors.Is(ledger.Account{Directory: a.Directory}.Here(), ledger.ErrInactive) {
		if !scim { // it says nothing any more
			if err := i.ledger.ForgetDirectory(ctx, id); err != nil {
				return receipt{}, err
			}
			r.Note = "may sign in again; what had ended stays ended"
		} else {
			r.Note += "; the directory of " + a.Provider + " still says " + a.Directory + ": activate them there"
		}
	}
	r.TookMS = msSince(start)
	return r, nil
}

func (i *instance) receipt(what, reason string, got ledger.Receipt, start time.Time) receipt {
	if got.Grants == nil {
		got.Grants = []ledger.EndedGrant{}
	}
	return receipt{What: what, Reason: reason, Grants: got.Grants, Sessions: got.Sessions, Consents: got.Consents, Time: start.UTC(), TookMS: msSince(start)}
}

func msSince(t time.Time) float64 { return float64(time.Since(t).Microseconds()) / 1000 }

// person resolves what was typed: an account, or somebody who never came, of
// the file or of a provider. They may leave, too.
func (i *instance) person(ctx context.Context, typed string) (string, error) {
	people := i.config().People
	if _, ok := people[typed]; ok {
		return typed, nil
	}
	var found []string
	for _, name := range sortedNames(people) {
		if typed != "" && strings.EqualFold(people[name].Email, typed) {
			found = append(found, name)
		}
	}
	id, err := i.ledger.FindPerson(ctx, typed, found...)
	if err == nil || !errors.Is(err, store.ErrNotFound) {
		return id, err
	}
	provider, account, _ := strings.Cut(typed, "/")
	if _, ok := i.config().Providers[provider]; ok && account != "" {
		return typed, nil
	}
	return "", fmt.Errorf("nobody here is called %q: use the account (NAME, or PROVIDER/ACCOUNT) or the e-mail address", typed)
}

type revokeIn struct {
	What ledger.Which `json:"what"`
	Name string       `json:"name"` // as typed
}

func (i *instance) revoke(ctx context.Context, in revokeIn) (receipt, error) {
	start := time.Now()
	which, err := i.which(in.What)
	if err != nil {
		return receipt{}, err
	}
	event := i.ledger.AuditOp(audit.Event{Time: start, Action: "revoke", Outcome: "ok", Detail: in.Name})
	got, err := i.ledger.End(ctx, which, "revoke", event)
	if err != nil {
		return receipt{}, err
	}
	note := ""
	nothing := got.Nothing()
	switch {
	case which.Grant != "" && nothing:
		return receipt{}, fmt.Errorf("there is no living grant %q", which.Grant)
	case which.Client != "" && nothing && !i.knowsClient(ctx, which.Client):
		return receipt{}, fmt.Errorf("there is no client %q: `doorward client list` shows them", which.Client)
	case which.Client != "":
		note = "the client may ask again: `doorward client remove` keeps it out"
	}
	if !got.Noted { // the receipt says that it is written down
		if err := i.store.Commit(ctx, event); err != nil {
			return receipt{}, fmt.Errorf("there was nothing to end, and the audit event was not written: %w", err)
		}
	}
	r := i.receipt(in.Name, "revoke", got, start)
	r.Note = note
	return r, nil
}

// which names what was typed as the ledger does. What is gone from the
// configuration can still be named by its identifier.
func (i *instance) which(w ledger.Which) (ledger.Which, error) {
	cfg := i.config()
	s, server := cfg.Servers[w.Resource]
	p, provider := cfg.Providers[w.Issuer]
	switch {
	case server:
		w.Resource = cfg.resourceID(s)
	case provider && p.Issuer == "":
		return w, fmt.Errorf("providers.%s issues no ID-JAGs, so nothing came of them: `doorward leave` ends what a person has", w.Issuer)
	case provider:
		w.Issuer = p.Issuer
	case w.Resource != "" && !strings.Contains(w.Resource, "://"):
		return w, fmt.Errorf("there is no server %q%s", w.Resource, thereAre(sortedNames(cfg.Servers)))
	case w.Issuer != "" && !strings.Contains(w.Issuer, "://"):
		return w, fmt.Errorf("there is no issuer %q%s", w.Issuer, thereAre(sortedNames(cfg.Providers)))
	}
	return w, nil
}

func thereAre(names []string) string {
	if len(names) == 0 {
		return "; there is none here"
	}
	return "; there are: " + strings.Join(names, ", ")
}

func (i *instance) knowsClient(ctx context.Context, id string) bool {
	_, err := i.storedClient(ctx, id)
	inFile := i.config().hasClient(id)
	return inFile || err == nil
}
