package authtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// comeToID is the client's id at the authorization server.
func (v *visit) comeToID(ctx context.Context) error {
	h := v.habits
	if v.id != "" {
		return nil // kept from the last time
	}
	if v.client.TypedIn() {
		v.id, v.secret, v.method = v.site.ClientID, v.site.ClientSecret, h.auth
		if v.id == "" {
			return errors.New("nobody typed a client id in (Site.ClientID)")
		}
		return nil
	}
	if h.way == document && v.as.ClientIDMetadataDocument && (!h.noneListed || slices.Contains(v.as.TokenEndpointAuthMethodsSupported, authNone)) {
		v.id, v.method = h.document, authNone
		if slices.Contains(v.as.TokenEndpointAuthMethodsSupported, h.auth) {
			v.method = h.auth
		}
		if v.site.Documents != nil {
			v.id = v.site.Documents(h.document)
		}
		return nil
	}
	if v.as.RegistrationEndpoint == "" {
		return errors.New("the server offers no way that this client knows")
	}
	return v.register(ctx)
}

// register is RFC 7591.
func (v *visit) register(ctx context.Context) error {
	m := v.habits.metadata(v.port)
	if v.habits.auth == authFirst {
		m["token_endpoint_auth_method"] = authBasic
		if listed := v.as.TokenEndpointAuthMethodsSupported; len(listed) > 0 {
			m["token_endpoint_auth_method"] = listed[0]
		}
	}
	if v.habits.sendsScope {
		m["scope"] = v.wantedScope()
	}
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.as.RegistrationEndpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	answer, status, err := v.fetch(req)
	if err != nil {
		return err
	}
	var got struct {
		ClientID     string   `json:"client_id"`
		Secret       string   `json:"client_secret"`
		Method       string   `json:"token_endpoint_auth_method"`
		RedirectURIs []string `json:"redirect_uris"`
	}
	if status != http.StatusCreated && status != http.StatusOK {
		return fmt.Errorf("answered %d %.200s", status, answer)
	}
	if err := json.Unmarshal(answer, &got); err != nil || got.ClientID == "" {
		return fmt.Errorf("no client_id in the answer (%v)", err)
	}
	if v.habits.ownRedirect && !slices.Contains(got.RedirectURIs, v.habits.redirect(v.port)) {
		return fmt.Errorf("the answer's redirect_uris %q are not its own", got.RedirectURIs)
	}
	v.id, v.secret, v.method = got.ClientID, got.Secret, got.Method
	if v.method == "" {
		v.method = authBasic // RFC 7591 section 2
		if v.secret == "" {
			v.method = authNone
		}
	}
	return nil
}

// wantedScope is what it asks for: the challenge's, else the resource's.
func (v *visit) wantedScope() string {
	scope := v.challenge.Params["scope"]
	if v.habits.allScopes || scope == "" {
		scope = strings.Join(v.prm.ScopesSupported, " ")
	}
	if v.habits.offline && slices.Contains(v.as.ScopesSupported, "offline_access") {
		scope = strings.TrimSpace(scope + " offline_access")
	}
	return scope
}

func (v *visit) getToken(ctx context.Context) error {
	if v.habits.way == enterprise {
		return v.redeemIDJAG(ctx)
	}
	redirect := v.habits.redirect(v.port)
	form := url.Values{"scope": {v.wantedScope()}, "redirect_uri": {redirect}}
	code, verifier, err := v.authorize(ctx, v.as, v.id, form)
	if err != nil {
		return err
	}
	return v.ask(ctx, v.as.TokenEndpoint, url.Values{"grant_type": {oauth.AuthorizationCode}, "code": {code}, "code_verifier": {verifier},
		"redirect_uri": {redirect}, "resource": {v.resource}})
}

// authorize sends the person through the browser, and takes the code.
func (v *visit) authorize(ctx context.Context, as oauth.ServerMetadata, id string, form url.Values) (code, verifier string, err error) {
	verifier, state := rand.Text()+rand.Text(), v.habits.state+rand.Text()
	if v.habits.longVerifier {
		verifier = strings.Repeat(verifier, 3)[:128]
	}
	for name, value := range map[string]string{"response_type": "code", "client_id": id, "state": state, "code_challenge": oauth.S256(verifier),
		"code_challenge_method": "S256", "resource": v.resource} {
		form.Set(name, value)
	}
	if v.habits.offline {
		form.Set("prompt", "consent")
	}
	drop(form)
	target, err := url.Parse(as.AuthorizationEndpoint)
	if err != nil {
		return "", "", err
	}
	query := target.Query()
	for name := range form {
		query.Set(name, form.Get(name))
	}
	target.RawQuery = query.Encode()
	if v.habits.looksFirst {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
		if err != nil {
			return "", "", err
		}
		req.Header.Set("Accept", "application/json")
		if _, status, err := v.fetch(req); err != nil || status >= 400 {
			return "", "", fmt.Errorf("its look at the authorization URL: %d, %v", status, err)
		}
	}
	back, err := v.site.Visit(ctx, target.String())
	if err != nil {
		return "", "", err
	}
	q := back.Query()
	switch {
	case q.Get("state") != state:
		return "", "", fmt.Errorf("state came back as %q", q.Get("state"))
	case q.Has("iss") && q.Get("iss") != as.Issuer && !v.habits.blind, as.AuthorizationResponseIss && !q.Has("iss"):
		return "", "", fmt.Errorf("iss is %q", q.Get("iss"))
	case v.habits.noSurprises && q.Has("iss") && !as.AuthorizationResponseIss:
		return "", "", errors.New("iss came unannounced")
	case q.Get("code") == "":
		return "", "", fmt.Errorf("no code: %s %s", q.Get("error"), q.Get("error_description"))
	}
	return q.Get("code"), verifier, nil
}

