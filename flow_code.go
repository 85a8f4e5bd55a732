package doorward

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"slices"
	"time"

	"golang.org/x/oauth2"

	"doorward/internal/oauth"
)

// AuthorizationCode gets tokens by a person's browser: the authorization code
// flow with PKCE (OAuth 2.1 section 4.1), its answer received on loopback. The
// client is the configured one, else a client ID metadata document if the
// authorization server takes them, else it registers itself.
type AuthorizationCode struct {
	// Client is registered beforehand. Zero: the ways below.
	Client Credentials
	// ClientIDMetadataURL is the https URL of a client ID metadata document that
	// lists the loopback redirect URI.
	ClientIDMetadataURL string
	// ClientName is shown to the person by servers where the client registers
	// itself; empty: "Doorward client".
	ClientName string
	// RedirectURL is where the browser comes back: http on loopback, with a port
	// or without (any free one). Empty: http://127.0.0.1/callback.
	RedirectURL string
	// Open shows a URL to the person, in the system's browser and without a
	// shell. It may return before the person is done; its ctx ends when the
	// answer is there. Required, but for ShowCode.
	Open func(ctx context.Context, url string) error
	// ShowCode signs the person in on another device (device authorization
	// grant, RFC 8628), wherever the authorization server offers that: it shows
	// the code and the address to enter it at, or the complete address with the
	// code in it ("": there is none), and returns at once; its ctx ends when the
	// answer is there. With Open, a server that gives this client no such code
	// is taken by the browser. nil: only by Open. Without Open there is no other way.
	ShowCode func(ctx context.Context, userCode, verificationURI, complete string) error
	// Scopes are asked for besides those that the MCP server names.
	Scopes []string
	// Parameters are added to each authorization request, such as audience or
	// login_hint. Those that the flow itself sends cannot be named, but prompt,
	// which is otherwise consent where offline_access is asked for (OpenID Connect
	// Core section 11), and max_age and acr_values, unless the MCP server asks
	// for others (RFC 9470).
	Parameters map[string]string
	// InitialAccessToken is sent where the client registers itself (RFC 7591
	// section 3), to Client.Issuer, or, without one, to the first issuer that it is
	// sent to and no other. Empty: registration is tried without.
	InitialAccessToken string
	// AssumeS256For lists issuers that know PKCE though their metadata has no
	// code_challenge_methods_supported. All others are refused without it.
	AssumeS256For []string
}

// patience is how long a person may take.
const patience = 10 * time.Minute

func (f *AuthorizationCode) server() Credentials { return f.Client }

func (f *AuthorizationCode) subject(context.Context) (Subject, error) { return Subject{}, nil }

// obtain uses the refresh token if there is one, else asks the person.
func (f *AuthorizationCode) obtain(ctx context.Context, w want) (got, error) {
	if w.quiet && w.refresh == "" {
		return got{}, errQuiet
	}
	md, err := w.t.metadata(ctx, w.target)
	if err != nil {
		return got{}, err
	}
	if w.refresh != "" && !w.wider && !w.demand.login {
		g, err := f.refresh(ctx, w, md)
		var more bool
		if w.demand, more = demandOf(err, stepRefresh); err == nil || !more && !hasCode(err, oauth.InvalidGrant) && !hasCode(err, oauth.InvalidClient) {
			return g, err
		}
		w.t.log().InfoContext(ctx, "refresh token refused", "issuer", md.Issuer, "error", err)
		if hasCode(err, oauth.InvalidClient) {
			if err := f.dropRegistration(ctx, w, md); err != nil {
				return got{}, err
			}
		}
	}
	if w.quiet {
		return got{}, errQuiet
	}
	if err := f.checkFields(); err != nil {
		return got{}, err
	}
	if err := f.check(md); err != nil {
		return got{}, err
	}
	w.scopes = f.scopes(w.scopes, md)
	authorize := f.authorize
	if f.byDevice(md) {
		authorize = f.authorizeDevice
	}
	g, err := authorize(ctx, w, md)
	if err != nil && g.client.dynamic && hasCode(err, oauth.InvalidClient) {
		if err := f.dropRegistration(ctx, w, md); err != nil {
			return got{}, err
		}
		g, err = authorize(ctx, w, md)
	}
	return g, err
}

