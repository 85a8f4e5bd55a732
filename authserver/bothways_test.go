package authserver

import (
	"context"
	"maps"
	"slices"
	"testing"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// bothWays is a site where people of a provider come by browser and by ID-JAG,
// and where another issuer has people with the same sub and the same address.
func bothWays(t *testing.T, change func(*OIDCProvider, *TrustedIssuer)) (*site, *fakeProvider) {
	return newProvidedSite(t, func(c *Config, p *OIDCProvider) {
		i := TrustedIssuer{Issuer: loginURL, JWKSURI: loginURL + "/jwks", EmailDomains: p.EmailDomains}
		if change != nil {
			change(p, &i)
		}
		other := i
		other.Issuer, other.JWKSURI = "https://other.example", "https://other.example/jwks"
		c.HTTP = byHost{"login.example": c.HTTP, "other.example": keysOf{"other.example": jwksOf("ed")}}
		c.Issuers = map[string]TrustedIssuer{"login": i, "other": other}
	})
}

// assertion redeems an ID-JAG about the same person as the ID tokens of f.
func (f *fakeProvider) assertion(s *site, issuer string, key *jose.Key) reply {
	f.t.Helper()
	now := s.now().Unix()
	c := map[string]any{"iss": issuer, "sub": "u-1", "aud": siteURL, "client_id": "two", "jti": newID(), "iat": now, "exp": now + 300,
		"resource": files, "scope": "files:read", "email": "carol@corp.example", "email_verified": true, "name": "Carol"}
	maps.Copy(c, f.claims)
	token, err := key.Sign(oauth.TypIDJAG, c)
	if err != nil {
		f.t.Fatal(err)
	}
	return post(s.Server, "/token", "two a secret of the second", form("grant_type="+oauth.JWTBearer, "assertion="+token))
}

func subjectIn(t *testing.T, r reply) string {
	t.Helper()
	if r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	sub, _ := claimsOf(t, r.text("access_token")).Text("sub")
	return sub
}

// Somebody comes by browser, and by ID-JAG: one account, one page, one end. Who
// has the same sub and the same address at another issuer is somebody else.
//
// covers: AS-JAG-18, AS-JAG-20, SEC-23
func TestOnePersonBothWays(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*OIDCProvider, *TrustedIssuer)
		claims  map[string]any
		account string // without the provider's name
	}{
		{"by sub", nil, nil, "u-1"},
		{"by two claims, one of which is the tenant", func(p *OIDCProvider, i *TrustedIssuer) {
			p.Account, p.Tenants = []string{"tid", "oid"}, []string{"t1"}
			i.Account, i.Tenants = p.Account, p.Tenants
		}, map[string]any{"tid": "t1", "oid": "o-1"}, "t1:o-1"},
		{"by address", func(p *OIDCProvider, i *TrustedIssuer) { p.Account, i.Account = []string{"email"}, []string{"email"} }, nil, "carol@corp.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, f := bothWays(t, tt.change)
			if tt.claims != nil {
				f.claims = tt.claims
			}
			here, there := "login/"+tt.account, "other/"+tt.account
			b := s.browser()
			if got := subjectIn(t, f.tokens(s, b)); got != here {
				t.Fatalf("by browser: %s", got)
			}
			first := f.assertion(s, loginURL, f.key)
			others := f.assertion(s, "https://other.example", testKeys()["ed"])
			if got := subjectIn(t, first); got != here {
				t.Errorf("by ID-JAG: %s", got)
			}
			if got := subjectIn(t, others); got != there {
				t.Errorf("by ID-JAG of the other issuer: %s", got)
			}
			for _, id := range []string{here, there} {
				if acc, err := s.ledger.Account(context.Background(), id); err != nil || acc.Email != "carol@corp.example" {
					t.Errorf("account %s: %+v, %v", id, acc, err)
				}
			}
			// Their page has what both ways gave, and nothing of the other.
			given := b.get(siteURL + "/account").ends()["given"]
			want := []string{consentKey(here, "desktop", files), consentKey(here, "two", files)}
			if slices.Sort(given); !slices.Equal(given, slices.Sorted(slices.Values(want))) {
				t.Errorf("the page has %q, want %q", given, want)
			}
			// They leave: all of it ends, and both ways are closed.
			if r, err := s.ledger.Leave(context.Background(), here); err != nil || len(r.Grants) != 2 {
				t.Errorf("%d grants ended, %v", len(r.Grants), err)
			}
			if !s.ended.Has(gid(t, first.text("access_token"))) || s.ended.Has(gid(t, others.text("access_token"))) {
				t.Error("who has left has something, or somebody else lost something")
			}
			if r := f.assertion(s, loginURL, f.key); r.text("error") != oauth.InvalidGrant {
				t.Errorf("by ID-JAG after they left: %d %s", r.status, r.body)
			}
			b = s.browser()
			b.get(f.letIn(b.get(s.ask("desktop", desktopBack)))).shows(t, 403, "Your account is closed")
			if got := subjectIn(t, f.assertion(s, "https://other.example", testKeys()["ed"])); got != there {
				t.Errorf("the other: %s", got)
			}
		})
	}
}

// Where a provider's sign-in makes no accounts, the one that an ID-JAG of the
// same provider made is theirs; one of another issuer is not.
//
// covers: AS-JAG-18
func TestAccountMadeByAssertion(t *testing.T) {
	s, f := bothWays(t, func(p *OIDCProvider, _ *TrustedIssuer) { p.ExistingOnly = true })
	signIn := func() page {
		b := s.browser()
		return b.get(f.letIn(b.get(s.ask("desktop", desktopBack))))
	}
	subjectIn(t, f.assertion(s, "https://other.example", testKeys()["ed"]))
	signIn().shows(t, 403, "Reference")
	subjectIn(t, f.assertion(s, loginURL, f.key))
	signIn().shows(t, 200, "Desktop", carolID)
}
