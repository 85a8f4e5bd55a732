package authserver

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/oauth"
	"doorward/store"
	"doorward/store/sqlite"
)

// Issuers of workload JWTs, in the shapes of those that are common.
const (
	cluster = "https://cluster.example"
	actions = "https://actions.example"
	mesh    = "https://mesh.example"
)

// withWorkloads trusts the three issuers, whose keys lie at keysURL.
func withWorkloads(as, _ *Config) {
	keys := keysURL + "/jwks"
	as.Workloads = map[string]Workload{
		"batch": {Issuer: cluster, JWKSURI: keys, MaxLifetime: time.Hour, Resources: []string{filesURL, notesURL}, Scopes: []string{"files:read", "notes:read"},
			Claims: map[string][]string{"sub": {"system:serviceaccount:prod:batch"}}},
		"ci": {Issuer: actions, JWKSURI: keys, Resources: []string{filesURL}, Scopes: []string{"files:read"},
			Claims: map[string][]string{"repository": {"acme/app", "acme/site"}, "ref": {"refs/heads/*"}}},
		"release": {Issuer: actions, JWKSURI: keys, Client: "ci", Resources: []string{filesURL}, Scopes: []string{"files:write"},
			Claims: map[string][]string{"repository": {"acme/app"}, "environment": {"release"}}},
		"other": {Issuer: actions, JWKSURI: keys, Client: "elsewhere", Resources: []string{filesURL},
			Claims: map[string][]string{"repository": {"acme/twofold"}}},
		"another": {Issuer: actions, JWKSURI: keys, Client: "somewhere", Resources: []string{filesURL},
			Claims: map[string][]string{"repository": {"acme/two*"}}},
		"wired":  {Issuer: mesh, JWKSURI: keys, Client: "reader", Resources: []string{filesURL, notesURL}, Claims: map[string][]string{"sub": {"spiffe://acme.example/ns/prod/*"}}},
		"closed": {Issuer: mesh, JWKSURI: keys, Client: "agent", Resources: []string{filesURL}, Claims: map[string][]string{"sub": {"spiffe://acme.example/agent"}}},
	}
	as.Resources[0].Allow = append(as.Resources[0].Allow, Rule{Who: []string{"client:batch", "client:ci", "client:reader", "client:somewhere"}})
	as.Resources[1].Deny = append(as.Resources[1].Deny, Rule{Who: []string{"client:batch"}})
}

func newWorkloadWorld(t cleaner, change ...func(as, idp *Config)) *world {
	return newWorld(t, append([]func(as, idp *Config){withWorkloads}, change...)...)
}

func init() {
	variants["workloads"] = withWorkloads
	furtherCommands["workload"] = scripted((*script).cmdWorkload)   // workload VARIABLE cluster|actions|mesh CLAIM=JSON… -CLAIM… [typ=…] [key=…]
	furtherCommands["published"] = scripted((*script).cmdPublished) // published KEY…: the keys of workloads' issuers
}

func (s *script) cmdPublished(_ bool, args []string) { s.keys.set(args...) }

func (s *script) cmdWorkload(_ bool, args []string) {
	typ, key, claims := s.workloadShape(args[1])
	s.signed(append(args[:1:1], args[2:]...), claims, typ, testKeys()[key])
}

// workloadShape is how a platform makes its JWTs: typ, key and claims.
func (w *world) workloadShape(name string) (typ, key string, claims map[string]any) {
	now := w.now().Unix()
	c := map[string]any{"jti": newID(), "iat": now, "nbf": now, "exp": now + 300, "aud": asURL}
	switch name {
	case "cluster": // a projected service account token: no typ, aud an array
		c["iss"], c["sub"], c["aud"], c["exp"] = cluster, "system:serviceaccount:prod:batch", []string{asURL + "/token"}, now+3600
		c["kubernetes.io"] = map[string]any{"namespace": "prod", "serviceaccount": map[string]any{"name": "batch", "uid": "u-1"}}
		return "", "rsa", c
	case "actions": // nbf lies five minutes back
		c["iss"], c["sub"], c["nbf"] = actions, "repo:acme/app:ref:refs/heads/main", now-300
		c["repository"], c["repository_owner"], c["ref"], c["run_id"], c["email"] = "acme/app", "acme", "refs/heads/main", "1", "admin@corp.example"
		return "JWT", "rsa", c
	}
	c["iss"], c["sub"] = mesh, "spiffe://acme.example/ns/prod/sa/web"
	return "JOSE", "es", c
}

