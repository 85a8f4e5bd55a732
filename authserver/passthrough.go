package authserver

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

// Mode passthrough: the endpoints of the separate server under our issuer's
// URL. Clients get its codes and its tokens; nothing of theirs is kept here but
// redirect URIs (passthrough_return.go). A client of ours there, if Separate has
// one, is put into their requests.

// relay is the separate server of mode passthrough.
type relay struct {
	Separate
	provider *provider // for its metadata; nil: the URLs say it all
}

// addRelay makes the relay of Separate.
func (st *settings) addRelay(sep Separate) error {
	fixed := sep.AuthorizeURL != "" && sep.TokenURL != ""
	switch {
	case sep.Issuer == "" && !fixed:
		return errors.New("Separate: Issuer is missing (or AuthorizeURL and TokenURL)")
	case sep.ClientSecret != "" && sep.ClientID == "":
		return errors.New("Separate has a ClientSecret and no ClientID")
	case sep.Issuer == st.cfg.URL:
		return errors.New("Separate: an issuer cannot be its own separate server")
	}
	for name, text := range map[string]string{"AuthorizeURL": sep.AuthorizeURL, "TokenURL": sep.TokenURL, "RevokeURL": sep.RevokeURL, "RegisterURL": sep.RegisterURL} {
		if text != "" && checkProviderURL(text) != nil {
			return fmt.Errorf("the %s of Separate is no https URL (http is for loopback)", name)
		}
	}
	st.relay = &relay{Separate: sep}
	if fixed {
		return nil
	}
	if err := oauth.CheckIssuer(sep.Issuer); err != nil {
		return fmt.Errorf("Separate: issuer %q: %w", sep.Issuer, err)
	}
	st.relay.provider = &provider{OIDCProvider: OIDCProvider{Name: separateName, Issuer: sep.Issuer, ClientID: sep.ClientID, ClientSecret: sep.ClientSecret}, separate: &sep}
	return nil
}

// relayTable is every path of an issuer that relays.
func (s *Server) relayTable(st *settings) map[string]route {
	post := []string{http.MethodPost}
	p := st.path
	return map[string]route{
		oauth.WellKnownAS + p: {[]string{http.MethodGet}, corsDocument, s.relayMetadata},
		p + "/authorize":      {[]string{http.MethodGet}, noCORS, s.relayAuthorize},
		p + "/token":          {post, corsEndpoint, s.limited(s.relayForm(relayToken))},
		p + "/revoke":         {post, corsEndpoint, s.limited(s.relayForm(relayRevoke))},
		p + "/register":       {post, corsEndpoint, s.limitedTo(registering, s.relayRegister)},
		// Tokens are the separate server's; ours are the keys of SignCaller.
		p + "/jwks": {[]string{http.MethodGet}, corsDocument, s.answerDocument(func(*settings) []byte { return s.ring.Load().document })},

		p + "/callback/" + separateName: {[]string{http.MethodGet}, noCORS, s.relayReturn},
	}
}

// places are the endpoints of the separate server: what Separate says, else
// its metadata.
func (l *relay) places(ctx context.Context) (oauth.ServerMetadata, error) {
	var m oauth.ServerMetadata
	if l.provider != nil {
		meta, err := l.provider.found.get(ctx)
		if err != nil {
			return m, &oauth.Error{Code: oauth.TemporarilyUnavailable, Reason: "provider_down", RetryAfter: 5, Err: err,
				Description: "the separate server cannot be reached: try again in a minute"}
		}
		m = meta.ServerMetadata
	}
	for _, f := range []struct {
		to   *string
		from string
	}{{&m.AuthorizationEndpoint, l.AuthorizeURL}, {&m.TokenEndpoint, l.TokenURL}, {&m.RevocationEndpoint, l.RevokeURL}, {&m.RegistrationEndpoint, l.RegisterURL}} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	for _, optional := range []*string{&m.RevocationEndpoint, &m.RegistrationEndpoint} {
		if *optional != "" && checkProviderURL(*optional) != nil {
			*optional = ""
		}
	}
	return m, nil
}

