package authserver

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// Three crowds of a thousand people with equal sub and e-mail: two tenants of one
// provider, and another provider. Random things happen; a model says what each
// may have, and the real server must agree every time.

const (
	isolationPeople = 1000
	isolationSteps  = 5000
)

// tenancy is the people of one tenant.
type tenancy struct {
	provider, issuer, tenant string
	key                      *jose.Key
	believed                 bool // about e-mail addresses
}

func (c tenancy) account(person int) string {
	if c.tenant != "" {
		return fmt.Sprintf("%s/%s:p%d", c.provider, c.tenant, person)
	}
	return fmt.Sprintf("%s/p%d", c.provider, person)
}

// heldToken is what somebody was given, as the model remembers it.
type heldToken struct {
	token, gid, client, resource string
	account, issuer              string
	scopes                       oauth.Scopes
	refresh                      string       // the newest refresh token of its grant
	granted                      oauth.Scopes // to the grant, if there is one
}

type isolation struct {
	*world
	*rand.Rand
	t      *testing.T
	crowds []tenancy
	used   []string // assertions that were redeemed
	held   []heldToken
	ended  map[string]bool // grants
	left   map[string]bool // accounts
	counts map[string]int
}

var isolationClients = map[string]struct {
	secret string
	bound  oauth.Scopes // nil: none
}{
	"desktop": {desktopSecret, nil},
	"reader":  {"reader-secret-0123456789", oauth.Scopes{"files:read", "notes:read"}},
	"writer":  {"writer-secret-0123456789", oauth.Scopes{"files:read", "files:write"}},
}

var isolationScopes = map[string]oauth.Scopes{filesURL: {"files:admin", "files:read", "files:write"}, notesURL: {"notes:admin", "notes:read"}}

func newIsolation(t *testing.T, seed uint64) *isolation {
	i := &isolation{t: t, Rand: rand.New(rand.NewPCG(seed, 7)), ended: map[string]bool{}, left: map[string]bool{}, counts: map[string]int{}}
	keys := testKeys()
	i.crowds = []tenancy{
		{"shared", "https://shared.example", "t1", keys["es"], false},
		{"shared", "https://shared.example", "t2", keys["es"], false},
		{"single", "https://single.example", "", keys["ed"], true},
	}
	i.world = newWorld(t, func(as, _ *Config) {
		as.HTTP, as.SignIn = keysOf{"shared.example": jwksOf("es"), "single.example": jwksOf("ed")}, crowdSignIn{}
		as.Issuers = map[string]TrustedIssuer{
			"shared": {Issuer: "https://shared.example", JWKSURI: "https://shared.example/jwks", Tenants: []string{"t1", "t2"}},
			"single": {Issuer: "https://single.example", JWKSURI: "https://single.example/jwks", EmailDomains: []string{"corp.example"}},
		}
		as.Clients = map[string]Client{"files-server": {Secret: "files-server-secret-0123456789", Introspects: []string{filesURL, notesURL}}}
		for id, c := range isolationClients {
			as.Clients[id] = Client{Secret: c.secret, Scopes: c.bound, RedirectURIs: []string{crowdBack}}
		}
		as.Resources = i.resources()
	})
	return i
}

