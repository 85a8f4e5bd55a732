package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/store"
)

// Mode proxy with two tenants of a thousand people at one separate server, with
// equal sub and e-mail: what lies in the vault beside a grant is always its own
// person's, also after it was renewed, and no page shows another's.

// crowdProvider is the separate server. Its tokens name whose they are.
type crowdProvider struct {
	mu      sync.Mutex
	key     *jose.Key
	now     func() time.Time
	codes   map[string]url.Values // authorization requests, with who said yes
	refresh map[string]string     // refresh token to account
	renewed int
}

func (f *crowdProvider) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	status, answer := 200, any(nil)
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		answer = map[string]any{"issuer": loginURL, "authorization_endpoint": loginURL + "/authorize", "token_endpoint": loginURL + "/token", "jwks_uri": loginURL + "/jwks"}
	case "/jwks":
		answer = jose.NewSet(f.key)
	case "/token":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		account, nonce := f.refresh[form.Get("refresh_token")], ""
		if asked := f.codes[form.Get("code")]; asked != nil {
			account, nonce = asked.Get("who"), asked.Get("nonce")
			delete(f.codes, form.Get("code"))
		} else if account != "" {
			f.renewed++
			delete(f.refresh, form.Get("refresh_token"))
		}
		if status, answer = 400, map[string]any{"error": "invalid_grant"}; account != "" {
			status, answer = 200, f.tokens(account, nonce)
		}
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(string(text))), Request: r}, nil
}

func (f *crowdProvider) tokens(account, nonce string) map[string]any {
	tenant, sub, _ := strings.Cut(account, ":")
	refresh, now := "refresh "+account+" "+newID(), f.now().Unix()
	f.refresh[refresh] = account
	out := map[string]any{"access_token": "access/" + account + "/" + newID(), "refresh_token": refresh, "token_type": "Bearer", "expires_in": 300}
	claims := map[string]any{"iss": loginURL, "sub": sub, "tenant": tenant, "email": sub + "@corp.example", "aud": loginClient, "iat": now, "exp": now + 300, "auth_time": now, "nonce": nonce}
	if nonce == "" {
		delete(claims, "nonce")
	}
	var err error
	if out["id_token"], err = f.key.Sign("JWT", claims); err != nil {
		panic(err) // a key that was just made
	}
	return out
}

// letIn is the page there, at which somebody is who they say.
func (f *crowdProvider) letIn(t *testing.T, p page, account string) string {
	t.Helper()
	q := p.arrived(t, loginURL+"/authorize")
	f.mu.Lock()
	defer f.mu.Unlock()
	code := "code-" + newID()
	q.Set("who", account)
	f.codes[code] = q
	return q.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {loginURL}}.Encode()
}

// vaulted is a grant of the model.
type vaulted struct {
	gid, account, client string
	over                 bool
}

type vaultModel struct {
	*site
	*rand.Rand
	f        *crowdProvider
	browsers []*browser
	at       map[*browser]string // who signed in there last
	grants   []*vaulted
	left     map[string]bool
	counts   map[string]int
}

func (m *vaultModel) someone() string {
	return fmt.Sprintf("%s:p%d", pick(m.Rand, []string{"t1", "t2"}), pick(m.Rand, []int{m.IntN(5), m.IntN(isolationPeople)}))
}

// walk takes somebody through all pages, in a browser of their own or in one
// that somebody else left.
func (m *vaultModel) walk() {
	account, client := m.someone(), pick(m.Rand, []string{"desktop", "two"})
	back := map[string]string{"desktop": desktopBack, "two": "https://two.example.com/a"}[client]
	if len(m.browsers) == 0 || m.IntN(2) == 0 {
		m.browsers = append(m.browsers, m.browser())
	}
	b := pick(m.Rand, m.browsers)
	p := b.get(m.ask(client, back, "prompt", "login"))
	for range 6 {
		switch {
		case p.left && strings.HasPrefix(p.url.String(), loginURL):
			p, m.at[b] = b.get(m.f.letIn(m.t, p, account)), "separate/"+account
		case p.left:
			m.redeem(p, back, client, account)
			return
		case p.status == http.StatusForbidden:
			if !m.left["separate/"+account] {
				m.t.Errorf("%s is kept out: %s", account, p.body)
			}
			m.counts["kept out"]++
			return
		default:
			p = b.submit(p)
		}
	}
	m.t.Errorf("%s got nowhere: %d at %s", account, p.status, p.url)
}

func (m *vaultModel) redeem(p page, back, client, account string) {
	q := p.arrived(m.t, strings.TrimSuffix(back, "?keep=1"))
	secret := map[string]string{"desktop": "a secret of the desktop", "two": "a secret of the second"}[client]
	r := post(m.Server, "/token", client+" "+secret, form("grant_type=authorization_code", "code="+q.Get("code"), "code_verifier="+verifier, "redirect_uri="+back))
	if sub := subjectIn(m.t, r); sub != "separate/"+account || m.left[sub] {
		m.t.Errorf("%s signed in and %s has the token", account, sub)
	}
	m.grants = append(m.grants, &vaulted{gid: gid(m.t, r.text("access_token")), account: "separate/" + account, client: client})
	m.counts["walked"]++
}

