package oauth

import (
	"slices"
	"strings"
	"testing"
)

// The pair of RFC 7636 appendix B.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// covers: AS-PKCE-01, AS-PKCE-02, AS-PKCE-03
func TestCheckChallenge(t *testing.T) {
	for _, ok := range []string{challenge, strings.Repeat("a", 128), strings.Repeat("-._~", 11)} {
		if err := CheckChallenge(ok, "S256"); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for _, tt := range [][2]string{
		{"", "S256"}, {"", ""}, {challenge, ""}, {challenge, "plain"}, {challenge, "s256"}, {challenge, "S512"},
		{challenge[1:], "S256"}, {strings.Repeat("a", 129), "S256"}, {challenge[1:] + "=", "S256"}, {challenge[1:] + "+", "S256"}, {challenge[1:] + " ", "S256"}, {challenge[2:] + "é", "S256"},
	} {
		wantCode(t, CheckChallenge(tt[0], tt[1]), InvalidRequest)
	}
}

// covers: AS-PKCE-03, AS-PKCE-04, AS-PKCE-05
func TestCheckVerifier(t *testing.T) {
	if got := S256(verifier); got != challenge {
		t.Errorf("S256 = %s", got)
	}
	if err := CheckVerifier(verifier, challenge); err != nil {
		t.Error(err)
	}
	for _, long := range []string{strings.Repeat("a", 128), strings.Repeat("-._~", 11)} {
		if err := CheckVerifier(long, S256(long)); err != nil {
			t.Errorf("%s: %v", long, err)
		}
	}
	for _, tt := range []struct{ verifier, challenge, code string }{
		{verifier, "", InvalidRequest},
		{"", "", InvalidRequest},
		{"", challenge, InvalidRequest},
		{"short", S256("short"), InvalidRequest},
		{strings.Repeat("a", 129), S256(strings.Repeat("a", 129)), InvalidRequest},
		{verifier + "=", S256(verifier + "="), InvalidRequest},
		{verifier + "é", S256(verifier + "é"), InvalidRequest},
		{strings.Repeat("a", 43), challenge, InvalidGrant},
		{challenge, challenge, InvalidGrant}, // plain
		{verifier, challenge + "=", InvalidGrant},
	} {
		wantCode(t, CheckVerifier(tt.verifier, tt.challenge), tt.code)
	}
}

// covers: X-URI-02
func TestCheckIssuer(t *testing.T) {
	for _, ok := range []string{"https://as.example", "https://as.example/", "https://as.example/tenant/1", "https://as.example:8443", "http://127.0.0.1:8080", "http://localhost", "http://[::1]:1/idp"} {
		if err := CheckIssuer(ok); err != nil {
			t.Error(err)
		}
	}
	for bad, reason := range map[string]string{
		"":                                     "empty",
		"as.example":                           "absolute",
		"//as.example":                         "absolute",
		"ftp://as.example":                     "https",
		"http://as.example":                    "loopback",
		"http://10.0.0.1":                      "loopback",
		"http://localhost.evil.com":            "loopback",
		"https://":                             "host",
		"https:///x":                           "host",
		"https://:443":                         "host",
		"https:as.example":                     "host",
		"https://as.example?":                  "query",
		"https://as.example/x?a=b":             "query",
		"https://as.example#":                  "fragment",
		"https://as.example/#x":                "fragment",
		"https://u@as.example":                 "user info",
		"https://u:p@as.example":               "user info",
		"https://as.example:":                  "port",
		"https://as.example:x":                 "URI",
		"https://as.example/\n":                "character",
		`https://as.example\evil`:              "character",
		"https://" + strings.Repeat("a", 2000): "long",
	} {
		if err := CheckIssuer(bad); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("CheckIssuer(%q) = %v, want the reason %q", bad, err, reason)
		}
	}
}

func TestSingleAudience(t *testing.T) {
	if got, ok := SingleAudience([]string{"a"}); !ok || got != "a" {
		t.Error(got, ok)
	}
	for _, aud := range [][]string{nil, {}, {""}, {"a", "b"}, {"a", "a"}, {"a", ""}} {
		if got, ok := SingleAudience(aud); ok || got != "" {
			t.Errorf("%q: %q, %v", aud, got, ok)
		}
	}
}

// covers: C-DISC-05
func TestMetadataURLs(t *testing.T) {
	for issuer, want := range map[string][]string{
		"https://as.example":  {"https://as.example/.well-known/oauth-authorization-server", "https://as.example/.well-known/openid-configuration"},
		"https://as.example/": {"https://as.example/.well-known/oauth-authorization-server", "https://as.example/.well-known/openid-configuration"},
		"https://as.example/a/b": {"https://as.example/.well-known/oauth-authorization-server/a/b", "https://as.example/.well-known/openid-configuration/a/b",
			"https://as.example/a/b/.well-known/openid-configuration"},
		"http://127.0.0.1:8080/a%2Fb/": {"http://127.0.0.1:8080/.well-known/oauth-authorization-server/a%2Fb", "http://127.0.0.1:8080/.well-known/openid-configuration/a%2Fb",
			"http://127.0.0.1:8080/a%2Fb/.well-known/openid-configuration"},
	} {
		if got, err := MetadataURLs(issuer); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", issuer, got, err)
		}
	}
	for _, bad := range []string{"", "http://as.example", "https://as.example?x", "https://u@as.example", "as.example"} {
		if got, err := MetadataURLs(bad); err == nil || got != nil {
			t.Errorf("%s: %q", bad, got)
		}
	}
}

func TestResourceMetadataURL(t *testing.T) {
	const base = "https://mcp.example.com/.well-known/oauth-protected-resource"
	for resource, want := range map[string]string{
		"https://mcp.example.com":         base,
		"https://mcp.example.com/":        base,
		"https://mcp.example.com/mcp":     base + "/mcp",
		"https://mcp.example.com/a/b/":    base + "/a/b/",
		"https://mcp.example.com/mcp?t=1": base + "/mcp?t=1",
		"https://mcp.example.com/?t=1":    base + "?t=1",
		"https://mcp.example.com?t=1":     base + "?t=1",
		"http://localhost:8080/files%2Fx": "http://localhost:8080/.well-known/oauth-protected-resource/files%2Fx",
	} {
		if got, err := ResourceMetadataURL(resource); err != nil || got != want {
			t.Errorf("%s: %s, %v", resource, got, err)
		}
	}
	for _, bad := range []string{"", "mcp.example.com", "https://mcp.example.com/#x", "urn:x:y", "api://app/x", "https://u@mcp.example.com/"} {
		_, err := ResourceMetadataURL(bad)
		wantCode(t, err, InvalidTarget)
	}
}

func TestBasicEscaping(t *testing.T) {
	for _, s := range []string{"", "plain", "a:b", "a b+c%d&e=f", "https://app.example/client?x=1", "pässword", "\x00"} {
		if got, err := UnescapeBasic(EscapeBasic(s)); err != nil || got != s {
			t.Errorf("%q became %q, %v", s, got, err)
		}
		if strings.ContainsAny(EscapeBasic(s), ": \x00") {
			t.Errorf("%q is written %q", s, EscapeBasic(s))
		}
	}
	if got := EscapeBasic("a b:c"); got != "a+b%3Ac" {
		t.Error(got)
	}
	for _, bad := range []string{"%", "%zz", "canary%z"} {
		_, err := UnescapeBasic(bad)
		wantCode(t, err, InvalidClient)
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}
