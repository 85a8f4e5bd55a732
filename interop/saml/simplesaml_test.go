package saml_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"doorward/internal/browse"
	"doorward/internal/jose"
	"doorward/interop/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

const patience = 20 * time.Second

const simpleConf = `<?php
$config = ['baseurlpath' => '%[1]s/', 'certdir' => __DIR__ . '/', 'loggingdir' => __DIR__ . '/', 'datadir' => __DIR__ . '/', 'tempdir' => __DIR__ . '/tmp',
	'metadatadir' => __DIR__ . '/', 'secretsalt' => 'for this test only', 'auth.adminpassword' => 'nobody uses it', 'timezone' => 'UTC',
	'logging.level' => 4, 'logging.handler' => 'stderr', 'errorreporting' => false, 'production' => true, 'enable.saml20-idp' => true,
	'store.type' => 'phpsession', 'session.cookie.secure' => false, 'session.phpsession.savepath' => __DIR__ . '/tmp',
	'module.enable' => ['exampleauth' => true, 'core' => true, 'saml' => true], 'language.available' => ['en'], 'language.default' => 'en',
	'metadata.sources' => [['type' => 'flatfile'], ['type' => 'xml', 'file' => __DIR__ . '/doorward.xml']]];
`

const simplePeople = `<?php
$config = ['people' => ['exampleauth:UserPass',
	'carol:carol-password' => ['uid' => ['carol'], 'mail' => ['carol@corp.example'], 'displayName' => ['Carol'], 'groups' => ['ops', 'eng']],
	'dave:dave-password' => ['uid' => ['dave'], 'mail' => ['dave@corp.example'], 'displayName' => ['Dave'], 'groups' => ['ops']]]];
`

const simpleHosted = `<?php
$metadata['https://simplesaml.example/idp'] = ['host' => '__DEFAULT__', 'privatekey' => 'key.pem', 'certificate' => 'cert.pem', 'auth' => 'people',
	'NameIDFormat' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
	'authproc' => [3 => ['class' => 'saml:PersistentNameID', 'attribute' => 'uid']]];
`

// simplesaml is where Debian's package lies, or was unpacked: it wants a web
// server of its own to be installed with it.
func simplesaml(t *testing.T) string {
	t.Helper()
	_, err := exec.LookPath("php")
	rig.Need(t, "PHP", err == nil)
	for _, root := range []string{"/usr/share/simplesamlphp", "/opt/simplesamlphp/usr/share/simplesamlphp"} {
		if _, err := os.Stat(filepath.Join(root, "www/saml2/idp/SSOService.php")); err == nil {
			return root
		}
	}
	rig.Need(t, "SimpleSAMLphp", false)
	return ""
}

// startSimple runs SimpleSAMLphp at an address, with our metadata as it is read
// from the server, and with more files: names and what is in them.
func startSimple(t *testing.T, root, at, metadata string, more ...string) {
	t.Helper()
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "simplesaml"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"config.php": fmt.Appendf(nil, simpleConf, "http://"+at), "authsources.php": []byte(simplePeople), "saml20-idp-hosted.php": []byte(simpleHosted),
		"key.pem":      pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		"cert.pem":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		"doorward.xml": get(t, metadata),
	}
	for i := 0; i+1 < len(more); i += 2 {
		files[more[i]] = []byte(more[i+1])
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rig.Start(t, []string{"SIMPLESAMLPHP_CONFIG_DIR=" + dir}, "php", "-S", at, "-t", filepath.Join(root, "www")).Wait(t, patience, `Server \(.*started`, 1)
}

func get(t *testing.T, at string) []byte {
	t.Helper()
	res, err := http.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", at, res.Status, err)
	}
	return text
}

const simpleServe = `
version: 1
url: %[1]s
ops: ""
providers:
  corp:
    kind: saml
    metadata: %[2]s/saml2/idp/metadata.php
    account: uid
    email_domains: [corp.example]
    sign_in: {}
clients: {registered: {app: {secret: a-secret-of-the-app-0123, redirect_uris: ["http://127.0.0.1/callback"]}}}
servers: {sample: {path: /mcp, run: sample, allow: [{who: "group:corp/eng", require: {amr: [pwd]}}]}}
`

