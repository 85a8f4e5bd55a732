package oauth

import (
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// tokenParams maps each parameter of a token request to the field it fills.
func tokenParams(r *TokenRequest) map[string]*string {
	return map[string]*string{
		"grant_type": &r.GrantType, "client_id": &r.ClientID, "client_secret": &r.ClientSecret, "client_assertion": &r.ClientAssertion,
		"client_assertion_type": &r.ClientAssertionType, "code": &r.Code, "redirect_uri": &r.RedirectURI, "code_verifier": &r.CodeVerifier,
		"refresh_token": &r.RefreshToken, "assertion": &r.Assertion, "subject_token": &r.SubjectToken, "subject_token_type": &r.SubjectTokenType,
		"requested_token_type": &r.RequestedTokenType, "actor_token": &r.ActorToken, "actor_token_type": &r.ActorTokenType,
		"authorization_details": &r.AuthorizationDetails,
	}
}

// authorizationParams does so for an authorization request.
func authorizationParams(r *AuthorizationRequest) map[string]*string {
	return map[string]*string{
		"response_type": &r.ResponseType, "response_mode": &r.ResponseMode, "client_id": &r.ClientID, "redirect_uri": &r.RedirectURI,
		"state": &r.State, "code_challenge": &r.CodeChallenge, "code_challenge_method": &r.CodeChallengeMethod, "nonce": &r.Nonce,
		"prompt": &r.Prompt, "max_age": &r.MaxAge, "login_hint": &r.LoginHint, "acr_values": &r.ACRValues,
	}
}

// covers: X-HTTP-03
func TestParseTokenRequest(t *testing.T) {
	var want TokenRequest
	form := url.Values{"scope": {"b a b"}, "resource": {"https://a.example", "", "https://b.example"}, "audience": {"x", "y"},
		"unknown": {"1", "2"}, "other": {"\xff\x00"}}
	for name, field := range tokenParams(&want) {
		*field = "value of " + name
		form.Set(name, *field)
	}
	want.Scope, want.Resources, want.Audiences = Scopes{"b", "a"}, []string{"https://a.example", "https://b.example"}, []string{"x", "y"}
	if got, err := ParseTokenRequest(form); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := ParseTokenRequest(url.Values{"code": {""}, "scope": {""}, "resource": {"", ""}, "audience": {}}); err != nil || !reflect.DeepEqual(got, TokenRequest{}) {
		t.Errorf("empty values count: %+v, %v", got, err)
	}

	names := append(slices.Collect(maps.Keys(tokenParams(&want))), "scope")
	for _, name := range names {
		for _, values := range [][]string{{"a", "b"}, {"a", "a"}, {"", "a"}, {"\xff"}, {"a\x00"}, {"a\nb"}, {"a\u0085b"}, {strings.Repeat("a", 17<<10)}} {
			got, err := ParseTokenRequest(url.Values{name: values})
			wantCode(t, err, InvalidRequest)
			if err != nil && !strings.Contains(err.Error(), name) {
				t.Errorf("%s is not named: %v", name, err)
			}
			if !reflect.DeepEqual(got, TokenRequest{}) {
				t.Errorf("%s: %q was kept", name, values)
			}
		}
	}
}

func TestRequestBounds(t *testing.T) {
	big := []string{"assertion", "subject_token", "client_assertion", "actor_token"}
	var r TokenRequest
	for name := range tokenParams(&r) {
		limit := 8 << 10
		if slices.Contains(big, name) {
			limit = 16 << 10
		}
		if _, err := ParseTokenRequest(url.Values{name: {strings.Repeat("a", limit)}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, err := ParseTokenRequest(url.Values{name: {strings.Repeat("a", limit+1)}})
		wantCode(t, err, InvalidRequest)
	}
	for _, name := range []string{"resource", "audience"} {
		ten := slices.Repeat([]string{"https://a.example"}, 10)
		if _, err := ParseTokenRequest(url.Values{name: append(ten, "")}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, bad := range [][]string{append(ten, "https://b.example"), {strings.Repeat("a", 8<<10+1)}, {"a", "b\x7f"}, {"\xc3"}} {
			_, err := ParseTokenRequest(url.Values{name: bad})
			wantCode(t, err, InvalidRequest)
		}
	}
	_, err := ParseTokenRequest(url.Values{"scope": {`a"b`}})
	wantCode(t, err, InvalidScope)
}

// covers: X-HTTP-03
func TestParseAuthorizationRequest(t *testing.T) {
	var want AuthorizationRequest
	form := url.Values{"scope": {"a"}, "resource": {"https://a.example"}, "unknown": {"1", "2"}, "request": {""}}
	for name, field := range authorizationParams(&want) {
		*field = "value of " + name
		form.Set(name, *field)
	}
	want.State = ` {"a":"\\b"}~`
	form.Set("state", want.State)
	want.LoginHint = "zoë@example.com"
	form.Set("login_hint", want.LoginHint)
	want.Scope, want.Resources = Scopes{"a"}, []string{"https://a.example"}
	if got, err := ParseAuthorizationRequest(form); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}

	for name := range authorizationParams(&want) {
		twice := maps.Clone(form)
		twice[name] = []string{"a", "b"}
		got, err := ParseAuthorizationRequest(twice)
		wantCode(t, err, InvalidRequest)
		left := want
		*authorizationParams(&left)[name] = ""
		if !reflect.DeepEqual(got, left) {
			t.Errorf("%s twice: got %+v, want the rest", name, got)
		}
	}
	for _, bad := range []string{"é", "a\tb", "a\x7f", "\xff", strings.Repeat("a", 8<<10+1)} {
		got, err := ParseAuthorizationRequest(url.Values{"client_id": {"c"}, "state": {bad}})
		wantCode(t, err, InvalidRequest)
		if got.State != "" || got.ClientID != "c" {
			t.Errorf("state %q: got %+v", bad, got)
		}
	}
	for name, code := range map[string]string{"request": RequestNotSupported, "request_uri": RequestURINotSupported} {
		got, err := ParseAuthorizationRequest(url.Values{"client_id": {"c"}, "state": {"s"}, name: {"", "x"}})
		wantCode(t, err, code)
		if got.ClientID != "c" || got.State != "s" {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func FuzzParseTokenRequest(f *testing.F) {
	for _, s := range []string{
		"grant_type=authorization_code&code=c&code_verifier=v&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcb", "grant_type=a&grant_type=b",
		"scope=a+b+a&resource=x&resource=y&audience=z", "scope=%22", "code=%ff", "code=%00&unknown=1&unknown=2", "code=&scope=++", "resource=" + strings.Repeat("&resource=x", 11),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		form, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		got, err := ParseTokenRequest(form)
		if err != nil {
			if e, ok := err.(*Error); !ok || e.Code != InvalidRequest && e.Code != InvalidScope {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		// What was accepted, written again and read again, is the same.
		written := url.Values{"resource": got.Resources, "audience": got.Audiences, "scope": {got.Scope.String()}}
		for name, field := range tokenParams(&got) {
			if len(form[name]) > 1 || *field != form.Get(name) {
				t.Fatalf("%s is %q out of %q", name, *field, form[name])
			}
			written.Set(name, *field)
		}
		again, err := ParseTokenRequest(written)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("%+v read again is %+v, %v", got, again, err)
		}
		for name := range tokenParams(&got) {
			written.Add(name, "x")
			if _, err := ParseTokenRequest(written); err == nil {
				t.Fatalf("%s twice was accepted", name)
			}
			written[name] = written[name][:1]
		}
	})
}
