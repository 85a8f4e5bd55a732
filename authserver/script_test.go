package authserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/internal/audit"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/*.txtar: one script per flow, with its refusals.
// Above a block of a script stand the rows that it shows.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			w := newWorld(env.T().(cleaner), func(as, _ *Config) { as.Directories = map[string]Directory{"corp": {Token: scimToken}} })
			env.Values["script"] = &script{world: w, at: w.as}
			env.Vars = append(env.Vars, "AS="+asURL, "IDP="+idpURL, "FILES="+filesURL, "NOTES="+notesURL, "VERIFIER="+codeVerifier,
				"JWT_BEARER="+oauth.JWTBearer, "EXCHANGE="+oauth.TokenExchange, "ID_JAG="+oauth.TokenTypeIDJAG,
				"ID_TOKEN="+oauth.TokenTypeIDToken, "REFRESH_TOKEN="+oauth.TokenTypeRefreshToken, "ACCESS_TOKEN="+oauth.TokenTypeAccessToken,
				"JWT_ASSERTION="+oauth.ClientAssertionJWT)
			env.Vars = append(env.Vars, furtherNames...)
			return nil
		},
		Cmds: with(furtherCommands, map[string]func(*testscript.TestScript, bool, []string){
			"at":      scripted((*script).cmdAt),      // at as|idp: whom later commands ask
			"basic":   scripted((*script).cmdBasic),   // basic ID SECRET: from now on; basic: nobody
			"post":    scripted((*script).cmdPost),    // post PATH NAME=VALUE…
			"get":     scripted((*script).cmdGet),     // get PATH [TOKEN]
			"status":  scripted((*script).cmdStatus),  // status CODE
			"json":    scripted((*script).cmdJSON),    // [!] json NAME [VALUE]
			"header":  scripted((*script).cmdHeader),  // [!] header NAME [PART]
			"save":    scripted((*script).cmdSave),    // save VARIABLE NAME: a member of the last answer
			"same":    scripted((*script).cmdSame),    // [!] same A B
			"claim":   scripted((*script).cmdClaim),   // [!] claim TOKEN NAME [VALUE]
			"typ":     scripted((*script).cmdTyp),     // typ TOKEN VALUE
			"clock":   scripted((*script).cmdClock),   // clock DURATION: time goes by
			"code":    scripted((*script).cmdCode),    // code VARIABLE NAME=VALUE…: somebody approved
			"assert":  scripted((*script).cmdAssert),  // assert VARIABLE CLAIM=JSON… -CLAIM… [typ=…] [key=…]: as the client signer signs
			"jag":     scripted((*script).cmdJAG),     // jag VARIABLE CLAIM=JSON… -CLAIM… [typ=…] [key=other]
			"variant": scripted((*script).cmdVariant), // variant NAME: reload with another configuration
			"leave":   scripted((*script).cmdLeave),   // leave PERSON
			"end":     scripted((*script).cmdEnd),     // end client ID | resource ID | issuer ID
			"logout":  scripted((*script).cmdLogout),  // logout TOKEN: end the session that it names
			"ended":   scripted((*script).cmdEnded),   // [!] ended TOKEN: is its grant over
			"audit":   scripted((*script).cmdAudit),   // [!] audit NAME=VALUE…: is there such an event
			"rotate":  scripted((*script).cmdRotate),  // rotate: a new signing key
			"access":  scripted((*script).cmdAccess),  // access VARIABLE CLAIM=JSON… -CLAIM… [typ=…] [key=other]: an access token
			"accept":  scripted((*script).cmdAccept),  // accept MEDIA_TYPES: of later posts; accept: none
			"body":    scripted((*script).cmdBody),    // body TEXT: the whole answer
			"keep":    scripted((*script).cmdKeep),    // keep VARIABLE: the whole answer
			"inside":  scripted((*script).cmdInside),  // [!] inside TOKEN CLAIM NAME [VALUE]: a member of a claim
			"genuine": scripted((*script).cmdGenuine), // genuine TOKEN: a key that the issuer publishes signed it
			"key":     scripted((*script).cmdKey),     // key NAME: later requests prove possession of it; key: of none
			"proof":   scripted((*script).cmdProof),   // proof CLAIM=JSON… -CLAIM…: what is special about the next proof
			"nonce":   scripted((*script).cmdNonce),   // nonce: later proofs have that of the last answer; nonce off
		}),
	})
}

