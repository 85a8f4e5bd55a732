package authserver

import (
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"doorward/internal/audit"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// whyOf is what is kept under the reference in a text.
func whyOf(t *testing.T, s *Server, text string) (audit.Explanation, bool) {
	t.Helper()
	m := refAnywhere.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no reference: %s", text)
	}
	if e, ok := s.Attempts().Recent(m[1]); ok {
		return audit.Explain(e), false
	}
	if err := s.Attempts().Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	e, err := s.ledger.Attempt(t.Context(), m[1])
	if err != nil {
		t.Fatalf("%s is kept nowhere: %v", m[1], err)
	}
	return audit.Explain(e), true
}

// refAnywhere finds a reference, in a description or on a page.
var refAnywhere = regexp.MustCompile(`(?: \(ref |Reference: <code>)([a-z2-9]{8})(?:\)|</code>)`)

// planted is one mistake: what is asked, and what why must say about it.
type planted struct {
	name   string
	ask    func(t *testing.T, w *world) (*Server, string) // returns the answer
	step   string
	who    string
	rule   string
	stored bool
}

// Every refusal carries a reference, and why names the step and the party.
func TestPlantedFaults(t *testing.T) {
	for _, p := range append(plantedAssertions(), plantedOthers()...) {
		t.Run(p.name, func(t *testing.T) {
			w := newWorld(t)
			s, answer := p.ask(t, w)
			x, stored := whyOf(t, s, answer)
			if x.Broken != p.step || x.Who != p.who || x.Rule != p.rule || stored != p.stored {
				t.Errorf("why says %s, %s must act, rule %q, stored %t; want %s, %s, %q, %t\n%s\n%+v",
					x.Broken, x.Who, x.Rule, stored, p.step, p.who, p.rule, p.stored, answer, x.Event)
			}
			broken := 0
			for _, step := range x.Steps {
				if step.Title == "" {
					t.Errorf("the step %s has no words", step.Name)
				}
				if step.Result == audit.StepBroken {
					broken++
				}
			}
			if broken != 1 || x.Means == "" || x.Mend == "" {
				t.Errorf("%d broken steps: %+v", broken, x)
			}
		})
	}
}

func plantedAssertions() []planted {
	redeem := func(change map[string]any) func(*testing.T, *world) (*Server, string) {
		return func(t *testing.T, w *world) (*Server, string) {
			return w.as, post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+w.jag(t, change))).text("error_description")
		}
	}
	late := func(ahead time.Duration) func(*testing.T, *world) (*Server, string) {
		return func(t *testing.T, w *world) (*Server, string) {
			now := w.now().Add(ahead).Unix()
			return redeem(map[string]any{"iat": now, "exp": now + 300})(t, w)
		}
	}
	return []planted{
		{"wrong audience", redeem(map[string]any{"aud": "https://elsewhere.example"}), "audience", audit.IdPAdmin, "", true},
		{"wrong issuer", redeem(map[string]any{"iss": "https://stranger.example"}), "issuer", audit.Operator, "", true},
		{"a clock that is ahead", late(10 * time.Minute), "times", audit.IdPAdmin, "", true},
		{"a clock that is behind", late(-10 * time.Minute), "times", audit.IdPAdmin, "", true},
		{"wrong client_id", redeem(map[string]any{"client_id": "somebody"}), "client_id", audit.IdPAdmin, "", true},
		{"unknown kid", func(t *testing.T, w *world) (*Server, string) {
			key, err := jose.NewES256()
			if err != nil {
				t.Fatal(err)
			}
			return w.as, post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+w.sign(t, key, oauth.TypIDJAG, nil))).text("error_description")
		}, "signature", audit.IdPAdmin, "", true},
		{"an access token as assertion", func(t *testing.T, w *world) (*Server, string) {
			jag := w.sign(t, w.idp.signingKey(), oauth.TypAccessToken, nil)
			return w.as, post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+jag)).text("error_description")
		}, "signature", audit.IdPAdmin, "", true},
		{"lifetime", func(t *testing.T, w *world) (*Server, string) {
			return redeem(map[string]any{"exp": w.now().Unix() + 7200})(t, w)
		}, "times", audit.IdPAdmin, "", true},
		{"tenant", redeem(map[string]any{"tenant": "t1"}), "tenant", audit.Operator, "", true},
		{"foreign resource", redeem(map[string]any{"resource": "https://other.example/mcp"}), "resource", audit.IdPAdmin, "", true},
		{"unknown scope", redeem(map[string]any{"scope": "fly"}), "scopes", audit.IdPAdmin, "", true},
		{"a deny rule", redeem(map[string]any{"sub": "mallory"}), "rules", audit.Operator, "servers.files.deny[0]", true},
		{"replay", func(t *testing.T, w *world) (*Server, string) {
			var r reply
			for range 2 {
				r = post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+w.jag(t, map[string]any{"jti": "one"})))
				w.forward(time.Second)
			}
			return w.as, r.text("error_description")
		}, "single_use", audit.Maker, "", true},
		{"left", func(t *testing.T, w *world) (*Server, string) {
			if _, err := w.as.ledger.Leave(t.Context(), "corp/alice"); err != nil {
				t.Fatal(err)
			}
			return redeem(nil)(t, w)
		}, "person", audit.Operator, "", true},
		{"a public client that is not listed", func(t *testing.T, w *world) (*Server, string) {
			f := form("grant_type="+oauth.JWTBearer, "client_id=mobile", "assertion=x")
			return w.as, post(w.as, "/token", "", f).text("error_description")
		}, "assertion", audit.Maker, "", false},
	}
}

