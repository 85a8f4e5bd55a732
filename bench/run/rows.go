package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// row is one line of the table.
type row struct {
	name  string
	goal  float64 // at most so many times the floor
	rate  int     // operations that are sent for each second of -time
	parts string  // what the floor may cost: primitives, joined by +
	floor side
	ours  side
}

// The rows that other makers' servers have too.
const (
	metadataRow      = "AS metadata"
	credentialsRow   = "client_credentials → ES256 JWT"
	refreshRow       = "refresh with rotation → ES256 JWT, durable"
	codeRow          = "code flow: authorize + token, durable"
	assertionRow     = "jwt-bearer with an ES256 ID-JAG, durable jti"
	registrationRow  = "dynamic registration, durable"
	introspectionRow = "introspection of a JWT"
	guardRow         = "guard: bearer JWT, seen before"
)

// request makes the bytes of one request to a path.
type request func(t target, path string) ([]byte, error)

// side is what one of the programs is asked. prepare is called once for
// each connection before the clock runs; what it returns is one operation.
type side struct {
	at      string // "floor", "serve", "idp" or the name of a peer
	prepare func(t target, n int) (operation, error)
}

type operation func(c *conn) error

// target is a program to be asked: where it is, and a browser that has signed
// in there.
type target struct {
	base, host string
	cookie     string // a header line
	redirect   int    // status of its authorization responses; 0: 303
	scope      string // asked for where a row asks for none
	world      *world
}

func rows() []row {
	return []row{
		{metadataRow, 1.3, 16000, "hello", fetch("floor", "/metadata"), fetch("serve", "/.well-known/oauth-authorization-server")},
		{credentialsRow, 1.3, 7000, "form+sign", same("floor", "/credentials", credentials), same("serve", "/token", credentials)},
		{refreshRow, 1.3, 4000, "form+sign+commit2", same("floor", "/refresh", refreshed), side{"serve", refresh}},
		{codeRow, 1.35, 2500, "hello+commit+form+sign+commit2", side{"floor", codeAtFloor}, side{"serve", code}},
		{assertionRow, 1.3, 3000, "form+verify+sign+commit",
			side{"floor", assertions("/assertion")}, side{"serve", assertions("/token")}},
		{"token exchange → ID-JAG", 1.35, 5000, "form+verify+sign", same("floor", "/exchange", exchanged), side{"idp", exchange}},
		{registrationRow, 1.4, 5000, "json+commit", register("floor"), register("serve")},
		{introspectionRow, 1.3, 5000, "form+verify", side{"floor", introspectAtFloor}, side{"serve", introspect(introspectForm)}},
		{guardRow, 1.4, 16000, "hello", side{"floor", bearer("/guard", false)}, side{"serve", bearer("/guarded", false)}},
		{"guard: bearer JWT, first sight", 1.3, 5000, "hello+verify", side{"floor", bearer("/guard-first", true)}, side{"serve", bearer("/guarded", true)}},
		{"gateway: one tool call, over httputil.ReverseProxy", 1.15, 5000, "", side{"floor", callAtFloor}, side{"serve", call}},
	}
}

// always sends the same request.
func always(request []byte, status int) operation {
	return func(c *conn) error { return c.do(request, status) }
}

func fetch(at, path string) side {
	return side{at, func(t target, _ int) (operation, error) { return always(get(t.host, path, ""), 200), nil }}
}

// same sends always the same request.
func same(at, path string, r request) side {
	return side{at, func(t target, _ int) (operation, error) {
		b, err := r(t, path)
		return always(b, 200), err
	}}
}

func credentials(t target, path string) ([]byte, error) {
	return form(t.host, path, "grant_type", "client_credentials", "client_id", "agent", "client_secret", secret), nil
}

// refreshForm is a refresh of the client desktop.
func refreshForm(host, path, token string) []byte {
	return form(host, path, "grant_type", "refresh_token", "client_id", "desktop", "client_secret", secret, "refresh_token", token)
}

func refreshed(t target, path string) ([]byte, error) {
	return refreshForm(t.host, path, strings.Repeat("x", 92)), nil
}

// refresh follows the rotation: each connection has a grant of its own.
func refresh(t target, _ int) (operation, error) {
	c, err := dial(t.base)
	if err != nil {
		return nil, err
	}
	defer c.wire.Close()
	if err := t.codeFlow(c, "/token", ""); err != nil {
		return nil, err
	}
	token := c.member("refresh_token")
	return func(c *conn) error {
		err := c.do(refreshForm(t.host, "/token", token), 200)
		token = c.member("refresh_token")
		return err
	}, nil
}