// script is what the commands of one script work on.
type script struct {
	*world
	ts     *testscript.TestScript
	at     *Server
	who    string
	accept string
	last   reply
	dpop   prover
}

func scripted(f func(*script, bool, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		s := ts.Value("script").(*script)
		s.ts = ts
		f(s, neg, args)
	}
}

func (s *script) cmdAt(_ bool, args []string) {
	s.at = map[string]*Server{"as": s.as, "idp": s.idp}[args[0]]
}

func (s *script) cmdBasic(_ bool, args []string) { s.who = strings.Join(args, " ") }

func (s *script) cmdPost(_ bool, args []string) {
	r := postRequest(s.at, args[0], s.who, s.accept, form(args[1:]...))
	s.prove(r, "")
	s.last = send(s.at, r)
	s.ts.Logf("%d %s", s.last.status, s.last.body)
}

func (s *script) cmdGet(_ bool, args []string) {
	r := httptest.NewRequest("GET", s.at.current().cfg.URL+args[0], nil)
	if len(args) > 1 {
		r.Header.Set("Authorization", "Bearer "+args[1])
		s.prove(r, args[1])
	}
	s.last = send(s.at, r)
	s.ts.Logf("%d %s", s.last.status, s.last.body)
}

func (s *script) cmdStatus(_ bool, args []string) {
	if got := fmt.Sprint(s.last.status); got != args[0] {
		s.ts.Fatalf("status %s, not %s: %s", got, args[0], s.last.body)
	}
}

// refTail ends every refusal: the reference that why explains.
var refTail = regexp.MustCompile(` \(ref ([a-z2-9]{8})\)$`)

func (s *script) cmdJSON(neg bool, args []string) {
	got, there := s.last.field(args[0])
	if text, ok := got.(string); ok && args[0] == "error_description" {
		if !refTail.MatchString(text) {
			s.ts.Fatalf("a refusal without a reference: %s", text)
		}
		got = refTail.ReplaceAllString(text, "")
	}
	s.compare(neg, "member "+args[0], got, there, args[1:])
}

// compare checks that something is there, or there with a value.
func (s *script) compare(neg bool, what string, got any, there bool, want []string) {
	ok := there
	if there && len(want) > 0 {
		ok = plain(got) == want[0]
	}
	if ok == neg {
		s.ts.Fatalf("%s is %q (there: %t), wanted %q (neg: %t)", what, plain(got), there, want, neg)
	}
}

func plain(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func (s *script) cmdHeader(neg bool, args []string) {
	got := strings.Join(s.last.header.Values(args[0]), ", ")
	if ok := got != "" && (len(args) == 1 || strings.Contains(got, args[1])); ok == neg {
		s.ts.Fatalf("header %s is %q", args[0], got)
	}
}

func (s *script) cmdSave(_ bool, args []string) {
	v, ok := s.last.field(args[1])
	if !ok {
		s.ts.Fatalf("no member %s in %s", args[1], s.last.body)
	}
	s.ts.Setenv(args[0], plain(v))
}

func (s *script) cmdSame(neg bool, args []string) {
	if (args[0] == args[1]) == neg {
		s.ts.Fatalf("%q and %q", args[0], args[1])
	}
}

func (s *script) peek(token string) (jose.Header, jose.Claims) {
	h, c, err := jose.Peek(token)
	if err != nil {
		s.ts.Fatalf("%v", err)
	}
	return h, c
}

func (s *script) cmdClaim(neg bool, args []string) {
	_, c := s.peek(args[0])
	var got any
	if err := c.Decode(args[1], &got); err != nil {
		s.ts.Fatalf("%v", err)
	}
	s.compare(neg, "claim "+args[1], got, c.Has(args[1]), args[2:])
}

func (s *script) cmdTyp(_ bool, args []string) {
	if h, _ := s.peek(args[0]); h.Typ != strings.ToLower(args[1]) {
		s.ts.Fatalf("typ is %s", h.Typ)
	}
}

func (s *script) cmdClock(_ bool, args []string) {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		s.ts.Fatalf("%v", err)
	}
	s.forward(d)
}

