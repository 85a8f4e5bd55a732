package authserver

import (
	"strings"
	"testing"
)

// Settings with which a directory could not say who is meant are refused.
func TestDirectoriesRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*TrustedIssuer, *Directory)
		want   string
	}{
		{"no token", func(_ *TrustedIssuer, d *Directory) { d.Token = "" }, "the token is missing"},
		{"another attribute", func(_ *TrustedIssuer, d *Directory) { d.Attribute = "mail" }, `attribute "mail"`},
		{"two claims", func(i *TrustedIssuer, _ *Directory) { i.Account = []string{"a", "b"} }, "one attribute of SCIM cannot hold all"},
		{"two tenants", func(i *TrustedIssuer, _ *Directory) { i.Tenants = []string{"a", "b"} }, "list exactly one tenant"},
		{"people by sub_id", func(i *TrustedIssuer, _ *Directory) { i.SAML.Issuer = samlEntity }, "sub_id, of which SCIM says nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{}
			c := w.asConfig(openStore(t, w.now))
			issuer, dir := TrustedIssuer{Issuer: idpURL}, Directory{Token: scimToken}
			tt.change(&issuer, &dir)
			c.Issuers, c.Directories = map[string]TrustedIssuer{"corp": issuer}, map[string]Directory{"corp": dir}
			s, err := New(c)
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
