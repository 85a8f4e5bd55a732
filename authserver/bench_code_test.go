//go:build unix

package authserver

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"doorward/internal/oauth"
	"doorward/store/sqlite"
)

// BenchmarkCodeFlow is an authorization request of a browser that is signed in
// and whose consent is remembered, and the redemption of its code, without a
// network, on a file.
func BenchmarkCodeFlow(b *testing.B) {
	w := newWorld(b, func(as, _ *Config) {
		db, err := sqlite.Open(filepath.Join(b.TempDir(), "as.db"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { db.Close() })
		as.Store, as.Now = db, nil
	})
	browser := httptest.NewRecorder()
	who := oauth.Subject{ID: "alice", AuthTime: time.Now()}
	if _, err := w.as.sessions.Start(b.Context(), browser, httptest.NewRequest("GET", asURL+"/login", nil), who); err != nil {
		b.Fatal(err)
	}

	w.as.sessions.Browser(browser, httptest.NewRequest("GET", asURL+"/login", nil))
	cookies := browser.Result().Cookies()
	req := oauth.AuthorizationRequest{ClientID: "desktop", ResponseType: "code", RedirectURI: "http://127.0.0.1/callback",
		Scope: oauth.Scopes{"files:read"}, Resources: []string{filesURL}, State: "state", CodeChallenge: oauth.S256(codeVerifier), CodeChallengeMethod: "S256"}
	a, err := w.as.examine(b.Context(), w.as.current(), req)
	if err != nil {
		b.Fatal(err)
	}
	if err := w.as.ledger.Store.Commit(b.Context(), w.as.consentOp("alice", a, a.scopes)); err != nil {
		b.Fatal(err)
	}
	target := asURL + "/authorize?" + queryOf(req).Encode()
	before := cpu()
	b.SetParallelism(24)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := httptest.NewRequest(http.MethodGet, target, nil)
			for _, c := range cookies {
				r.AddCookie(c)
			}
			back, err := url.Parse(send(w.as, r).header.Get("Location"))
			if err != nil {
				b.Error(err)
				return
			}
			got := post(w.as, "/token", desktop, form("grant_type=authorization_code", "code="+back.Query().Get("code"), "code_verifier="+codeVerifier))
			if got.status != http.StatusOK {
				b.Errorf("%d %s %s", got.status, got.body, back)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

func cpu() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
