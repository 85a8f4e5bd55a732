package doorward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A network without a network: hosts answer by path, as a row of a table wants
// it. In a bubble of synctest the hours of a slow server take no time.

// answering is what a path answers; nil: a connection that is never answered.
type answering func(req *http.Request) (*http.Response, error)

type network struct {
	paths map[string]answering // host and path

	mu  sync.Mutex
	log []string
}

func (n *network) RoundTrip(req *http.Request) (*http.Response, error) {
	n.mu.Lock()
	n.log = append(n.log, req.Method+" "+req.URL.Host+req.URL.Path)
	n.mu.Unlock()
	if req.Body != nil {
		defer req.Body.Close()
	}
	f, ok := n.paths[req.URL.Host+req.URL.Path]
	switch {
	case !ok:
		f = text(404, "text/html", "<h1>nothing here</h1>")
	case f == nil:
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	resp, err := f(req)
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}

// count is how many requests a path got.
func (n *network) count(place string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Count(strings.Join(n.log, "\n")+"\n", place+"\n")
}

func answer2(status int, header http.Header, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: header, Body: body, ContentLength: -1}
}

func text(status int, kind, body string) answering {
	return func(*http.Request) (*http.Response, error) {
		return answer2(status, http.Header{"Content-Type": {kind}}, io.NopCloser(strings.NewReader(body))), nil
	}
}

func says(body string) answering { return text(200, "application/json", body) }