// cmdCode makes a code as the consent page does. With session=yes there is a
// session behind it.
func (s *script) cmdCode(_ bool, args []string) {
	f := form(args[1:]...)
	get := func(name, def string) string {
		if f.Has(name) {
			return f.Get(name)
		}
		return def
	}
	res := filesURL
	if s.at == s.idp {
		res = idpURL
	}
	g := oauth.Grant{Client: get("client", "desktop"), Resource: get("resource", res),
		Scopes: strings.Fields(get("scope", "files:read files:write"))}
	person := get("person", "alice")
	g.Subject = oauth.Subject{ID: person, Provider: get("provider", ""), Name: strings.ToUpper(person), Email: get("email", person+"@corp.example"), Groups: strings.Fields(get("groups", "eng")),
		AuthTime: s.now(), ACR: get("acr", ""), AMR: strings.Fields(get("amr", "pwd"))}
	if f.Has("session") {
		sess, err := s.at.sessions.Start(context.Background(), httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), g.Subject)
		if err != nil {
			s.ts.Fatalf("%v", err)
		}
		g.Subject = sess.Subject
	}
	code, err := s.at.newCode(context.Background(), g, oauth.AuthorizationRequest{CodeChallenge: oauth.S256(codeVerifier), Nonce: get("nonce", ""), DPoPKey: get("dpop_jkt", "")},
		get("redirect_uri", "http://127.0.0.1:5000/callback"))
	if err != nil {
		s.ts.Fatalf("%v", err)
	}
	s.ts.Setenv(args[0], code)
}

func (s *script) cmdJAG(_ bool, args []string) {
	s.signed(args, s.jagClaims(), oauth.TypIDJAG, s.idp.signingKey())
}

// signed signs claims with the changes that args[1:] name.
func (s *script) signed(args []string, claims map[string]any, typ string, key *jose.Key) {
	for _, a := range args[1:] {
		name, value, ok := strings.Cut(a, "=")
		var v any
		switch {
		case !ok:
			delete(claims, strings.TrimPrefix(name, "-"))
			continue
		case name == "typ":
			typ = value
			continue
		case name == "key":
			var err error
			if key, err = jose.NewES256(); err != nil {
				s.ts.Fatalf("%v", err)
			}
			if known := testKeys()[value]; known != nil {
				key = known
			}
			continue
		case name == "exp" || name == "iat" || name == "nbf" || name == "auth_time":
			if d, err := time.ParseDuration(value); err == nil {
				claims[name] = s.now().Add(d).Unix()
				continue
			}
			fallthrough
		default:
			if json.Unmarshal([]byte(value), &v) != nil {
				v = value
			}
		}
		claims[name] = v
	}
	token, err := key.Sign(typ, claims)
	if err != nil {
		s.ts.Fatalf("%v", err)
	}
	s.ts.Setenv(args[0], token)
}

// variants are other configurations of the two servers.
var variants = map[string]func(as, idp *Config){
	"replay-never":        changeIssuer(func(i *TrustedIssuer) { i.Replay = replayNever }),
	"replay-until-expiry": changeIssuer(func(i *TrustedIssuer) { i.Replay = replayUntilExpiry }),
	"existing-only":       changeIssuer(func(i *TrustedIssuer) { i.ExistingOnly = true }),
	"tenants":             changeIssuer(func(i *TrustedIssuer) { i.Tenants = []string{"t1", "t2"} }),
	"account-of-two":      changeIssuer(func(i *TrustedIssuer) { i.Account = []string{"tid", "oid"} }),
	"issuer-reads":        changeIssuer(func(i *TrustedIssuer) { i.Scopes = []string{"files:read"} }),
	"hour-long":           changeIssuer(func(i *TrustedIssuer) { i.MaxLifetime = time.Hour }),
	"partner": func(as, _ *Config) {
		as.Issuers["partner"] = TrustedIssuer{Issuer: partnerURL, JWKSURI: keysURL + "/partner"}
	},
	"corp-off":   func(as, _ *Config) { delete(as.Issuers, "corp") },
	"no-default": func(as, _ *Config) { as.Resources[0].Default = false },
	"files-only": func(as, _ *Config) { as.Resources = as.Resources[:1] },
	"eng-only": func(as, _ *Config) {
		as.Resources[0].Allow = []Rule{{Who: []string{"group:corp/eng"}}}
		as.Directories = map[string]Directory{"corp": {Token: scimToken}}
	},
	"nobody":        func(as, _ *Config) { as.Resources[0].Allow = nil },
	"no-write":      func(as, _ *Config) { as.Resources[0].Scopes = map[string]string{"files:read": "Read"} },
	"dpop-required": func(as, idp *Config) { as.DPoP, idp.DPoP = dpopRequired, dpopRequired },
	"dpop-off":      func(as, idp *Config) { as.DPoP, idp.DPoP = dpopOff, dpopOff },
	"web-for-itself": func(as, _ *Config) {
		as.Clients["web"] = Client{GrantTypes: []string{oauth.ClientCredentials}}
	},
	"no-grace": func(as, _ *Config) { as.Tokens.RefreshGrace = -1 },
	"registered": func(as, _ *Config) {
		as.Clients["desktop"] = Client{Secret: desktopSecret, Scopes: []string{"files:read"}}
	},
	"deny-scopes": func(_, idp *Config) {
		a := idp.Audiences[asURL]
		a.Deny = []Rule{{Who: []string{"everyone"}, Scopes: []string{"files:write"}}}
		idp.Audiences[asURL] = a
	},
}

