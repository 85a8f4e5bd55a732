package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
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

// Without a token in the file one is made, kept with the state, and asked for.
//
// covers: F15
func TestRegistrationTokenIsMade(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	dir := write(t, map[string]string{"doorward.yaml": fmt.Sprintf("url: http://%s\nops: \"\"\nclients: {registration: {dynamic: token}}\nservers: {one: {path: /mcp, run: sample}}\n", free(t))})
	file := filepath.Join(dir, "doorward.yaml")
	p := d.start("serve", "--config", file)
	path := filepath.Join(dir, ".doorward", "registration-token")
	made, err := os.ReadFile(path)
	info, _ := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || len(strings.TrimSpace(string(made))) < 26 {
		t.Fatalf("%q, %v", made, err)
	}
	if said := p.errs.String(); !strings.Contains(said, path) || strings.Contains(said, strings.TrimSpace(string(made))) {
		t.Errorf("it says %s", said)
	}
	register := func(token string) int {
		req, _ := http.NewRequest(http.MethodPost, p.url+"/register", strings.NewReader(`{"redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"none"}`))
		req.Header.Set("Content-Type", "application/json")
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if with, without := register(strings.TrimSpace(string(made))), register(""); with != http.StatusCreated || without != http.StatusUnauthorized {
		t.Errorf("with it %d, without %d", with, without)
	}
	p.stop()
	p = d.start("serve", "--config", file)
	if with := register(strings.TrimSpace(string(made))); with != http.StatusCreated {
		t.Errorf("after a restart %d", with)
	}
}