func failing(err error) answering {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

func sentTo(location string) answering {
	return func(*http.Request) (*http.Response, error) {
		return answer2(302, http.Header{"Location": {location}}, http.NoBody), nil
	}
}

// trickle is a body that gives one byte each pause, for ever.
type trickle struct {
	ctx   context.Context
	pause time.Duration
	first string
}

func (b *trickle) Read(p []byte) (int, error) {
	if b.first != "" {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	if b.pause == 0 {
		return copy(p, strings.Repeat(" ", len(p))), nil
	}
	select {
	case <-time.After(b.pause):
		return copy(p, " "), nil
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
}

func (b *trickle) Close() error { return nil }

// dripping answers with a body that begins and does not end.
func dripping(status int, first string, pause time.Duration) answering {
	return func(req *http.Request) (*http.Response, error) {
		return answer2(status, http.Header{"Content-Type": {"application/json"}}, &trickle{req.Context(), pause, first}), nil
	}
}

const (
	atMCP   = "mcp.example/mcp"
	atPRM   = "mcp.example/.well-known/oauth-protected-resource/mcp"
	atRoot  = "mcp.example/.well-known/oauth-protected-resource"
	atAS    = "as.example/.well-known/oauth-authorization-server"
	atOIDC  = "as.example/.well-known/openid-configuration"
	atToken = "as.example/token"
)

const (
	goodPRM   = `{"resource":"https://mcp.example/mcp","authorization_servers":["https://as.example"]}`
	goodAS    = `{"issuer":"https://as.example","token_endpoint":"https://as.example/token"}`
	goodToken = `{"access_token":"t0ken-1","token_type":"Bearer","expires_in":3600}`
)

// healthy is an MCP server and its authorization server that do as they should.
func healthy() *network {
	return &network{paths: map[string]answering{
		atMCP:   challenging(`Bearer scope="read"`),
		atPRM:   says(goodPRM),
		atAS:    says(goodAS),
		atToken: says(goodToken),
	}}
}

// challenging is an MCP server that lets every token in and sends whoever has
// none away, with these challenges.
func challenging(challenges ...string) answering {
	return func(req *http.Request) (*http.Response, error) {
		if strings.HasPrefix(req.Header.Get("Authorization"), "Bearer t0ken-") {
			return answer2(200, http.Header{}, http.NoBody), nil
		}
		return answer2(401, http.Header{"Www-Authenticate": challenges}, http.NoBody), nil
	}
}

const callee = "https://mcp.example/mcp"

func (n *network) client() *Transport {
	return &Transport{Flow: &ClientCredentials{Client: Credentials{ID: "c", Secret: "s3cret"}}, Base: n}
}

// try is one call, and how long it took.
func try(tr *Transport, ctx context.Context) (status int, took time.Duration, err error) {
	start := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, callee, strings.NewReader("{}"))
	if err != nil {
		return 0, 0, err
	}
	resp, err := tr.RoundTrip(req)
	if err == nil {
		resp.Body.Close()
		status = resp.StatusCode
	}
	return status, time.Since(start), err
}

// hostile is one way in which servers lie or break. The call must end with an
// Error of the step, with words and a hint, within its time.
type hostile struct {
	name   string
	place  string // what is broken
	by     answering
	step   string
	says   string        // words of the error
	retry  bool          // another try later may help
	within time.Duration // 0: at once (what a busy server is asked again counts)
	asked  int           // requests to the place; 0: one
}

var challengeRows = []hostile{ // challenges that name what cannot be
	{"names no URL", atMCP, challenging(`Bearer resource_metadata="prm"`), stepDiscover, "no absolute URL", false, 0, 0},
	{"names http", atMCP, challenging(`Bearer resource_metadata="http://mcp.example/prm"`), stepDiscover, "must be https", false, 0, 0},
	{"names a script", atMCP, challenging(`Bearer resource_metadata="javascript:alert(1)"`), stepDiscover, "no absolute URL", false, 0, 0},
	{"names a file", atMCP, challenging(`Bearer resource_metadata="file:///etc/passwd"`), stepDiscover, "no absolute URL", false, 0, 0},
	{"names a user", atMCP, challenging(`Bearer resource_metadata="https://me:pass@mcp.example/prm"`), stepDiscover, "user info", false, 0, 0},
	{"names a fragment", atMCP, challenging(`Bearer resource_metadata="https://mcp.example/prm#x"`), stepDiscover, "fragment", false, 0, 0},
	{"names a page", atMCP, challenging(`Bearer resource_metadata="https://mcp.example/gone"`), stepDiscover, "is not at", false, 0, 0},
	{"names a port that is none", atMCP, challenging(`Bearer resource_metadata="https://mcp.example:x/prm"`), stepDiscover, "no absolute URL", false, 0, 0},
	{"names control characters", atMCP, challenging("Bearer resource_metadata=\"https://mcp.example/\x01\""), stepDiscover, "no absolute URL", false, 0, 0},
}

var resourceRows = []hostile{
	{"of another server", atPRM, says(`{"resource":"https://evil.example/mcp","authorization_servers":["https://as.example"]}`), stepDiscover, "not the server that was called", false, 0, 0},
	{"of a sibling", atPRM, says(`{"resource":"https://mcp.example/mc","authorization_servers":["https://as.example"]}`), stepDiscover, "not the server that was called", false, 0, 0},
	{"of another port", atPRM, says(`{"resource":"https://mcp.example:8443/mcp","authorization_servers":["https://as.example"]}`), stepDiscover, "not the server that was called", false, 0, 0},
	{"of a longer path", atPRM, says(`{"resource":"https://mcp.example/mcp/deep","authorization_servers":["https://as.example"]}`), stepDiscover, "not the server that was called", false, 0, 0},
	{"with dots in its path", atPRM, says(`{"resource":"https://mcp.example/mcp/../mcp","authorization_servers":["https://as.example"]}`), stepDiscover, "not the server that was called", false, 0, 0},
	{"without a resource", atPRM, says(`{"authorization_servers":["https://as.example"]}`), stepDiscover, "not the server that was called", false, 0, 0},
	{"without servers", atPRM, says(`{"resource":"https://mcp.example/mcp"}`), stepDiscover, "no authorization_servers", false, 0, 0},
	{"with an empty server", atPRM, says(`{"resource":"https://mcp.example/mcp","authorization_servers":[""]}`), stepDiscover, "cannot be one", false, 0, 0},
	{"with a server over http", atPRM, says(`{"resource":"https://mcp.example/mcp","authorization_servers":["http://as.example"]}`), stepDiscover, "cannot be one", false, 0, 0},
	{"with servers of the wrong type", atPRM, says(`{"resource":"https://mcp.example/mcp","authorization_servers":"https://as.example"}`), stepDiscover, "JSON object", false, 0, 0},
	{"cut off", atPRM, says(goodPRM[:40]), stepDiscover, "JSON object", false, 0, 0},
	{"nested a million times", atPRM, says(strings.Repeat("[", 1<<19)), stepDiscover, "JSON object", false, 0, 0},
	{"huge", atPRM, says(`{"resource":"` + strings.Repeat("x", 2<<20)), stepDiscover, "longer than", false, 0, 0},
	{"endless", atPRM, dripping(200, `{"resource":"`, 0), stepDiscover, "longer than", false, 0, 0},
	{"slow without end", atPRM, dripping(200, `{"resource":"`, time.Second), stepDiscover, "deadline", true, 10 * time.Second, 0},
	{"never answered", atPRM, nil, stepDiscover, "deadline", true, 10 * time.Second, 0},
	{"a connection that breaks", atPRM, failing(io.ErrUnexpectedEOF), stepDiscover, "unexpected EOF", true, time.Second, 3},
	{"a name without an address", atPRM, failing(errors.New("no such host")), stepDiscover, "no such host", false, 0, 0},
	{"a page with status 200", atPRM, text(200, "text/html", "<html>Sign in</html>"), stepDiscover, "publishes no resource metadata", false, 0, 0},
	{"redirects in a circle", atPRM, sentTo("https://" + atPRM), stepDiscover, "publishes no resource metadata", false, 0, 0},
	{"a redirect to another host", atPRM, sentTo("https://evil.example/prm"), stepDiscover, "publishes no resource metadata", false, 0, 0},
	{"busy", atPRM, text(503, "text/plain", "later"), stepDiscover, "cannot be read now", true, time.Second, 3},
	{"too many requests", atPRM, text(429, "text/plain", "later"), stepDiscover, "cannot be read now", true, time.Second, 3},
	{"broken", atPRM, text(500, "text/html", "<h1>Oops</h1>"), stepDiscover, "cannot be read now", true, 0, 0},
}

var serverRows = []hostile{
	{"of another issuer", atAS, says(`{"issuer":"https://evil.example","token_endpoint":"https://as.example/token"}`), stepDiscover, "is that of the issuer", false, 0, 0},
	{"with a slash more", atAS, says(`{"issuer":"https://as.example/","token_endpoint":"https://as.example/token"}`), stepDiscover, "is that of the issuer", false, 0, 0},
	{"in other letters", atAS, says(`{"issuer":"https://AS.example","token_endpoint":"https://as.example/token"}`), stepDiscover, "is that of the issuer", false, 0, 0},
	{"without an issuer", atAS, says(`{"token_endpoint":"https://as.example/token"}`), stepDiscover, "is that of the issuer", false, 0, 0},
	{"with an issuer of the wrong type", atAS, says(`{"issuer":["https://as.example"]}`), stepDiscover, "JSON object", false, 0, 0},
	{"without a token endpoint", atAS, says(`{"issuer":"https://as.example"}`), stepToken, "no token_endpoint", false, 0, 0},
	{"with a token endpoint over http", atAS, says(`{"issuer":"https://as.example","token_endpoint":"http://as.example/token"}`), stepToken, "must be https", false, 0, 0},
	{"with a token endpoint that is none", atAS, says(`{"issuer":"https://as.example","token_endpoint":"/token"}`), stepToken, "no absolute URL", false, 0, 0},
	{"with methods nobody has", atAS, says(`{"issuer":"https://as.example","token_endpoint":"https://as.example/token","token_endpoint_auth_methods_supported":["magic"]}`), stepConfigure, "magic", false, 0, 0},
	{"a page", atAS, text(200, "text/html", "<html>"), stepDiscover, "no authorization server metadata", false, 0, 0},
	{"huge", atAS, says(`{"issuer":"` + strings.Repeat("x", 2<<20)), stepDiscover, "longer than", false, 0, 0},
	{"endless", atAS, dripping(200, `{"issuer":"`, 0), stepDiscover, "longer than", false, 0, 0},
	{"slow without end", atAS, dripping(200, `{`, time.Second), stepDiscover, "deadline", true, 10 * time.Second, 0},
	{"never answered", atAS, nil, stepDiscover, "deadline", true, 10 * time.Second, 0},
	{"redirects in a circle", atAS, sentTo("https://" + atAS), stepDiscover, "no authorization server metadata", false, 0, 0},
	{"broken", atAS, text(502, "text/html", "<h1>Bad gateway</h1>"), stepDiscover, "cannot be read now", true, 0, 0},
}

var tokenRows = []hostile{
	{"a token of the wrong type", atToken, says(`{"access_token":17,"token_type":"Bearer"}`), stepToken, "no JSON object", false, 0, 0},
	{"an object for a token", atToken, says(`{"access_token":{"a":1},"token_type":"Bearer"}`), stepToken, "no JSON object", false, 0, 0},
	{"an empty token", atToken, says(`{"access_token":"","token_type":"Bearer"}`), stepToken, "no usable access_token", false, 0, 0},
	{"null for a token", atToken, says(`{"access_token":null,"token_type":"Bearer"}`), stepToken, "no usable access_token", false, 0, 0},
	{"no token", atToken, says(`{"token_type":"Bearer"}`), stepToken, "no usable access_token", false, 0, 0},
	{"a token with a line break", atToken, says(`{"access_token":"a\r\nX: y","token_type":"Bearer"}`), stepToken, "no usable access_token", false, 0, 0},
	{"a token with a space", atToken, says(`{"access_token":"a b","token_type":"Bearer"}`), stepToken, "no usable access_token", false, 0, 0},
	{"no type", atToken, says(`{"access_token":"t0ken-1"}`), stepToken, "token_type", false, 0, 0},
	{"a type nobody knows", atToken, says(`{"access_token":"t0ken-1","token_type":"MAC"}`), stepToken, "token_type", false, 0, 0},
	{"a type of the wrong type", atToken, says(`{"access_token":"t0ken-1","token_type":1}`), stepToken, "token_type", false, 0, 0},
	{"an array", atToken, says(`["t0ken-1"]`), stepToken, "no JSON object", false, 0, 0},
	{"null", atToken, says(`null`), stepToken, "no usable access_token", false, 0, 0},
	{"nothing", atToken, says(``), stepToken, "no JSON object", false, 0, 0},
	{"an error with status 200", atToken, says(`{"error":"invalid_grant","error_description":"no"}`), stepToken, "invalid_grant", false, 0, 0},
	{"an error and a token", atToken, says(`{"error":"invalid_grant","access_token":"t0ken-1","token_type":"Bearer"}`), stepToken, "invalid_grant", false, 0, 0},
	{"an error that repeats the secret", atToken, text(400, "application/json", `{"error":"s3cret","error_description":"s3cret is wrong"}`), stepToken, "is wrong", false, 0, 0},
	{"an error that forges lines", atToken, text(400, "application/json", `{"error":"a\nb","error_description":"\u001b[31mred\r\nline"}`), stepToken, "red", false, 0, 0},
	{"an error of the wrong type", atToken, text(400, "application/json", `{"error":{"code":1}}`), stepToken, "no OAuth error", false, 0, 0},
	{"a page with status 200", atToken, text(200, "text/html", "<html>"), stepToken, "no JSON object", false, 0, 0},
	{"a page with status 400", atToken, text(400, "text/html", "<html>"), stepToken, "no OAuth error", false, 0, 0},
	{"broken", atToken, text(500, "text/html", "<html>"), stepToken, "no OAuth error", true, time.Minute, -1},
	{"a redirect", atToken, sentTo("https://evil.example/token"), stepToken, "redirect", false, 0, 0},
	{"redirects in a circle", atToken, sentTo("https://" + atToken), stepToken, "redirect", false, 0, 0},
	{"huge", atToken, says(`{"access_token":"` + strings.Repeat("x", 2<<20) + `"}`), stepToken, "longer than", false, 0, 0},
	{"endless", atToken, dripping(200, `{"access_token":"`, 0), stepToken, "longer than", false, 0, 0},
	{"slow without end", atToken, dripping(200, `{`, time.Second), stepToken, "deadline", true, 30 * time.Second, -1},
	{"never answered", atToken, nil, stepToken, "deadline", true, 30 * time.Second, -1},
}

// Each lie ends in an Error that says where, what and what to do, in its time,
// and with no secret in it.
//
// covers: X-HTTP-06, S19, S20
func TestHostileServers(t *testing.T) {
	rows := 0
	for table, all := range map[string][]hostile{"challenge": challengeRows, "resource": resourceRows, "server": serverRows, "token": tokenRows} {
		for _, c := range all {
			rows++
			t.Run(table+"/"+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { c.run(t) })
			})
		}
	}
	if rows < 60 {
		t.Errorf("only %d rows", rows)
	}
}

