package main

import (
	"strings"
	"testing"
)

// covers: F15
func TestRegistrationToken(t *testing.T) {
	c := load(t, roleServe, oneServer+"clients: {registration: {dynamic: token, token: 0123456789abcdefghij}}\n")
	if r := c.authserverConfig().Registration; r.Mode != "token" || r.Token != "0123456789abcdefghij" {
		t.Errorf("%+v", r)
	}
	for text, want := range map[string]string{
		"dynamic: token":                                   "dynamic: token needs clients.registration.token",
		"dynamic: token, token: short-secret":              "token: has fewer than 16 characters",
		"dynamic: limited, token: 0123456789abcdefghij":    "token: is for dynamic: token",
		"dynamic: token, token: [0123456789abcdefghij]":    "token must be",
		"dynamic: tokens, token: 0123456789abcdefghij":     "is not one of open, limited, token, off",
		"dynamic: token, tokens: {a: 0123456789abcdefghi}": `unknown key "tokens"`,
	} {
		dir := write(t, map[string]string{"c.yaml": oneServer + "clients: {registration: {" + text + "}}\n"})
		_, got := inDir(dir, roleServe, variables())
		if all := strings.Join(got, "\n"); !strings.Contains(all, want) || strings.Contains(all, "0123456789abcdefghij") || strings.Contains(all, "short-secret") {
			t.Errorf("%s: %q, want %s", text, got, want)
		}
	}
}