// workloadJWT signs a JWT of a platform with claims changed: nil leaves one out.
func (w *world) workloadJWT(t testing.TB, shape string, change map[string]any) string {
	t.Helper()
	typ, key, claims := w.workloadShape(shape)
	for name, v := range change {
		switch {
		case name == "typ":
			typ = v.(string)
		case name == "key":
			key = v.(string)
		case v == nil:
			delete(claims, name)
		default:
			claims[name] = v
		}
	}
	token, err := testKeys()[key].Sign(typ, claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// byJWT asks for a token with a workload's JWT and nothing else.
func (w *world) byJWT(s *Server, jwt string, more ...string) reply {
	return post(s, "/token", "", form(append([]string{"grant_type=" + oauth.JWTBearer, "assertion=" + jwt}, more...)...))
}

type null struct{}

func (null) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// Every JWT that is wrong in one way is refused; but for what is mapped to a
// genuine one, nobody outside can tell how it was wrong.
//
// covers: AS-WIF-01, AS-WIF-02, AS-WIF-03, AS-WIF-04, AS-WIF-05, V03
func TestWorkloadRefuses(t *testing.T) {
	testKeys()
	w := newWorkloadWorld(t, func(as, _ *Config) {
		as.Now = func() time.Time { return jagNow() }
	})
	now := jagNow().Unix()
	long := strings.Repeat("a", 600)
	type m = map[string]any
	header := func(h string) func(string) string {
		return func(jwt string) string {
			_, rest, _ := strings.Cut(jwt, ".")
			return base64.RawURLEncoding.EncodeToString([]byte(h)) + "." + rest
		}
	}
	for _, tt := range []struct {
		name   string
		shape  string
		change m
		alter  func(string) string
		more   []string
		code   string
		reason string
	}{
		{name: "no iss", change: m{"iss": nil}, reason: "unknown_issuer"},
		{name: "iss is null", change: m{"iss": null{}}, reason: "unknown_issuer"},
		{name: "iss is a number", change: m{"iss": 7}, reason: "malformed"},
		{name: "iss with a slash", change: m{"iss": actions + "/"}, reason: "unknown_issuer"},
		{name: "iss in capitals", change: m{"iss": "https://ACTIONS.example"}, reason: "unknown_issuer"},
		{name: "iss is the issuer of ID-JAGs", change: m{"iss": idpURL}, reason: "unknown_issuer"},
		{name: "iss is this server", change: m{"iss": asURL}, reason: "unknown_issuer"},
		{name: "no sub", change: m{"sub": nil}, reason: "claim_missing"},
		{name: "sub is null", change: m{"sub": null{}}, reason: "claim_missing"},
		{name: "sub is a number", change: m{"sub": 7}, reason: "claim_type"},
		{name: "sub is empty", change: m{"sub": ""}, reason: "claim_missing"},
		{name: "sub is long", change: m{"sub": long}, reason: "claim_missing"},
		{name: "no jti", change: m{"jti": nil}, reason: "claim_missing"},
		{name: "no jti, as SPIFFE allows", shape: "mesh", change: m{"jti": nil}, reason: "claim_missing"},
		{name: "jti is null", change: m{"jti": null{}}, reason: "claim_missing"},
		{name: "jti is a list", change: m{"jti": []string{"a"}}, reason: "claim_type"},
		{name: "jti is empty", change: m{"jti": ""}, reason: "claim_missing"},
		{name: "no aud", change: m{"aud": nil}, reason: "wrong_audience"},
		{name: "aud is null", change: m{"aud": null{}}, reason: "wrong_audience"},
		{name: "aud is empty", change: m{"aud": []string{}}, reason: "wrong_audience"},
		{name: "aud is a number", change: m{"aud": 1}, reason: "claim_type"},
		{name: "aud is an object", change: m{"aud": m{"a": asURL}}, reason: "claim_type"},
		{name: "aud of another", change: m{"aud": "https://other.example"}, reason: "wrong_audience"},
		{name: "aud with another", change: m{"aud": []string{asURL, "https://other.example"}}, reason: "wrong_audience"},
		{name: "aud with a slash", change: m{"aud": asURL + "/"}, reason: "wrong_audience"},
		{name: "aud is the resource", change: m{"aud": filesURL}, reason: "wrong_audience"},
		{name: "aud is the default of the platform", change: m{"aud": "https://github.com/acme"}, reason: "wrong_audience"},
		{name: "no exp", change: m{"exp": nil}, reason: "time"},
		{name: "exp is null", change: m{"exp": null{}}, reason: "time"},
		{name: "exp is text", change: m{"exp": "soon"}, reason: "time"},
		{name: "expired", change: m{"iat": now - 400, "exp": now - 31}, reason: "time"},
		{name: "no iat", change: m{"iat": nil}, reason: "claim_missing"},
		{name: "iat is text", change: m{"iat": "now"}, reason: "time"},
		{name: "iat ahead", change: m{"iat": now + 31}, reason: "time"},
		{name: "nbf ahead", change: m{"nbf": now + 31}, reason: "time"},
		{name: "lives too long", change: m{"exp": now + 601}, reason: "lifetime"},
		{name: "lives too long where an hour is allowed", shape: "cluster", change: m{"exp": now + 3601}, reason: "lifetime"},
		{name: "ends before it begins", change: m{"iat": now + 20, "exp": now + 10}, reason: "lifetime"},
		{name: "another key", change: m{"key": "es2"}, reason: "signature"},
		{name: "typ of an access token", change: m{"typ": oauth.TypAccessToken}, reason: "signature"},
		{name: "typ of a client assertion", change: m{"typ": oauth.TypClientAssertion}, reason: "signature"},
		{name: "typ of a logout token", change: m{"typ": "logout+jwt"}, reason: "signature"},
		{name: "alg none", alter: header(`{"alg":"none"}`), reason: "signature"},
		{name: "alg HS256", alter: header(`{"alg":"HS256","kid":"x"}`), reason: "signature"},
		{name: "crit", alter: header(`{"alg":"RS256","crit":["b64"],"b64":false}`), reason: "malformed"},
		{name: "a key of its own", alter: header(`{"alg":"RS256","kid":"x","jwk":{"kty":"RSA"}}`), reason: "signature"},
		{name: "signature cut off", alter: func(s string) string { return s[:strings.LastIndexByte(s, '.')+1] }, reason: "signature"},
		{name: "signature changed", alter: func(s string) string { i := strings.LastIndexByte(s, '.'); return s[:i+1] + "AAAA" + s[i+5:] }, reason: "signature"},
		{name: "five parts", alter: func(s string) string { return s + ".." }, reason: "malformed"},
		{name: "no JWT", alter: func(string) string { return "x" }, reason: "malformed"},
		{name: "bound to a key, without proof", change: m{"cnf": m{"jkt": "x"}}, reason: "dpop_key"},
		{name: "bound to a certificate", change: m{"cnf": m{"x5t#S256": "x"}}, reason: "cnf"},
		{name: "cnf is empty", change: m{"cnf": m{}}, reason: "cnf"},
		{name: "cnf is text", change: m{"cnf": "x"}, reason: "claim_type"},
		{name: "cnf is null", change: m{"cnf": null{}}, reason: "claim_type"},
		{name: "details are null", change: m{"authorization_details": null{}}, reason: "claim_type"},
		{name: "details", change: m{"authorization_details": []any{}}, reason: "authorization_details"},

		{name: "another repository", change: m{"repository": "acme/other"}, code: oauth.UnauthorizedClient, reason: "workload_claims"},
		{name: "a repository that begins alike", change: m{"repository": "acme/app2"}, code: oauth.UnauthorizedClient, reason: "workload_claims"},
		{name: "a repository in capitals", change: m{"repository": "Acme/App"}, code: oauth.UnauthorizedClient, reason: "workload_claims"},
		{name: "no repository", change: m{"repository": nil}, code: oauth.UnauthorizedClient, reason: "workload_claims"},
		{name: "repository is null", change: m{"repository": null{}}, code: oauth.UnauthorizedClient, reason: "workload_claims"},
		{name: "repository is a list", change: m{"repository": []string{"acme/app"}}, code: oauth.UnauthorizedClient, reason: "workload_claims"},
		{name: "another ref", change: m{"ref": "refs/pull/1/merge"}, code: oauth.UnauthorizedClient, reason: "workload_claims"},
		{name: "another service account", shape: "cluster", change: m{"sub": "system:serviceaccount:dev:batch"}, code: oauth.UnauthorizedClient, reason: "workload_claims"},
		{name: "another issuer's sub", change: m{"sub": "system:serviceaccount:prod:batch", "repository": "x"}, code: oauth.UnauthorizedClient, reason: "workload_claims"},
		{name: "another trust domain", shape: "mesh", change: m{"sub": "spiffe://acme.example.evil/ns/prod/x"}, code: oauth.UnauthorizedClient, reason: "workload_claims"},
		{name: "two clients at once", change: m{"repository": "acme/twofold"}, code: oauth.UnauthorizedClient, reason: "workload_ambiguous"},
		{name: "a server that is not its", more: []string{"resource=" + notesURL}, code: oauth.UnauthorizedClient, reason: "workload_resource"},
		{name: "a server that is nobody's", more: []string{"resource=https://as.example/none"}, code: oauth.InvalidTarget, reason: oauth.InvalidTarget},
		{name: "two servers", more: []string{"resource=" + filesURL, "resource=" + notesURL}, code: oauth.InvalidTarget, reason: oauth.InvalidTarget},
		{name: "a deny rule", shape: "cluster", more: []string{"resource=" + notesURL}, code: oauth.UnauthorizedClient, reason: "denied_by_rule"},
		{name: "no allow rule", shape: "mesh", more: []string{"resource=" + notesURL, "scope=notes:read"}, code: oauth.InvalidScope, reason: oauth.InvalidScope},
		{name: "a client without the grant", shape: "mesh", change: m{"sub": "spiffe://acme.example/agent"}, code: oauth.UnauthorizedClient, reason: oauth.UnauthorizedClient},
		{name: "a scope beyond the entry", more: []string{"scope=files:write"}, code: oauth.InvalidScope, reason: oauth.InvalidScope},
		{name: "a scope beyond the client", shape: "mesh", more: []string{"scope=files:write"}, code: oauth.InvalidScope, reason: oauth.InvalidScope},
		{name: "a scope of another server", more: []string{"scope=notes:read"}, code: oauth.InvalidScope, reason: oauth.InvalidScope},
		{name: "details in the request", more: []string{"authorization_details=[]"}, code: oauth.InvalidAuthzDetails, reason: oauth.InvalidAuthzDetails},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shape := tt.shape
			if shape == "" {
				shape = "actions"
			}
			jwt := w.workloadJWT(t, shape, tt.change)
			if tt.alter != nil {
				jwt = tt.alter(jwt)
			}
			r := w.byJWT(w.as, jwt, tt.more...)
			code := tt.code
			if code == "" {
				code = oauth.InvalidGrant
			}
			if r.status != 400 || r.text("error") != code || r.text("access_token") != "" {
				t.Errorf("%d %s, want %s", r.status, r.body, code)
			}
			if got := refTail.ReplaceAllString(r.text("error_description"), ""); code == oauth.InvalidGrant && got != "assertion is not acceptable" {
				t.Errorf("what is wrong can be told from outside: %s", got)
			}
			x, _ := whyOf(t, w.as, r.body)
			if x.Reason != tt.reason || x.Attempt != "a token request with a workload's JWT" {
				t.Errorf("reason %s (%s), want %s: %+v", x.Reason, x.Attempt, tt.reason, x.Event)
			}
			if strings.Contains(x.Event.Detail, jwt) || strings.Contains(r.body, jwt) && jwt != "x" {
				t.Error("the JWT is repeated")
			}
		})
	}
	// What was wrong a hundred times has made nothing.
	if r := w.byJWT(w.as, w.workloadJWT(t, "actions", nil)); r.status != 200 {
		t.Errorf("a good one afterwards: %d %s", r.status, r.body)
	}
}

