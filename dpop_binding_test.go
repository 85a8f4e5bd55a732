package doorward_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"doorward"
	"doorward/authtest"
	"doorward/internal/jose"
)

// jagBoundTo makes the stand-in IdP issue ID-JAGs that are bound to a key: that
// of the proof, another one, or none.
func (w *world) jagBoundTo(t *testing.T, which string) {
	signer, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	w.exchange = func(url.Values) (int, map[string]any) {
		claims := map[string]any{"iss": w.idp.URL, "sub": "alice"}
		heads := w.heads["idp"]
		proof := heads[len(heads)-1].Get("DPoP")
		switch {
		case which == "another":
			claims["cnf"] = m{"jkt": signer.ID()}
		case which == "own" && proof != "":
			_, jkt := claimsOf(t, proof)
			claims["cnf"] = m{"jkt": jkt}
		case which == "text":
			claims["cnf"] = "x"
		}
		jag, err := signer.Sign("oauth-id-jag+jwt", claims)
		if err != nil {
			t.Error(err)
		}
		return 200, m{"access_token": jag}
	}
	w.token = func(url.Values) (int, map[string]any) {
		heads := w.heads["as"]
		if heads[len(heads)-1].Get("DPoP") == "" {
			return 200, m{}
		}
		return 200, m{"token_type": "DPoP"}
	}
}

// An ID-JAG is bound to the key whose proof went to the IdP, and redeemed with
// a proof of the same one. An IdP that drops the proof, or binds to another key,
// ends the attempt before anything is redeemed.
//
// covers: C-EMA-05, SEC-37
func TestIDJAGIsBoundToTheKey(t *testing.T) {
	for _, c := range []struct {
		name, bound string
		key         crypto.Signer
		algs        []string // that the IdP's metadata lists
		proof       bool     // went to the IdP
		want        string   // in the error; empty: there is none
	}{
		{"bound", "own", p256(t), []string{"ES256"}, true, ""},
		{"the proof was dropped", "none", p256(t), []string{"ES256"}, true, "cnf.jkt is missing"},
		{"another key", "another", p256(t), []string{"ES256"}, true, "another key"},
		{"not readable", "text", p256(t), []string{"ES256"}, true, "cannot be read"},
		{"an IdP without DPoP", "none", p256(t), nil, false, ""},
		{"an IdP that takes other keys", "none", p256(t), []string{"RS256"}, false, ""},
		{"an IdP that binds to a key of its own", "another", nil, nil, false, "another key"},
		{"without a key", "none", nil, []string{"ES256"}, false, ""},
	} {
		w := newWorld(t)
		w.jagBoundTo(t, c.bound)
		if c.algs != nil {
			w.idpMetadata["dpop_signing_alg_values_supported"] = c.algs
		}
		_, err := (&doorward.Transport{Flow: w.crossApp(), DPoP: c.key}).Token(as("alice"), w.url())
		if sent := w.heads["idp"][0].Get("DPoP"); (sent != "") != c.proof {
			t.Errorf("%s: the IdP got the proof %q", c.name, sent)
		}
		var e *doorward.Error
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want == "":
		case !errors.As(err, &e) || e.Step != "exchange" || e.Who != "IdP's administrator" || !strings.Contains(err.Error(), c.want) || w.count("as") != 0:
			t.Errorf("%s: %v; %d requests to the authorization server", c.name, err, w.count("as"))
		}
	}
}

// The real parts: both ends bind to the program's key.
//
// covers: C-EMA-05
func TestCrossAppWithAKeyAtBothEnds(t *testing.T) {
	w := authtest.New(t, authtest.Config{DPoP: "required"})
	tap := &wire{}
	tr := &doorward.Transport{Flow: w.CrossApp("alice"), Base: tap, DPoP: p256(t)}
	call(t, tr, w.MCP)
	var keys []string
	for _, s := range append(tap.take(w.IdP+"/token"), tap.take(w.Server+"/token")...) {
		if len(s.proofs) != 1 {
			t.Fatalf("%s got %d proofs", s.url, len(s.proofs))
		}
		_, jkt := claimsOf(t, s.proofs[0])
		keys = append(keys, jkt)
		if s.form.Has("assertion") {
			if cnf, _ := bodyOf(t, s.form.Get("assertion"))["cnf"].(map[string]any); cnf["jkt"] != jkt {
				t.Errorf("the ID-JAG is bound to %v", cnf)
			}
		}
	}
	if len(keys) != 2 || keys[0] != keys[1] {
		t.Errorf("proofs of %v", keys)
	}
}