// checkFields says what was configured wrongly.
func (f *AuthorizationCode) checkFields() error {
	for name := range f.Parameters {
		if name == "" || slices.Contains(ownParameters, name) {
			return misconfigured("AuthorizationCode.Parameters: %q is the flow's own", name)
		}
	}
	if f.ClientIDMetadataURL != "" {
		if err := checkDocumentURL(f.ClientIDMetadataURL); err != nil {
			return misconfigured("AuthorizationCode.ClientIDMetadataURL %v", err)
		}
	}
	return nil
}

// check wants what the flow cannot do without: S256 above all (C-DISC-07).
func (f *AuthorizationCode) check(md *oauth.ServerMetadata) error {
	switch {
	case f.byDevice(md) && md.DeviceAuthorizationEndpoint == "":
		return unusable(stepDiscover, md.Issuer, "its metadata names no device_authorization_endpoint: the person has to come by a browser (Open)")
	case f.byDevice(md):
		return nil
	}
	return f.checkBrowser(md)
}

// checkBrowser wants what a sign-in in the browser cannot do without.
func (f *AuthorizationCode) checkBrowser(md *oauth.ServerMetadata) error {
	methods := md.CodeChallengeMethodsSupported
	assumed := methods == nil && slices.Contains(f.AssumeS256For, md.Issuer)
	switch {
	case f.Open == nil:
		return &Error{Step: stepConfigure, Server: md.Issuer, Who: whoMaker,
			Description: "a person has to sign in, and AuthorizationCode.Open is not set: set it to a function that opens the system's browser"}
	case md.AuthorizationEndpoint == "":
		return unusable(stepDiscover, md.Issuer, "its metadata names no authorization_endpoint")
	case !slices.Contains(methods, "S256") && !assumed:
		return unusable(stepDiscover, md.Issuer, "its metadata does not list S256 in code_challenge_methods_supported; if it knows PKCE all the same, name it in AuthorizationCode.AssumeS256For")
	}
	return nil
}

// scopes adds what was configured, and offline_access where the authorization
// server lists it (C-AUTHZ-06). Without any scope the server's default holds.
func (f *AuthorizationCode) scopes(needed oauth.Scopes, md *oauth.ServerMetadata) oauth.Scopes {
	all := needed.Union(f.Scopes)
	if len(all) > 0 && slices.Contains(md.ScopesSupported, "offline_access") {
		all = all.Union(oauth.Scopes{"offline_access"})
	}
	return all
}

// authorize sends the person to the authorization server and redeems what the
// browser brings back. got names the client that was used also on failure.
func (f *AuthorizationCode) authorize(ctx context.Context, w want, md *oauth.ServerMetadata) (got, error) {
	client, back, err := f.prepare(ctx, w, md)
	if err != nil {
		return got{}, err
	}
	defer back.close()
	verifier := oauth2.GenerateVerifier()
	e := expected{issuer: md.Issuer, state: rand.Text(), iss: md.AuthorizationResponseIss, client: f.name()}
	address, err := f.authorizationURL(ctx, w, md, client, f.request(w, client, back.redirect, e.state, verifier))
	if err != nil {
		return got{client: client}, err
	}
	back.serve(e)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	opened := make(chan error, 1)
	go func() { opened <- f.Open(oauth.WithRedirectURI(ctx, back.redirect), address) }()
	code, err := back.wait(ctx, opened)
	if err != nil {
		return got{client: client}, err
	}
	form := w.formFor(oauth.AuthorizationCode)
	form.Set("code", code)
	form.Set("redirect_uri", back.redirect)
	form.Set("code_verifier", verifier)
	g, err := f.redeem(ctx, stepRedeem, w, md, client, form)
	back.settle(err)
	return g, err
}

// prepare finds or makes the client and opens the listener that its redirect
// URI names.
func (f *AuthorizationCode) prepare(ctx context.Context, w want, md *oauth.ServerMetadata) (registration, *callback, error) {
	client, known, err := f.known(ctx, w, md)
	if err != nil {
		return registration{}, nil, err
	}
	if known && client.redirect != "" {
		if back, err := listen(client.redirect); err == nil {
			return client, back, nil
		}
		known = false // its port is taken: another port is another client
	}
	back, err := listen(f.redirect())
	if err != nil {
		var already *Error
		if !errors.As(err, &already) {
			err = &Error{Step: stepAuthorize, Server: md.Issuer, Who: whoMaker, Description: "the loopback port for the browser's answer is not free", Err: err}
		}
		return registration{}, nil, err
	}
	if !known {
		if client, err = f.register(ctx, w, md, back.redirect); err != nil {
			back.close()
			return registration{}, nil, err
		}
	}
	return client, back, nil
}

