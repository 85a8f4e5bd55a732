package authserver

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

const desktop = "desktop " + desktopSecret

// together sends n requests at once, to the servers in turn.
func together(n int, servers []*Server, who string, f url.Values) []reply {
	replies := make([]reply, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			replies[i] = post(servers[i%len(servers)], "/token", who, f)
		})
	}
	close(start)
	wg.Wait()
	return replies
}

func succeeded(replies []reply) []reply {
	var ok []reply
	for _, r := range replies {
		if r.status == http.StatusOK {
			ok = append(ok, r)
		}
	}
	return ok
}

// replica is a second process on the same store.
func (w *world) replica(t *testing.T) *Server {
	t.Helper()
	s, err := New(w.asCfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// covers: SEC-11, AS-CODE-02, AS-CODE-03
func TestParallelRedemptions(t *testing.T) {
	w := newWorld(t)
	code := w.code(t, w.as, filesGrant("desktop"), "http://127.0.0.1/callback")
	f := form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier)
	ok := succeeded(together(50, []*Server{w.as, w.replica(t)}, desktop, f))
	if len(ok) != 1 {
		t.Fatalf("%d of 50 redemptions succeeded", len(ok))
	}
	g, err := w.as.ledger.Grant(context.Background(), gid(t, ok[0].text("access_token")))
	if err != nil || g.Ended.IsZero() {
		t.Errorf("the grant of a code that was redeemed twice by its own client lives on: %+v, %v", g, err)
	}
}

// covers: SEC-11
func TestParallelInvalidReplaysEndNothing(t *testing.T) {
	w := newWorld(t)
	code := w.code(t, w.as, filesGrant("desktop"), "http://127.0.0.1/callback")
	good := post(w.as, "/token", desktop, form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier))
	together(20, []*Server{w.as}, desktop, form("grant_type=authorization_code", "code="+code, "code_verifier=wrong-wrong-wrong-wrong-wrong-wrong-wrong-wrong"))
	together(20, []*Server{w.as}, "other other-secret-0123456789", form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier))
	if w.as.ended.Has(gid(t, good.text("access_token"))) {
		t.Error("an invalid replay ended the grant")
	}
}

// covers: AS-RT-07, AS-RT-02
func TestParallelRefreshes(t *testing.T) {
	w := newWorld(t)
	code := w.code(t, w.as, filesGrant("desktop"), "http://127.0.0.1/callback")
	first := post(w.as, "/token", desktop, form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier))
	f := form("grant_type=refresh_token", "refresh_token="+first.text("refresh_token"))
	replies := together(50, []*Server{w.as, w.replica(t)}, desktop, f)
	successor := replies[0].text("refresh_token")
	for _, r := range replies {
		if r.status != http.StatusOK || r.text("refresh_token") != successor || successor == "" {
			t.Fatalf("status %d, successor %t: %s", r.status, r.text("refresh_token") == successor, r.body)
		}
	}
	if r := post(w.as, "/token", desktop, form("grant_type=refresh_token", "refresh_token="+successor)); r.status != http.StatusOK {
		t.Errorf("the successor is refused: %s", r.body)
	}
}

