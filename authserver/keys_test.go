package authserver

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// published is the key set as the world sees it.
func published(t *testing.T, s *Server) []map[string]any {
	t.Helper()
	doc, err := s.JWKS(context.Background(), s.current().cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(doc, &set); err != nil {
		t.Fatal(err)
	}
	return set.Keys
}

func kids(keys []map[string]any) []string {
	var ids []string
	for _, k := range keys {
		ids = append(ids, k["kid"].(string))
	}
	slices.Sort(ids)
	return ids
}

// agentToken is an access token of the client that acts for itself.
func agentToken(t *testing.T, s *Server) string {
	t.Helper()
	r := post(s, "/token", "agent "+agentSecret, form("grant_type=client_credentials"))
	if r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	return r.text("access_token")
}

// covers: AS-META-12, IDP-KEY-01
func TestKeyRotation(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	before := agentToken(t, w.as)
	oldID, newID, err := w.as.RotateKey(ctx)
	if err != nil || oldID == newID {
		t.Fatalf("%s, %s, %v", oldID, newID, err)
	}
	w.forward(keyLead)
	after := agentToken(t, w.as)
	if h, _, _ := jose.Peek(after); h.Kid != newID {
		t.Errorf("signed with %s, not with the new key", h.Kid)
	}
	for name, token := range map[string]string{"before": before, "after": after} {
		if _, err := w.as.verifyOwn(ctx, token, oauth.TypAccessToken); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	keys := published(t, w.as)
	if got := kids(keys); !slices.Equal(got, slices.Sorted(slices.Values([]string{oldID, newID}))) {
		t.Errorf("published %v", got)
	}
	for _, k := range keys {
		if k["d"] != nil || k["use"] != "sig" || k["alg"] != "ES256" || k["kty"] != "EC" {
			t.Errorf("published key %v", k)
		}
	}
	// The longest-lived token that it signed lives an hour; it stays that long, and an hour more.
	w.forward(2*time.Hour - time.Second)
	if err := w.as.rotateByAge(ctx); err != nil {
		t.Fatal(err)
	}
	if got := kids(published(t, w.as)); len(got) != 2 {
		t.Errorf("the retired key left too early: %v", got)
	}
	w.forward(2 * time.Second)
	if err := w.as.rotateByAge(ctx); err != nil {
		t.Fatal(err)
	}
	if got := kids(published(t, w.as)); !slices.Equal(got, []string{newID}) {
		t.Errorf("published %v", got)
	}
	if _, err := w.as.JWKS(ctx, idpURL); err == nil {
		t.Error("the keys of another issuer")
	}
}

// Shortened lifetimes do not take a key away under tokens that live.
func TestRetiredKeyKeepsItsLongestLife(t *testing.T) {
	w := newWorld(t, func(as, _ *Config) { as.Tokens.Access = 24 * time.Hour })
	ctx := context.Background()
	cfg := w.asCfg
	cfg.Tokens.Access = time.Minute
	if err := w.as.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.as.RotateKey(ctx); err != nil {
		t.Fatal(err)
	}
	w.forward(keyLead + 24*time.Hour)
	if err := w.as.rotateByAge(ctx); err != nil {
		t.Fatal(err)
	}
	if got := kids(published(t, w.as)); len(got) != 2 {
		t.Errorf("published %v", got)
	}
}

func TestRotationByAge(t *testing.T) {
	w := newWorld(t, func(as, _ *Config) { as.KeyRotation = 48 * time.Hour })
	first := kids(published(t, w.as))
	w.forward(48*time.Hour - time.Second)
	if err := w.as.rotateByAge(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := kids(published(t, w.as)); !slices.Equal(got, first) {
		t.Errorf("rotated too early: %v", got)
	}
	w.forward(time.Second)
	if err := w.as.rotateByAge(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := kids(published(t, w.as)); len(got) != 2 || !slices.Contains(got, first[0]) {
		t.Errorf("not rotated: %v", got)
	}
}

// Two processes on one store share their keys, and keep up with each other.
func TestSecondProcess(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	second := w.replica(t)
	if a, b := kids(published(t, w.as)), kids(published(t, second)); !slices.Equal(a, b) {
		t.Fatalf("%v and %v", a, b)
	}
	if _, _, err := w.as.RotateKey(ctx); err != nil {
		t.Fatal(err)
	}
	w.forward(keyLead)
	if _, err := second.verifyOwn(ctx, agentToken(t, w.as), oauth.TypAccessToken); err != nil {
		t.Errorf("a token of the new key at the other process: %v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		h, _, err := jose.Peek(agentToken(t, second))
		if err == nil && h.Kid == w.as.signingKey().ID() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the other process still signs with the old key")
		}
		time.Sleep(5 * time.Millisecond)
	}
	// Both rotate at once: it is one rotation.
	next := make(chan string, 2)
	for _, s := range []*Server{w.as, second} {
		go func() {
			_, id, err := s.RotateKey(ctx)
			if err != nil {
				t.Error(err)
			}
			next <- id
		}()
	}
	if a, b := <-next, <-next; a != b {
		t.Errorf("two next keys: %s and %s", a, b)
	}
	if got := kids(published(t, w.as)); len(got) != 3 {
		t.Errorf("published %v", got)
	}
	// Both replace all keys at once: one after the other, so that one key is left.
	for _, s := range []*Server{w.as, second} {
		go func() {
			id, err := s.ReplaceKey(ctx)
			if err != nil {
				t.Error(err)
			}
			next <- id
		}()
	}
	ids := []string{<-next, <-next}
	for _, s := range []*Server{w.as, second} {
		if err := s.loadKeys(ctx); err != nil {
			t.Fatal(err)
		}
		if got := kids(published(t, s)); len(got) != 1 || !slices.Contains(ids, got[0]) || ids[0] == ids[1] {
			t.Errorf("published %v of %v", got, ids)
		}
	}
}

func TestFirstStartTogether(t *testing.T) {
	w := &world{time: jagNow()}
	cfg := w.asConfig(openStore(t, w.now))
	cfg.Issuers, cfg.MasterKey = nil, nil
	type started struct {
		s   *Server
		err error
	}
	results := make(chan started, 4)
	for range 4 {
		go func() {
			s, err := New(cfg)
			results <- started{s, err}
		}()
	}
	var first []string
	for range 4 {
		r := <-results
		if r.err != nil {
			t.Fatal(r.err)
		}
		defer r.s.Close()
		got := kids(published(t, r.s))
		if first == nil {
			first = got
		}
		if len(got) != 1 || !slices.Equal(first, got) {
			t.Errorf("published %v and %v", first, got)
		}
	}
}

func TestStoreBelongsToOneIssuer(t *testing.T) {
	w := &world{time: jagNow()}
	db := openStore(t, w.now)
	start := func(change func(*Config)) error {
		cfg := w.asConfig(db)
		cfg.Issuers = nil
		change(&cfg)
		s, err := New(cfg)
		if err == nil {
			s.Close()
		}
		return err
	}
	if err := start(func(*Config) {}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"another issuer":     {func(c *Config) { c.URL = "https://other.example" }, "belongs to the issuer https://as.example"},
		"another master key": {func(c *Config) { c.MasterKey = []byte("fedcba9876543210fedcba9876543210") }, "the master key does not open the signing keys"},
		"no master key":      {func(c *Config) { c.MasterKey = nil }, "set MasterKey"},
		"a short master key": {func(c *Config) { c.MasterKey = []byte("short") }, "MasterKey"},
		"no store":           {func(c *Config) { c.Store = nil }, "Config.Store is missing"},
	} {
		if err := start(tt.change); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := start(func(*Config) {}); err != nil {
		t.Errorf("the owner is refused now: %v", err)
	}
}

// What lies in the store opens nothing: keys are sealed, codes and refresh
// tokens are there as hashes only.
//
// covers: AS-RT-06, SEC-26
func TestNothingToStealAtRest(t *testing.T) {
	w := newWorld(t)
	code := w.code(t, w.as, filesGrant("desktop"), "http://127.0.0.1/callback")
	first := post(w.as, "/token", desktop, form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier))
	second := post(w.as, "/token", desktop, form("grant_type=refresh_token", "refresh_token="+first.text("refresh_token")))
	der, err := w.as.signingKey().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{code, first.text("refresh_token"), second.text("refresh_token"), first.text("access_token"), string(der), codeVerifier, desktopSecret}
	for _, kind := range []store.Kind{ledger.KindGrant, ledger.KindKey, ledger.KindAudit, ledger.KindMeta, ledger.KindClient} {
		recs, _, err := w.as.ledger.Store.List(context.Background(), store.Query{Kind: kind, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			for i, secret := range secrets {
				if strings.Contains(string(r.Value), secret) || strings.Contains(r.Key, secret) {
					t.Errorf("secret %d lies in a record of kind %s", i, kind)
				}
			}
		}
	}
}