func changeIssuer(f func(*TrustedIssuer)) func(as, idp *Config) {
	return func(as, _ *Config) {
		i := as.Issuers["corp"]
		f(&i)
		as.Issuers = map[string]TrustedIssuer{"corp": i}
	}
}

func (s *script) cmdVariant(_ bool, args []string) {
	as, idp := s.asConfig(nil), s.idpConfig(nil)
	for _, name := range args {
		change, ok := variants[name]
		if !ok {
			s.ts.Fatalf("no variant %s", name)
		}
		change(&as, &idp)
	}
	if err := s.as.Reload(as); err != nil {
		s.ts.Fatalf("%v", err)
	}
	if err := s.idp.Reload(idp); err != nil {
		s.ts.Fatalf("%v", err)
	}
}

func (s *script) cmdLeave(_ bool, args []string) {
	if _, err := s.at.ledger.Leave(context.Background(), args[0]); err != nil {
		s.ts.Fatalf("%v", err)
	}
}

func (s *script) cmdEnd(_ bool, args []string) {
	w := ledger.Which{}
	switch args[0] {
	case "client":
		w.Client = args[1]
	case "resource":
		w.Resource = args[1]
	case "issuer":
		w.Issuer = args[1]
	}
	if _, err := s.at.ledger.End(context.Background(), w, "revoked"); err != nil {
		s.ts.Fatalf("%v", err)
	}
}

func (s *script) cmdLogout(_ bool, args []string) {
	_, c := s.peek(args[0])
	sid, _ := c.Text("sid")
	if err := s.at.ledger.Store.Commit(context.Background(), store.Delete(ledger.KindSession, sid)); err != nil {
		s.ts.Fatalf("%v", err)
	}
}

func (s *script) cmdEnded(neg bool, args []string) {
	_, c := s.peek(args[0])
	id, _ := c.Text("gid")
	if s.at.ended.Has(id) == neg {
		s.ts.Fatalf("ended: %t", !neg)
	}
}

func (s *script) cmdRotate(bool, []string) {
	if _, _, err := s.at.RotateKey(context.Background()); err != nil {
		s.ts.Fatalf("%v", err)
	}
}

// cmdAudit looks for an event with these members.
func (s *script) cmdAudit(neg bool, args []string) {
	events := eventsOf(s.ts, s.at)
	found := slices.ContainsFunc(events, func(e audit.Event) bool {
		for name, want := range form(args...) {
			if got := eventField(e, name); got != want[0] {
				return false
			}
		}
		return true
	})
	if found == neg {
		s.ts.Fatalf("found: %t among %+v", found, events)
	}
}

// eventsOf reads the audit of a server.
func eventsOf(t interface{ Fatalf(string, ...any) }, s *Server) []audit.Event {
	ctx := context.Background()
	if err := s.audit.Flush(ctx); err != nil {
		t.Fatalf("%v", err)
	}
	var events []audit.Event
	for after := ""; ; {
		recs, next, err := s.ledger.Store.List(ctx, store.Query{Kind: ledger.KindAudit, After: after, Limit: 1000})
		if err != nil {
			t.Fatalf("%v", err)
		}
		for _, r := range recs {
			var e audit.Event
			if err := json.Unmarshal(r.Value, &e); err != nil {
				t.Fatalf("%v", err)
			}
			events = append(events, e)
		}
		if after = next; after == "" {
			return events
		}
	}
}

func eventField(e audit.Event, name string) string {
	v := reflect.ValueOf(e)
	for i := range v.NumField() {
		if tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); tag == name {
			return fmt.Sprint(v.Field(i).Interface())
		}
	}
	return ""
}

var _ http.RoundTripper = (*world)(nil)
