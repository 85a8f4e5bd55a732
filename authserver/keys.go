package authserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"doorward/internal/audit"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/vault"
	"doorward/store"
)

// Records of kind meta.
const (
	metaIssuer = "issuer" // the issuer that the store belongs to
	metaMaster = "master" // the master key of an issuer that was given none
	metaCrypt  = "crypt"  // the keys that issuers encrypt ID-JAGs to
)

// keyMargin is how much longer than what it signed a retired key stays
// published: another process may sign with it until it hears of the new one.
const keyMargin = time.Hour

const defaultRotation = 90 * 24 * time.Hour

// keyRecord is a signing key at rest. Its key in the store is the kid.
type keyRecord struct {
	Sealed  []byte        `json:"sealed"`
	Created time.Time     `json:"created"`
	Signs   time.Time     `json:"signs,omitzero"`   // from when on; zero: from Created
	Retired time.Time     `json:"retired,omitzero"` // when the next one signs in its place, also ahead
	Longest time.Duration `json:"longest"`          // the longest life of anything it signed
	Alg     string        `json:"alg,omitempty"`    // "": as the key's type says
}

// keyring is the signing keys in memory. It never changes; loadKeys makes a new one.
type keyring struct {
	signers  []signer // the next or present one first
	set      *jose.Set
	document []byte // the set as JSON
}

// derivedKeys are the uses of the master key that token requests make.
type derivedKeys struct {
	refreshMAC, refreshNext, standing, assertion, userCode, code *macKey
}

func deriveKeys(v *vault.Vault) derivedKeys {
	key := func(use string) *macKey { return newMACKey(v.Derive(use)) }
	return derivedKeys{key("refresh"), key("refresh-next"), key("standing"), key("assertion"), key("user-code"), key("code")}
}

// openVault finds or makes the store's owner and the master key.
func (s *Server) openVault(ctx context.Context, st *settings) error {
	owner, err := s.meta(ctx, metaIssuer, []byte(st.cfg.URL))
	if err != nil {
		return err
	}
	if string(owner) != st.cfg.URL {
		return fmt.Errorf("authserver: this database belongs to the issuer %s, not to %s: give each issuer a database of its own", owner, st.cfg.URL)
	}
	master := st.cfg.MasterKey
	if master == nil {
		if master, err = s.ownMaster(ctx); err != nil {
			return err
		}
	}
	if s.vault, err = vault.New(master); err != nil {
		return fmt.Errorf("authserver: MasterKey: %w", err)
	}
	return nil
}

// ownMaster is the random master key that lies in the store itself. Beside
// keys that another master key seals there must be none.
func (s *Server) ownMaster(ctx context.Context) ([]byte, error) {
	r, err := s.ledger.Store.Get(ctx, ledger.KindMeta, metaMaster)
	if !notFound(err) {
		return r.Value, err
	}
	keys, _, err := s.ledger.Store.List(ctx, store.Query{Kind: ledger.KindKey, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(keys) > 0 {
		return nil, errors.New("authserver: the signing keys in this database are sealed with a master key, and none was given: set MasterKey to the one that it was made with")
	}
	fresh := make([]byte, vault.MasterKeySize)
	rand.Read(fresh) // never fails
	return s.meta(ctx, metaMaster, fresh)
}

// meta reads a meta record; if there is none it writes the given value. Of two
// processes that start together one writes and both read that.
func (s *Server) meta(ctx context.Context, key string, value []byte) ([]byte, error) {
	for {
		r, err := s.ledger.Store.Get(ctx, ledger.KindMeta, key)
		if err == nil || !notFound(err) {
			return r.Value, err
		}
		err = s.ledger.Store.Commit(ctx, store.Create(store.Record{Kind: ledger.KindMeta, Key: key, Value: value}))
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return nil, err
		}
	}
}

// openKeys loads the signing keys, makes the first, and keeps up with what
// other processes on the store do.
func (s *Server) openKeys(ctx context.Context, st *settings) error {
	err := s.ledger.Store.Watch(ctx, ledger.KindKey, func(store.Record) {
		// A commit of our own is loaded by whoever made it; what this hears of is loaded
		// beside, because the store must not be called from here.
		go func() {
			if err := s.loadKeys(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("signing keys were not read again", "error", err)
			}
		}()
	})
	if err != nil {
		return err
	}
	err = s.loadKeys(ctx)
	if errors.Is(err, errNoKey) {
		if err := s.firstKey(ctx, st); err != nil {
			return err
		}
		err = s.loadKeys(ctx)
	}
	if err != nil {
		return err
	}
	if err := s.signWith(ctx, st); err != nil {
		return err
	}
	return s.keepLongest(ctx, st.longest())
}

// firstKey makes the first signing key. Its name is used once, so that of two
// processes that start together one makes it.
func (s *Server) firstKey(ctx context.Context, st *settings) error {
	key, ops, err := s.newKey(st, time.Time{}) // nobody has other keys of ours
	if err != nil {
		return err
	}
	ops = append(ops, store.Once("first-key", s.now().Add(time.Minute)),
		s.ledger.AuditOp(s.event("key.create", audit.Event{Detail: "first signing key " + key.ID()})))
	err = s.ledger.Store.Commit(ctx, ops...)
	if errors.Is(err, store.ErrSeen) {
		return nil
	}
	return err
}

var errNoKey = errors.New("authserver: no signing key")

// newKey makes a key that signs from then on; zero: at once.
func (s *Server) newKey(st *settings, signs time.Time) (*jose.Key, []store.Op, error) {
	key, err := jose.Generate(st.tokens.Alg)
	if err != nil {
		return nil, nil, err
	}
	der, err := key.Marshal()
	if err != nil {
		return nil, nil, err
	}
	rec := keyRecord{Sealed: s.vault.Seal("key/"+key.ID(), der), Created: s.now(), Signs: signs, Longest: st.longest(), Alg: key.Alg()}
	r, err := rec.record(key.ID())
	return key, []store.Op{store.Create(r)}, err
}

func (k keyRecord) record(id string) (store.Record, error) {
	b, err := json.Marshal(k)
	r := store.Record{Kind: ledger.KindKey, Key: id, Value: b}
	if !k.Retired.IsZero() {
		r.Expires = k.Retired.Add(k.Longest + keyMargin)
	}
	return r, err
}

// storedKey is a key as it was read.
type storedKey struct {
	keyRecord
	id      string
	version uint64
}

// storedKeys lists the keys, newest first: the first is the one that signs, or
// will sign.
func (s *Server) storedKeys(ctx context.Context) ([]storedKey, error) {
	recs, _, err := s.ledger.Store.List(ctx, store.Query{Kind: ledger.KindKey, Limit: 1000})
	if err != nil {
		return nil, fmt.Errorf("authserver: reading signing keys: %w", err)
	}
	var keys []storedKey
	for _, r := range recs {
		k := storedKey{id: r.Key, version: r.Version}
		if err := json.Unmarshal(r.Value, &k.keyRecord); err != nil {
			return nil, fmt.Errorf("authserver: signing key %s cannot be read: %w", r.Key, err)
		}
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b storedKey) int {
		if a.Retired.IsZero() != b.Retired.IsZero() {
			if a.Retired.IsZero() {
				return -1
			}
			return 1
		}
		return cmp.Or(b.from().Compare(a.from()), b.Retired.Compare(a.Retired))
	})
	return keys, nil
}

