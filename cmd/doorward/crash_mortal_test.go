package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"doorward/internal/browse"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

const desktopsSecret = "desktop-canary-0815-of-some-length"

// crashSite has refresh tokens without grace: a rotated one is never honoured,
// so that nothing hides behind the repetition of a lost answer.
const crashSite = `
ops: ""
people:
  alice: {email: alice@example.com, password: "${ALICE}"}
providers:
  corp: {issuer: "${IDP}", id_jag: {jwks_uri: "${IDP}/jwks", replay: never}}
clients:
  registration: {total: 1000000}
  registered:
    desktop: {secret: "${DESKTOP}", redirect_uris: ["http://127.0.0.1/callback"]}
servers:
  one: {path: /one/mcp, run: sample, scopes: {use: Use it}}
tokens: {refresh: {grace: GRACE}}
`

// mortal is the server that is killed and what surrounds it.
type mortal struct {
	t       *testing.T
	d       *desk
	program string
	dir     string // of the configurations, with the state below it
	url     string
	idp     string // issuer of the ID-JAGs
	key     *jose.Key
	server  binary
	http    *http.Client
}

func newMortal(t *testing.T) *mortal {
	t.Helper()
	r := &mortal{t: t, d: newDesk(t), program: built(t), url: "http://" + free(t)}
	var err error
	if r.key, err = jose.NewES256(); err != nil {
		t.Fatal(err)
	}
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.NewSet(r.key))
	}))
	t.Cleanup(keys.Close)
	r.idp = keys.URL
	r.d.vars["ALICE"], r.d.vars["DESKTOP"], r.d.vars["IDP"] = alicesPassword, desktopsSecret, r.idp
	files := map[string]string{}
	for _, grace := range []string{"0s", "1m"} {
		files[grace+".yaml"] = "url: " + r.url + strings.Replace(crashSite, "GRACE", grace, 1)
	}
	r.dir = write(t, files)
	t.Cleanup(func() { r.server.Process.Kill(); r.server.Wait() })
	return r
}

func (r *mortal) start(grace string) {
	r.t.Helper()
	r.http = &http.Client{Transport: &http.Transport{}, Timeout: patience}
	r.server.start(r.t, r.d, r.program, "serve", "--config", filepath.Join(r.dir, grace+".yaml"))
}

func (r *mortal) kill() {
	r.t.Helper()
	if err := r.server.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	r.server.Wait()
	r.http.CloseIdleConnections()
	http.DefaultClient.CloseIdleConnections()
}

// killAtStart kills a server that is just starting.
func (r *mortal) killAtStart() {
	r.t.Helper()
	b := binary{Cmd: exec.Command(r.program, "serve", "--config", filepath.Join(r.dir, "0s.yaml"))}
	b.Env = os.Environ()
	for name, value := range r.d.vars {
		b.Env = append(b.Env, name+"="+value)
	}
	if err := b.Start(); err != nil {
		r.t.Fatal(err)
	}
	time.Sleep(rand.N(120 * time.Millisecond))
	b.Process.Kill()
	b.Wait()
}

// errGone: no answer came, or not all of it.
var errGone = errors.New("the server is gone")

// send posts a body and returns the answer as a whole, or errGone.
func (r *mortal) send(path, contentType, body string) (int, map[string]any, error) {
	req, err := http.NewRequest(http.MethodPost, r.url+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", contentType)
	if path == "/token" || path == "/revoke" {
		req.SetBasicAuth("desktop", desktopsSecret)
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return 0, nil, errGone
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, errGone
	}
	if len(b) == 0 {
		return resp.StatusCode, nil, nil
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		return 0, nil, fmt.Errorf("%s answers %d %q", path, resp.StatusCode, b)
	}
	return resp.StatusCode, got, nil
}

// tokens are the answer of a token endpoint.
type tokens struct{ access, refresh string }

// token asks for tokens; a refusal is the error, with its code.
func (r *mortal) token(pairs ...string) (tokens, error) {
	form := url.Values{"resource": {r.url + "/one/mcp"}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	status, got, err := r.send("/token", "application/x-www-form-urlencoded", form.Encode())
	if err != nil {
		return tokens{}, err
	}
	if status != http.StatusOK {
		return tokens{}, fmt.Errorf("%d %v", status, got)
	}
	access, _ := got["access_token"].(string)
	refresh, _ := got["refresh_token"].(string)
	return tokens{access, refresh}, nil
}

func (r *mortal) refresh(token string) (tokens, error) {
	return r.token("grant_type", "refresh_token", "refresh_token", token)
}

func (r *mortal) redeem(c *code) (tokens, error) {
	return r.token("grant_type", "authorization_code", "code", c.text, "code_verifier", c.verifier)
}

func (r *mortal) assert(assertion string) (tokens, error) {
	return r.token("grant_type", oauth.JWTBearer, "assertion", assertion)
}

// answered is how far a request came that may have an effect.
type answered int

const (
	unsent   answered = iota
	underWay          // sent; the server was killed before its answer was here
	done
)

// code is an authorization code and what became of it.
type code struct {
	text, verifier string
	state          answered
	got            tokens
}

// family is a grant and its refresh tokens, the last one current.
type family struct {
	tokens  []string
	access  string
	pending bool // a refresh with the last token was under way
}

// assertion is an ID-JAG and what became of it.
type assertion struct {
	text    string
	state   answered
	access  string
	revoked answered
}

// client is a registration that was answered.
type client struct{ id, secret string }

// seen is what one worker was told in one round. Nobody else writes it.
type seen struct {
	codes      []*code
	family     *family
	assertions []*assertion
	clients    []client
	err        error // something else than the end of the server
}

// until runs step until the server is gone.
func (s *seen) until(step func() error) {
	for {
		if err := step(); err != nil {
			if !errors.Is(err, errGone) {
				s.err = err
			}
			return
		}
	}
}

// visitor is somebody who is signed in, and the loopback address that codes
// come to.
type visitor struct {
	r    *mortal
	who  *browse.Person
	back *httptest.Server
	came chan url.Values
}

func (r *mortal) visitor() *visitor {
	v := &visitor{r: r, who: person(r.t, "alice", alicesPassword), came: make(chan url.Values, 1)}
	v.back = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { v.came <- req.URL.Query() }))
	r.t.Cleanup(v.back.Close)
	return v
}

