package saml_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
	"doorward/internal/saml"
	"doorward/interop/rig"
)

const (
	wikiEntity, wikiSecret = "https://wiki.example/saml", "a-secret-of-the-wiki-0123"
	blogEntity, blogSecret = "https://blog.example/saml", "a-secret-of-the-blog-0123"
	there                  = "https://auth.there.example"
	docs                   = "https://docs.there.example/mcp"
)

const exchangeIdP = `
version: 1
url: %[1]s
ops: ""
state: state
providers:
  corp: {kind: saml, metadata: "%[2]s/saml2/idp/metadata.php", account: uid, email_domains: [corp.example], sign_in: {}}
clients:
  registered:
    wiki: {secret: %[4]s, redirect_uris: ["http://127.0.0.1/callback"], saml_entity_id: "%[3]s", saml_acs: ["%[5]s"]}
    blog: {secret: %[7]s, redirect_uris: ["http://127.0.0.1/callback"], saml_entity_id: "%[6]s", saml_acs: ["%[5]s"]}
audiences:
  https://auth.there.example: {resources: ["https://docs.there.example/mcp"], client_ids: {wiki: wiki-there, blog: blog-there}, claims: [email], allow: [{who: "group:eng"}]}
`

// simpleWiki is the wiki as SimpleSAMLphp knows it.
const simpleWiki = `<?php
$metadata['%s'] = ['AssertionConsumerService' => '%s', 'NameIDFormat' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent'];
`

// assertionFor lets somebody sign in at SimpleSAMLphp for the wiki: the assertion
// that came with the response, as a document of its own.
func assertionFor(t *testing.T, name, idp, acs string, got <-chan url.Values) string {
	t.Helper()
	to, err := saml.Request{ID: "_of-the-wiki", From: wikiEntity, ACS: acs, Format: saml.FormatPersistent, Issued: time.Now()}.URL(
		saml.IdentityProvider{SSO: idp + "/saml2/idp/SSOService.php"}, "relay")
	if err != nil {
		t.Fatal(err)
	}
	if err := person(t, name).Open(t.Context(), to+"&redirect_uri="+url.QueryEscape(acs)); err != nil {
		t.Fatal(err)
	}
	form := <-got
	doc, err := base64.StdEncoding.DecodeString(form.Get("SAMLResponse"))
	if err != nil || form.Get("RelayState") != "relay" {
		t.Fatalf("%v: %v", form, err)
	}
	assertion := regexp.MustCompile(`(?s)<saml:Assertion .*</saml:Assertion>`).FindString(string(doc))
	if !strings.Contains(assertion, `InResponseTo="_of-the-wiki"`) || !strings.Contains(assertion, "SignatureValue") {
		t.Fatalf("no signed assertion: %s", doc)
	}
	// The response says what the prefix is; the signature is by exclusive canonical XML.
	return strings.Replace(assertion, "<saml:Assertion ", `<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" `, 1)
}

