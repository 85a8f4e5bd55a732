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

func kidOf(t *testing.T, token string) string {
	t.Helper()
	h, _, err := jose.Peek(token)
	if err != nil {
		t.Fatal(err)
	}
	return h.Kid
}

// A new key is published for 20 minutes before it signs: whoever fetched the key
// set within that time can check its first token. Processes agree to the second,
// also one that starts in between, and asking twice makes no second key.
//
// covers: AS-META-12
func TestKeyIsPublishedBeforeItSigns(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	second := w.replica(t)
	old := kidOf(t, agentToken(t, w.as))
	from := w.now().Add(20 * time.Minute)
	oldID, newID, err := w.as.RotateKey(ctx)
	if err != nil || oldID != old || newID == old {
		t.Fatalf("%s %s %v", oldID, newID, err)
	}
	if again, same, err := second.RotateKey(ctx); err != nil || again != old || same != newID {
		t.Errorf("asked again: %s %s %v", again, same, err)
	}
	elsewhere, err := jose.ParseSet([]byte(ask(w.as, http.MethodGet, asURL+"/jwks").body)) // kept from now on
	if err != nil {
		t.Fatal(err)
	}
	third := w.replica(t) // a restart in the middle
	if err := third.Reload(w.asCfg); err != nil {
		t.Fatal(err)
	}
	all := []*Server{w.as, second, third}
	for _, step := range []struct {
		later time.Duration
		kid   string
	}{{0, old}, {20*time.Minute - time.Second, old}, {time.Second, newID}, {time.Second, newID}} {
		w.forward(step.later)
		for i, s := range all {
			token := agentToken(t, s)
			if kid := kidOf(t, token); kid != step.kid {
				t.Errorf("%s before it: process %d signs with %s, not %s", from.Sub(w.now()), i, kid, step.kid)
			}
			if _, err := jose.Verify(token, elsewhere, jose.Algs(), []string{oauth.TypAccessToken}); err != nil {
				t.Errorf("elsewhere: %v", err)
			}
		}
	}
	infos, err := w.as.Keys(ctx)
	if err != nil || len(infos) != 2 || infos[0].ID != newID || !infos[0].Signs.Equal(from) || !infos[1].Retired.Equal(from) || !infos[1].Until.Equal(from.Add(2*time.Hour)) {
		t.Errorf("%+v %v", infos, err)
	}
	// Its age counts from when it signs, and a next one that waits is enough.
	w.forward(defaultRotation - time.Minute)
	for i, want := range []int{1, 2, 2} {
		if err := w.as.rotateByAge(ctx); err != nil {
			t.Fatal(err)
		}
		if got := kids(published(t, w.as)); len(got) != want {
			t.Errorf("%d: published %v", i, got)
		}
		w.forward(time.Minute)
	}
	if kid := kidOf(t, agentToken(t, w.as)); kid != newID {
		t.Errorf("signed with %s already", kid)
	}
}

// A lifetime that becomes longer while a next key waits counts for both.
func TestLifetimesWhileAKeyWaits(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	if _, _, err := w.as.RotateKey(ctx); err != nil {
		t.Fatal(err)
	}
	cfg := w.asCfg
	cfg.Tokens.Access = 48 * time.Hour
	if err := w.as.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	token := agentToken(t, w.as)
	w.forward(47 * time.Hour)
	if err := w.as.rotateByAge(ctx); err != nil {
		t.Fatal(err)
	}
	if got := kids(published(t, w.as)); !slices.Contains(got, kidOf(t, token)) {
		t.Errorf("the key left before its tokens: %v", got)
	}
}

// A key in wrong hands counts no more at once, nor does one that waited.
func TestReplaceKey(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	second := w.replica(t)
	code := w.code(t, w.as, filesGrant("desktop"), "http://127.0.0.1/callback")
	first := post(w.as, "/token", desktop, form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier))
	token := first.text("access_token")
	_, waiting, err := w.as.RotateKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	newID, err := w.as.ReplaceKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := kids(published(t, w.as)); !slices.Equal(got, []string{newID}) {
		t.Errorf("published %v", got)
	}
	if _, err := w.as.verifyOwn(ctx, token, oauth.TypAccessToken); err == nil {
		t.Error("a token of the old key counts")
	}
	again := post(w.as, "/token", desktop, form("grant_type=refresh_token", "refresh_token="+first.text("refresh_token")))
	if again.status != http.StatusOK || kidOf(t, again.text("access_token")) != newID {
		t.Errorf("refreshed: %d %s", again.status, again.body)
	}
	w.forward(keyLead)
	if kid := kidOf(t, agentToken(t, w.as)); kid != newID || kid == waiting {
		t.Errorf("later signed with %s", kid)
	}
	for deadline := time.Now().Add(10 * time.Second); !slices.Equal(kids(published(t, second)), []string{newID}); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the other process still has the old keys")
		}
	}
	w.replica(t) // and a start finds what it needs
}
