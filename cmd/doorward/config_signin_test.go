package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"doorward/authserver"
)

// --sign-in takes the place of the local person.
func TestSignInFlags(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, []byte(longSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	e := env{stdout: io.Discard, stderr: &said, lookup: variables()}
	f := &serveFlags{state: dir, signIn: "https://login.example", clientID: "c-1", secretFile: file, allow: []string{"person:sso/carol"}}
	cfg, err := f.load(e, roleServe)
	if err != nil {
		t.Fatal(err, said.String())
	}
	p := cfg.Providers["sso"]
	if len(cfg.People) != 0 || f.fresh != "" || p.Name != "login.example" || p.SignIn == nil || p.SignIn.ClientID != "c-1" || string(p.SignIn.ClientSecret) != longSecret {
		t.Errorf("%+v", cfg)
	}
	if _, err := authserver.New(authserver.Config{URL: cfg.URL, SignIn: cfg.signIn()}); err == nil || !strings.Contains(err.Error(), "Store") {
		t.Errorf("%v", err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := f.load(e, roleServe); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a secret that everybody can read: %v", err)
	}
	f = &serveFlags{state: dir, signIn: "http://login.example", clientID: "c-1"}
	if _, err := f.load(e, roleServe); err == nil || !strings.Contains(said.String(), "providers.sso.issuer") {
		t.Errorf("an http issuer: %v, %s", err, said.String())
	}
	config := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(config, []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f = &serveFlags{state: dir, config: config, signIn: "https://login.example"}
	if _, err := f.load(e, roleServe); err == nil || !strings.Contains(err.Error(), "--sign-in goes without --config") {
		t.Errorf("--sign-in beside --config: %v", err)
	}
}