// covers: SEC-14, AS-JAG-09
func TestParallelAssertions(t *testing.T) {
	w := newWorld(t)
	servers := []*Server{w.as, w.replica(t)}
	jag := w.jag(t, nil)
	replies := together(30, servers, desktop, form("grant_type="+oauth.JWTBearer, "assertion="+jag))
	ok := succeeded(replies)
	if len(ok) != 30 {
		t.Fatalf("%d of 30 presentations of the same bytes succeeded: %s", len(ok), replies[0].body)
	}
	for _, r := range ok {
		if gid(t, r.text("access_token")) != gid(t, ok[0].text("access_token")) {
			t.Fatal("the same assertion made two grants")
		}
	}
	// By a public client each assertion counts once, whoever is faster.
	jag = w.jag(t, map[string]any{"client_id": "mobile", "resource": nil, "scope": nil})
	f := form("grant_type="+oauth.JWTBearer, "client_id=mobile", "assertion="+jag)
	if ok := succeeded(together(30, servers, "", f)); len(ok) != 1 {
		t.Errorf("%d of 30 presentations by a public client succeeded", len(ok))
	}
	// Different bytes with one jti: one of them.
	var mu sync.Mutex
	passed := 0
	var wg sync.WaitGroup
	for i := range 20 {
		jag := w.jag(t, map[string]any{"jti": "same", "more": i})
		wg.Go(func() {
			r := post(servers[i%2], "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+jag))
			mu.Lock()
			defer mu.Unlock()
			if r.status == http.StatusOK {
				passed++
			}
		})
	}
	wg.Wait()
	if passed != 1 {
		t.Errorf("%d assertions with the same jti passed", passed)
	}
}

func TestParallelClientCredentials(t *testing.T) {
	w := newWorld(t)
	replies := together(30, []*Server{w.as, w.replica(t)}, "agent "+agentSecret, form("grant_type=client_credentials"))
	for _, r := range replies {
		if r.status != http.StatusOK || gid(t, r.text("access_token")) != gid(t, replies[0].text("access_token")) {
			t.Fatalf("status %d: %s", r.status, r.body)
		}
	}
}

// Whoever leaves while their tokens are made keeps none of them.
func TestLeaveWhileTokensAreMade(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	var wg sync.WaitGroup
	replies := make([]reply, 40)
	for i := range replies {
		jag := w.jag(t, nil)
		wg.Go(func() {
			replies[i] = post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+jag))
		})
		if i == len(replies)/2 {
			wg.Go(func() {
				if _, err := w.as.ledger.Leave(ctx, "corp/alice"); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for _, r := range succeeded(replies) {
		if !w.as.ended.Has(gid(t, r.text("access_token"))) {
			t.Error("a token that was made meanwhile lives on")
		}
	}
}

// failing is a store whose next commit fails, before it does anything, and
// that counts commits with more than the audit in them.
type failing struct {
	store.Store
	mu      sync.Mutex
	fail    bool
	commits int
}

var errDisk = errors.New("disk on fire at /var/lib/secret-place")

func (f *failing) Commit(ctx context.Context, ops ...store.Op) error {
	onlyAudit := true
	for _, op := range ops {
		onlyAudit = onlyAudit && op.Record.Kind == ledger.KindAudit
	}
	f.mu.Lock()
	fail := f.fail && !onlyAudit
	if !onlyAudit {
		f.commits++
		f.fail = false
	}
	f.mu.Unlock()
	if fail {
		return errDisk
	}
	return f.Store.Commit(ctx, ops...)
}

// next arms the failure and starts counting.
func (f *failing) next(fail bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.commits = fail, 0
}

// A request that fails in its commit has done nothing: it can be sent again.
// And each request has one commit, so that nothing can be half done.
func TestFailedCommitChangesNothing(t *testing.T) {
	db := &failing{}
	w := newWorld(t, func(as, _ *Config) { db.Store = as.Store; as.Store = db })
	code := w.code(t, w.as, filesGrant("desktop"), "http://127.0.0.1/callback")
	var refresh string
	for _, tt := range []struct {
		name string
		form func() url.Values
		who  string
	}{
		{"code", func() url.Values {
			return form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier)
		}, desktop},
		{"refresh", func() url.Values { return form("grant_type=refresh_token", "refresh_token="+refresh) }, desktop},
		{"jwt-bearer", func() url.Values { return form("grant_type="+oauth.JWTBearer, "assertion="+w.jag(t, nil)) }, desktop},
		{"client credentials", func() url.Values { return form("grant_type=client_credentials") }, "agent " + agentSecret},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := tt.form()
			db.next(true)
			r := post(w.as, "/token", tt.who, f)
			if r.status != http.StatusInternalServerError || r.text("error") != "server_error" || r.text("access_token") != "" {
				t.Fatalf("%d %s", r.status, r.body)
			}
			if got := r.text("error_description"); !strings.HasPrefix(got, "the server could not do this; its log says why (ref ") || len(got) > 65 {
				t.Errorf("the cause went out: %s", got)
			}
			db.next(false)
			r = post(w.as, "/token", tt.who, f)
			if r.status != http.StatusOK {
				t.Fatalf("the second attempt: %d %s", r.status, r.body)
			}
			if db.commits != 1 {
				t.Errorf("%d commits", db.commits)
			}
			if got := r.text("refresh_token"); got != "" {
				refresh = got
			}
		})
	}
	db.next(false)
	post(w.as, "/token", "agent "+agentSecret, form("grant_type=client_credentials"))
	if db.commits != 0 {
		t.Errorf("a client's second token of the day cost %d commits", db.commits)
	}
}

// A code's person leaves between the approval's check and its commit.
func TestNewCodeOfWhoLeft(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	if _, err := w.as.ledger.Leave(ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	code, err := w.as.newCode(ctx, filesGrant("desktop"), oauth.AuthorizationRequest{CodeChallenge: oauth.S256(codeVerifier)}, "http://127.0.0.1/callback")
	if !errors.Is(err, ledger.ErrLeft) || code != "" {
		t.Errorf("code %t, error %v", code != "", err)
	}
	recs, _, err := w.as.ledger.Store.List(ctx, store.Query{Kind: ledger.KindGrant, Index: "person=alice"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recs {
		if g, err := w.as.ledger.Grant(ctx, r.Key); err != nil || g.Ended.IsZero() {
			t.Errorf("the grant lives on: %+v, %v", g, err)
		}
	}
}

// Grants end with the latest thing that they gave, so that ending them reaches it.
func TestGrantOutlivesItsTokens(t *testing.T) {
	w := newWorld(t)
	code := w.code(t, w.as, filesGrant("once"), "https://web.example/callback")
	r := post(w.as, "/token", "", form("grant_type=authorization_code", "client_id=once", "code="+code, "code_verifier="+codeVerifier))
	g, err := w.as.ledger.Grant(context.Background(), gid(t, r.text("access_token")))
	if err != nil {
		t.Fatal(err)
	}
	if want := w.now().Add(15 * time.Minute); !g.TokensUntil.Equal(want) || !g.Expires.Equal(want) {
		t.Errorf("tokens until %s, grant until %s, want %s", g.TokensUntil, g.Expires, want)
	}
}
