package oauth

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// FuzzParseAuthorizationRequest: what was accepted, written again and read
// again, is the same, and nothing of it stood there twice.
func FuzzParseAuthorizationRequest(f *testing.F) {
	for _, s := range []string{
		"response_type=code&client_id=c&redirect_uri=https%3A%2F%2Fa.example%2Fcb&state=s&code_challenge=x&code_challenge_method=S256&resource=x&resource=y&scope=a+b",
		"client_id=a&client_id=b", "state=a&state=", "state=%00", "state=%ff", "scope=%22", "request=x", "request_uri=&request_uri=x", "prompt=none+login&max_age=-1",
		"nonce=" + strings.Repeat("a", maxValue+1), "redirect_uri=a&redirect_uri=b&client_id=c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		form, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		got, err := ParseAuthorizationRequest(form)
		if err != nil {
			if e, ok := err.(*Error); !ok || e.Description != Printable(e.Description) {
				t.Fatalf("refused with %v", err)
			}
			for _, name := range []string{"client_id", "redirect_uri", "state"} {
				if field := map[string]string{"client_id": got.ClientID, "redirect_uri": got.RedirectURI, "state": got.State}[name]; field != "" && len(form[name]) > 1 {
					t.Fatalf("%s is %q of %q", name, field, form[name])
				}
			}
			return
		}
		written := url.Values{"resource": got.Resources, "scope": {got.Scope.String()}}
		for name, value := range map[string]string{"client_id": got.ClientID, "redirect_uri": got.RedirectURI, "state": got.State, "response_type": got.ResponseType,
			"response_mode": got.ResponseMode, "code_challenge": got.CodeChallenge, "code_challenge_method": got.CodeChallengeMethod, "nonce": got.Nonce,
			"prompt": got.Prompt, "max_age": got.MaxAge, "login_hint": got.LoginHint, "acr_values": got.ACRValues} {
			if len(form[name]) > 1 || value != form.Get(name) {
				t.Fatalf("%s is %q of %q", name, value, form[name])
			}
			written.Set(name, value)
		}
		again, err := ParseAuthorizationRequest(written)
		if err != nil {
			t.Fatalf("%+v is refused when it is read again: %v", got, err)
		}
		if !reflect.DeepEqual(texts(again), texts(got)) {
			t.Fatalf("%+v read again is %+v", got, again)
		}
	})
}

// texts are the parts of a request that this test writes again.
func texts(r AuthorizationRequest) []string {
	return append([]string{r.ClientID, r.RedirectURI, r.State, r.ResponseType, r.ResponseMode, r.CodeChallenge, r.CodeChallengeMethod, r.Nonce,
		r.Prompt, r.MaxAge, r.LoginHint, r.ACRValues, r.Scope.String()}, r.Resources...)
}

// FuzzURIs: what passes as an issuer, a resource or a redirect URI is a URL that
// says the same to net/url, without what each must not have.
func FuzzURIs(f *testing.F) {
	for _, s := range []string{
		"https://a.example", "https://a.example/x?y#z", "http://127.0.0.1:1/cb", "http://[::1]/cb", "https://a@b.example", "https://a.example:/", "com.example.app:/cb",
		"javascript:alert(1)", "https://a.example\\@b.example", "https:///x", "http://127.0.0.1.nip.io/", "https://a.example/%2e%2e/x", "//a.example", "https://\u0430.example/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, parseErr := url.Parse(s)
		whole := parseErr == nil && u.User == nil && u.Fragment == ""
		if CheckIssuer(s) == nil {
			if !whole || u.RawQuery != "" || u.Hostname() == "" || u.Scheme != "https" && (u.Scheme != "http" || !IsLoopbackHost(u.Host)) {
				t.Fatalf("issuer %q", s)
			}
			places, err := MetadataURLs(s)
			if err != nil || len(places) < 2 {
				t.Fatalf("%q has no metadata: %v", s, err)
			}
			for _, place := range places {
				if p, err := url.Parse(place); err != nil || p.Host != u.Host || p.Scheme != u.Scheme || !strings.Contains(p.Path, "/.well-known/") {
					t.Fatalf("%q has its metadata at %q", s, place)
				}
			}
		}
		if CheckResource(s) == nil && (!whole || u.Hostname() == "") {
			t.Fatalf("resource %q", s)
		}
		if place, err := ResourceMetadataURL(s); err == nil {
			if p, err := url.Parse(place); err != nil || p.Host != u.Host || !strings.HasPrefix(p.EscapedPath(), WellKnownPRM) {
				t.Fatalf("%q has its metadata at %q", s, place)
			}
		}
		if CheckRedirectURI(s, false) == nil && (!whole || u.Hostname() == "" || u.Scheme != "https" && !IsLoopbackRedirect(s)) {
			t.Fatalf("redirect URI %q", s)
		}
		if IsLoopbackRedirect(s) && !IsLoopbackHost(u.Host) {
			t.Fatalf("loopback %q", s)
		}
	})
}

// FuzzBasic: the two encodings of a part of HTTP Basic are inverse.
func FuzzBasic(f *testing.F) {
	for _, s := range []string{"", "a", "a:b", "p:w%d /+ü", "%zz", "%", "+", "\x00\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := UnescapeBasic(EscapeBasic(s)); err != nil || got != s {
			t.Fatalf("%q comes back as %q, %v", s, got, err)
		}
		if got, err := UnescapeBasic(s); err == nil {
			if again, err := UnescapeBasic(EscapeBasic(got)); err != nil || again != got {
				t.Fatalf("%q: %q, %v", got, again, err)
			}
		}
	})
}