// codeFlow is an authorization request of a browser that is signed in, and the
// token request that follows.
func (t target) codeFlow(c *conn, token, scope string) error {
	if err := c.do(get(t.host, authorization(cmp.Or(scope, t.scope)), t.cookie), cmp.Or(t.redirect, http.StatusSeeOther)); err != nil {
		return err
	}
	back, err := url.Parse(c.location)
	if err != nil {
		return err
	}
	code := back.Query().Get("code")
	if code == "" {
		return fmt.Errorf("the browser was sent to %.60s", c.location)
	}
	return c.do(codeForm(t.host, token, code), 200)
}

func codeForm(host, path, code string) []byte {
	return form(host, path, "grant_type", "authorization_code", "client_id", "desktop", "client_secret", secret,
		"code", code, "code_verifier", verifier, "redirect_uri", callback)
}

func codeAtFloor(t target, _ int) (operation, error) {
	t.cookie = "Cookie: session=session\r\n"
	return func(c *conn) error { return t.codeFlow(c, "/refresh", "") }, nil
}

func code(t target, _ int) (operation, error) {
	return func(c *conn) error { return t.codeFlow(c, "/token", "") }, nil
}

var errUsedUp = errors.New("more operations than were prepared for")

// each sends prepared requests, one after the other.
func each(requests [][]byte) operation {
	return func(c *conn) error {
		if len(requests) == 0 {
			return errUsedUp
		}
		r := requests[0]
		requests = requests[1:]
		return c.do(r, 200)
	}
}

func assertions(path string) func(target, int) (operation, error) {
	return func(t target, n int) (operation, error) {
		requests := make([][]byte, n)
		for i := range requests {
			var err error
			if requests[i], err = asserted(t, path); err != nil {
				return nil, err
			}
		}
		return each(requests), nil
	}
}

// asserted is the redemption of a new ID-JAG.
func asserted(t target, path string) ([]byte, error) {
	jag, err := t.world.jag(t.base)
	return form(t.host, path, "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "client_id", "desktop", "client_secret", secret, "assertion", jag), err
}

func exchangeForm(host, path, token string) []byte {
	return form(host, path, "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange", "client_id", "desktop", "client_secret", secret,
		"requested_token_type", "urn:ietf:params:oauth:token-type:id-jag", "audience", "https://as.example", "resource", "https://as.example/mcp",
		"scope", "use", "subject_token", token, "subject_token_type", "urn:ietf:params:oauth:token-type:id_token")
}

// exchanged is the exchange of a token that the floor takes.
func exchanged(t target, path string) ([]byte, error) {
	token, err := t.world.jag("https://as.example")
	return exchangeForm(t.host, path, token), err
}

func exchange(t target, _ int) (operation, error) {
	c, err := dial(t.base)
	if err != nil {
		return nil, err
	}
	defer c.wire.Close()
	err = t.codeFlow(c, "/token", "openid")
	return always(exchangeForm(t.host, "/token", c.member("id_token")), 200), err
}

// registration is the metadata of a client (RFC 7591).
func registration(t target, path string) []byte {
	return post(t.host, path, "application/json", "", `{"client_name":"Bench","redirect_uris":["https://client.example/callback"],
			"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"client_secret_basic"}`)
}

func register(at string) side {
	status := http.StatusCreated
	if at == "floor" {
		status = http.StatusOK
	}
	return side{at, func(t target, _ int) (operation, error) { return always(registration(t, "/register"), status), nil }}
}

// bearer sends a token: for each connection the same, which was shown before, or
// always another.
func bearer(path string, fresh bool) func(target, int) (operation, error) {
	return func(t target, n int) (operation, error) {
		if !fresh {
			n = 1
		}
		requests := make([][]byte, n)
		for i := range requests {
			token, err := t.world.access(t.base + "/guarded")
			if err != nil {
				return nil, err
			}
			requests[i] = get(t.host, path, "Authorization: Bearer "+token+"\r\n")
		}
		if fresh {
			return each(requests), nil
		}
		c, err := dial(t.base)
		if err != nil {
			return nil, err
		}
		defer c.wire.Close()
		return always(requests[0], 200), c.do(requests[0], 200)
	}
}

func callHeaders(token string) string {
	return "Accept: application/json, text/event-stream\r\nMcp-Protocol-Version: 2025-11-25\r\nAuthorization: Bearer " + token + "\r\n"
}

func callAtFloor(t target, _ int) (operation, error) {
	token, err := t.world.access(t.base + "/mcp")
	return always(post(t.host, "/mcp", "application/json", callHeaders(token), toolCall), 200), err
}

// token is an access token of the target's own for its MCP server.
func (t target) token() (string, error) {
	c, err := dial(t.base)
	if err != nil {
		return "", err
	}
	defer c.wire.Close()
	one, err := assertions("/token")(t, 1)
	if err == nil {
		err = one(c)
	}
	if err != nil {
		return "", err
	}
	return c.member("access_token"), nil
}

func call(t target, _ int) (operation, error) {
	token, err := t.token()
	return always(post(t.host, "/mcp", "application/json", callHeaders(token), toolCall), 200), err
}