// A workload's JWT is no client authentication: not for a client that is
// named, not for another grant, and not where no workloads are.
//
// covers: AS-WIF-01, AS-JAG-03
func TestWorkloadStandsAlone(t *testing.T) {
	testKeys()
	w := newWorkloadWorld(t)
	jwt := func() string { return w.workloadJWT(t, "actions", nil) }
	for _, tt := range []struct {
		name, who string
		form      url.Values
		code      string
	}{
		{"a client_id", "", form("grant_type="+oauth.JWTBearer, "assertion="+jwt(), "client_id=ci"), oauth.InvalidClient},
		{"a client_id with the JWT as its assertion", "", form("grant_type=client_credentials", "client_id=ci", "client_assertion_type="+oauth.ClientAssertionJWT, "client_assertion="+jwt()), oauth.InvalidClient},
		{"a client of another grant", "", form("grant_type=client_credentials", "client_id=ci"), oauth.InvalidClient},
		{"the client with an empty secret", "ci ", form("grant_type=client_credentials"), oauth.InvalidClient},
		{"an authenticated client", "desktop " + desktopSecret, form("grant_type="+oauth.JWTBearer, "assertion="+jwt()), oauth.InvalidGrant},
		{"a wrong secret", "desktop wrong-secret-0123456789", form("grant_type="+oauth.JWTBearer, "assertion="+jwt()), oauth.InvalidClient},
		{"an ID-JAG without a client", "", form("grant_type="+oauth.JWTBearer, "assertion="+w.jag(t, nil)), oauth.InvalidClient},
		{"an ID-JAG of the workloads' issuer", "desktop " + desktopSecret, form("grant_type="+oauth.JWTBearer, "assertion="+w.sign(t, testKeys()["rsa"], oauth.TypIDJAG, map[string]any{"iss": actions})), oauth.InvalidGrant},
	} {
		if r := post(w.as, "/token", tt.who, tt.form); r.text("error") != tt.code {
			t.Errorf("%s: %d %s, want %s", tt.name, r.status, r.body, tt.code)
		}
	}
	none := newWorld(t)
	if r := none.byJWT(none.as, jwt()); r.status != 401 || r.text("error") != oauth.InvalidClient {
		t.Errorf("without workloads: %d %s", r.status, r.body)
	}
}

