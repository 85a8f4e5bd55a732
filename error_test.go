package doorward_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"doorward"
)

// refusedWith makes the authorization server refuse, and is the error that the
// program gets.
func refusedWith(t *testing.T, status int, code, description string) *doorward.Error {
	t.Helper()
	w := newWorld(t)
	w.token = func(form url.Values) (int, map[string]any) {
		return status, m{"error": code, "error_description": strings.ReplaceAll(description, "ASSERTION", form.Get("assertion")), "error_uri": "https://as.example/why"}
	}
	_, err := post(as("alice"), &doorward.Transport{Flow: w.crossApp()}, w.url())
	var e *doorward.Error
	if !errors.As(err, &e) {
		t.Fatalf("no Error: %v", err)
	}
	return e
}

// Every code of a registry, and one of the server's own, arrives as one type that
// carries it.
//
// covers: L01, L03, O14
func TestEveryCodeIsTyped(t *testing.T) {
	for _, code := range []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "access_denied",
		"server_error", "temporarily_unavailable", "unsupported_response_type", "unsupported_token_type", "invalid_token", "method_not_allowed", "too_many_requests",
		"invalid_client_metadata", "insufficient_scope", "invalid_target", "invalid_redirect_uri", "com.example.own"} {
		e := refusedWith(t, 400, code, "because")
		if e.Code != code || e.Description != "because" || e.Status != 400 || e.Step != "redeem" || e.Who == "" {
			t.Errorf("%s: %+v", code, e)
		}
	}
}

// What a server says of a request goes into the error text: without what the
// request held, and without anything that could forge a line of a log.
//
// covers: L04, L05
func TestErrorTextsAreClean(t *testing.T) {
	hostile := "no\r\n2026-07-28 level=INFO msg=\"all is well\" \x1b[2Jé\u202e"
	e := refusedWith(t, 400, "invalid_grant\nX: y", hostile)
	if text := e.Error(); strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '"' }) {
		t.Errorf("%q", text)
	}
	for _, echo := range []string{"your secret as-secret is wrong", "assertion ASSERTION is wrong"} {
		text := refusedWith(t, 400, "invalid_client", echo).Error()
		if strings.Contains(text, "as-secret") || strings.Contains(text, "jag-") {
			t.Errorf("a secret that the server repeats: %s", text)
		}
	}
}