// exchanged is the answer to a token request for an ID-JAG, or with scopes for a
// refresh token.
func exchanged(t *testing.T, issuer, client, secret, assertion string, scopes ...string) (status int, answer map[string]any) {
	t.Helper()
	form := url.Values{"grant_type": {oauth.TokenExchange}, "requested_token_type": {oauth.TokenTypeIDJAG}, "audience": {there}, "resource": {docs},
		"subject_token_type": {oauth.TokenTypeSAML2}, "subject_token": {base64.RawURLEncoding.EncodeToString([]byte(assertion))}}
	if len(scopes) > 0 {
		form.Set("requested_token_type", oauth.TokenTypeRefreshToken)
		form.Set("scope", strings.Join(scopes, " "))
		form.Del("audience")
		form.Del("resource")
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(client, secret)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, answer
}

// An assertion that SimpleSAMLphp made for a client becomes an ID-JAG of the
// identity provider or a refresh token there, once, and for that client only.
//
// covers: IDP-SAML-01
func TestSimpleSAMLphpAssertionExchanged(t *testing.T) {
	root := simplesaml(t)
	got := make(chan url.Values, 1)
	wiki := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // what is missing the test says
		got <- r.PostForm
	}))
	t.Cleanup(wiki.Close)
	acs := wiki.URL + "/acs"
	at, simple := rig.Free(t), rig.Free(t)
	issuer, idp := "http://"+at, "http://"+simple
	file := filepath.Join(t.TempDir(), "idp.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, exchangeIdP, issuer, idp, wikiEntity, wikiSecret, acs, blogEntity, blogSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	said := rig.Start(t, nil, rig.Doorward(t), "idp", "--config", file)
	said.Wait(t, patience, "is ready", 1)
	startSimple(t, root, simple, issuer+"/saml/corp", "saml20-sp-remote.php", fmt.Sprintf(simpleWiki, wikiEntity, acs))

	assertion := assertionFor(t, "carol", idp, acs, got)
	for name, r := range map[string]struct{ client, secret, assertion string }{
		"another client":        {"blog", blogSecret, assertion},
		"another person":        {"wiki", wikiSecret, strings.ReplaceAll(assertion, ">carol<", ">admin<")},
		"a group more":          {"wiki", wikiSecret, strings.Replace(assertion, ">ops<", ">all<", 1)},
		"without a signature":   {"wiki", wikiSecret, regexp.MustCompile(`(?s)<ds:Signature .*</ds:Signature>`).ReplaceAllString(assertion, "")},
		"of somebody elsewhere": {"wiki", wikiSecret, strings.Replace(assertion, "https://simplesaml.example/idp", "https://other.example/idp", 1)},
	} {
		if r.client == "wiki" && r.assertion == assertion {
			t.Fatalf("%s: nothing was changed in %s", name, assertion)
		}
		if status, answer := exchanged(t, issuer, r.client, r.secret, r.assertion); status != http.StatusBadRequest || answer["error"] != oauth.InvalidGrant {
			t.Errorf("%s: %d %v", name, status, answer)
		}
	}
	status, answer := exchanged(t, issuer, "wiki", wikiSecret, assertion)
	token, _ := answer["access_token"].(string)
	head, c, err := jose.Peek(token)
	if status != http.StatusOK || answer["issued_token_type"] != oauth.TokenTypeIDJAG || err != nil || head.Typ != oauth.TypIDJAG {
		t.Fatalf("%d %v %v", status, answer, err)
	}
	for name, want := range map[string]string{"iss": issuer, "sub": "corp/carol", "aud": there, "client_id": "wiki-there", "resource": docs, "email": "carol@corp.example"} {
		if text, err := c.Text(name); err != nil || text != want {
			t.Errorf("%s is %q %v, want %q", name, text, err, want)
		}
	}
	if signed, err := c.Time("auth_time"); err != nil || time.Since(signed) > time.Minute {
		t.Errorf("auth_time %s %v", signed, err)
	}
	if status, answer := exchanged(t, issuer, "wiki", wikiSecret, assertion); status != http.StatusBadRequest || answer["error"] != oauth.InvalidGrant {
		t.Errorf("again: %d %v", status, answer)
	}
	status, answer = exchanged(t, issuer, "wiki", wikiSecret, assertionFor(t, "carol", idp, acs, got), "openid", "offline_access")
	if status != http.StatusOK || answer["issued_token_type"] != oauth.TokenTypeRefreshToken || answer["token_type"] != "N_A" || answer["access_token"] == "" {
		t.Errorf("a refresh token: %d %v", status, answer)
	}
	// Rules count as for who signs in here: dave is in no group that may.
	if status, answer := exchanged(t, issuer, "wiki", wikiSecret, assertionFor(t, "dave", idp, acs, got)); status != http.StatusBadRequest || answer["error"] == oauth.InvalidGrant {
		t.Errorf("dave: %d %v", status, answer)
	}
}