// loadKeys reads and opens the keys of the store. errNoKey if none may sign.
func (s *Server) loadKeys(ctx context.Context) error {
	s.keyLoads.Lock()
	defer s.keyLoads.Unlock()
	stored, err := s.storedKeys(ctx)
	if err != nil {
		return err
	}
	if len(stored) == 0 || !stored[0].Retired.IsZero() {
		return errNoKey
	}
	var keys []*jose.Key
	ring := &keyring{}
	for _, k := range stored {
		der, err := s.vault.Open("key/"+k.id, k.Sealed)
		if err != nil {
			return fmt.Errorf("authserver: the master key does not open the signing keys in this database: give the master key that it was made with, or start with an empty database (every token and session ends then): %w", err)
		}
		key, err := jose.ParseKeyFor(der, k.id, k.Alg)
		if err != nil {
			return fmt.Errorf("authserver: signing key %s: %w", k.id, err)
		}
		keys, ring.signers = append(keys, key), append(ring.signers, signer{key, k.from()})
	}
	ring.set = jose.NewSet(keys...)
	if ring.document, err = jose.Document(ring.set, s.decrypters()); err != nil {
		return err
	}
	s.ring.Store(ring)
	return nil
}

// verifyOwn checks a token that this issuer signed itself: its signature and
// its class, not yet its claims. Keys that another process made a moment ago
// are read from the store, at most once a second.
func (s *Server) verifyOwn(ctx context.Context, token, typ string) (jose.Verified, error) {
	v, err := jose.Verify(token, s.ring.Load().set, jose.Algs(), []string{typ})
	if !errors.Is(err, jose.ErrUnknownKey) || !s.mayLoad() {
		return v, err
	}
	if err := s.loadKeys(ctx); err != nil {
		return v, err
	}
	return jose.Verify(token, s.ring.Load().set, jose.Algs(), []string{typ})
}

func (s *Server) mayLoad() bool {
	s.keyLoads.Lock()
	defer s.keyLoads.Unlock()
	if now := time.Now(); now.Sub(s.keyLoad) >= time.Second {
		s.keyLoad = now
		return true
	}
	return false
}

// housekeep does what has to be done now and then until ctx ends.
func (s *Server) housekeep(ctx context.Context) {
	sweep, rotation := time.NewTicker(10*time.Second), time.NewTicker(time.Hour)
	defer sweep.Stop()
	defer rotation.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
			err = errors.Join(s.sweep(ctx), s.ledger.FinishLeaving(ctx, ""), s.finishDistrusted(ctx))
		case <-rotation.C:
			err = s.rotateByAge(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("background work failed", "error", err)
		}
	}
}

// sweepTime is how long one sweep may last, so that what else has to be done
// has its turn.
const sweepTime = 10 * time.Second

// sweep removes expired records, in portions that hold up no request, until none
// is left: what a flood of requests leaves behind must go as fast as it came.
func (s *Server) sweep(ctx context.Context) error {
	s.polls.sweep(s.now())
	const portion = 200
	for end := time.Now().Add(sweepTime); time.Now().Before(end); {
		n, err := s.ledger.Store.Sweep(ctx, portion)
		if err != nil || n < portion {
			return err
		}
	}
	return nil
}