// drop takes out what is empty.
func drop(form url.Values) {
	for name := range form {
		if form.Get(name) == "" {
			form.Del(name)
		}
	}
}

// redeemIDJAG signs the person in at their company's provider and walks the two
// legs.
func (v *visit) redeemIDJAG(ctx context.Context) error {
	resource, idp := v.resource, v.site.Enterprise
	var meta oauth.ServerMetadata
	if err := v.read(ctx, []string{idp.Issuer + oauth.WellKnownOIDC}, &meta); err != nil {
		return fmt.Errorf("the identity provider: %w", err)
	}
	v.resource = "" // a sign-in is for no MCP server
	redirect := v.habits.redirect(v.port)
	code, verifier, err := v.authorize(ctx, meta, idp.ClientID, url.Values{"scope": {"openid"}, "redirect_uri": {redirect}})
	v.resource = resource
	if err != nil {
		return fmt.Errorf("the sign-in at the identity provider: %w", err)
	}
	var signedIn, grant struct {
		IDToken string `json:"id_token"`
		Token   string `json:"access_token"`
		Type    string `json:"issued_token_type"`
	}
	if err := v.post(ctx, meta.TokenEndpoint, idp.ClientID, idp.ClientSecret, authBasic,
		url.Values{"grant_type": {oauth.AuthorizationCode}, "code": {code}, "code_verifier": {verifier}, "redirect_uri": {redirect}}, &signedIn); err != nil {
		return err
	}
	if err := v.post(ctx, meta.TokenEndpoint, idp.ClientID, idp.ClientSecret, authBasic, url.Values{"grant_type": {oauth.TokenExchange},
		"requested_token_type": {oauth.TokenTypeIDJAG}, "subject_token_type": {oauth.TokenTypeIDToken}, "subject_token": {signedIn.IDToken},
		"audience": {v.as.Issuer}, "resource": {resource}, "scope": {v.wantedScope()}}, &grant); err != nil {
		return err
	}
	if grant.Type != oauth.TokenTypeIDJAG {
		return fmt.Errorf("issued_token_type %q", grant.Type)
	}
	return v.ask(ctx, v.as.TokenEndpoint, url.Values{"grant_type": {oauth.JWTBearer}, "assertion": {grant.Token}})
}

// ask is a request for tokens at the authorization server.
func (v *visit) ask(ctx context.Context, endpoint string, form url.Values) error {
	var got struct {
		Token   string `json:"access_token"`
		Type    string `json:"token_type"`
		Refresh string `json:"refresh_token"`
		Scope   string `json:"scope"`
	}
	if err := v.post(ctx, endpoint, v.id, v.secret, v.method, form, &got); err != nil {
		return err
	}
	if got.Token == "" || v.habits.wantsBearer && !strings.EqualFold(got.Type, "Bearer") {
		return fmt.Errorf("an answer without a token of type Bearer (%q)", got.Type)
	}
	v.token, v.scope = got.Token, got.Scope
	if got.Refresh != "" {
		v.refresh = got.Refresh
	}
	return nil
}

// post sends a form with the client's credentials.
func (v *visit) post(ctx context.Context, endpoint, id, secret, method string, form url.Values, into any) error {
	switch method {
	case authNone, authPost:
		form.Set("client_id", id)
		if method == authPost {
			form.Set("client_secret", secret)
		}
	case authBasic:
	case authKey:
		assertion, err := v.assertion()
		if err != nil {
			return err
		}
		form.Set("client_assertion_type", oauth.ClientAssertionJWT)
		form.Set("client_assertion", assertion)
	default:
		return fmt.Errorf("this client cannot authenticate by %s", method)
	}
	drop(form)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if method == authBasic {
		req.SetBasicAuth(oauth.EscapeBasic(id), oauth.EscapeBasic(secret))
	}
	body, status, err := v.fetch(req)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s answered %d %.200s", form.Get("grant_type"), status, body)
	}
	return json.Unmarshal(body, into)
}

// zooKey is what a client of the zoo signs with.
var zooKey = sync.OnceValues(func() (*jose.Key, error) { return jose.Generate(jose.RS256) })

// assertion is private_key_jwt, addressed to the issuer.
func (v *visit) assertion() (string, error) {
	key, err := zooKey()
	if err != nil {
		return "", err
	}
	now := time.Now()
	return key.Sign("JWT", map[string]any{"iss": v.id, "sub": v.id, "aud": v.as.Issuer, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()})
}

func (v *visit) renewIfGiven(ctx context.Context) error {
	if v.refresh == "" {
		return nil
	}
	return v.renew(ctx)
}

func (v *visit) renew(ctx context.Context) error {
	if v.refresh == "" {
		return errors.New("no refresh token")
	}
	form := url.Values{"grant_type": {oauth.RefreshToken}, "refresh_token": {v.refresh}, "resource": {v.resource}}
	if v.habits.renewsBare {
		form.Del("resource")
	}
	return v.ask(ctx, v.as.TokenEndpoint, form)
}
