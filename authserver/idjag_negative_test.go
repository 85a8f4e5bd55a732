package authserver

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"strings"
	"testing"

	"doorward/internal/audit"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

const (
	partnerURL = "https://partner.example"
	multiURL   = "https://multi.example"
	absent     = "absent"
)

// forge is a server that trusts three issuers (corp; partner, whose private key
// the test has; multi, which has tenants), and a second process on its store.
type forge struct {
	*world
	twin *Server
	key  *ecdsa.PrivateKey // partner's and multi's
	kid  string
}

func newForge(t testing.TB) *forge {
	t.Helper()
	f := &forge{}
	var err error
	if f.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewKey(f.key, "")
	if err != nil {
		t.Fatal(err)
	}
	f.kid = signer.ID()
	f.world = newWorld(t, func(as, _ *Config) {
		as.Issuers["partner"] = TrustedIssuer{Issuer: partnerURL, JWKSURI: keysURL + "/partner"}
		as.Issuers["multi"] = TrustedIssuer{Issuer: multiURL, JWKSURI: keysURL + "/multi", Tenants: []string{"t1", "t2"}}
	})
	f.keys.mu.Lock()
	f.keys.doc, err = json.Marshal(jose.NewSet(signer))
	f.keys.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if f.twin, err = New(f.asCfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.twin.Close() })
	f.forward(31e9) // what was asked for before the keys were there is asked for again
	return f
}

// with is corp's good claims with changes: JSON texts, or absent.
func (f *forge) with(changes map[string]string) map[string]any {
	claims := f.jagClaims()
	for name, text := range changes {
		if text == absent {
			delete(claims, name)
		} else {
			claims[name] = json.RawMessage(text)
		}
	}
	return claims
}

// by is good claims of another issuer.
func (f *forge) by(iss string) map[string]any {
	claims := f.jagClaims()
	claims["iss"] = iss
	if iss == multiURL {
		claims["tenant"] = "t1"
	}
	return claims
}

