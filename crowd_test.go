package doorward_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward"
)

// crowd is an IdP, three authorization servers and MCP servers in memory, as a
// RoundTripper. What it issues says whom and what it is for, and it looks.
type crowd struct {
	life      int // of an access token, in seconds
	challenge func()
	fail      func(format string, args ...any)

	calls, exchanges, redemptions, refreshes atomic.Int64
	revoked                                  sync.Map // tokens that a server refuses from now on
}

func (c *crowd) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	host, path := r.URL.Host, r.URL.Path
	switch {
	case path == "/mcp":
		c.call(rec, r)
	case path == "/.well-known/oauth-protected-resource/mcp":
		n := 0
		fmt.Sscanf(host, "mcp-%d.example", &n)
		reply(rec, 200, m{"resource": "https://" + host + "/mcp", "authorization_servers": []string{fmt.Sprintf("https://as-%d.example", n%3)}})
	case strings.HasPrefix(path, "/.well-known/"):
		reply(rec, 200, m{"issuer": "https://" + host, "token_endpoint": "https://" + host + "/token",
			"authorization_grant_profiles_supported": []string{"urn:ietf:params:oauth:grant-profile:id-jag"}})
	case path == "/token":
		_ = r.ParseForm()
		c.token(rec, r, host)
	default:
		rec.WriteHeader(404)
	}
	return rec.Result(), nil
}

// call is an MCP server: a token has to be this person's, for this server.
func (c *crowd) call(rec *httptest.ResponseRecorder, r *http.Request) {
	token, sent := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	_, revoked := c.revoked.Load(token)
	part := strings.Split(token, "|")
	if !sent || revoked {
		if c.challenge != nil {
			c.challenge()
		}
		rec.Header().Set("WWW-Authenticate", `Bearer scope="use"`)
		rec.WriteHeader(401)
		return
	}
	if len(part) != 4 || part[0] != "access" || part[1] != r.Header.Get("X-Person") || part[2] != "https://"+r.URL.Host+"/mcp" {
		c.fail("a call of %s to %s came with %q", r.Header.Get("X-Person"), r.URL.Host, token)
	}
	c.calls.Add(1)
}

// token is the token endpoint of the IdP and of the authorization servers.
func (c *crowd) token(rec *httptest.ResponseRecorder, r *http.Request, host string) {
	form := r.PostForm
	id, secret, _ := r.BasicAuth()
	if host == "idp.example" {
		c.exchanges.Add(1)
		person, ok := strings.CutPrefix(form.Get("subject_token"), "id|")
		if !ok || id != "app" || secret != "idp-secret" {
			c.fail("exchange by %q: %v", id, form)
		}
		reply(rec, 200, m{"access_token": strings.Join([]string{"jag", person, form.Get("resource"), form.Get("audience")}, "|"),
			"issued_token_type": "urn:ietf:params:oauth:token-type:id-jag", "token_type": "N_A", "expires_in": 300})
		return
	}
	kind, handle := "jag", form.Get("assertion")
	if form.Get("grant_type") == "refresh_token" {
		kind, handle = "refresh", form.Get("refresh_token")
		c.refreshes.Add(1)
	} else {
		c.redemptions.Add(1)
	}
	part := strings.Split(handle, "|")
	if len(part) != 4 || part[0] != kind || part[2] != form.Get("resource") || part[3] != "https://"+host || id != "agent" || secret != "as-secret" {
		c.fail("%s got %v from %q", host, form, id)
		rec.WriteHeader(400)
		return
	}
	reply(rec, 200, m{"access_token": fmt.Sprintf("access|%s|%s|%d", part[1], part[2], rand.Uint64()), "token_type": "Bearer", "expires_in": c.life,
		"refresh_token": strings.Join([]string{"refresh", part[1], part[2], part[3]}, "|")})
}

func (c *crowd) transport() *doorward.Transport {
	return &doorward.Transport{Base: c, Flow: &doorward.CrossApp{
		IdP:    doorward.Credentials{Issuer: "https://idp.example", ID: "app", Secret: "idp-secret"},
		Server: doorward.Credentials{ID: "agent", Secret: "as-secret"},
		Subject: func(ctx context.Context) (doorward.Subject, error) {
			name := ctx.Value(personKey{}).(string)
			return doorward.Subject{Person: name, Token: "id|" + name}, nil
		},
	}}
}

func (c *crowd) do(ctx context.Context, tr *doorward.Transport, person string, server int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("https://mcp-%d.example/mcp", server), strings.NewReader("{}"))
	if err != nil {
		return err
	}
	req.Header.Set("X-Person", person)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != 200 {
		return errRefused
	}
	return nil
}

var errRefused = errors.New("the server refused the call")

// A thousand callers who need one token at once cost one exchange and one
// redemption (d1.1).
//
// covers: P10, P11
func TestThousandCallersOneFlight(t *testing.T) {
	const callers = 1000
	var waiting sync.WaitGroup
	waiting.Add(callers)
	c := &crowd{life: 3600, fail: t.Errorf, challenge: func() { waiting.Done(); waiting.Wait() }}
	tr := c.transport()
	ctx, cancel := context.WithTimeout(as("alice"), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			if err := c.do(ctx, tr, "alice", 3); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if c.exchanges.Load() != 1 || c.redemptions.Load() != 1 || c.calls.Load() != callers {
		t.Errorf("%d exchanges, %d redemptions, %d calls", c.exchanges.Load(), c.redemptions.Load(), c.calls.Load())
	}
}

// 200 people at 20 servers in one process, whose tokens end and are revoked all
// the time: each of 100,000 calls comes with a token of that person for that
// server (d1.2).
//
// covers: P03, C-TOK-02, C-TOK-04
func TestCrowdNeverGetsAnothersToken(t *testing.T) {
	const people, servers, workers = 200, 20, 100
	c := &crowd{life: 1, fail: t.Errorf}
	trs := make([]*doorward.Transport, 3) // one for each authorization server, which one secret is for
	for i := range trs {
		trs[i] = c.transport()
		trs[i].Flow.(*doorward.CrossApp).Server.Issuer = fmt.Sprintf("https://as-%d.example", i)
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			choose := rand.New(rand.NewPCG(1, uint64(w)))
			for range crowdCalls {
				person, server := fmt.Sprintf("p%d", choose.IntN(people)), choose.IntN(servers)
				ctx := as(person)
				if choose.IntN(50) == 0 { // some give up at once
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Microsecond)
					_ = c.do(ctx, trs[server%3], person, server)
					cancel()
					ctx = as(person)
				}
				if choose.IntN(100) == 0 {
					if tok, err := trs[server%3].Token(ctx, fmt.Sprintf("https://mcp-%d.example/mcp", server)); err == nil {
						c.revoked.Store(tok.AccessToken, true)
					}
				}
				err := c.do(ctx, trs[server%3], person, server)
				for again := 0; again < 3 && errors.Is(err, errRefused); again++ { // others revoke tokens on their way
					err = c.do(ctx, trs[server%3], person, server)
				}
				if err != nil {
					t.Errorf("%s at %d: %v", person, server, err)
				}
			}
		})
	}
	wg.Wait()
	if c.calls.Load() < workers*crowdCalls {
		t.Errorf("%d calls were let in, want at least %d", c.calls.Load(), workers*crowdCalls)
	}
	if c.exchanges.Load() < people*servers/2 || c.refreshes.Load() == 0 {
		t.Errorf("%d exchanges and %d refreshes: this was no test", c.exchanges.Load(), c.refreshes.Load())
	}
}
