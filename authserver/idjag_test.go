package authserver

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

func jagNow() time.Time { return time.Date(2026, 7, 28, 9, 0, 0, 0, time.UTC) }

// claimsWith is good claims, changed: "-name" leaves one out.
func claimsWith(t testing.TB, change string) jose.Claims {
	t.Helper()
	w := world{time: jagNow()}
	all := w.jagClaims()
	all["jti"] = "j"
	var changes map[string]any
	if err := json.Unmarshal([]byte("{"+change+"}"), &changes); err != nil {
		t.Fatal(err)
	}
	for name, v := range changes {
		if drop, ok := strings.CutPrefix(name, "-"); ok {
			delete(all, drop)
		} else {
			all[name] = v
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	var c jose.Claims
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func trustedCorp() *issuer {
	return &issuer{name: "corp", TrustedIssuer: TrustedIssuer{Issuer: idpURL, EmailDomains: []string{"corp.example"}}.withDefaults()}
}

// covers: AS-JAG-05, AS-JAG-06, AS-JAG-07, AS-JAG-08, AS-JAG-15, AS-JAG-23, X-JWT-05, X-URI-01
func TestCheckIDJAGRefuses(t *testing.T) {
	now := jagNow().Unix()
	for _, tt := range []struct{ name, change, reason string }{
		{"no iss", `"-iss": 1`, "claim_missing"},
		{"no sub", `"-sub": 1`, "claim_missing"},
		{"empty sub", `"sub": ""`, "claim_missing"},
		{"sub is a number", `"sub": 7`, "claim_type"},
		{"sub is null", `"sub": null`, "claim_missing"},
		{"long sub", `"sub": "` + strings.Repeat("a", 600) + `"`, "claim_missing"},
		{"sub that makes a too long account", `"sub": "` + strings.Repeat("a", 300) + `"`, "account"},
		{"sub with a line break", `"sub": "a\nb"`, "account"},
		{"no jti", `"-jti": 1`, "claim_missing"},
		{"jti is an array", `"jti": ["j"]`, "claim_type"},
		{"no client_id", `"-client_id": 1`, "claim_missing"},
		{"another client_id", `"client_id": "Desktop"`, "wrong_client"},
		{"no aud", `"-aud": 1`, "wrong_audience"},
		{"empty aud", `"aud": []`, "wrong_audience"},
		{"aud with a slash", `"aud": "https://as.example/"`, "wrong_audience"},
		{"aud in capitals", `"aud": "https://AS.example"`, "wrong_audience"},
		{"aud with a port", `"aud": "https://as.example:443"`, "wrong_audience"},
		{"aud is the token endpoint", `"aud": "https://as.example/token"`, "wrong_audience"},
		{"aud twice", `"aud": ["https://as.example", "https://as.example"]`, "wrong_audience"},
		{"aud with another", `"aud": ["https://as.example", "https://x.example"]`, "wrong_audience"},
		{"aud is a number", `"aud": 1`, "claim_type"},
		{"aud holds a number", `"aud": [1]`, "claim_type"},
		{"no exp", `"-exp": 1`, "time"},
		{"exp is a string", `"exp": "1785230000"`, "time"},
		{"no iat", `"-iat": 1`, "claim_missing"},
		{"iat is a string", `"iat": "1785230000"`, "time"},
		{"nbf later", `"nbf": ` + text(now+31), "time"},
		{"expired", `"iat": ` + text(now-200) + `, "exp": ` + text(now-30), "time"},
		{"from the future", `"iat": ` + text(now+31), "time"},
		{"too long a life", `"exp": ` + text(now+301), "lifetime"},
		{"ends before it begins", `"iat": ` + text(now+20) + `, "exp": ` + text(now+10), "lifetime"},
		{"bound to a key, without a proof", `"cnf": {"jkt": "x"}`, "dpop_key"},
		{"bound to something", `"cnf": {}`, "cnf"},
		{"bound to a certificate", `"cnf": {"x5t#S256": "x"}`, "cnf"},
		{"bound to two", `"cnf": {"jkt": "x", "x5t#S256": "x"}`, "cnf"},
		{"bound to what is no object", `"cnf": "x"`, "claim_type"},
		{"bound to what is no thumbprint", `"cnf": {"jkt": 7}`, "claim_type"},
		{"details", `"authorization_details": []`, "authorization_details"},
		{"a tenant", `"tenant": "t"`, "tenant"},
		{"tenant is a number", `"tenant": 1`, "claim_type"},
		{"aud_sub is a number", `"aud_tenant": "a", "aud_sub": 1`, "claim_type"},
		{"email is a number", `"email": 1`, "claim_type"},
		{"groups is an object", `"groups": {}`, "claim_type"},
		{"amr is a number", `"amr": 1`, "claim_type"},
		{"auth_time is a string", `"auth_time": "x"`, "claim_type"},
		{"resource is a number", `"resource": 1`, "claim_type"},
		{"resource is empty", `"resource": []`, "resource"},
		{"scope is an array", `"scope": ["a"]`, "claim_type"},
		{"scope with a quote", `"scope": "a\"b"`, "scope"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := checkIDJAG(claimsWith(t, tt.change), trustedCorp(), asURL, "desktop", "", jagNow())
			var r *rejection
			if !errors.As(err, &r) || r.reason != tt.reason {
				t.Errorf("error %v, want the reason %s", err, tt.reason)
			}
		})
	}
	_, err := checkIDJAG(claimsWith(t, `"cnf": {"jkt": "x"}`), trustedCorp(), asURL, "desktop", "y", jagNow())
	if r := (*rejection)(nil); !errors.As(err, &r) || r.reason != "dpop_key" {
		t.Errorf("with a proof of another key: error %v", err)
	}
}

func text(n int64) string {
	b, _ := json.Marshal(n)
	return string(b)
}

// covers: AS-JAG-18, AS-JAG-19, AS-JAG-20, AS-JAG-21, AS-JAG-26, SEC-23
func TestCheckIDJAGSubject(t *testing.T) {
	tenants := func(i *issuer) { i.Tenants = []string{"t1", "t2"} }
	for _, tt := range []struct {
		name, change string
		from         func(*issuer)
		account      string
		email        string
	}{
		{"sub", ``, nil, "corp/alice", "alice@corp.example"},
		{"sub with a colon stands as it is", `"sub": "auth0|a:b"`, nil, "corp/auth0|a:b", "alice@corp.example"},
		{"sub that looks like aud_sub", `"sub": "aud:a:b"`, nil, "corp/aud%3Aa%3Ab", "alice@corp.example"},
		{"aud_tenant and aud_sub", `"aud_tenant": "a", "aud_sub": "b"`, nil, "corp/aud:a:b", "alice@corp.example"},
		{"aud_sub alone says nothing", `"aud_sub": "b"`, nil, "corp/alice", "alice@corp.example"},
		{"equal aud_sub in another tenant", `"aud_tenant": "a:b", "aud_sub": "b"`, nil, "corp/aud:a%3Ab:b", "alice@corp.example"},
		{"tenant", `"tenant": "t1"`, tenants, "corp/t1:alice", "alice@corp.example"},
		{"tenant in the account already", `"tenant": "t1", "oid": "o"`, func(i *issuer) {
			i.Tenants, i.Account = []string{"t1"}, []string{"tenant", "oid"}
		}, "corp/t1:o", "alice@corp.example"},
		{"several claims", `"tid": "x%y", "oid": "o"`, func(i *issuer) { i.Account = []string{"tid", "oid"} }, "corp/x%25y:o", "alice@corp.example"},
		{"address of another domain", `"email": "alice@other.example"`, nil, "corp/alice", ""},
		{"address of a subdomain", `"email": "alice@x.corp.example"`, nil, "corp/alice", ""},
		{"address with two at signs", `"email": "alice@evil.example@corp.example"`, nil, "corp/alice", ""},
		{"address in capitals", `"email": "Alice@CORP.example"`, nil, "corp/alice", "Alice@CORP.example"},
		{"address not verified", `"email_verified": false`, nil, "corp/alice", ""},
		{"address not verified, as a string", `"email_verified": "false"`, nil, "corp/alice", ""},
		{"address verified", `"email_verified": true`, nil, "corp/alice", "alice@corp.example"},
		{"issuer without domains", ``, func(i *issuer) { i.EmailDomains = nil }, "corp/alice", ""},
		{"an actor gives nothing", `"act": {"sub": "root"}`, nil, "corp/alice", "alice@corp.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from := trustedCorp()
			if tt.from != nil {
				tt.from(from)
			}
			a, err := checkIDJAG(claimsWith(t, tt.change), from, asURL, "desktop", "", jagNow())
			if err != nil {
				t.Fatal(err)
			}
			if a.subject.ID != tt.account || a.subject.Email != tt.email {
				t.Errorf("%s <%s>, want %s <%s>", a.subject.ID, a.subject.Email, tt.account, tt.email)
			}
		})
	}
	for _, change := range []string{``, `"tenant": "t3"`, `"tenant": ""`} {
		from := trustedCorp()
		tenants(from)
		if _, err := checkIDJAG(claimsWith(t, change), from, asURL, "desktop", "", jagNow()); err == nil {
			t.Errorf("{%s} passed although the issuer has tenants", change)
		}
	}
}

func TestCheckIDJAGReads(t *testing.T) {
	from := trustedCorp()
	from.GroupsClaim = "roles"
	a, err := checkIDJAG(claimsWith(t, `"roles": ["a","b"], "groups": ["x"], "name": "Alice", "acr": "gold", "amr": ["mfa"], "auth_time": 1785229000,
		"resource": ["https://as.example/files/mcp"], "scope": "files:read files:read"`), from, asURL, "desktop", "", jagNow())
	if err != nil {
		t.Fatal(err)
	}
	p := a.subject
	if !slices.Equal(p.Groups, []string{"a", "b"}) || p.Name != "Alice" || p.ACR != "gold" || !slices.Equal(p.AMR, []string{"mfa"}) || p.AuthTime.Unix() != 1785229000 {
		t.Errorf("subject %+v", p)
	}
	if !slices.Equal(a.resources, []string{filesURL}) || a.scopes.String() != "files:read" || !a.scoped || a.jti != "j" {
		t.Errorf("%+v", a)
	}
}

func TestBelieved(t *testing.T) {
	for email, want := range map[string]bool{"a@corp.example": true, "a@b@corp.example": false, "@corp.example": false, "corp.example": false,
		"a@corp.example ": false, "a@": false, "": false} {
		if got := believed(email, []string{"corp.example"}); got != want {
			t.Errorf("%q: %t", email, got)
		}
	}
}

// joinAccount must not give two people one name.
func FuzzJoinAccount(f *testing.F) {
	f.Add("a", "b", "a:b", "")
	f.Add("a%3A", "b", "a", "%3Ab")
	f.Add("aud", "x", "aud:x", "y")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		if (a != c || b != d) && joinAccount([]string{a, b}) == joinAccount([]string{c, d}) {
			t.Errorf("%q %q and %q %q are both %q", a, b, c, d, joinAccount([]string{a, b}))
		}
		if single, other := joinAccount([]string{a}), audPrefix+joinAccount([]string{c, d}); single == other {
			t.Errorf("%q and aud_tenant %q, aud_sub %q are both %q", a, c, d, single)
		}
		if a != c && joinAccount([]string{a}) == joinAccount([]string{c}) && !strings.HasPrefix(a, audPrefix) && !strings.HasPrefix(c, audPrefix) {
			t.Errorf("%q and %q", a, c)
		}
	})
}

