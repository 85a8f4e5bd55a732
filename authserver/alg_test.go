package authserver

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// Another algorithm replaces the key while serving: what the old one signed
// goes on, what is new is signed by the new one, and the documents say so.
//
// covers: AS-META-12
func TestAlgorithms(t *testing.T) {
	w := newWorld(t, func(as, _ *Config) { as.Tokens.Access = 24 * time.Hour })
	ctx := context.Background()
	tokens := []string{agentToken(t, w.as)}
	kty := map[string]string{"EdDSA": "OKP", "RS256": "RSA", "PS256": "RSA", "ES256": "EC"}
	for i, alg := range []string{"EdDSA", "RS256", "PS256", "ES256"} {
		cfg := w.asCfg
		cfg.Tokens.Alg = alg
		if err := w.as.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		if err := w.as.Reload(cfg); err != nil { // nothing new
			t.Fatal(err)
		}
		// The old one signs until the new one is known everywhere; the documents name both.
		before, _, _ := jose.Peek(tokens[i])
		if h, _, _ := jose.Peek(agentToken(t, w.as)); h.Kid != before.Kid {
			t.Errorf("%s: signed with it at once", alg)
		}
		doc := ask(w.as, http.MethodGet, asURL+"/.well-known/openid-configuration")
		if v, _ := doc.field("id_token_signing_alg_values_supported"); !slices.Equal(v.([]any), []any{alg, before.Alg}) {
			t.Errorf("%s: before it signs the metadata says %v", alg, v)
		}
		w.forward(keyLead)
		tokens = append(tokens, agentToken(t, w.as))
		h, _, err := jose.Peek(tokens[i+1])
		if err != nil || h.Alg != alg {
			t.Errorf("%s: signed with %s, %v", alg, h.Alg, err)
		}
		keys := published(t, w.as)
		if len(keys) != i+2 {
			t.Errorf("%s: %d keys are published", alg, len(keys))
		}
		for _, k := range keys {
			if k["kid"] == h.Kid && (k["alg"] != alg || k["kty"] != kty[alg] || k["d"] != nil) {
				t.Errorf("%s: published as %v", alg, k)
			}
		}
		doc = ask(w.as, http.MethodGet, asURL+"/.well-known/openid-configuration")
		if v, _ := doc.field("id_token_signing_alg_values_supported"); !slices.Equal(v.([]any), []any{alg}) {
			t.Errorf("%s: the metadata says %v", alg, v)
		}
		// Anybody's verifier takes them, with the published set alone.
		document, err := w.as.JWKS(ctx, asURL)
		if err != nil {
			t.Fatal(err)
		}
		set, err := jose.ParseSet(document)
		if err != nil {
			t.Fatal(err)
		}
		for n, token := range tokens {
			if _, err := jose.Verify(token, set, []string{"ES256", "EdDSA", "RS256", "PS256"}, []string{oauth.TypAccessToken}); err != nil {
				t.Errorf("after %s, token %d: %v", alg, n, err)
			}
			if r := post(w.as, "/introspect", "agent "+agentSecret, form("token="+token)); r.text("client_id") != "agent" {
				t.Errorf("after %s, token %d: %s", alg, n, r.body)
			}
		}
	}
	infos, err := w.as.Keys(ctx)
	if err != nil || len(infos) != 5 || infos[0].Alg != "ES256" || !infos[0].Retired.IsZero() || infos[1].Until.IsZero() {
		t.Errorf("%+v %v", infos, err)
	}
	cfg := w.asCfg
	cfg.Tokens.Alg = "HS256"
	if err := w.as.Reload(cfg); err == nil {
		t.Error("HS256 was taken")
	}
}

// A start with another algorithm than the last one signs with it.
func TestAlgorithmAtAStart(t *testing.T) {
	w := newWorld(t)
	token := agentToken(t, w.as)
	cfg := w.asCfg
	cfg.Tokens.Alg = "EdDSA"
	again, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if h, _, _ := jose.Peek(agentToken(t, again)); h.Alg != "ES256" {
		t.Errorf("signed with %s at once", h.Alg)
	}
	w.forward(keyLead)
	if h, _, _ := jose.Peek(agentToken(t, again)); h.Alg != "EdDSA" {
		t.Errorf("signed with %s", h.Alg)
	}
	if _, err := again.verifyOwn(t.Context(), token, oauth.TypAccessToken); err != nil {
		t.Errorf("a token from before: %v", err)
	}
}

// An ID-JAG of each algorithm is redeemed, and its issuer's ID tokens too.
func TestAlgorithmsOfIDJAGs(t *testing.T) {
	for _, alg := range jose.Algs() {
		w := newWorld(t, func(_, idp *Config) { idp.Tokens.Alg = alg })
		r := post(w.as, "/token", "desktop "+desktopSecret, form("grant_type="+oauth.JWTBearer, "assertion="+w.jag(t, nil)))
		if r.status != http.StatusOK {
			t.Errorf("%s: %d %s", alg, r.status, r.body)
		}
	}
}

// Documents that everybody reads may be kept for five minutes.
//
// covers: B19
func TestCacheHeadersOfDocuments(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/jwks"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			if r := ask(w.as, method, asURL+path); r.status != http.StatusOK || r.header.Get("Cache-Control") != "public, max-age=300" {
				t.Errorf("%s %s: %d %v", method, path, r.status, r.header)
			}
		}
	}
}