func plantedOthers() []planted {
	redeemCode := func(change ...string) func(*testing.T, *world) (*Server, string) {
		return func(t *testing.T, w *world) (*Server, string) {
			code := w.code(t, w.as, filesGrant("desktop"), "http://127.0.0.1/callback")
			f := form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier)
			for _, c := range change {
				name, value, _ := strings.Cut(c, "=")
				f.Set(name, value)
			}
			return w.as, post(w.as, "/token", desktop, f).text("error_description")
		}
	}
	exchange := func(change ...string) func(*testing.T, *world) (*Server, string) {
		return func(t *testing.T, w *world) (*Server, string) {
			expired := w.sign(t, w.idp.signingKey(), oauth.TypIDToken, map[string]any{"exp": w.now().Unix() - 60})
			f := form(append([]string{"grant_type=" + oauth.TokenExchange, "requested_token_type=" + oauth.TokenTypeIDJAG,
				"subject_token_type=" + oauth.TokenTypeIDToken, "audience=" + asURL, "subject_token=" + expired}, change...)...)
			return w.idp, post(w.idp, "/token", "desktop-idp "+desktopIdPSecret, f).text("error_description")
		}
	}
	client := func(who string, params ...string) func(*testing.T, *world) (*Server, string) {
		return func(_ *testing.T, w *world) (*Server, string) {
			return w.as, post(w.as, "/token", who, form(append([]string{"grant_type=client_credentials"}, params...)...)).text("error_description")
		}
	}
	authorize := func(params ...string) func(*testing.T, *world) (*Server, string) {
		return func(_ *testing.T, w *world) (*Server, string) {
			q := form("response_type=code", "client_id=desktop", "redirect_uri=http://127.0.0.1:5/callback", "resource="+filesURL,
				"code_challenge="+oauth.S256(codeVerifier), "code_challenge_method=S256")
			for _, p := range params {
				name, value, _ := strings.Cut(p, "=")
				q.Set(name, value)
			}
			r := send(w.as, httptest.NewRequest("GET", asURL+"/authorize?"+q.Encode(), nil))
			if to, err := url.Parse(r.header.Get("Location")); err == nil && to.Query().Has("error_description") {
				return w.as, to.Query().Get("error_description")
			}
			return w.as, r.body
		}
	}
	return []planted{
		{"unknown client", client("nobody secret"), "client", audit.Maker, "", false},
		{"wrong secret", client("agent wrong"), "client", audit.Maker, "", false},
		{"a grant that it is not registered for", client(desktop), "grant", audit.Operator, "", true},
		{"no rule", client("agent "+agentSecret, "resource="+notesURL), "rules", audit.Operator, "servers.notes.deny[0]", true},
		{"a resource that is not there", client("agent "+agentSecret, "resource=https://other.example/mcp"), "resource", audit.Maker, "", true},
		{"a scope that is not there", client("agent "+agentSecret, "scope=fly"), "scopes", audit.Maker, "", true},
		{"no grant type", func(_ *testing.T, w *world) (*Server, string) {
			return w.as, post(w.as, "/token", "", form("x=y")).text("error_description")
		}, "request", audit.Maker, "", false},
		{"code used twice", func(t *testing.T, w *world) (*Server, string) {
			code := w.code(t, w.as, filesGrant("desktop"), "http://127.0.0.1/callback")
			f := form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier)
			post(w.as, "/token", desktop, f)
			return w.as, post(w.as, "/token", desktop, f).text("error_description")
		}, "single_use", audit.Maker, "", true},
		{"wrong verifier", redeemCode("code_verifier=" + strings.Repeat("x", 43)), "pkce", audit.Maker, "", true},
		{"no verifier", redeemCode("code_verifier="), "pkce", audit.Maker, "", true},
		{"another redirect URI", redeemCode("redirect_uri=http://127.0.0.1/other"), "redirect_uri", audit.Maker, "", true},
		{"unknown code", redeemCode("code=x"), "code", audit.Maker, "", true},
		{"a refresh token of elsewhere", func(_ *testing.T, w *world) (*Server, string) {
			return w.as, post(w.as, "/token", desktop, form("grant_type=refresh_token", "refresh_token=x")).text("error_description")
		}, "refresh", audit.Maker, "", true},
		{"expired ID token", exchange(), "times", audit.Person, "", true},
		{"a redirect URI that is not registered", authorize("redirect_uri=https://evil.example/"), "redirect_uri", audit.Maker, "", false},
		{"a client that nobody knows", authorize("client_id=nobody"), "client", audit.Maker, "", false},
		{"no PKCE", authorize("code_challenge="), "pkce", audit.Maker, "", false},
		{"plain PKCE", authorize("code_challenge_method=plain"), "pkce", audit.Maker, "", false},
		{"another response type", authorize("response_type=token"), "form", audit.Maker, "", false},
		{"a resource of elsewhere", authorize("resource=https://other.example/mcp"), "resource", audit.Maker, "", false},
		{"scopes of elsewhere", authorize("scope=fly"), "scopes", audit.Maker, "", false},
		{"nobody signed in", authorize("prompt=none"), "signed_in", audit.Person, "", false},
		{"a registration", func(_ *testing.T, w *world) (*Server, string) {
			r := httptest.NewRequest("POST", asURL+"/register", strings.NewReader(`{"redirect_uris":["http://a.example/"]}`))
			r.Header.Set("Content-Type", "application/json")
			return w.as, send(w.as, r).text("error_description")
		}, "request", audit.Maker, "", false},
		{"a wrong method", func(_ *testing.T, w *world) (*Server, string) {
			return w.as, send(w.as, httptest.NewRequest("GET", asURL+"/token", nil)).text("error_description")
		}, "request", audit.Maker, "", false},
	}
}

// What outsiders get of a wrong secret and of an unknown client differs in the
// reference only; inside the two are told apart.
func TestReasonsStayInside(t *testing.T) {
	w := newWorld(t)
	unknown := post(w.as, "/token", "nobody secret", form("grant_type=client_credentials")).body
	wrong := post(w.as, "/token", "agent wrong", form("grant_type=client_credentials")).body
	if a, b := refAnywhere.ReplaceAllString(unknown, ""), refAnywhere.ReplaceAllString(wrong, ""); a != b {
		t.Errorf("%s\n%s", a, b)
	}
	x, _ := whyOf(t, w.as, unknown)
	y, _ := whyOf(t, w.as, wrong)
	if x.Reason == y.Reason {
		t.Errorf("why cannot tell them apart: %s", x.Reason)
	}
}