// code gets a code; the browser is signed in and has consented but for the
// first time.
func (v *visitor) code() (*code, error) {
	c := &code{verifier: oauth2.GenerateVerifier()}
	q := url.Values{"response_type": {"code"}, "client_id": {"desktop"}, "redirect_uri": {v.back.URL + "/callback"}, "resource": {v.r.url + "/one/mcp"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(c.verifier)}, "code_challenge_method": {"S256"}}
	if err := v.who.Open(v.r.t.Context(), v.r.url+"/authorize?"+q.Encode()); err != nil {
		var gone *url.Error
		var cut *net.OpError
		if errors.As(err, &gone) || errors.As(err, &cut) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errGone
		}
		return nil, err
	}
	answer := <-v.came
	if c.text = answer.Get("code"); c.text == "" {
		return nil, fmt.Errorf("instead of a code: %v", answer)
	}
	return c, nil
}

// redeemCodes gets codes and redeems two of three.
func (r *mortal) redeemCodes(v *visitor, s *seen) {
	n := 0
	s.until(func() error {
		c, err := v.code()
		if err != nil {
			return err
		}
		s.codes = append(s.codes, c)
		if n++; n%3 == 0 {
			return nil
		}
		c.state = underWay
		if c.got, err = r.redeem(c); err == nil {
			c.state = done
		}
		return err
	})
}

// refreshAlong rotates a refresh token as fast as it can.
func (r *mortal) refreshAlong(f *family, s *seen) {
	s.family = f
	s.until(func() error {
		f.pending = true
		got, err := r.refresh(f.tokens[len(f.tokens)-1])
		if err != nil {
			return err
		}
		f.tokens, f.access, f.pending = append(f.tokens, got.refresh), got.access, false
		return nil
	})
}

// redeemAssertions redeems ID-JAGs and revokes every fourth grant.
func (r *mortal) redeemAssertions(s *seen) {
	n := 0
	s.until(func() error {
		a := &assertion{text: r.assertion(), state: underWay}
		s.assertions = append(s.assertions, a)
		got, err := r.assert(a.text)
		if err != nil {
			return err
		}
		a.state, a.access = done, got.access
		if n++; n%4 != 0 {
			return nil
		}
		a.revoked = underWay
		status, body, err := r.send("/revoke", "application/x-www-form-urlencoded", url.Values{"token": {a.access}}.Encode())
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("revoke answers %d %v", status, body)
		}
		if err == nil {
			a.revoked = done
		}
		return err
	})
}

// assertion is an ID-JAG that states what no other does, so that it has a grant of
// its own (docs/adr/0012).
func (r *mortal) assertion() string {
	now := time.Now().Unix()
	text, err := r.key.Sign(oauth.TypIDJAG, map[string]any{"iss": r.idp, "sub": "carol", "aud": r.url, "client_id": "desktop",
		"jti": oauth2.GenerateVerifier(), "iat": now, "exp": now + 240, "resource": r.url + "/one/mcp", "scope": "use",
		"auth_time": now - rand.Int64N(1<<26)})
	if err != nil {
		panic(err) // a key that was just made
	}
	return text
}

func (r *mortal) registerClients(s *seen) {
	s.until(func() error {
		status, got, err := r.send("/register", "application/json",
			`{"client_name":"Crash","redirect_uris":["https://crash.example/callback"],"token_endpoint_auth_method":"client_secret_post"}`)
		if err != nil {
			return err
		}
		id, _ := got["client_id"].(string)
		secret, _ := got["client_secret"].(string)
		if status != http.StatusCreated || id == "" || secret == "" {
			return fmt.Errorf("register answers %d %v", status, got)
		}
		s.clients = append(s.clients, client{id, secret})
		return nil
	})
}