// resources have rules that tell the crowds apart, and some people.
func (i *isolation) resources() []Resource {
	files := Resource{ID: filesURL, Name: "Files", RuleName: "servers.files", Default: true, DefaultScopes: []string{"files:read"}, Scopes: map[string]string{},
		Allow: []Rule{{Who: []string{"everyone"}, Scopes: []string{"files:read"}}, {Who: []string{"group:single/eng"}, Scopes: []string{"files:write"}}}}
	notes := Resource{ID: notesURL, Name: "Notes", RuleName: "servers.notes", DefaultScopes: []string{"notes:read"}, Scopes: map[string]string{},
		Allow: []Rule{{Who: []string{"group:shared/eng"}, Scopes: []string{"notes:read"}}}}
	for id, res := range map[string]*Resource{filesURL: &files, notesURL: &notes} {
		for _, scope := range isolationScopes[id] {
			res.Scopes[scope] = scope
		}
	}
	for p := range 20 {
		files.Allow = append(files.Allow, Rule{Who: []string{fmt.Sprintf("p%d@corp.example", p)}, Scopes: []string{"files:admin"}})
		notes.Allow = append(notes.Allow, Rule{Who: []string{fmt.Sprintf("person:shared/t1:p%d", p)}, Scopes: []string{"notes:admin", "notes:read"}})
		files.Deny = append(files.Deny, Rule{Who: []string{fmt.Sprintf("person:shared/t2:p%d", p)}})
	}
	return []Resource{files, notes}
}

// permitted is the model of these rules.
func (i *isolation) permitted(c tenancy, person int, eng bool, resource string) oauth.Scopes {
	var out oauth.Scopes
	few := person < 20
	switch {
	case resource == filesURL && c.tenant == "t2" && few:
	case resource == filesURL:
		out = oauth.Scopes{"files:read"}
		if c.provider == "single" && eng {
			out = out.Union(oauth.Scopes{"files:write"})
		}
		if c.believed && few {
			out = out.Union(oauth.Scopes{"files:admin"})
		}
	case c.provider == "shared" && eng:
		out = oauth.Scopes{"notes:read"}
		fallthrough
	default:
		if c.tenant == "t1" && few {
			out = out.Union(isolationScopes[notesURL])
		}
	}
	return out
}

// keysOf serves key sets by host.
type keysOf map[string][]byte

func (k keysOf) RoundTrip(r *http.Request) (*http.Response, error) {
	doc, ok := k[r.URL.Host]
	if !ok {
		return nil, fmt.Errorf("no route to %s", r.URL.Host)
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(bytes.NewReader(doc)), Request: r}, nil
}

// crowdSignIn lets in whom the header names: the browser's side of an account.
type crowdSignIn struct{}

func (crowdSignIn) SignIn(_ http.ResponseWriter, r *http.Request, _ Attempt) (*Person, error) {
	id := r.Header.Get("Test-Person")
	provider, account, _ := strings.Cut(id, "/")
	return &Person{ID: id, Provider: provider, Account: account, Name: "Person"}, nil
}

// some picks people of whom there are few more often, so that things meet.
func (i *isolation) some() (tenancy, int) {
	person := i.IntN(isolationPeople)
	if i.IntN(2) == 0 {
		person = i.IntN(30)
	}
	return pick(i.Rand, i.crowds), person
}

func (i *isolation) subset(of oauth.Scopes) oauth.Scopes {
	var out oauth.Scopes
	for _, s := range of {
		if i.IntN(2) == 0 {
			out = append(out, s)
		}
	}
	return out
}