// A server says in several ways that it takes bound tokens only; a program that
// has no key gets one made. One that takes both gets a bearer token.
func TestProofsWhereTheyAreDemanded(t *testing.T) {
	challenge := func(text string) func(w *world) {
		return func(w *world) {
			inner := w.mcp.Config.Handler
			w.mcp.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/mcp" && r.Header.Get("Authorization") == "" {
					rw.Header().Add("WWW-Authenticate", text)
					rw.WriteHeader(http.StatusUnauthorized)
					return
				}
				inner.ServeHTTP(rw, r)
			})
		}
	}
	for _, c := range []struct {
		name   string
		change func(w *world)
		alg    string // of the proof; empty: there is none
	}{
		{"nobody asks", func(w *world) {}, ""},
		{"taken by the authorization server", func(w *world) { w.asMetadata["dpop_signing_alg_values_supported"] = []string{"ES256"} }, ""},
		{"the challenge", challenge(`DPoP algs="ES256"`), "ES256"},
		{"the challenge, beside Bearer", challenge(`DPoP algs="ES256", Bearer`), ""},
		{"the resource metadata", func(w *world) { w.prm["dpop_bound_access_tokens_required"] = true }, "ES256"},
		{"with other algorithms", func(w *world) {
			w.prm["dpop_bound_access_tokens_required"] = true
			w.prm["dpop_signing_alg_values_supported"] = []string{"PS256", "EdDSA"}
			w.asMetadata["dpop_signing_alg_values_supported"] = []string{"ES256", "EdDSA"}
		}, "EdDSA"},
		{"the authorization server's refusal", func(w *world) {
			w.token = func(url.Values) (int, map[string]any) {
				heads := w.heads["as"]
				if heads[len(heads)-1].Get("DPoP") == "" {
					return 400, m{"error": "invalid_dpop_proof"}
				}
				return 200, m{"token_type": "DPoP"}
			}
		}, "ES256"},
	} {
		w := newWorld(t)
		w.jagBoundTo(t, "none")
		w.exchange = nil
		c.change(w)
		tok, err := (&doorward.Transport{Flow: w.crossApp()}).Token(as("alice"), w.url())
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		heads := w.heads["as"]
		proof := heads[len(heads)-1].Get("DPoP")
		if c.alg == "" {
			if proof != "" || tok.TokenType != "Bearer" {
				t.Errorf("%s: the proof %q, a token of type %s", c.name, proof, tok.TokenType)
			}
			continue
		}
		header, _, err := jose.Peek(proof)
		if err != nil || header.Alg != c.alg || tok.TokenType != "DPoP" {
			t.Errorf("%s: %v, %v, a token of type %s", c.name, err, header, tok.TokenType)
		}
	}
}

// A key that cannot be used is an error before anything is sent, and so is a
// server that takes proofs of no algorithm that is known.
func TestKeysThatDoNotFit(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		key  crypto.Signer
		algs []string
		want string
	}{
		{"a curve that is not used", p384, nil, "Transport.DPoP cannot sign proofs"},
		{"an algorithm that is not taken", p256(t), []string{"RS256"}, "signs with ES256"},
		{"no algorithm that is known", nil, []string{"ES512"}, "no algorithm that is known here"},
	} {
		w := newWorld(t)
		w.prm["dpop_bound_access_tokens_required"] = true
		if c.algs != nil {
			w.asMetadata["dpop_signing_alg_values_supported"] = c.algs
		}
		_, err := (&doorward.Transport{Flow: w.crossApp(), DPoP: c.key}).Token(as("alice"), w.url())
		if err == nil || !strings.Contains(err.Error(), c.want) || w.count("idp")+w.count("as") != 0 {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// An OAuthHandler cannot prove anything: it says so, and what to do instead,
// before a person is bothered.
func TestHandlerWithAKey(t *testing.T) {
	want := "HTTPClient"
	w := newWorld(t)
	h := (&doorward.Transport{Flow: w.crossApp(), DPoP: p256(t)}).OAuth()
	if _, err := h.TokenSource(as("alice")); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("TokenSource: %v", err)
	}
	for name, c := range map[string]struct {
		tr        *doorward.Transport
		challenge string
		demanded  bool
	}{
		"configured":           {&doorward.Transport{DPoP: p256(t)}, "Bearer", false},
		"a DPoP challenge":     {&doorward.Transport{}, "DPoP", false},
		"the resource's rules": {&doorward.Transport{}, "Bearer", true},
	} {
		w := newWorld(t)
		w.jagBoundTo(t, "none")
		w.exchange = nil
		if c.demanded {
			w.prm["dpop_bound_access_tokens_required"] = true
		}
		c.tr.Flow = w.crossApp()
		h := c.tr.OAuth()
		req := httptest.NewRequest(http.MethodPost, w.url(), nil)
		resp := &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": {c.challenge}}, Body: http.NoBody}
		if err := h.Authorize(as("alice"), req, resp); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
		if src, err := h.TokenSource(as("alice")); src != nil || name != "a DPoP challenge" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: then a token %v, %v", name, src, err)
		}
	}
}