func (c hostile) run(t *testing.T) {
	n := healthy()
	n.paths[c.place] = c.by
	_, took, err := try(n.client(), t.Context())
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v", err)
	}
	if e.Step != c.step || !strings.Contains(err.Error(), c.says) || e.Retry != c.retry || e.hint() == "" || e.Server == "" {
		t.Errorf("step %q at %q, retry %v, hint %q: %v", e.Step, e.Server, e.Retry, e.hint(), err)
	}
	if text := err.Error(); strings.Contains(text, "s3cret") || strings.Contains(text, "t0ken") || strings.ContainsAny(text, "\n\r\x1b") || len(text) > 2000 {
		t.Errorf("the error says too much: %.3000q", text)
	}
	if took > c.within+time.Second/2 {
		t.Errorf("it took %v", took)
	}
	if want := max(c.asked, 1); c.asked >= 0 && n.count(c.place) != want {
		t.Errorf("%d requests to %s, want %d: %q", n.count(c.place), c.place, want, n.log)
	}
	for _, line := range n.log {
		if strings.Contains(line, "evil.example") {
			t.Errorf("%q", line)
		}
	}
}

// What is odd and harmless stops nobody.
//
// covers: T15
func TestOddServersThatAreUsable(t *testing.T) {
	rows := map[string]map[string]answering{}
	for name, challenges := range map[string][]string{
		"no challenge": nil, "empty": {""}, "commas": {",,, ,"}, "no scheme of ours": {`Negotiate abc==`}, "unclosed quote": {`Bearer realm="x`},
		"empty realm": {`Bearer realm=""`}, "bare words": {"Bearer a b c"}, "equals": {"=== Bearer ==="}, "bytes": {"Bearer \xff\xfe=\x80"},
		"a megabyte": {`Bearer scope="` + strings.Repeat("a", 1<<20) + `"`}, "ten thousand": make([]string, 10_000),
		"scope with quotes": {`Bearer scope="a\"b"`}, "scope twice": {`Bearer scope="a", scope="b"`}, "only a name": {"resource_metadata"},
		"empty metadata": {`Bearer resource_metadata=""`}, "another scheme's metadata": {`Basic resource_metadata="https://evil.example/prm"`},
	} {
		rows["challenge: "+name] = map[string]answering{atMCP: challenging(challenges...)}
	}
	for name, expires := range map[string]string{"a string": `"3600"`, "null": `null`, "zero": `0`, "negative": `-1`, "huge": `1e300`, "a fraction": `59.5`,
		"no number": `"soon"`, "an object": `{}`, "true": `true`} {
		rows["expires_in: "+name] = map[string]answering{atToken: says(`{"access_token":"t0ken-1","token_type":"bearer","expires_in":` + expires + `}`)}
	}
	maps.Copy(rows, map[string]map[string]answering{
		"members nobody knows":       {atToken: says(`{"access_token":"t0ken-1","token_type":"BEARER","x":[1,{}],"scope":null}`)},
		"a document as text":         {atPRM: text(200, "text/plain", goodPRM)},
		"a document without a type":  {atAS: text(200, "", goodAS)},
		"the root's document":        {atPRM: text(404, "", ""), atRoot: says(`{"resource":"https://mcp.example","authorization_servers":["https://as.example"]}`)},
		"the root's, after a 500":    {atPRM: text(500, "", ""), atRoot: says(`{"resource":"https://mcp.example/","authorization_servers":["https://as.example"]}`)},
		"OpenID Connect's, after it": {atAS: text(502, "", ""), atOIDC: says(goodAS)},
	})
	for name, paths := range rows {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := healthy()
				maps.Copy(n.paths, paths)
				tr := n.client()
				for range 3 {
					if status, took, err := try(tr, t.Context()); err != nil || status != 200 || took > time.Second {
						t.Fatalf("status %d after %v, error %v, %q", status, took, err, n.log)
					}
				}
				if n.count(atToken) != 1 || n.count("evil.example/prm") > 0 {
					t.Errorf("%q", n.log)
				}
			})
		})
	}
}

