package authserver

import (
	"net/http"
	"path/filepath"
	"testing"

	"doorward/internal/oauth"
	"doorward/store/sqlite"
)

// The token endpoint without a network, on a file: what a request costs the
// server beside HTTP.
func BenchmarkToken(b *testing.B) {
	w := newWorld(b, func(as, _ *Config) {
		db, err := sqlite.OpenConfig(sqlite.Config{Path: filepath.Join(b.TempDir(), "as.db"), Now: as.Now})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { db.Close() })
		as.Store = db
	})
	must := func(b *testing.B, r reply) reply {
		if r.status != http.StatusOK {
			b.Fatalf("%d %s", r.status, r.body)
		}
		return r
	}
	b.Run("client_credentials", func(b *testing.B) {
		f := form("grant_type=client_credentials")
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				must(b, post(w.as, "/token", "agent "+agentSecret, f))
			}
		})
	})
	b.Run("refresh", func(b *testing.B) {
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			code := w.code(b, w.as, filesGrant("desktop"), "http://127.0.0.1/callback")
			r := must(b, post(w.as, "/token", desktop, form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier)))
			for pb.Next() {
				r = must(b, post(w.as, "/token", desktop, form("grant_type=refresh_token", "refresh_token="+r.text("refresh_token"))))
			}
		})
	})
	b.Run("jwt-bearer", func(b *testing.B) {
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				must(b, post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+w.jag(b, nil))))
			}
		})
	})
	b.Run("token-exchange", func(b *testing.B) {
		id := oauth.Grant{Client: "desktop-idp", Resource: idpURL, Scopes: oauth.Scopes{"openid"}, Subject: oauth.Subject{ID: "alice"}}
		code := w.code(b, w.idp, id, "http://127.0.0.1/callback")
		r := must(b, post(w.idp, "/token", desktopIdP, form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier)))
		f := exchangeForm(r.text("id_token"), oauth.TokenTypeIDToken)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				must(b, post(w.idp, "/token", desktopIdP, f))
			}
		})
	})
	b.Run("introspect", func(b *testing.B) {
		code := w.code(b, w.as, filesGrant("desktop"), "http://127.0.0.1/callback")
		r := must(b, post(w.as, "/token", desktop, form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier)))
		f := form("token=" + r.text("access_token"))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				must(b, post(w.as, "/introspect", "files-server files-server-secret-0123456789", f))
			}
		})
	})
}