// relayMetadata is what is true of the two servers together (RFC 8414): our
// endpoints, its abilities. Answers to clients that did not register through us
// come with its iss, so that none is promised (RFC 9207), and there is no OpenID document: ID tokens are its own.
func (s *Server) relayMetadata(w http.ResponseWriter, r *http.Request) {
	st := s.current()
	l := st.relay
	its, err := l.places(r.Context())
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	u := st.cfg.URL
	m := oauth.ServerMetadata{Issuer: u, AuthorizationEndpoint: u + "/authorize", TokenEndpoint: u + "/token", JWKSURI: its.JWKSURI,
		ScopesSupported: its.ScopesSupported, ResponseTypesSupported: []string{"code"}, ResponseModesSupported: []string{"query"},
		GrantTypesSupported: its.GrantTypesSupported, TokenEndpointAuthMethodsSupported: its.TokenEndpointAuthMethodsSupported,
		CodeChallengeMethodsSupported: its.CodeChallengeMethodsSupported, ProtectedResources: st.resourceIDs,
		ServiceDocumentation: st.cfg.ServiceDocumentation}
	if len(m.CodeChallengeMethodsSupported) == 0 { // clients that look for it must send it; who does not know it drops it
		m.CodeChallengeMethodsSupported = []string{"S256"}
	}
	if l.ClientID != "" {
		m.TokenEndpointAuthMethodsSupported = []string{authNone}
		if l.ClientSecret != "" {
			m.GrantTypesSupported = []string{oauth.AuthorizationCode, oauth.RefreshToken}
			m.TokenEndpointAuthMethodsSupported = []string{authNone, oauth.AuthBasic, oauth.AuthPost}
		}
	}
	if its.RevocationEndpoint != "" {
		m.RevocationEndpoint, m.RevocationEndpointAuthMethods = u+"/revoke", m.TokenEndpointAuthMethodsSupported
	}
	if l.ClientID != "" || its.RegistrationEndpoint != "" {
		m.RegistrationEndpoint = u + "/register"
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=60")
	w.Write(encodeDocument(m))
}

// relayAuthorize sends the browser on with everything that the client said: the
// query of the endpoint's own URL stays (RFC 6749 section 3.1), and what it
// fixes the client cannot change.
func (s *Server) relayAuthorize(w http.ResponseWriter, r *http.Request) {
	v := s.visit(w, r)
	if v.crowded() {
		return
	}
	l := v.st.relay
	q, err := l.query(r.URL.RawQuery)
	if err != nil {
		v.turnDown(nil, err)
		return
	}
	its, err := l.places(r.Context())
	if err != nil {
		v.turnDown(nil, err)
		return
	}
	to, err := url.Parse(its.AuthorizationEndpoint)
	if err == nil {
		err = v.comesBack(its, q)
	}
	if err != nil {
		v.turnDown(nil, err)
		return
	}
	for name := range to.Query() {
		q.Del(name)
	}
	if to.RawQuery != "" {
		to.RawQuery += "&"
	}
	to.RawQuery += q.Encode()
	v.see(to.String())
}

// query is a client's authorization request as it goes on.
func (l *relay) query(raw string) (url.Values, error) {
	invalid := func(text string) error { return &oauth.Error{Code: oauth.InvalidRequest, Description: text} }
	if len(raw) > maxRequest {
		return nil, invalid("the authorization request is too long")
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalid("the authorization request is not a form")
	}
	for name, values := range q {
		if len(values) > 1 && name != "resource" {
			return nil, invalid("the request repeats " + oauth.Printable(name))
		}
	}
	if l.Resource == "drop" {
		q.Del("resource")
	}
	if len(l.Scopes) > 0 && q.Get("scope") == "" {
		q.Set("scope", strings.Join(l.Scopes, " "))
	}
	if l.ClientID == "" {
		return q, nil
	}
	if q.Get("client_id") != l.ClientID {
		return nil, unknownClient()
	}
	if l.ClientSecret != "" { // whoever shows the code is given tokens without a secret of theirs
		if err := oauth.CheckChallenge(q.Get("code_challenge"), q.Get("code_challenge_method")); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// relayKind is one of the endpoints that take forms.
type relayKind int

const (
	relayToken relayKind = iota
	relayRevoke
)

// relayForm relays a form and its answer.
func (s *Server) relayForm(kind relayKind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := s.relayed(w, r, kind); err != nil {
			s.refuse(w, r, err)
		}
	}
}

func (s *Server) relayed(w http.ResponseWriter, r *http.Request, kind relayKind) error {
	st := s.current()
	body, err := readBody(w, r, st, "application/x-www-form-urlencoded")
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "the body is not a form"}
	}
	for name, values := range form {
		if len(values) > 1 && name != "resource" && name != "audience" {
			return &oauth.Error{Code: oauth.InvalidRequest, Description: "the form repeats " + oauth.Printable(name)}
		}
	}
	its, err := st.relay.places(r.Context())
	if err != nil {
		return err
	}
	to := map[relayKind]string{relayToken: its.TokenEndpoint, relayRevoke: its.RevocationEndpoint}[kind]
	if to == "" {
		return &oauth.Error{Code: oauth.InvalidRequest, Status: http.StatusNotFound, Description: "the separate server has no such endpoint"}
	}
	out, err := http.NewRequestWithContext(r.Context(), http.MethodPost, to, nil)
	if err != nil {
		return err
	}
	if kind == relayToken {
		if err := s.returned(r, st, its, form); err != nil {
			return err
		}
	}
	if err := st.relay.credentials(r, out, form, its, kind); err != nil {
		return err
	}
	if st.relay.Resource == "drop" {
		form.Del("resource")
	}
	text := form.Encode()
	out.Body, out.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
	out.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.relayAnswer(w, st, out, kind == relayToken, "access_token")
}