func segmentOf(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// raw signs any header and payload with partner's key.
func (f *forge) raw(t testing.TB, header, payload string) string {
	t.Helper()
	input := segmentOf([]byte(header)) + "." + segmentOf([]byte(payload))
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, f.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + segmentOf(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// wrongClaims is each claim with each fault, the reason that the operator finds
// and, if it is not the claim itself, what the detail must name.
var wrongClaims = []struct{ claim, value, reason, names string }{
	{"iss", absent, "malformed", ""}, {"iss", `null`, "malformed", ""}, {"iss", `""`, "malformed", ""}, {"iss", `7`, "malformed", ""},
	{"iss", `["https://idp.example"]`, "malformed", ""}, {"iss", `"https://idp.example/"`, "unknown_issuer", ""}, {"iss", `"https://IDP.example"`, "unknown_issuer", ""},
	{"iss", `"https://evil.example"`, "unknown_issuer", ""}, {"iss", `"https://as.example"`, "own_issuer", ""}, {"iss", `"https://partner.example"`, "signature", "kid"},
	{"sub", absent, "claim_missing", ""}, {"sub", `null`, "claim_missing", ""}, {"sub", `""`, "claim_missing", ""}, {"sub", `7`, "claim_type", ""},
	{"sub", `true`, "claim_type", ""}, {"sub", `["alice"]`, "claim_type", ""}, {"sub", `{"id":"alice"}`, "claim_type", ""}, {"sub", `"a\u0000"`, "account", ""},
	{"aud", absent, "wrong_audience", ""}, {"aud", `null`, "wrong_audience", ""}, {"aud", `""`, "wrong_audience", ""}, {"aud", `7`, "claim_type", ""},
	{"aud", `{}`, "claim_type", ""}, {"aud", `[]`, "wrong_audience", ""}, {"aud", `[null]`, "claim_type", ""}, {"aud", `[7]`, "claim_type", ""},
	{"aud", `["https://as.example","https://b.example"]`, "wrong_audience", ""}, {"aud", `["https://as.example","https://as.example"]`, "wrong_audience", ""},
	{"aud", `"https://as.example/"`, "wrong_audience", ""}, {"aud", `"https://as.example/token"`, "wrong_audience", ""}, {"aud", `"https://b.example"`, "wrong_audience", ""},
	{"aud", `"https://as.example/files/mcp"`, "wrong_audience", ""}, {"aud", `"desktop"`, "wrong_audience", ""},
	{"client_id", absent, "claim_missing", ""}, {"client_id", `null`, "claim_missing", ""}, {"client_id", `""`, "claim_missing", ""}, {"client_id", `7`, "claim_type", ""},
	{"client_id", `["desktop"]`, "claim_type", ""}, {"client_id", `"other"`, "wrong_client", ""}, {"client_id", `"Desktop"`, "wrong_client", ""}, {"client_id", `"desktop "`, "wrong_client", ""},
	{"client_id", `"desktop-idp"`, "wrong_client", ""},
	{"jti", absent, "claim_missing", ""}, {"jti", `null`, "claim_missing", ""}, {"jti", `""`, "claim_missing", ""}, {"jti", `7`, "claim_type", ""},
	{"jti", `["j"]`, "claim_type", ""}, {"jti", `{}`, "claim_type", ""},
	{"exp", absent, "time", ""}, {"exp", `null`, "time", ""}, {"exp", `"NOW+300"`, "time", ""}, {"exp", `""`, "time", ""}, {"exp", `[NOW+300]`, "time", ""},
	{"exp", `true`, "time", ""}, {"exp", `-1`, "time", ""}, {"exp", `0`, "time", ""}, {"exp", `1e300`, "time", ""}, {"exp", `NOW-30`, "time", ""}, {"exp", `NOW+301`, "lifetime", ""},
	{"exp", `NOW`, "lifetime", ""},
	{"iat", absent, "claim_missing", ""}, {"iat", `null`, "time", ""}, {"iat", `"NOW+0"`, "time", ""}, {"iat", `""`, "time", ""}, {"iat", `[NOW+0]`, "time", ""},
	{"iat", `{}`, "time", ""}, {"iat", `-1`, "time", ""}, {"iat", `NOW+31`, "time", ""}, {"iat", `NOW-1`, "lifetime", ""}, {"iat", `0`, "lifetime", ""},
	{"nbf", `null`, "time", ""}, {"nbf", `"NOW+0"`, "time", ""}, {"nbf", `""`, "time", ""}, {"nbf", `[NOW+0]`, "time", ""}, {"nbf", `{}`, "time", ""}, {"nbf", `NOW+31`, "time", ""},
	{"resource", `null`, "claim_type", ""}, {"resource", `""`, "claim_type", ""}, {"resource", `7`, "claim_type", ""}, {"resource", `{}`, "claim_type", ""}, {"resource", `[]`, "resource", ""},
	{"resource", `[null]`, "claim_type", ""}, {"resource", `[["https://as.example/files/mcp"]]`, "claim_type", ""}, {"resource", `"https://as.example"`, "resource", ""},
	{"resource", `"https://as.example/files/mcp/deeper"`, "resource", ""}, {"resource", `"https://b.example/files/mcp"`, "resource", ""}, {"resource", `"files"`, "resource", ""},
	{"resource", `"https://as.example/notes/mcp"`, "scope", "scope"}, {"resource", `["https://as.example/files/mcp","https://as.example/notes/mcp"]`, "resource", ""},
	{"scope", `null`, "claim_type", ""}, {"scope", `""`, "claim_type", ""}, {"scope", `7`, "claim_type", ""}, {"scope", `["files:read"]`, "claim_type", ""}, {"scope", `{}`, "claim_type", ""},
	{"scope", `"files:read \"x"`, "scope", ""}, {"scope", `"notes:read"`, "scope", ""}, {"scope", `"files:read files:everything"`, "scope", ""}, {"scope", `"*"`, "scope", ""},
	{"tenant", `null`, "claim_type", ""}, {"tenant", `""`, "claim_type", ""}, {"tenant", `7`, "claim_type", ""}, {"tenant", `["t1"]`, "claim_type", ""}, {"tenant", `{}`, "claim_type", ""}, {"tenant", `"t1"`, "tenant", ""},
	{"tid", `null`, "claim_type", ""}, {"tid", `7`, "claim_type", ""}, {"tid", `[]`, "claim_type", ""},
	{"aud_tenant", `null`, "claim_type", ""}, {"aud_tenant", `""`, "claim_type", ""}, {"aud_tenant", `7`, "claim_type", ""}, {"aud_tenant", `["a"]`, "claim_type", ""},
	{"aud_sub", `null`, "claim_type", ""}, {"aud_sub", `""`, "claim_type", ""}, {"aud_sub", `7`, "claim_type", ""}, {"aud_sub", `["b"]`, "claim_type", ""},
	{"email", `null`, "claim_type", ""}, {"email", `""`, "claim_type", ""}, {"email", `7`, "claim_type", ""}, {"email", `["alice@corp.example"]`, "claim_type", ""}, {"email", `{}`, "claim_type", ""},
	{"email_verified", `null`, "claim_type", ""}, {"email_verified", `1`, "claim_type", ""}, {"email_verified", `"yes"`, "claim_type", ""}, {"email_verified", `[true]`, "claim_type", ""},
	{"name", `null`, "claim_type", ""}, {"name", `7`, "claim_type", ""}, {"name", `["Alice"]`, "claim_type", ""},
	{"groups", `null`, "claim_type", ""}, {"groups", `""`, "claim_type", ""}, {"groups", `7`, "claim_type", ""}, {"groups", `{"eng":true}`, "claim_type", ""}, {"groups", `[["eng"]]`, "claim_type", ""},
	{"groups", `["eng",null]`, "claim_type", ""}, {"groups", `["eng",""]`, "claim_type", ""},
	{"hasgroups", `null`, "claim_type", ""}, {"hasgroups", `1`, "claim_type", ""}, {"hasgroups", `["eng"]`, "claim_type", ""},
	{"_claim_names", `null`, "claim_type", ""}, {"_claim_names", `"groups"`, "claim_type", ""}, {"_claim_names", `["groups"]`, "claim_type", ""},
	{"cnf", `null`, "claim_type", ""}, {"cnf", `"x"`, "claim_type", ""}, {"cnf", `[]`, "claim_type", ""}, {"cnf", `{}`, "cnf", ""}, {"cnf", `{"jkt":null}`, "cnf", ""}, {"cnf", `{"jkt":7}`, "claim_type", "jkt"},
	{"cnf", `{"jkt":["x"]}`, "claim_type", "jkt"}, {"cnf", `{"jkt":""}`, "cnf", ""}, {"cnf", `{"jkt":"x"}`, "dpop_key", ""}, {"cnf", `{"jkt":"x","jkt":"y"}`, "claim_type", ""},
	{"cnf", `{"x5t#S256":"x"}`, "cnf", ""}, {"cnf", `{"jkt":"x","kid":"y"}`, "cnf", ""},
	{"act", `null`, "claim_type", ""}, {"act", `"robot"`, "claim_type", ""}, {"act", `[]`, "claim_type", ""}, {"act", `{}`, "claim_type", ""}, {"act", `{"sub":7}`, "claim_type", ""},
	{"act", `{"sub":null}`, "claim_type", ""}, {"act", `{"sub":"r","sub":"s"}`, "claim_type", ""}, {"act", `{"sub":"r","act":null}`, "claim_type", ""}, {"act", `{"sub":"r","act":"s"}`, "claim_type", ""},
	{"sub_id", `null`, "claim_type", ""}, {"sub_id", `"alice"`, "claim_type", ""}, {"sub_id", `[]`, "claim_type", ""}, {"sub_id", `{}`, "claim_type", ""}, {"sub_id", `{"format":7}`, "claim_type", ""},
	{"authorization_details", `null`, "claim_type", ""}, {"authorization_details", `"x"`, "claim_type", ""}, {"authorization_details", `{"type":"x"}`, "claim_type", ""},
	{"authorization_details", `[]`, "authorization_details", ""}, {"authorization_details", `[{"type":"x"}]`, "authorization_details", ""}, {"authorization_details", `["x"]`, "authorization_details", ""},
	{"acr", `null`, "claim_type", ""}, {"acr", `""`, "claim_type", ""}, {"acr", `1`, "claim_type", ""}, {"acr", `["gold"]`, "claim_type", ""},
	{"amr", `null`, "claim_type", ""}, {"amr", `""`, "claim_type", ""}, {"amr", `1`, "claim_type", ""}, {"amr", `{}`, "claim_type", ""}, {"amr", `[1]`, "claim_type", ""}, {"amr", `[""]`, "claim_type", ""},
	{"auth_time", `null`, "claim_type", ""}, {"auth_time", `"NOW-9"`, "claim_type", ""}, {"auth_time", `""`, "claim_type", ""}, {"auth_time", `[NOW-9]`, "claim_type", ""}, {"auth_time", `-1`, "claim_type", ""},
	{"auth_time", `NOW+31`, "time", ""},
}

// at fills in the seconds of now: NOW, NOW+5, NOW-5.
func (f *forge) at(text string) string {
	before, after, ok := strings.Cut(text, "NOW")
	if !ok {
		return text
	}
	n, rest := int64(0), after
	fmt.Sscanf(after, "%d", &n)
	if after != "" && (after[0] == '+' || after[0] == '-') {
		rest = after[1+len(strings.TrimLeft(fmt.Sprint(n), "-")):]
	}
	return before + fmt.Sprint(f.now().Unix()+n) + rest
}

// refusals collects what was refused and looks for the reasons at the end.
type refusals struct {
	f    *forge
	want map[string]wanted // by reference
	body string            // of every invalid_grant, without its reference
	head string
}

type wanted struct {
	name    string
	reasons []string
	names   []string
}

// refuse wants an assertion refused like all others.
func (r *refusals) refuse(t *testing.T, s *Server, who, assertion string, want wanted, more ...string) {
	t.Helper()
	got := post(s, "/token", who, form(append(more, "grant_type="+oauth.JWTBearer, "assertion="+assertion)...))
	ref := refTail.FindStringSubmatch(got.text("error_description"))
	if got.status != 400 || ref == nil {
		t.Errorf("%s: %d %s", want.name, got.status, got.body)
		return
	}
	body := strings.Replace(got.body, ref[1], "REF", 1)
	got.header.Del("Date")
	head := jsonOf(t, got.header)
	if r.body == "" {
		r.body, r.head = body, head
		if got.text("error") != oauth.InvalidGrant {
			t.Fatalf("%s: %s", want.name, got.body)
		}
	}
	if body != r.body || head != r.head {
		t.Errorf("%s looks different from outside:\n%s %s\n%s %s", want.name, body, head, r.body, r.head)
	}
	r.want[ref[1]] = want
}

// reasons looks into the audit for why each was refused.
func (r *refusals) reasons(t *testing.T) {
	t.Helper()
	if err := r.f.twin.audit.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	events := map[string]audit.Event{}
	for _, e := range eventsOf(t, r.f.as) {
		events[e.Ref] = e
	}
	for ref, want := range r.want {
		e, there := events[ref]
		if !there { // of a client that proves nothing: in memory only
			e, there = r.f.as.Attempts().Recent(ref)
		}
		fits := false
		for i, reason := range want.reasons {
			fits = fits || e.Reason == reason && strings.Contains(e.Detail, want.names[i])
		}
		if !there || !fits {
			t.Errorf("%s: the operator finds %t %q %q, not %q naming %q", want.name, there, e.Reason, e.Detail, want.reasons, want.names)
		}
	}
}

// Every claim with every fault, and every two of them, is refused at the token
// endpoint with one and the same answer; the operator finds check and claim.
//
// covers: AS-JAG-05, AS-JAG-06, AS-JAG-07, AS-JAG-08, AS-JAG-21, AS-JAG-23, U04, U06, U07, U09, SEC-21, SEC-23
func TestIDJAGNegativeClaims(t *testing.T) {
	f := newForge(t)
	r := &refusals{f: f, want: map[string]wanted{}}
	type change struct {
		wanted
		claim, value string
	}
	var all []change
	for _, c := range wrongClaims {
		names := c.names
		if names == "" {
			names = c.claim
		}
		all = append(all, change{wanted{c.claim + " " + c.value, []string{c.reason}, []string{names}}, c.claim, f.at(c.value)})
	}
	if len(all) < 120 {
		t.Fatalf("%d rows", len(all))
	}
	if good := post(f.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+f.jag(t, nil))); good.status != 200 {
		t.Fatalf("what all this is made from: %d %s", good.status, good.body)
	}
	for i, c := range all {
		sign := func(changes map[string]string) string {
			token, err := f.idp.signingKey().Sign(oauth.TypIDJAG, f.with(changes))
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		r.refuse(t, f.as, desktop, sign(map[string]string{c.claim: c.value}), c.wanted)
		for j := i + 1 + i%7; j < len(all); j += 7 { // with one in seven of the others
			if d := all[j]; d.claim != c.claim {
				r.refuse(t, f.as, desktop, sign(map[string]string{c.claim: c.value, d.claim: d.value}),
					wanted{c.name + " and " + d.name, append(append([]string{"time", "lifetime"}, c.reasons...), d.reasons...), append(append([]string{"exp", "iat"}, c.names...), d.names...)})
			}
		}
	}
	t.Logf("%d rows, %d refusals with their pairs", len(all), len(r.want))
	r.reasons(t)
}

// Headers and keys that are not what the issuer publishes.
//
// covers: AS-JAG-03, AS-JAG-04, AS-JAG-02, X-JWT-01, X-JWT-03, X-JWT-04, U02, U03, SEC-19, SEC-20, SEC-23
func TestIDJAGNegativeHeaders(t *testing.T) {
	f := newForge(t)
	r := &refusals{f: f, want: map[string]wanted{}}
	payload := func(iss string) string { return jsonOf(t, f.by(iss)) }
	good := func(header string) string { return f.raw(t, header, payload(partnerURL)) }
	head := func(more string) string {
		return `{"alg":"ES256","kid":"` + f.kid + `","typ":"oauth-id-jag+jwt"` + more + `}`
	}
	if res := post(f.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+good(head("")))); res.status != 200 {
		t.Fatalf("what all this is made from: %d %s", res.status, res.body)
	}
	evil, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	evilJWK, err := json.Marshal(jose.NewSet(evil))
	if err != nil {
		t.Fatal(err)
	}
	jwk := strings.TrimSuffix(strings.TrimPrefix(string(evilJWK), `{"keys":[`), `]}`)
	own := *f
	own.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forged := func(header string) string { return own.raw(t, header, payload(partnerURL)) }
	parts := strings.Split(good(head("")), ".")
	mac := func(secret []byte) string {
		input := segmentOf([]byte(strings.Replace(head(""), "ES256", "HS256", 1))) + "." + parts[1]
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(input))
		return input + "." + segmentOf(h.Sum(nil))
	}
	der, err := x509.MarshalPKIXPublicKey(f.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	unsigned := func(alg string) string {
		return segmentOf([]byte(`{"alg":"`+alg+`","typ":"oauth-id-jag+jwt"}`)) + "." + parts[1] + "."
	}
	corpKid := f.idp.signingKey().ID()
	for _, c := range []struct{ name, token, reason, names string }{
		{"no typ", good(`{"alg":"ES256","kid":"` + f.kid + `"}`), "signature", "typ"},
		{"typ JWT", good(`{"alg":"ES256","kid":"` + f.kid + `","typ":"JWT"}`), "signature", "typ"},
		{"typ of an access token", good(`{"alg":"ES256","kid":"` + f.kid + `","typ":"at+jwt"}`), "signature", "typ"},
		{"typ of a proof", good(`{"alg":"ES256","kid":"` + f.kid + `","typ":"dpop+jwt"}`), "signature", "typ"},
		{"typ is null", good(`{"alg":"ES256","kid":"` + f.kid + `","typ":null}`), "malformed", "typ"},
		{"typ is a list", good(`{"alg":"ES256","kid":"` + f.kid + `","typ":["oauth-id-jag+jwt"]}`), "malformed", "typ"},
		{"typ twice", good(head(`,"typ":"oauth-id-jag+jwt"`)), "malformed", "typ"},
		{"alg none", unsigned("none"), "signature", "alg"},
		{"alg None", unsigned("None"), "signature", "alg"},
		{"alg empty", unsigned(""), "malformed", "alg"},
		{"no alg", good(`{"kid":"` + f.kid + `","typ":"oauth-id-jag+jwt"}`), "malformed", "alg"},
		{"alg is null", good(`{"alg":null,"typ":"oauth-id-jag+jwt"}`), "malformed", "alg"},
		{"HS256 with the DER of the public key", mac(der), "signature", "alg"},
		{"HS256 with the PEM of the public key", mac(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), "signature", "alg"},
		{"HS256 with the document of the keys", mac(f.keys.doc), "signature", "alg"},
		{"HS256 with the client's secret", mac([]byte(desktopSecret)), "signature", "alg"},
		{"ES512 with a key of P-256", good(strings.Replace(head(""), "ES256", "ES512", 1)), "signature", "alg"},
		{"RS256 with a key of P-256", good(strings.Replace(head(""), "ES256", "RS256", 1)), "signature", "alg"},
		{"jwk of a stranger", forged(`{"alg":"ES256","typ":"oauth-id-jag+jwt","jwk":` + jwk + `}`), "signature", "signature"},
		{"jwk of a stranger beside the issuer's kid", forged(head(`,"jwk":` + jwk)), "signature", "signature"},
		{"jku of a stranger", forged(head(`,"jku":"https://evil.example/jwks"`)), "signature", "signature"},
		{"x5u of a stranger", forged(head(`,"x5u":"https://evil.example/cert.pem"`)), "signature", "signature"},
		{"x5c of a stranger", forged(head(`,"x5c":["MIIB"]`)), "signature", "signature"},
		{"crit", good(head(`,"crit":["exp"],"exp":1`)), "malformed", "crit"},
		{"crit is empty", good(head(`,"crit":[]`)), "malformed", "crit"},
		{"crit with b64", good(head(`,"b64":false,"crit":["b64"]`)), "malformed", "crit"},
		{"b64", good(head(`,"b64":false`)), "malformed", "b64"},
		{"kid of nobody", forged(`{"alg":"ES256","kid":"nobody","typ":"oauth-id-jag+jwt"}`), "signature", "kid"},
		{"kid of another issuer", good(strings.Replace(head(""), f.kid, corpKid, 1)), "signature", "kid"},
		{"kid is a number", good(`{"alg":"ES256","kid":7,"typ":"oauth-id-jag+jwt"}`), "malformed", "kid"},
		{"kid is a path", forged(`{"alg":"ES256","kid":"../../dev/null","typ":"oauth-id-jag+jwt"}`), "signature", "kid"},
		{"no kid, and another key", forged(`{"alg":"ES256","typ":"oauth-id-jag+jwt"}`), "signature", "signature"},
		{"another key under the kid", forged(head("")), "signature", "signature"},
		{"another issuer's claims under this key", f.raw(t, head(""), payload(idpURL)), "signature", "kid"},
		{"the signature of another", parts[0] + "." + segmentOf([]byte(payload(partnerURL))) + "." + parts[2], "signature", "signature"},
		{"no signature", parts[0] + "." + parts[1] + ".", "signature", "signature"},
		{"padded", parts[0] + "." + parts[1] + "." + parts[2] + "=", "malformed", "base64url"},
		{"two segments", parts[0] + "." + parts[1], "malformed", "segments"},
		{"four segments", strings.Join(parts, ".") + ".AA", "malformed", "base64url"},
		{"no JWT", "x", "malformed", "segments"},
		{"a claim twice", f.raw(t, head(""), `{"sub":"root",`+payload(partnerURL)[1:]), "malformed", "sub"},
		{"a claim twice, once escaped", f.raw(t, head(""), `{"\u0073ub":"root",`+payload(partnerURL)[1:]), "malformed", "sub"},
		{"payload is a list", f.raw(t, head(""), `[]`), "malformed", "payload"},
		{"payload with something behind it", f.raw(t, head(""), payload(partnerURL)+"{}"), "malformed", "payload"},
		{"payload is no UTF-8", f.raw(t, head(""), `{"sub":"`+"\xff"+`"}`), "malformed", "payload"},
		{"header is no object", good(`"x"`), "malformed", "header"},
		{"no tenant of an issuer with tenants", f.raw(t, head(""), jsonOf(t, dropped(f.by(multiURL), "tenant"))), "tenant", "tenant"},
		{"a tenant that is not listed", f.raw(t, head(""), jsonOf(t, merged(f.by(multiURL), "tenant", "t3"))), "tenant", "tenant"},
		{"null for a tenant, and tid", f.raw(t, head(""), jsonOf(t, merged(f.by(multiURL), "tenant", nil, "tid", "t1"))), "claim_type", "tenant"},
	} {
		r.refuse(t, f.as, desktop, c.token, wanted{c.name, []string{c.reason}, []string{c.names}})
	}
	r.refuse(t, f.as, "", f.jag(t, map[string]any{"client_id": "mobile", "iss": partnerURL}), wanted{"mobile", []string{"signature"}, []string{"kid"}}, "client_id=mobile")
	r.refuse(t, f.as, "", f.raw(t, head(""), jsonOf(t, merged(f.by(partnerURL), "client_id", "mobile"))),
		wanted{"a public client that is not this issuer's", []string{"public_client"}, []string{"partner"}}, "client_id=mobile")
	r.reasons(t)
}

func dropped(claims map[string]any, name string) map[string]any {
	delete(claims, name)
	return claims
}

func merged(claims map[string]any, pairs ...any) map[string]any {
	claims = maps.Clone(claims)
	for i := 0; i < len(pairs); i += 2 {
		claims[pairs[i].(string)] = pairs[i+1]
	}
	return claims
}

// What was used at one process is used up at the other; a jti of one issuer is
// not that of another.
//
// covers: AS-JAG-09, SEC-14, U05
func TestIDJAGNegativeReplay(t *testing.T) {
	f := newForge(t)
	r := &refusals{f: f, want: map[string]wanted{}}
	header := `{"alg":"ES256","kid":"` + f.kid + `","typ":"oauth-id-jag+jwt"}`
	redeem := func(s *Server, who, token string, more ...string) reply {
		return post(s, "/token", who, form(append(more, "grant_type="+oauth.JWTBearer, "assertion="+token)...))
	}
	replay := func(name string) wanted { return wanted{name, []string{"replay"}, []string{""}} }
	first := f.jag(t, map[string]any{"jti": "one"})
	if got := redeem(f.as, desktop, first); got.status != 200 {
		t.Fatal(got.body)
	}
	if got := redeem(f.twin, desktop, first); got.status != 200 { // auto: the same bytes by the same client
		t.Errorf("the same bytes at the other process: %s", got.body)
	}
	r.refuse(t, f.twin, desktop, f.jag(t, map[string]any{"jti": "one", "more": 1}), replay("other bytes, same jti"))
	r.refuse(t, f.twin, desktop, f.jag(t, map[string]any{"jti": "one", "sub": "bob"}), replay("another person, same jti"))
	r.refuse(t, f.twin, "other other-secret-0123456789", f.jag(t, map[string]any{"jti": "one", "client_id": "other"}), replay("another client, same jti"))
	r.refuse(t, f.twin, desktop, f.jag(t, map[string]any{"jti": "one", "resource": notesURL, "scope": "notes:read"}), replay("another resource, same jti"))
	r.refuse(t, f.as, desktop, f.jag(t, map[string]any{"jti": "one", "iat": f.now().Unix() + 20, "exp": f.now().Unix() + 320}), replay("a longer life, same jti"))
	if got := redeem(f.twin, desktop, f.raw(t, header, jsonOf(t, merged(f.by(partnerURL), "jti", "one")))); got.status != 200 {
		t.Errorf("the same jti of another issuer: %s", got.body)
	}
	mobile := f.jag(t, map[string]any{"jti": "two", "client_id": "mobile"})
	if got := redeem(f.as, "", mobile, "client_id=mobile"); got.status != 200 {
		t.Fatal(got.body)
	}
	r.refuse(t, f.twin, "", mobile, replay("a public client, the same bytes"), "client_id=mobile")
	// The last moment: exp and the skew are just not over.
	f.forward(329e9)
	r.refuse(t, f.twin, desktop, f.jag(t, map[string]any{"jti": "one", "more": 1}), replay("other bytes, when the first are all but over"))
	r.refuse(t, f.as, "", mobile, replay("a public client, when it is all but over"), "client_id=mobile")
	f.forward(1e9)
	r.refuse(t, f.as, desktop, first, wanted{"after its end", []string{"time"}, []string{"exp"}})
	r.reasons(t)
}

// invalid_scope (CONFLICT-9) and invalid_target (AS-JAG-12) are the only other
// answers.
//
// covers: AS-JAG-12, AS-JAG-13, U07, U08
func TestIDJAGOtherAnswers(t *testing.T) {
	f := newForge(t)
	for _, c := range []struct {
		name, code string
		change     map[string]any
		more       []string
	}{
		{"a scope that the assertion lacks", oauth.InvalidScope, map[string]any{"scope": "files:read"}, []string{"scope=files:write"}},
		{"a scope of another resource", oauth.InvalidScope, nil, []string{"scope=notes:read"}},
		{"another resource than the assertion's", oauth.InvalidTarget, nil, []string{"resource=" + notesURL}},
		{"a resource that is not here", oauth.InvalidTarget, nil, []string{"resource=https://elsewhere.example/mcp"}},
		{"two resources", oauth.InvalidTarget, map[string]any{"resource": nil}, []string{"resource=" + filesURL, "resource=" + notesURL}},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := f.jag(t, c.change)
			got := post(f.as, "/token", desktop, form(append(c.more, "grant_type="+oauth.JWTBearer, "assertion="+token)...))
			if got.status != 400 || got.text("error") != c.code || bytes.Contains([]byte(got.body), []byte("alice")) {
				t.Errorf("%d %s", got.status, got.body)
			}
			if again := post(f.twin, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+token)); again.status != 200 {
				t.Errorf("a refusal spent it: %s", again.body)
			}
		})
	}
}
