package authserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"doorward/internal/jose"
	"doorward/internal/keyset"
	"doorward/internal/ledger"
)

// Bounds of clients' keys.
const (
	maxKeysDocument  = 64 << 10
	maxClientKeySets = 1000 // that are kept
	maxInlineKeys    = 20   // of a jwks member
)

// clientKeys are the key sets that clients publish at their jwks_uri, fetched
// when they are needed first.
type clientKeys struct {
	documents *documents   // fetches what strangers name
	trusted   *http.Client // fetches what the operator named

	mu   sync.Mutex
	kept map[string]*keptKeys // by who named it and URL
}

type keptKeys struct {
	keys *keyset.Remote
	used time.Time
}

func newClientKeys(cfg Config, d *documents) *clientKeys {
	return &clientKeys{documents: d, trusted: issuerClient(cfg.HTTP), kept: map[string]*keptKeys{}}
}

// verify checks a token with the keys of the client, and with no others:
// whatever key or address of keys the token itself names is not looked at.
func (k *clientKeys) verify(ctx context.Context, c ledger.Client, token string, algs []string, now func() time.Time) (jose.Verified, error) {
	if c.JWKSURI == "" {
		set, err := jose.ParseSet(c.JWKS)
		if err != nil {
			return jose.Verified{}, fmt.Errorf("%w: %w", keyset.ErrNoKeys, err)
		}
		return jose.Verify(token, set, algs, assertionTypes)
	}
	return k.remote(c, now).Verify(ctx, token, algs, assertionTypes)
}

// set is the keys of the client.
func (k *clientKeys) set(ctx context.Context, c ledger.Client, now func() time.Time) (*jose.Set, error) {
	if c.JWKSURI == "" {
		return jose.ParseSet(c.JWKS)
	}
	return k.remote(c, now).Keys(ctx)
}

// remote is the key set of a client's jwks_uri. One that was not used for long
// makes room.
func (k *clientKeys) remote(c ledger.Client, now func() time.Time) *keyset.Remote {
	k.mu.Lock()
	defer k.mu.Unlock()
	named, ofKnown := "stranger ", inKnown(c.ID)
	if ofKnown {
		named = "known "
	}
	fetch := func(ctx context.Context) ([]byte, error) { return k.documents.keys(ctx, c.JWKSURI, ofKnown, now()) }
	if c.OfAdministrator() {
		named = "operator "
		fetch = func(ctx context.Context) ([]byte, error) { return fetchDocument(ctx, k.trusted, c.JWKSURI) }
	}
	name := named + c.JWKSURI
	kept := k.kept[name]
	if kept == nil {
		if len(k.kept) >= maxClientKeySets {
			k.dropOldest()
		}
		kept = &keptKeys{keys: keyset.New(keyset.Config{Now: now, Fetch: fetch})}
		k.kept[name] = kept
	}
	kept.used = now()
	return kept.keys
}

// dropOldest forgets the set that was used longest ago. The caller holds mu.
func (k *clientKeys) dropOldest() {
	last := ""
	for name, kept := range k.kept {
		if last == "" || kept.used.Before(k.kept[last].used) {
			last = name
		}
	}
	delete(k.kept, last)
}

// keys fetches the key set that a stranger's jwks_uri names, by the rules of
// their documents (AS-CIMD-10).
func (d *documents) keys(ctx context.Context, uri string, ofKnown bool, now time.Time) ([]byte, error) {
	host := askedHost(uri)
	d.mu.Lock()
	place, err := d.enter(ctx, uri, ofKnown, now)
	d.mu.Unlock()
	if err != nil { // says nothing about the keys
		return nil, fmt.Errorf("%w: %s: %w", keyset.ErrNotAsked, host, err)
	}
	res, err := d.keyFetcher.Get(ctx, uri)
	if err == nil && res.Status != http.StatusOK {
		err = fmt.Errorf("%s answers %d instead of 200", host, res.Status)
	}
	if err == nil {
		_, err = jose.ParseSet(res.Body)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leave(place)
	if err != nil {
		d.countFailure(failingAt(uri), now)
		return nil, err
	}
	return res.Body, nil
}

// checkClientKeys checks the jwks or jwks_uri that a client wants to be known
// by, and returns the jwks as it is kept. The error completes a sentence.
func checkClientKeys(jwks json.RawMessage, uri string) (json.RawMessage, error) {
	if string(jwks) == "null" {
		jwks = nil
	}
	switch {
	case len(jwks) > 0 && uri != "":
		return nil, errors.New("jwks and jwks_uri exclude each other")
	case len(jwks) == 0 && uri == "":
		return nil, errors.New("jwks or jwks_uri is needed with private_key_jwt")
	case uri != "":
		return nil, checkStrangersKeysURL(uri)
	}
	if len(jwks) > maxKeysDocument {
		return nil, errors.New("jwks is too large")
	}
	if err := privateKeys(jwks); err != nil {
		return nil, err
	}
	set, err := jose.ParseSet(jwks)
	if err != nil || len(set.IDs()) == 0 || len(set.IDs()) > maxInlineKeys {
		return nil, fmt.Errorf("jwks must have 1 to %d public keys that fit one of %s", maxInlineKeys, strings.Join(assertionAlgs, ", "))
	}
	var b bytes.Buffer
	if err := json.Compact(&b, jwks); err != nil {
		return nil, errors.New("jwks is not JSON")
	}
	return b.Bytes(), nil
}

// checkKeys checks the keys of a client of the configuration.
func (c Client) checkKeys() error {
	switch {
	case len(c.JWKS) == 0 && c.JWKSURI == "":
		return nil
	case c.Secret != "":
		return errors.New("it has a secret and keys: give it one of them")
	case c.JWKSURI != "" && len(c.JWKS) == 0:
		return checkKeysURL(c.JWKSURI)
	}
	_, err := checkClientKeys(c.JWKS, c.JWKSURI)
	return err
}

// checkStrangersKeysURL says what is wrong with the form of a jwks_uri. Where it
// leads to is checked when it is fetched.
func checkStrangersKeysURL(uri string) error {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Contains(uri, "#") || len(uri) > maxClientID {
		return errors.New("jwks_uri must be an https URL without user info and fragment")
	}
	return nil
}

// privateKeys refuses a key set that publishes what must be secret
// (AS-CIMD-06): its owner has to replace the key.
func privateKeys(jwks json.RawMessage) error {
	var set struct {
		Keys []document `json:"keys"`
	}
	if json.Unmarshal(jwks, &set) != nil {
		return errors.New("jwks is no JWK Set")
	}
	for _, key := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} { // RFC 7518 section 6
			if _, there := key[private]; there {
				return errors.New("jwks has a private or symmetric key: it must be replaced, others could read it")
			}
		}
	}
	return nil
}

// checkAuthAlg checks token_endpoint_auth_signing_alg (OpenID Connect
// Registration section 2).
func checkAuthAlg(alg string) error {
	for _, known := range assertionAlgs {
		if alg == "" || alg == known {
			return nil
		}
	}
	return fmt.Errorf("token_endpoint_auth_signing_alg must be one of %s", strings.Join(assertionAlgs, ", "))
}