// Where both schemes are offered, the challenge that has the error counts, so
// that a bound token is widened like any other.
func TestStepUpWithABoundToken(t *testing.T) {
	w := newWorld(t)
	w.scope, w.needs = "use", "more"
	w.token = func(url.Values) (int, map[string]any) { return 200, m{"token_type": "DPoP"} }
	inner := w.mcp.Config.Handler
	w.mcp.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		token, bound := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
		if bound {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		if said := rec.Header().Get("WWW-Authenticate"); bound && said != "" {
			rec.Header()["Www-Authenticate"] = []string{`Bearer scope="use"`, strings.Replace(said, "Bearer", "DPoP", 1)}
		}
		maps.Copy(rw.Header(), rec.Header())
		rw.WriteHeader(rec.Code)
		_, _ = rec.Body.WriteTo(rw)
	})
	must(t, as("alice"), &doorward.Transport{Flow: w.crossApp(), DPoP: p256(t)}, w.url())
	if got := w.forms["as"]; len(got) != 2 || got[1].Get("scope") != "use more" {
		t.Errorf("token requests: %v", got)
	}
}

// A token is used with its key only, also in a later run: the key of the
// Transport's own lies beside the token, that of the program stays with it.
//
// covers: C-DPOP-01, C-DPOP-03
func TestKeptTokensAndTheirKeys(t *testing.T) {
	first, second := p256(t), p256(t)
	for _, c := range []struct {
		name         string
		before, then crypto.Signer
		mode         string
		asks         bool // for a new token
	}{
		{"the Transport's own key", nil, nil, "required", false},
		{"the program's key", first, first, "optional", false},
		{"another key of the program", first, second, "optional", true},
		{"the program has lost its key", first, nil, "optional", true},
		{"the program has got a key", nil, first, "required", true},
		{"a bearer token, and now a key", nil, first, "optional", true},
		{"a bearer token", nil, nil, "optional", false},
	} {
		w := authtest.New(t, authtest.Config{DPoP: c.mode})
		d, flow := newDrawer(), w.CrossApp("alice")
		call(t, &doorward.Transport{Flow: flow, Store: d, DPoP: c.before}, w.MCP)
		tap := &wire{}
		tr := &doorward.Transport{Flow: flow, Store: d, DPoP: c.then, Base: tap}
		call(t, tr, w.MCP)
		if asked := len(tap.take(w.Server + "/token")); (asked > 0) != c.asks {
			t.Errorf("%s: %d token requests in the second run", c.name, asked)
		}
		last := tap.take(w.MCP)
		s := last[len(last)-1]
		if token, bound := strings.CutPrefix(s.authorization, "DPoP "); bound {
			_, jkt := claimsOf(t, s.proofs[0])
			if cnf, _ := bodyOf(t, token)["cnf"].(map[string]any); cnf["jkt"] != jkt {
				t.Errorf("%s: a token that is bound to %v, with a proof of %s", c.name, cnf, jkt)
			}
		} else if c.then != nil || c.mode == "required" {
			t.Errorf("%s: %s", c.name, s.authorization)
		}
		for _, value := range d.values {
			if c.then != nil && strings.Contains(value, `"key"`) {
				t.Errorf("%s: the program's key is kept: %s", c.name, value)
			}
		}
	}
}