// look reads what lies beside a grant.
func (m *vaultModel) look() {
	if len(m.grants) == 0 {
		return
	}
	g := pick(m.Rand, m.grants)
	token, err := m.UpstreamToken(context.Background(), g.gid)
	switch {
	case g.over || m.left[g.account]:
		if !errors.Is(err, ErrNoUpstream) {
			m.t.Errorf("%+v is over: %q, %v", g, token, err)
		}
		m.counts["nothing there"]++
	case err != nil || !strings.HasPrefix(token, "access/"+strings.TrimPrefix(g.account, "separate/")+"/"):
		m.t.Errorf("beside %+v lies %q, %v", g, token, err)
	default:
		m.counts["looked"]++
	}
}

// end ends one grant, or all that somebody has.
func (m *vaultModel) end() {
	if len(m.grants) == 0 {
		return
	}
	g := pick(m.Rand, m.grants)
	if m.IntN(3) > 0 {
		if _, err := m.ledger.End(context.Background(), ledger.Which{Grant: g.gid}, "test"); err != nil {
			m.t.Error(err)
		}
		g.over = true
		return
	}
	receipt, err := m.ledger.Leave(context.Background(), g.account)
	if err != nil {
		m.t.Error(err)
	}
	for _, e := range receipt.Grants {
		if e.Person != g.account {
			m.t.Errorf("%s left, and %+v ended", g.account, e)
		}
	}
	for _, o := range m.grants {
		o.over = o.over || o.account == g.account
	}
	m.left[g.account] = true
}

// page is the account page in a browser: of whoever signed in there last.
func (m *vaultModel) page() {
	if len(m.browsers) == 0 {
		return
	}
	b := pick(m.Rand, m.browsers)
	p := b.get(siteURL + "/account")
	if p.left || m.left[m.at[b]] {
		return
	}
	theirs := map[string]bool{}
	for _, g := range m.grants {
		if g.account == m.at[b] {
			theirs[consentKey(g.account, g.client, files)] = true
		}
	}
	given := p.ends()["given"]
	for _, key := range given {
		if !theirs[key] {
			m.t.Errorf("the page of %s shows %s, which is not theirs", m.at[b], key)
		}
	}
	if len(given) > 0 {
		m.counts["pages"]++
	}
}

// records walks the vault: each entry is of a grant of the same person.
func (m *vaultModel) records() {
	alive := map[string]string{}
	for _, g := range m.grants {
		if !g.over && !m.left[g.account] {
			alive[g.gid] = g.account
		}
	}
	for after := ""; ; {
		recs, next, err := m.ledger.Store.List(context.Background(), store.Query{Kind: ledger.KindUpstream, After: after, Limit: 500})
		if err != nil {
			m.t.Fatal(err)
		}
		for _, r := range recs {
			u, err := m.upstreamTokens(context.Background(), r.Key)
			if err != nil {
				m.t.Fatal(err)
			}
			if owner, ok := alive[r.Key]; ok && u.Person != owner {
				m.t.Errorf("beside a grant of %s lies what is %s's", owner, u.Person)
			}
			delete(alive, r.Key)
		}
		if after = next; after == "" {
			break
		}
	}
	if len(alive) > 0 {
		m.t.Errorf("%d grants have nothing in the vault", len(alive))
	}
}

// covers: AS-PROXY-04, SEC-23
func TestIsolationVault(t *testing.T) {
	n, seed := soaking(t, isolationSteps, 10)
	f := &crowdProvider{key: testKeys()["es"], codes: map[string]url.Values{}, refresh: map[string]string{}}
	s := newSite(t, func(c *Config) {
		f.now = c.Now
		c.HTTP, c.SignIn, c.Mode = f, nil, "proxy"
		c.Separate = Separate{Issuer: loginURL, Title: "Login Inc", ClientID: loginClient, ClientSecret: loginSecret, Tenants: []string{"t1", "t2"}, EmailDomains: []string{"corp.example"}}
	})
	m := &vaultModel{site: s, Rand: rand.New(rand.NewPCG(seed, 11)), f: f, at: map[*browser]string{}, left: map[string]bool{}, counts: map[string]int{}}
	for step := range n {
		switch d := m.IntN(100); {
		case d < 25:
			m.walk()
		case d < 75:
			m.look()
		case d < 79:
			m.end()
		case d < 82:
			m.wait(4 * time.Minute)
		default:
			m.page()
		}
		if t.Failed() {
			t.Fatalf("step %d of seed %d", step, seed)
		}
		if len(m.browsers) > 50 {
			m.browsers = m.browsers[25:]
		}
	}
	m.records()
	t.Log(m.counts, "renewed:", f.renewed)
	for _, what := range []string{"walked", "looked", "nothing there", "pages"} {
		if m.counts[what] < n/100 {
			t.Errorf("%s: only %d times", what, m.counts[what])
		}
	}
	if f.renewed < n/50 {
		t.Errorf("renewed only %d times", f.renewed)
	}
}