// ownParameters are those of an authorization request that only the flow sets.
var ownParameters = []string{"response_type", "response_mode", "client_id", "redirect_uri", "state", "code_challenge",
	"code_challenge_method", "resource", "scope", "request", "request_uri", "dpop_jkt"}

// request is the authorization request (OAuth 2.1 section 4.1.1).
func (f *AuthorizationCode) request(w want, client registration, redirect, state, verifier string) url.Values {
	q := url.Values{}
	if slices.Contains(w.scopes, "offline_access") {
		q.Set("prompt", "consent")
	}
	for name, value := range f.Parameters {
		q.Set(name, value)
	}
	for name, value := range map[string]string{
		"response_type": "code", "client_id": client.id, "redirect_uri": redirect, "state": state,
		"code_challenge": oauth.S256(verifier), "code_challenge_method": "S256",
		"resource": w.target.resource, "scope": w.scopes.String(), "acr_values": w.demand.acr, "max_age": w.demand.age,
		"dpop_jkt": thumbprintOf(w.key), // RFC 9449 section 10
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// authorizationURL adds the request, or where it was pushed to, to the endpoint,
// whose own query stays (C-AUTHZ-08).
func (f *AuthorizationCode) authorizationURL(ctx context.Context, w want, md *oauth.ServerMetadata, client registration, request url.Values) (string, error) {
	u, err := url.Parse(md.AuthorizationEndpoint)
	if err == nil {
		err = w.t.mayOpen(u, w.target.by)
	}
	if err != nil {
		return "", &Error{Step: stepAuthorize, Server: md.Issuer, Who: whoOperator, Description: "its authorization_endpoint is not opened", Err: err}
	}
	if request, err = f.push(ctx, w, md, client, request); err != nil {
		return "", err
	}
	q := u.Query()
	for name, values := range request {
		q[name] = values
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// mayOpen is the list of what a browser may be sent to (C-AUTHZ-07): https, and
// http on loopback; this machine and its network only where the server that
// named it is there itself.
func (t *Transport) mayOpen(u *url.URL, by trust) error {
	if _, err := checkEndpoint(u.String()); err != nil {
		return err
	}
	at := literalReach(u.Hostname())
	if by.typed || t.AllowPrivate || by.origin == originOf(u) ||
		(!at.loopback || by.reach.loopback) && (!at.private || by.reach.private) {
		return nil
	}
	return errors.New("a server on the internet names an address of this machine or its network")
}

// refresh gets the next token of the same grant (RFC 6749 section 6).
func (f *AuthorizationCode) refresh(ctx context.Context, w want, md *oauth.ServerMetadata) (got, error) {
	form := w.formFor(oauth.RefreshToken)
	form.Set("refresh_token", w.refresh)
	g, err := withoutResource(form, func() (got, error) { return f.redeem(ctx, stepRefresh, w, md, w.client, form) })
	if err == nil && g.refresh == "" {
		g.refresh = w.refresh // not rotated
	}
	return g, err
}

// redeem asks the token endpoint of the recorded issuer, and no other (C-CB-05).
// It is waited for when nobody waits any more: the code or refresh token is spent
// by then, and its answer cannot be had again.
func (f *AuthorizationCode) redeem(ctx context.Context, step string, w want, md *oauth.ServerMetadata, client registration, form url.Values) (got, error) {
	a, err := w.tokenRequest(context.WithoutCancel(ctx), step, md, w.target.by, client.credentials(f, md.Issuer), client.method, form)
	if err == nil {
		err = a.checkType(step, md.Issuer)
	}
	if err != nil {
		return got{client: client}, err
	}
	return got{access: a.AccessToken, key: a.key, refresh: a.RefreshToken, expires: a.until(w.t.now()), client: client}, nil
}