// Whatever claims come, the check does not panic, and what passes is whole.
func FuzzCheckIDJAG(f *testing.F) {
	f.Add([]byte(`{"iss":"https://idp.example","sub":"alice","aud":"https://as.example","client_id":"desktop","jti":"j","iat":1785229200,"exp":1785229300}`))
	f.Add([]byte(`{"iss":"https://idp.example","sub":"a","aud":["https://as.example"],"client_id":"desktop","jti":"j","iat":1785229200.5,"exp":1785229300,"scope":"a b","resource":[],"tenant":null}`))
	f.Add([]byte(`{"email":"a@corp.example","email_verified":"false","aud_tenant":"a","aud_sub":"b","groups":"x","amr":[null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c jose.Claims
		if json.Unmarshal(data, &c) != nil {
			return
		}
		a, err := checkIDJAG(c, trustedCorp(), asURL, "desktop", "", jagNow())
		if err != nil {
			return
		}
		if a.jti == "" || a.subject.Account == "" || a.subject.Provider != "corp" || len(a.subject.ID) > maxAccountID ||
			!a.expires.After(jagNow().Add(-assertionSkew)) {
			t.Errorf("%s passed as %+v", data, a)
		}
	})
}

func TestEntitled(t *testing.T) {
	st, err := newSettings((&world{}).asConfig(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	files := st.byID(filesURL)
	for _, tt := range []struct {
		name          string
		jag           oauth.Scopes
		client, bound oauth.Scopes
		want          string
		refused       bool
	}{
		{name: "all of it", jag: oauth.Scopes{"files:read", "files:write"}, want: "files:read files:write"},
		{name: "none named: the resource's defaults", want: "files:read"},
		{name: "bound of the client", jag: oauth.Scopes{"files:read", "files:write"}, client: oauth.Scopes{"files:read"}, want: "files:read"},
		{name: "a broader bound includes the narrower scope", jag: oauth.Scopes{"files:read"}, client: oauth.Scopes{"files:write"}, want: "files:read"},
		{name: "bound of the issuer", jag: oauth.Scopes{"files:write"}, bound: oauth.Scopes{"files:read"}, want: ""},
		{name: "offline_access is no scope of a resource", jag: oauth.Scopes{"files:read", "offline_access"}, want: "files:read"},
		{name: "a scope of another resource", jag: oauth.Scopes{"files:read", "notes:read"}, refused: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := idjag{scopes: tt.jag, scoped: len(tt.jag) > 0}.entitled(files, tt.client, tt.bound)
			if (err != nil) != tt.refused || got.String() != tt.want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}