// renewing is a Transport with a refresh token whose access token ends soon, at
// an authorization server that does as it is told.
func renewing(t *testing.T) (*network, *Transport) {
	n := healthy()
	n.paths[atAS] = says(`{"issuer":"https://as.example","token_endpoint":"https://as.example/token","authorization_endpoint":"https://as.example/authorize","code_challenge_methods_supported":["S256"]}`)
	tr := &Transport{Flow: &AuthorizationCode{Client: Credentials{ID: "c", Secret: "s3cret"},
		Open: func(context.Context, string) error { return errors.New("nobody is here") }}, Base: n}
	server := address{"https", "mcp.example", "/mcp", "", ""}
	g := tr.grantFor(target{server: callee, covers: callee, resource: callee, issuer: "https://as.example"}, server, "")
	now := time.Now()
	g.held = held{access: "t0ken-0", header: []string{"Bearer t0ken-0"}, refresh: "refresh-0", client: registration{id: "c", secret: "s3cret"},
		made: now.Add(-time.Hour), expires: now.Add(25 * time.Second)}
	tr.keep(g, placeOf(server, ""), g.held)
	return n, tr
}

// A renewal that fails costs no token: the old one is sent while it lives, and
// the refresh token is tried again.
func TestNoTokenIsLost(t *testing.T) {
	rows := map[string]answering{}
	for _, c := range tokenRows {
		switch c.name {
		case "an error with status 200", "an error and a token": // invalid_grant: the refresh token is over
		default:
			rows[c.name] = c.by
		}
	}
	for name, by := range rows {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, tr := renewing(t)
				n.paths[atToken] = by
				status, took, err := try(tr, t.Context())
				if took < 24*time.Second && (err != nil || status != 200) {
					t.Fatalf("status %d, error %v after %v, while the token lives", status, err, took)
				}
				n.paths[atToken] = func(req *http.Request) (*http.Response, error) {
					if req.ParseForm() != nil || req.PostForm.Get("refresh_token") != "refresh-0" {
						return says(`{"error":"invalid_grant"}`)(req)
					}
					return says(`{"access_token":"t0ken-1","token_type":"Bearer","refresh_token":"refresh-1"}`)(req)
				}
				time.Sleep(time.Minute)
				if status, _, err := try(tr, t.Context()); err != nil || status != 200 {
					t.Fatalf("when it can be renewed again: status %d, error %v", status, err)
				}
				g, h := tr.find(address{"https", "mcp.example", "/mcp", "", ""}, "")
				if g == nil || h.access != "t0ken-1" || h.refresh != "refresh-1" {
					t.Errorf("held: %q, %q", h.access, h.refresh)
				}
			})
		})
	}
}