// Of the same JWT that comes many times at once, to two nodes on one database,
// one is taken; the same jti of another issuer is another JWT.
//
// covers: SEC-14
func TestWorkloadJWTIsSpentOnce(t *testing.T) {
	testKeys()
	path := t.TempDir() + "/db"
	open := func(now func() time.Time) store.Store {
		db, err := sqlite.OpenConfig(sqlite.Config{Path: path, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	w := newWorkloadWorld(t, func(as, _ *Config) { as.Store = open(as.Now) })
	cfg := w.asCfg
	cfg.Store = open(w.now)
	second, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Close() })
	jwt := w.workloadJWT(t, "actions", map[string]any{"jti": "one"})
	answers := make([]reply, 40)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = w.byJWT([]*Server{w.as, second}[i%2], jwt) })
	}
	all.Wait()
	taken := 0
	for _, r := range answers {
		switch {
		case r.status == 200:
			taken++
		case r.text("error") != oauth.InvalidGrant:
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if taken != 1 {
		t.Errorf("taken %d times", taken)
	}
	if r := w.byJWT(second, w.workloadJWT(t, "mesh", map[string]any{"jti": "one"})); r.status != 200 {
		t.Errorf("the same jti of another issuer: %d %s", r.status, r.body)
	}
}

// covers: AS-WIF-05
func TestWorkloadConfiguration(t *testing.T) {
	good := Workload{Issuer: actions, Claims: map[string][]string{"sub": {"a*"}}, Resources: []string{filesURL}}
	change := func(f func(*Workload)) map[string]Workload {
		w := good
		f(&w)
		return map[string]Workload{"w": w}
	}
	for name, list := range map[string]map[string]Workload{
		"no issuer":         change(func(w *Workload) { w.Issuer = "" }),
		"a plain issuer":    change(func(w *Workload) { w.Issuer = "http://actions.example" }),
		"this server":       change(func(w *Workload) { w.Issuer = asURL }),
		"plain keys":        change(func(w *Workload) { w.JWKSURI = "http://actions.example/jwks" }),
		"a secret's alg":    change(func(w *Workload) { w.Algs = []string{"HS256"} }),
		"hours":             change(func(w *Workload) { w.MaxLifetime = time.Hour + 1 }),
		"a negative life":   change(func(w *Workload) { w.MaxLifetime = -1 }),
		"no resource":       change(func(w *Workload) { w.Resources = nil }),
		"no claims":         change(func(w *Workload) { w.Claims = nil }),
		"everybody":         change(func(w *Workload) { w.Claims = map[string][]string{"sub": {"**"}} }),
		"everybody as well": change(func(w *Workload) { w.Claims = map[string][]string{"sub": {"a", "*"}} }),
		"an empty pattern":  change(func(w *Workload) { w.Claims = map[string][]string{"sub": {""}} }),
		"no pattern":        change(func(w *Workload) { w.Claims = map[string][]string{"sub": {}} }),
		"a document":        change(func(w *Workload) { w.Client = "https://client.example/doc.json" }),
		"a bad scope":       change(func(w *Workload) { w.Scopes = []string{"a\"b"} }),
		"a client's name":   {"desktop": good},
		"two lives":         {"a": good, "b": change(func(w *Workload) { w.MaxLifetime = time.Minute })["w"]},
	} {
		w := &world{}
		cfg := w.asConfig(nil)
		cfg.Workloads = list
		if _, err := newSettings(cfg, nil); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	w := &world{}
	cfg := w.asConfig(nil)
	cfg.Workloads = change(func(*Workload) {})
	if _, err := newSettings(cfg, nil); err != nil {
		t.Error(err)
	}
}

// A workload's claims are read, and none goes into the token.
//
// covers: AS-WIF-04
func TestWorkloadClaimsStayOut(t *testing.T) {
	testKeys()
	w := newWorkloadWorld(t)
	r := w.byJWT(w.as, w.workloadJWT(t, "cluster", map[string]any{"scope": "files:write", "client_id": "desktop", "groups": []string{"admins"},
		"auth_time": w.now().Unix(), "acr": "gold", "amr": []string{"mfa"}, "act": map[string]any{"sub": "root"}, "resource": notesURL}))
	if r.status != 200 || r.text("scope") != "files:read" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	claims := claimsOf(t, r.text("access_token"))
	for name, want := range map[string]string{"iss": asURL, "sub": "client:batch", "aud": filesURL, "client_id": "batch", "scope": "files:read"} {
		if got, _ := claims.Text(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	known := []string{"iss", "sub", "aud", "client_id", "exp", "iat", "jti", "scope", "gid"}
	for name := range claims {
		if !oauth.Scopes(known).Has(name) {
			raw, _ := json.Marshal(claims[name])
			t.Errorf("%s=%s came into the token", name, raw)
		}
	}
}