// redeem brings an ID-JAG that is good, or wrong in one way that would mix
// people up; the answer must be what the model says, to the letter.
func (i *isolation) redeem() {
	c, person := i.some()
	client := pick(i.Rand, []string{"desktop", "reader", "writer"})
	resource := pick(i.Rand, []string{filesURL, notesURL})
	eng := i.IntN(2) == 0
	asserted, asked := i.subset(isolationScopes[resource]), i.subset(isolationScopes[resource])
	now := i.now().Unix()
	claims := map[string]any{"iss": c.issuer, "sub": fmt.Sprintf("p%d", person), "email": fmt.Sprintf("p%d@corp.example", person), "aud": asURL,
		"client_id": client, "jti": strconv.Itoa(i.IntN(1 << 50)), "iat": now, "exp": now + 300, "resource": resource}
	if c.tenant != "" {
		claims["tenant"] = c.tenant
	}
	if eng {
		claims["groups"] = []string{"eng"}
	}
	if len(asserted) > 0 {
		claims["scope"] = asserted.String()
	} else {
		asserted = oauth.Scopes{map[string]string{filesURL: "files:read", notesURL: "notes:read"}[resource]}
	}
	key, good := c.key, true
	switch i.IntN(10) {
	case 0: // the other issuer's key
		key, good = testKeys()[map[string]string{"shared": "ed", "single": "es"}[c.provider]], false
	case 1: // the other issuer's name
		claims["iss"], good = map[string]string{"shared": "https://single.example", "single": "https://shared.example"}[c.provider], false
	case 2: // a tenant that is none, or none where one is needed
		claims["tenant"], good = "t3", false
		if c.tenant != "" && i.IntN(2) == 0 {
			delete(claims, "tenant")
		}
	case 3: // made for another client
		claims["client_id"], good = "files-server", false
	}
	jag, err := key.Sign(oauth.TypIDJAG, claims)
	if err != nil {
		i.t.Fatal(err)
	}
	entries := []string{"grant_type=" + oauth.JWTBearer, "assertion=" + jag}
	if len(asked) > 0 {
		entries = append(entries, "scope="+asked.String())
	}
	r := post(i.as, "/token", client+" "+isolationClients[client].secret, form(entries...))
	want := asserted
	if bound := isolationClients[client].bound; bound != nil {
		want = want.Intersect(bound)
	}
	if len(asked) > 0 {
		want = want.Intersect(asked)
	}
	want = want.Intersect(i.permitted(c, person, eng, resource))
	account := c.account(person)
	if !good || len(want) == 0 || i.left[account] {
		i.refused(r, "redeem", claims)
		return
	}
	i.used = append(i.used, client+" "+jag)
	i.takes(r, heldToken{client: client, resource: resource, account: account, issuer: c.issuer, scopes: want})
}

func (i *isolation) refused(r reply, what string, about any) {
	i.counts[what+" refused"]++
	if r.status < 400 || r.status >= 500 || r.text("access_token") != "" {
		i.t.Errorf("%s: %d %s, and the model refuses it: %v", what, r.status, r.body, about)
	}
}