// Whoever leaves while a refresh token is being spent takes nothing with them:
// what comes back is kept for the next.
func TestRenewalOutlivesWhoWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, tr := renewing(t)
		spent := 0
		n.paths[atToken] = func(req *http.Request) (*http.Response, error) {
			if spent++; spent > 1 {
				return text(400, "application/json", `{"error":"invalid_grant"}`)(req)
			}
			select {
			case <-time.After(5 * time.Second):
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
			return says(`{"access_token":"t0ken-1","token_type":"Bearer","refresh_token":"refresh-1"}`)(req)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, took, err := try(tr, ctx)
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) || took > 2*time.Second || e.hint() == "" {
			t.Errorf("after %v: %v", took, err)
		}
		time.Sleep(time.Minute)
		if status, _, err := try(tr, t.Context()); err != nil || status != 200 || spent != 1 {
			t.Errorf("status %d, error %v, the refresh token was spent %d times", status, err, spent)
		}
	})
}

// Clocks jump: forward by a day, back by a year, in the middle of everything.
func TestClockThatJumps(t *testing.T) {
	for name, jump := range map[string]time.Duration{"a day ahead": 24 * time.Hour, "a year back": -365 * 24 * time.Hour, "a second back": -time.Second, "a century ahead": 100 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			n := healthy()
			issued, living := 0, ""
			n.paths[atToken] = func(req *http.Request) (*http.Response, error) {
				issued++
				living = fmt.Sprintf("t0ken-%d", issued)
				return says(`{"access_token":"` + living + `","token_type":"Bearer","expires_in":3600}`)(req)
			}
			n.paths[atMCP] = func(req *http.Request) (*http.Response, error) {
				if living != "" && req.Header.Get("Authorization") == "Bearer "+living {
					return answer2(200, http.Header{}, http.NoBody), nil
				}
				return answer2(401, http.Header{"Www-Authenticate": {"Bearer"}}, http.NoBody), nil
			}
			now := time.Now()
			tr := n.client()
			tr.Now = func() time.Time { return now }
			for round := range 5 {
				if status, _, err := try(tr, t.Context()); err != nil || status != 200 {
					t.Fatalf("round %d: status %d, error %v", round, status, err)
				}
				switch round {
				case 1, 3:
					now = now.Add(jump)
				case 2: // the server ends the token, whatever the clock says
					living = ""
				}
				jump = -jump
			}
			if issued > 4 {
				t.Errorf("%d tokens for five calls", issued)
			}
			// Refused again and again, then set back: nobody is locked out till the clock has caught up.
			good := n.paths[atMCP]
			n.paths[atMCP] = func(*http.Request) (*http.Response, error) {
				return answer2(401, http.Header{"Www-Authenticate": {"Bearer"}}, http.NoBody), nil
			}
			for range 3 {
				if status, _, err := try(tr, t.Context()); err != nil || status != 401 {
					t.Fatalf("status %d, error %v", status, err)
				}
			}
			n.paths[atMCP] = good
			now = now.Add(-24 * time.Hour)
			if status, _, err := try(tr, t.Context()); err != nil || status != 200 {
				t.Errorf("after the clock was set back: status %d, error %v", status, err)
			}
		})
	}
}

