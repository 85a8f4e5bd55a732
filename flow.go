package doorward

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// Flow is a way to get a token: an [AuthorizationCode], [ClientCredentials],
// [CrossApp] or [Workload], by pointer. It holds no state, so one may serve several
// Transports; it must not be changed once a Transport uses it.
type Flow interface {
	// server is the client's identity at the authorization server.
	server() Credentials
	// subject names the person of this request; zero if there is none.
	subject(ctx context.Context) (Subject, error)
	// obtain gets a token.
	obtain(ctx context.Context, w want) (got, error)
}

// want is what a Flow is asked for.
type want struct {
	t       *Transport
	target  target
	scopes  oauth.Scopes
	subject Subject
	refresh string // refresh token held for this target
	client  registration
	key     *jose.Key // that the token is to be bound to; nil: none
	wider   bool      // more scopes than a held refresh token can bring
	quiet   bool      // without a person
	demand  demand    // that a new sign-in has to fulfil
}

// got is what a Flow brought.
type got struct {
	access  string
	key     *jose.Key // that access is bound to
	refresh string
	expires time.Time // zero: not known
	client  registration
	granted oauth.Scopes // as far as the answer says
}

// errQuiet is the answer to a quiet want that needs a person.
var errQuiet = errors.New("a person is needed")

// answer is a token endpoint's (RFC 6749 section 5.1, RFC 8693 section 2.2.1).
type answer struct {
	AccessToken      string          `json:"access_token"`
	TokenType        string          `json:"token_type"`
	IssuedTokenType  string          `json:"issued_token_type"`
	RefreshToken     string          `json:"refresh_token"`
	Scope            *string         `json:"scope"`
	ExpiresIn        json.RawMessage `json:"expires_in"`
	Error            string          `json:"error"`
	ErrorDescription string          `json:"error_description"`
	MaxAge           json.RawMessage `json:"max_age"`
	ACRValues        string          `json:"acr_values"`
	ErrorURI         string          `json:"error_uri"`

	key *jose.Key // whose proof the request carried
}

// tokenRequest sends a token request and checks that the answer is one. It is
// the only sender of token requests. method is the client authentication that
// a registration fixed; empty: chosen from the metadata. A flow calls
// want.tokenRequest, which makes the proof of a key that goes with it.
func (t *Transport) tokenRequest(ctx context.Context, step string, md *oauth.ServerMetadata, by trust, as Credentials, method string, form url.Values, proof string) (answer, error) {
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	by, err := t.identify(ctx, form, header, md, by, as, method)
	if err != nil {
		return answer{}, err
	}
	if proof != "" {
		header.Set("DPoP", proof)
	}
	status, head, body, err := t.postFor(ctx, md.TokenEndpoint, by, header, []byte(form.Encode()))
	if err != nil {
		e := unreachable(step, md.Issuer, err)
		e.Status = status
		if status != 0 {
			e.Who = whoOperator
		}
		return answer{}, e
	}
	a, readable := readAnswer(body)
	a.Error, a.ErrorDescription = withoutSecrets(form, as, a.Error), withoutSecrets(form, as, a.ErrorDescription)
	switch {
	case readable && a.Error != "": // also where the status is 200 by mistake
		e := refusal(step, md.Issuer, status, a.Error, stepUpText(a))
		e.URI, e.RetryAfter, e.StepUp = a.errorURI(), retryAfter(head, t.now()), a.stepUp()
		return a, e
	case status != http.StatusOK:
		e := refusal(step, md.Issuer, status, "", "its token endpoint gave no OAuth error")
		e.RetryAfter = retryAfter(head, t.now())
		return a, e
	case !readable:
		return a, unusable(step, md.Issuer, "the answer of its token endpoint is no JSON object")
	case !visible(a.AccessToken):
		return a, unusable(step, md.Issuer, "the answer of its token endpoint has no usable access_token")
	}
	return a, nil
}

// withoutSecrets is what a server says of a request, without what is secret in
// the request, which some servers repeat.
func withoutSecrets(form url.Values, as Credentials, text string) string {
	secrets := []string{as.Secret}
	for _, name := range []string{"client_assertion", "assertion", "subject_token", "actor_token", "refresh_token", "code", "code_verifier", "device_code"} {
		secrets = append(secrets, form[name]...)
	}
	for _, secret := range secrets {
		if len(secret) >= 4 {
			text = strings.ReplaceAll(text, secret, "...")
		}
	}
	return text
}

// readAnswer reads a JSON object. A member of another type than it should have
// counts as absent, but for the token: some servers send numbers as strings, and
// null.
func readAnswer(body []byte) (answer, bool) {
	var a answer
	err := json.Unmarshal(body, &a)
	var wrong *json.UnmarshalTypeError
	return a, err == nil || errors.As(err, &wrong) && wrong.Field != "" && wrong.Field != "access_token"
}

// until is when a token ends: by expires_in, else by its exp if it is a JWT;
// zero if neither says.
func (a answer) until(now time.Time) time.Time {
	if d := seconds(a.ExpiresIn); d > 0 {
		return now.Add(d)
	}
	return expOf(a.AccessToken)
}

// scopes are those that were granted: as asked for, if the answer does not say.
func (a answer) scopes(asked oauth.Scopes) oauth.Scopes {
	if a.Scope == nil {
		return asked
	}
	granted, err := oauth.ParseScope(*a.Scope)
	if err != nil {
		return asked
	}
	return granted
}

// errorURI is the page about an error, if it is one that can be shown.
func (a answer) errorURI() string {
	u, err := url.Parse(a.ErrorURI)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || len(a.ErrorURI) > 512 {
		return ""
	}
	return u.String()
}

// stepUpText is the description with what a new sign-in has to fulfil (RFC 9470).
func stepUpText(a answer) string {
	s := a.ErrorDescription
	if a.Error != oauth.InsufficientUserAuth {
		return s
	}
	for _, name := range []string{"acr_values", "max_age"} {
		if value := a.stepUp().Get(name); value != "" {
			s += " " + name + "=" + value
		}
	}
	return strings.TrimSpace(s)
}

// stepUp is what a new sign-in has to fulfil, if that is what is wanted. Some
// servers send max_age as a string.
func (a answer) stepUp() url.Values {
	if a.Error != oauth.InsufficientUserAuth {
		return nil
	}
	return readDemand(a.ACRValues, strings.Trim(string(a.MaxAge), `"`)).parameters()
}

// visible reports whether a token can stand in a header.
func visible(token string) bool {
	return token != "" && !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
}

// formFor begins a token request: the grant and the resource, whether or not
// the server knows RFC 8707 (C-AUTHZ-02).
func (w want) formFor(grant string) url.Values {
	form := url.Values{"grant_type": {grant}}
	if w.target.resource != "" {
		form.Set("resource", w.target.resource)
	}
	return form
}

// setScope adds the scopes unless there are none.
func setScope(form url.Values, scopes oauth.Scopes) {
	if len(scopes) > 0 {
		form.Set("scope", scopes.String())
	}
}
