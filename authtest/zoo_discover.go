package authtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"doorward/internal/oauth"
)

// visit is one start of a client.
type visit struct {
	client Client
	habits habits
	site   Site
	http   *http.Client
	port   string // of its listener on loopback
	origin string // of the MCP server

	challenge oauth.Challenge // of the first 401
	prm       oauth.ResourceMetadata
	as        oauth.ServerMetadata

	id, secret, method string // at the authorization server
	resource, scope    string
	token, refresh     string
	session            string // of MCP
}

func newVisit(c Client, at Site) *visit {
	wire := at.Transport
	if wire == nil {
		wire = http.DefaultTransport
	}
	return &visit{client: c, habits: c.habits, site: at, port: freePort(), http: &http.Client{Transport: wire,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// freePort is a port of loopback that is free now. Nobody listens on it.
func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "49152"
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// walk is the whole way.
func (v *visit) walk(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"first call", v.firstCall}, {"resource metadata", v.findResource}, {"server metadata", v.findServer}, {"registration", v.comeToID},
		{"token", v.getToken}, {"call", v.initialize}, {"call", v.list}, {"renewal", v.renewIfGiven}, {"call with the renewed token", v.list},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// firstCall is answered 401, with or without a challenge.
func (v *visit) firstCall(ctx context.Context) error {
	u, err := url.Parse(v.site.MCP)
	if err != nil {
		return err
	}
	v.origin = u.Scheme + "://" + u.Host
	resp, err := v.rpc(ctx, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":`+v.params()+`}`)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("answered %s, not 401", resp.Status)
	}
	for _, c := range oauth.ParseChallenges(resp.Header.Values("WWW-Authenticate")) {
		if strings.EqualFold(c.Scheme, "Bearer") {
			v.challenge = c
			break
		}
	}
	return nil
}

// findResource reads the document of RFC 9728: where the challenge says, else
// at the well-known paths.
func (v *visit) findResource(ctx context.Context) error {
	if v.habits.rootOnly || v.habits.blind {
		return nil
	}
	places := []string{v.challenge.Params["resource_metadata"]}
	if places[0] == "" {
		path := strings.TrimSuffix(strings.TrimPrefix(v.site.MCP, v.origin), "/")
		places = []string{v.origin + "/.well-known/oauth-protected-resource" + path, v.origin + "/.well-known/oauth-protected-resource"}
	}
	if err := v.read(ctx, places, &v.prm); err != nil {
		return err
	}
	covers := oauth.ResourceCovers(v.prm.Resource, v.site.MCP)
	if v.habits.exact {
		covers = v.prm.Resource == v.site.MCP
	}
	if !covers || len(v.prm.AuthorizationServers) == 0 {
		return fmt.Errorf("%q at %q is not of %s", v.prm.Resource, v.prm.AuthorizationServers, v.site.MCP)
	}
	v.resource = v.prm.Resource
	if u, err := url.Parse(v.resource); v.habits.slash && err == nil && u.Path == "" {
		v.resource += "/"
	}
	return nil
}

// findServer reads the authorization server's document, and demands of it what
// the client demands.
func (v *visit) findServer(ctx context.Context) error {
	if v.habits.blind {
		v.as = oauth.ServerMetadata{AuthorizationEndpoint: v.origin + "/authorize", TokenEndpoint: v.origin + "/token", RegistrationEndpoint: v.origin + "/register"}
		return nil
	}
	issuer := v.origin
	if !v.habits.rootOnly {
		issuer = v.prm.AuthorizationServers[0]
	}
	places, err := oauth.MetadataURLs(issuer)
	if err != nil {
		return err
	}
	if v.habits.oidcFirst {
		slices.SortStableFunc(places, func(a, b string) int { return strings.Count(b, "openid") - strings.Count(a, "openid") })
	}
	if err := v.read(ctx, places, &v.as); err != nil {
		return err
	}
	switch {
	case v.as.Issuer != issuer:
		return fmt.Errorf("issuer %q is not %q", v.as.Issuer, issuer)
	case v.as.AuthorizationEndpoint == "" || v.as.TokenEndpoint == "":
		return errors.New("no endpoints")
	case v.habits.wantsPKCE && !slices.Contains(v.as.CodeChallengeMethodsSupported, "S256"):
		return errors.New("code_challenge_methods_supported has no S256")
	}
	return nil
}

// read takes the first document that is there.
func (v *visit) read(ctx context.Context, places []string, into any) error {
	var last error
	for _, place := range places {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Accept", "application/json")
		if !v.habits.blind {
			req.Header.Set("MCP-Protocol-Version", v.revision())
		}
		body, status, err := v.fetch(req)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s answered %d", place, status)
		}
		if err == nil {
			return json.Unmarshal(body, into)
		}
		last = err
	}
	return last
}

// fetch sends one request of OAuth and reads its answer, as a page in a browser
// may if the client is one. Redirects are not followed.
func (v *visit) fetch(req *http.Request) (body []byte, status int, err error) {
	if v.habits.browser {
		if err := v.preflight(req); err != nil {
			return nil, 0, err
		}
		req.Header.Set("Origin", inspector)
	}
	resp, err := v.http.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	if v.habits.browser && !originAllowed(resp.Header) {
		return nil, 0, fmt.Errorf("the browser shows no answer of %s to the page (CORS)", req.URL.Path)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return body, resp.StatusCode, err
}

// inspector is where the page of the inspector lies.
const inspector = "http://localhost:6274"

func originAllowed(h http.Header) bool {
	o := h.Get("Access-Control-Allow-Origin")
	return o == "*" || o == inspector
}

// preflight asks first where a browser asks first (Fetch standard, CORS-preflight
// fetch): for headers and content types that no form could send.
func (v *visit) preflight(req *http.Request) error {
	var headers []string
	for name := range req.Header {
		form := name == "Content-Type" && req.Header.Get(name) == "application/x-www-form-urlencoded"
		if name != "Accept" && !form {
			headers = append(headers, strings.ToLower(name))
		}
	}
	if len(headers) == 0 {
		return nil
	}
	slices.Sort(headers)
	ask, err := http.NewRequestWithContext(req.Context(), http.MethodOptions, req.URL.String(), nil)
	if err != nil {
		return err
	}
	ask.Header.Set("Origin", inspector)
	ask.Header.Set("Access-Control-Request-Method", req.Method)
	ask.Header.Set("Access-Control-Request-Headers", strings.Join(headers, ","))
	resp, err := v.http.Do(ask)
	if err != nil {
		return err
	}
	resp.Body.Close()
	allowed := strings.FieldsFunc(strings.ToLower(resp.Header.Get("Access-Control-Allow-Headers")), func(r rune) bool { return r == ',' || r == ' ' })
	for _, name := range headers {
		any := slices.Contains(allowed, "*") && name != "authorization"
		if resp.StatusCode/100 != 2 || !originAllowed(resp.Header) || !any && !slices.Contains(allowed, name) {
			return fmt.Errorf("the browser may not send %s to %s (CORS)", name, req.URL.Path)
		}
	}
	return nil
}