// A refusal whose body never comes holds nobody up.
func TestRefusalWithoutItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := healthy()
		good := n.paths[atMCP]
		n.paths[atMCP] = func(req *http.Request) (*http.Response, error) {
			resp, err := good(req)
			if resp.StatusCode == 401 {
				closed, done := context.WithCancel(req.Context())
				resp.ContentLength, resp.Body = 100, &stuck{closed, done}
			}
			return resp, err
		}
		if status, took, err := try(n.client(), t.Context()); err != nil || status != 200 || took > 2*time.Second {
			t.Errorf("status %d after %v, error %v", status, took, err)
		}
	})
}

// stuck is a body that gives nothing until it is closed.
type stuck struct {
	closed context.Context
	done   context.CancelFunc
}

func (s *stuck) Read([]byte) (int, error) {
	<-s.closed.Done()
	return 0, errors.New("closed")
}

func (s *stuck) Close() error { s.done(); return nil }

// Whoever waits no longer gets an Error at once, wherever the others are.
func TestCallerThatLeaves(t *testing.T) {
	for _, place := range []string{atPRM, atAS, atToken} {
		t.Run(place, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := healthy()
				n.paths[place] = nil
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, took, err := try(n.client(), ctx)
				var e *Error
				if !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) || took > 2*time.Second || e.hint() == "" || !e.Retry {
					t.Errorf("after %v: %v", took, err)
				}
			})
		})
	}
}