// takes compares a token with what the model says that it is.
func (i *isolation) takes(r reply, want heldToken) {
	i.counts["taken"]++
	if r.status != 200 {
		i.t.Errorf("refused %d %s, and the model grants %+v", r.status, r.body, want)
		return
	}
	want.token = r.text("access_token")
	c := claimsOf(i.t, want.token)
	for name, value := range map[string]string{"sub": want.account, "client_id": want.client, "aud": want.resource, "scope": want.scopes.String()} {
		if got, _ := c.Text(name); got != value {
			i.t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if want.gid == "" {
		want.gid = gid(i.t, want.token)
	}
	if got := gid(i.t, want.token); got != want.gid {
		i.t.Errorf("a token of the grant %s, want %s", got, want.gid)
	}
	for _, h := range i.held {
		if h.gid == want.gid && (h.account != want.account || h.client != want.client || h.resource != want.resource) {
			i.t.Errorf("one grant for two: %+v and %+v", h, want)
		}
	}
	i.held = append(i.held, want)
}

// steal brings somebody's assertion as another client.
func (i *isolation) steal() {
	if len(i.used) == 0 {
		return
	}
	owner, jag, _ := strings.Cut(pick(i.Rand, i.used), " ")
	thief := pick(i.Rand, []string{"desktop", "reader", "writer"})
	if thief == owner {
		return
	}
	i.refused(post(i.as, "/token", thief+" "+isolationClients[thief].secret, form("grant_type="+oauth.JWTBearer, "assertion="+jag)), "steal", owner)
}

// look asks what a token is: alive exactly if the model says so, and its
// owner's.
func (i *isolation) look() {
	if len(i.held) == 0 {
		return
	}
	h := pick(i.Rand, i.held)
	r := post(i.as, "/introspect", "files-server files-server-secret-0123456789", form("token="+h.token))
	active, _ := r.field("active")
	if want := !i.ended[h.gid] && !i.left[h.account]; active != want || want && r.text("sub") != h.account {
		i.t.Errorf("%s, and the model says alive=%t, %+v", r.body, want, h)
	}
	i.counts["looked"]++
}

// revoke ends one grant, by its client; another client cannot.
func (i *isolation) revoke() {
	if len(i.held) == 0 {
		return
	}
	h := pick(i.Rand, i.held)
	by := pick(i.Rand, []string{"desktop", "reader", "writer"})
	post(i.as, "/revoke", by+" "+isolationClients[by].secret, form("token="+h.token))
	if by == h.client {
		i.ended[h.gid] = true
	}
}

// leave ends everything of one person, and of nobody who has their name
// elsewhere; later they come back.
func (i *isolation) leave() {
	c, person := i.some()
	account := c.account(person)
	if i.left[account] {
		if err := i.as.ledger.Return(context.Background(), account); err != nil {
			i.t.Error(err)
		}
		delete(i.left, account)
		return
	}
	r, err := i.as.ledger.Leave(context.Background(), account)
	if err != nil {
		i.t.Error(err)
	}
	i.left[account] = true
	i.endsExactly(r, func(h heldToken) bool { return h.account == account })
}

// endIssuer is the off switch of a provider.
func (i *isolation) endIssuer() {
	issuer := pick(i.Rand, i.crowds).issuer
	r, err := i.as.ledger.End(context.Background(), ledger.Which{Issuer: issuer}, "revoke")
	if err != nil {
		i.t.Error(err)
	}
	i.endsExactly(r, func(h heldToken) bool { return h.issuer == issuer })
}

// endsExactly compares a receipt with the model.
func (i *isolation) endsExactly(r ledger.Receipt, whose func(heldToken) bool) {
	want := map[string]bool{}
	for _, h := range i.held {
		if whose(h) && !i.ended[h.gid] {
			want[h.gid], i.ended[h.gid] = true, true
		}
	}
	for _, g := range r.Grants {
		if !want[g.ID] {
			i.t.Errorf("%+v ended, and the model says that it was not meant", g)
		}
		delete(want, g.ID)
	}
	if len(want) > 0 {
		i.t.Errorf("%d grants did not end", len(want))
	}
	i.counts["ended"] += len(r.Grants)
}

// page is somebody's account page: it shows what they gave, and its buttons
// end nothing of anybody else, whatever they are made to say.
func (i *isolation) page() {
	if len(i.held) == 0 {
		return
	}
	h := pick(i.Rand, i.held)
	if i.left[h.account] {
		return
	}
	b := &accountBrowser{s: i.as, person: h.account, jar: map[string]*http.Cookie{}}
	p := b.visit(i.t, http.MethodGet, asURL+"/account", "")
	pairs := map[string]bool{}
	for _, o := range i.held {
		if o.account == h.account && !i.ended[o.gid] {
			pairs[consentKey(o.account, o.client, o.resource)] = true
		}
	}
	shown := page{body: p}.ends()["given"]
	for _, key := range shown {
		if !pairs[key] {
			i.t.Errorf("the page of %s shows %s, which is not theirs", h.account, key)
		}
	}
	if len(shown) != len(pairs) || !strings.Contains(p, html.EscapeString(h.account)) && len(pairs) == 0 && !strings.Contains(p, "Your account") {
		i.t.Errorf("the page of %s shows %d entries, and they have %d", h.account, len(shown), len(pairs))
	}
	i.counts["pages"]++
	// They press End for what is another's.
	o := pick(i.Rand, i.held)
	m := formTag.FindStringSubmatch(p)
	if m == nil {
		return
	}
	fields := form("given=" + consentKey(o.account, o.client, o.resource))
	for _, f := range hiddenTag.FindAllStringSubmatch(m[2], -1) {
		fields.Set(f[1], html.UnescapeString(f[2]))
	}
	fields.Set("given", consentKey(o.account, o.client, o.resource))
	b.visit(i.t, http.MethodPost, asURL+html.UnescapeString(m[1]), fields.Encode())
	if o.account == h.account {
		for _, x := range i.held {
			if x.account == o.account && x.client == o.client && x.resource == o.resource {
				i.ended[x.gid] = true
			}
		}
	}
}

// accountBrowser is a browser of one person who is let in by name.
type accountBrowser struct {
	s      *Server
	person string
	jar    map[string]*http.Cookie
}

func (b *accountBrowser) visit(t *testing.T, method, target, body string) string {
	for range 5 {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Header.Set("Test-Person", b.person)
		if method == http.MethodPost {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", asURL)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
		}
		for _, c := range b.jar {
			r.AddCookie(c)
		}
		rec := httptest.NewRecorder()
		b.s.ServeHTTP(rec, r)
		for _, c := range rec.Result().Cookies() {
			b.jar[c.Name] = c
		}
		if rec.Code != http.StatusSeeOther {
			return rec.Body.String()
		}
		next, err := r.URL.Parse(rec.Header().Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		method, target, body = http.MethodGet, next.String(), ""
	}
	t.Fatal("too many redirects")
	return ""
}

// begin ends everything, and lets time go by until nothing of it is kept.
func (i *isolation) begin() {
	i.records()
	if _, err := i.as.ledger.End(context.Background(), ledger.Which{All: true}, "revoke"); err != nil {
		i.t.Error(err)
	}
	i.forward(31 * 24 * time.Hour) // the longest that a refresh token lives is 30 days
	i.held, i.used, i.ended = nil, nil, map[string]bool{}
	if _, err := i.as.ledger.Store.Sweep(context.Background(), 1<<20); err != nil {
		i.t.Error(err)
	}
}

// records walks the store: what lies under somebody's name is theirs.
func (i *isolation) records() {
	alive := map[string]heldToken{}
	for _, h := range i.held {
		alive[h.gid] = h
	}
	for _, c := range i.crowds {
		for person := range isolationPeople {
			account := c.account(person)
			err := i.as.eachOf(context.Background(), ledger.KindGrant, account, func(rec store.Record) error {
				g, err := i.as.ledger.Grant(context.Background(), rec.Key)
				if err != nil {
					return err
				}
				if h, ok := alive[g.ID]; !ok && g.Subject.ID == account && i.ended[g.ID] {
					return nil // a code whose person had left when it was made
				} else if !ok || h.account != account || g.Subject.ID != account || g.Issuer != h.issuer || g.Client != h.client || g.Resource != h.resource {
					i.t.Errorf("under %s lies %+v, and the model has %+v", account, g.Grant, h)
				}
				return nil
			})
			if err != nil {
				i.t.Error(err)
			}
		}
	}
}

// covers: SEC-23, AS-JAG-13, AS-JAG-18, AS-JAG-21
func TestIsolation(t *testing.T) {
	n, seed := soaking(t, isolationSteps, 10)
	i := newIsolation(t, seed)
	for step := range n {
		switch d := i.IntN(1000); {
		case d < 350:
			i.redeem()
		case d < 450:
			i.signIn()
		case d < 560:
			i.refresh()
		case d < 600:
			i.steal()
		case d < 850:
			i.look()
		case d < 900:
			i.revoke()
		case d < 940:
			i.leave()
		case d < 998:
			i.page()
		default:
			i.endIssuer()
		}
		if t.Failed() {
			t.Fatalf("step %d of seed %d", step, seed)
		}
		if len(i.held) > 3000 {
			i.begin()
		}
	}
	i.records()
	t.Log(i.counts)
	for _, what := range []string{"taken", "redeem refused", "steal refused", "looked", "ended", "pages", "signed in", "refreshed", "refresh refused"} {
		if i.counts[what] < n/500 {
			t.Errorf("%s: only %d times", what, i.counts[what])
		}
	}
}
