package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/vault"
	"doorward/store"
)

// inFile is what the configuration file said of people, clients and trusted
// issuers when it was last taken: a keyed fingerprint of each, so that a start
// after a change knows what a reload would have known.
type inFile struct {
	People  map[string]string `json:"people"`
	Clients map[string]string `json:"clients"`
	Issuers map[string]string `json:"issuers"` // by issuer identifier
	// Workloads are the clients that workloads are.
	Workloads map[string]string `json:"workloads,omitempty"`
}

// fileKey is the record under which it lies.
const fileKey = "file"

// endChanged ends what people, clients and issuers have who are not in the file
// any more, or not as they were: a person's new password or groups, a
// client's new secret or keys. What they have was given to who they were.
func (i *instance) endChanged(ctx context.Context, cfg *Config) error {
	now, err := i.fingerprints(cfg)
	if err != nil {
		return err
	}
	rec, err := i.store.Get(ctx, ledger.KindMeta, fileKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	var before inFile
	if err == nil {
		if err := json.Unmarshal(rec.Value, &before); err != nil {
			return fmt.Errorf("the database's note of the configuration file cannot be read: %w", err)
		}
	}
	var ops []store.Op // the events of what had nothing
	for _, w := range before.changed(now) {
		event := i.ledger.AuditOp(audit.Event{Action: "revoke", Outcome: "ok", Person: w.Person, Client: w.Client, Issuer: w.Issuer, Detail: "changed in the configuration file"})
		got, err := i.ledger.End(ctx, w, "changed in the configuration file", event)
		if err != nil {
			return fmt.Errorf("changed in the configuration file, but not everything of theirs ended: %w (use doorward leave or revoke)", err)
		}
		if !got.Noted && w.Issuer == "" { // the server's reload ends what came of an issuer, too, and says so
			ops = append(ops, event)
		}
	}
	value, err := json.Marshal(now)
	if err != nil {
		return err
	}
	return i.store.Commit(ctx, append(ops, store.Put(store.Record{Kind: ledger.KindMeta, Key: fileKey, Value: value}))...)
}

func (before inFile) changed(now inFile) []ledger.Which {
	var out []ledger.Which
	for _, part := range []struct {
		old, new map[string]string
		which    func(string) ledger.Which
	}{
		{before.People, now.People, func(name string) ledger.Which { return ledger.Which{Person: name} }},
		{before.Clients, now.Clients, func(id string) ledger.Which { return ledger.Which{Client: id} }},
		{before.Workloads, now.Workloads, func(id string) ledger.Which { return ledger.Which{Client: id} }},
		{before.Issuers, now.Issuers, func(iss string) ledger.Which { return ledger.Which{Issuer: iss} }},
	} {
		for name, print := range part.old {
			if part.new[name] != print {
				out = append(out, part.which(name))
			}
		}
	}
	return out
}

func (i *instance) fingerprints(cfg *Config) (inFile, error) {
	master, err := i.state.master(string(cfg.Keys.Master), false)
	if err != nil {
		return inFile{}, err
	}
	v, err := vault.New(master)
	if err != nil {
		return inFile{}, err
	}
	key := v.Derive("configuration-file")
	out := inFile{People: map[string]string{}, Clients: map[string]string{}, Issuers: map[string]string{}, Workloads: cfg.workloadPrints(key)}
	for name, p := range cfg.People {
		out.People[name] = fingerprint(key, p.Email, p.Groups, string(p.Password))
	}
	for id, c := range cfg.Clients.Registered {
		parts := []any{string(c.Secret)}
		if len(c.JWKS) > 0 || c.JWKSURI != "" {
			parts = append(parts, string(c.JWKS), c.JWKSURI)
		}
		if c.TLSSubject != "" {
			parts = append(parts, "tls", c.TLSSubject)
		}
		out.Clients[id] = fingerprint(key, parts...)
	}
	for _, p := range cfg.Providers {
		if p.IDJAG != nil {
			out.Issuers[p.Issuer] = fingerprint(key, p.Account, p.Tenants)
		}
	}
	return out, nil
}

func fingerprint(key []byte, parts ...any) string {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		fmt.Fprintf(m, "%q\n", p)
	}
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:16])
}