// The person closes the browser, or never comes back.
func TestPersonWhoDoesNotComeBack(t *testing.T) {
	n := healthy()
	n.paths[atAS] = says(`{"issuer":"https://as.example","token_endpoint":"https://as.example/token","authorization_endpoint":"https://as.example/authorize","code_challenge_methods_supported":["S256"]}`)
	opened := make(chan string, 1)
	flow := &AuthorizationCode{Client: Credentials{ID: "c"}, Open: func(_ context.Context, address string) error {
		u, _ := url.Parse(address)
		opened <- u.Query().Get("redirect_uri")
		return nil
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, took, err := try(&Transport{Flow: flow, Base: n}, ctx)
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) || took > 5*time.Second || e.hint() == "" {
		t.Errorf("after %v: %v", took, err)
	}
	back := <-opened
	for range 100 { // the flight ends a moment after the one who waited for it
		if resp, err := http.Get(back); err != nil {
			return
		} else {
			resp.Body.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the listener is open though nobody waits")
}

// The port that the redirect URI names is taken.
func TestLoopbackPortThatIsTaken(t *testing.T) {
	taken, err := listen("http://127.0.0.1/callback")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.close()
	n := healthy()
	n.paths[atAS] = says(`{"issuer":"https://as.example","token_endpoint":"https://as.example/token","authorization_endpoint":"https://as.example/authorize","code_challenge_methods_supported":["S256"]}`)
	flow := &AuthorizationCode{Client: Credentials{ID: "c"}, RedirectURL: taken.redirect, Open: func(context.Context, string) error {
		t.Error("the browser was opened")
		return nil
	}}
	_, _, err = try(&Transport{Flow: flow, Base: n}, t.Context())
	var e *Error
	if !errors.As(err, &e) || e.Step != stepAuthorize || !strings.Contains(err.Error(), "not free") || e.hint() == "" || n.count(atToken) > 0 {
		t.Errorf("error %v", err)
	}
}