// credentials are the client's own, or, where Separate has a client, that one's.
// Who does not prove to be it gets its secret used for a code with a verifier
// and for a refresh token only: what they hold already.
func (l *relay) credentials(r, out *http.Request, form url.Values, its oauth.ServerMetadata, kind relayKind) error {
	if l.ClientID == "" {
		if basic := r.Header.Get("Authorization"); basic != "" {
			out.Header.Set("Authorization", basic)
		}
		return nil
	}
	id, secret, basic := r.BasicAuth()
	if basic {
		var err1, err2 error
		id, err1 = url.QueryUnescape(id)
		secret, err2 = url.QueryUnescape(secret)
		if err1 != nil || err2 != nil || form.Has("client_secret") {
			return unknownClient()
		}
	} else {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	proven := secret != "" && subtle.ConstantTimeCompare([]byte(secret), []byte(l.ClientSecret)) == 1
	if id != l.ClientID || secret != "" && !proven || form.Has("client_assertion") {
		return unknownClient()
	}
	if l.ClientSecret != "" && !proven && kind == relayToken {
		switch grant := form.Get("grant_type"); {
		case grant == oauth.RefreshToken:
		case grant != oauth.AuthorizationCode:
			return &oauth.Error{Code: oauth.UnsupportedGrantType, Description: "the metadata lists the grants that exist here"}
		case form.Get("code_verifier") == "":
			return &oauth.Error{Code: oauth.InvalidRequest, Description: "code_verifier is missing"}
		}
	}
	form.Del("client_secret")
	form.Set("client_id", l.ClientID)
	switch {
	case l.ClientSecret == "":
	case l.sendsBasic(its):
		form.Del("client_id")
		out.SetBasicAuth(oauth.EscapeBasic(l.ClientID), oauth.EscapeBasic(l.ClientSecret))
	default:
		form.Set("client_secret", l.ClientSecret)
	}
	return nil
}

func (l *relay) sendsBasic(its oauth.ServerMetadata) bool {
	if l.AuthMethod != "" {
		return l.AuthMethod == oauth.AuthBasic
	}
	m := its.TokenEndpointAuthMethodsSupported
	return len(m) == 0 || slices.Contains(m, oauth.AuthBasic)
}

// relayed is an answer of the separate server.
type relayed struct {
	status int
	header http.Header
	body   []byte
}

func (s *Server) relayAnswer(w http.ResponseWriter, st *settings, out *http.Request, json bool, member string) error {
	answer, err := askRelay(st, out, json, member)
	if err != nil {
		return err
	}
	answer.pass(w)
	return nil
}

// askRelay sends a request there. What is no answer of an authorization server
// (a page of HTML, a redirect, too much) does not get through.
func askRelay(st *settings, out *http.Request, json bool, member string) (relayed, error) {
	out.Header.Set("Accept", "application/json")
	out.Header.Set("User-Agent", "doorward")
	client := issuerClient(st.cfg.HTTP)
	res, err := client.Do(out)
	if err != nil {
		return relayed{}, relayDown(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxIssuerDocument+1))
	switch {
	case err != nil:
		return relayed{}, relayDown(err)
	case len(body) > maxIssuerDocument:
		return relayed{}, relayBroken(fmt.Errorf("its answer is larger than %d bytes", maxIssuerDocument))
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return relayed{}, relayBroken(fmt.Errorf("it answers with a redirect (%d)", res.StatusCode))
	}
	if err := relayable(res.StatusCode, body, json, member); err != nil {
		if res.StatusCode >= http.StatusInternalServerError {
			return relayed{}, relayDown(err)
		}
		return relayed{}, relayBroken(err)
	}
	return relayed{res.StatusCode, res.Header, body}, nil
}

// pass brings it back as it is: status, body and the headers that belong to it.
func (a relayed) pass(w http.ResponseWriter) {
	for _, name := range []string{"Content-Type", "Www-Authenticate", "Retry-After"} {
		if value := a.header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.Header()["Cache-Control"] = noStore
	w.Header().Set("Pragma", "no-cache")
	w.WriteHeader(a.status)
	w.Write(a.body)
}

// relayable checks that an answer is one (RFC 6749 sections 5.1 and 5.2): a
// success with its member, an error with its code.
func relayable(status int, body []byte, wantsJSON bool, member string) error {
	var said map[string]json.RawMessage
	parsed := json.Unmarshal(body, &said) == nil
	var text string
	switch {
	case status < 300 && !wantsJSON:
		return nil
	case status < 300 && parsed && json.Unmarshal(said[member], &text) == nil && text != "":
		return nil
	case status < 300:
		return fmt.Errorf("it answers %d without %s", status, member)
	case parsed && json.Unmarshal(said["error"], &text) == nil && text != "":
		return nil
	}
	return fmt.Errorf("it answers %d without an error code", status)
}

func relayDown(err error) error {
	return &oauth.Error{Code: oauth.TemporarilyUnavailable, Reason: "provider_down", RetryAfter: 5, Err: err,
		Description: "the separate server does not answer: try again in a minute"}
}

func relayBroken(err error) error {
	return &oauth.Error{Code: oauth.ServerError, Status: http.StatusBadGateway, Reason: "provider_answer", Err: err,
		Description: "the separate server's answer is none that can be passed on"}
}
