package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"doorward/internal/jose"
)

func publicKeys(t *testing.T) string {
	t.Helper()
	k, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(jose.NewSet(k))
	if err != nil {
		t.Fatal(err)
	}
	return string(b) // JSON is YAML
}

const signerGrants = "grant_types: [client_credentials]"

// A client's keys stand in the file, in one beside it, or at a URL.
func TestKeysOfClients(t *testing.T) {
	set := publicKeys(t)
	dir := write(t, map[string]string{"keys.json": set, "c.yaml": oneServer + "clients:\n  registered:\n" +
		"    inline: {jwks: " + set + ", " + signerGrants + "}\n" +
		"    beside: {jwks: \"file:keys.json\", " + signerGrants + "}\n" +
		"    remote: {jwks_uri: \"https://keys.example/jwks\", " + signerGrants + "}\n" +
		"    local: {jwks_uri: \"http://127.0.0.1:9/jwks\", grant_types: [jwt-bearer]}\n"})
	cfg, got := inDir(dir, roleServe, variables())
	if len(got) > 0 {
		t.Fatalf("%q", got)
	}
	clients := cfg.clientsOf()
	for _, id := range []string{"inline", "beside"} {
		var compact bytes.Buffer
		if err := json.Compact(&compact, clients[id].JWKS); err != nil {
			t.Fatal(err)
		}
		a, err1 := jose.ParseSet(compact.Bytes())
		b, err2 := jose.ParseSet([]byte(set))
		if err1 != nil || err2 != nil || !slices.Equal(a.IDs(), b.IDs()) || isPublic(clients[id]) {
			t.Errorf("%s: %s", id, compact.String())
		}
	}
	if clients["remote"].JWKSURI != "https://keys.example/jwks" || isPublic(clients["remote"]) {
		t.Errorf("%+v", clients["remote"])
	}
}

func TestKeysOfClientsRefused(t *testing.T) {
	set := publicKeys(t)
	for name, c := range map[string]struct{ client, want string }{
		"a secret too":      {"{secret: \"a-long-secret-0123456789\", jwks: " + set + "}", "secret: and keys exclude each other"},
		"both":              {"{jwks: " + set + ", jwks_uri: \"https://keys.example/jwks\", " + signerGrants + "}", "jwks_uri: and jwks exclude each other"},
		"http":              {"{jwks_uri: \"http://keys.example/jwks\", " + signerGrants + "}", "must be an https URL"},
		"an empty set":      {"{jwks: {keys: []}, " + signerGrants + "}", "has no public key"},
		"no set":            {"{jwks: {kty: EC}, " + signerGrants + "}", "is no JWK Set"},
		"a text":            {"{jwks: \"keys.json\", " + signerGrants + "}", "must be a key set"},
		"a file that isn't": {"{jwks: \"file:none.json\", " + signerGrants + "}", "cannot be read"},
		"a private key":     {"{jwks: {keys: [{kty: EC, crv: P-256, x: AQAB, y: AQAB, d: AQAB}]}, " + signerGrants + "}", "has a private or symmetric key"},
		"a list":            {"{jwks: [1], " + signerGrants + "}", "must be a single value"},
	} {
		dir := write(t, map[string]string{"c.yaml": oneServer + "clients: {registered: {c: " + c.client + "}}\n"})
		_, got := inDir(dir, roleServe, variables())
		if len(got) == 0 || !strings.Contains(strings.Join(got, "\n"), c.want) || strings.Contains(strings.Join(got, "\n"), "AQAB") {
			t.Errorf("%s: %q, want %s", name, got, c.want)
		}
	}
}