// program is a client with a callback of its own.
type program struct {
	t    *testing.T
	conf oauth2.Config
	got  chan url.Values
}

func newProgram(t *testing.T, issuer string) *program {
	p := &program{t: t, got: make(chan url.Values, 1)}
	back := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { p.got <- r.URL.Query() }))
	t.Cleanup(back.Close)
	p.conf = oauth2.Config{ClientID: "app", ClientSecret: "a-secret-of-the-app-0123", RedirectURL: back.URL + "/callback",
		Endpoint: oauth2.Endpoint{AuthURL: issuer + "/authorize", TokenURL: issuer + "/token", AuthStyle: oauth2.AuthStyleInHeader}}
	return p
}

// send sends somebody to sign in: what came back, and the verifier for it.
func (p *program) send(who *browse.Person, more ...oauth2.AuthCodeOption) (url.Values, oauth2.AuthCodeOption) {
	p.t.Helper()
	verifier := oauth2.GenerateVerifier()
	if err := who.Open(p.t.Context(), p.conf.AuthCodeURL("a-state", append(more, oauth2.S256ChallengeOption(verifier))...)); err != nil {
		p.t.Fatal(err)
	}
	return <-p.got, oauth2.VerifierOption(verifier)
}

// claims are those of the access token that a sign-in ends with.
func (p *program) claims(who *browse.Person, more ...oauth2.AuthCodeOption) jose.Claims {
	p.t.Helper()
	got, verifier := p.send(who, more...)
	if !got.Has("code") {
		p.t.Fatalf("no code: %v", got)
	}
	token, err := p.conf.Exchange(p.t.Context(), got.Get("code"), verifier)
	if err != nil {
		p.t.Fatal(err)
	}
	_, c, err := jose.Peek(token.AccessToken)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// People of SimpleSAMLphp come in at serve: it reads our metadata and our
// request, we read its metadata and its response.
func TestSimpleSAMLphp(t *testing.T) {
	root := simplesaml(t)
	at, idp := rig.Free(t), rig.Free(t)
	file := filepath.Join(t.TempDir(), "serve.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, simpleServe, "http://"+at, "http://"+idp), 0o600); err != nil {
		t.Fatal(err)
	}
	rig.Start(t, nil, rig.Doorward(t), "serve", "--config", file).Wait(t, patience, "is ready", 1)
	startSimple(t, root, idp, "http://"+at+"/saml/corp")

	app := newProgram(t, "http://"+at)
	carol := person(t, "carol")
	begun := time.Now().Add(-time.Second)
	c := app.claims(carol)
	sub, _ := c.Text("sub")
	amr, _ := c.Texts("amr")
	first, _ := c.Time("auth_time")
	if sub != "corp/carol" || !slices.Equal(amr, []string{"pwd"}) || first.Before(begun.Truncate(time.Second)) || first.After(time.Now()) {
		t.Errorf("sub %q amr %q auth_time %s", sub, amr, first)
	}
	// It lets her in again by its own session, unless a fresh sign-in is wished.
	time.Sleep(1100 * time.Millisecond) // auth_time is in seconds
	c = app.claims(carol, oauth2.SetAuthURLParam("prompt", "login"))
	if again, _ := c.Time("auth_time"); !again.After(first) {
		t.Errorf("prompt=login: signed in %s and again %s", first, again)
	}
	if got, _ := app.send(person(t, "dave")); got.Get("error") != "access_denied" || !strings.Contains(got.Get("error_description"), "servers.sample") {
		t.Errorf("dave is not in the group: %v", got)
	}
}

func person(t *testing.T, name string) *browse.Person {
	t.Helper()
	p, err := browse.New(name, name+"-password", http.DefaultTransport)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
