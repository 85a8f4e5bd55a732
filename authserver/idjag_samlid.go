package authserver

import "doorward/internal/jose"

// account is the values that name the account of a person whom the issuer has
// from a SAML identity provider: the NameID, behind the tenant if there is one.
// nil: none are configured. Everything else in sub_id must be as configured, for
// the NameID alone does not tell people of two places apart; what is in it is
// never a reason to trust the assertion (AS-JAG-22).
func (s SAMLSubjects) account(c jose.Claims, tenant string) ([]string, error) {
	if s.Issuer == "" {
		return nil, nil
	}
	var id jose.Claims
	if err := c.Decode("sub_id", &id); err != nil {
		return nil, reject("claim_type", "%v", err)
	}
	for _, m := range []struct{ name, want string }{
		{"format", "saml-nameid"}, {"issuer", s.Issuer}, {"nameid_format", s.NameIDFormat}, {"name_qualifier", s.NameQualifier},
		{"sp_name_qualifier", s.SPNameQualifier}, {"sp_provided_id", ""},
	} {
		raw, there := id[m.name]
		got, err := id.Text(m.name)
		if err != nil || got != m.want || there && (string(raw) == "null" || got == "") {
			return nil, reject("account", "sub_id: %s is %.200q, not %.200q as configured", m.name, raw, m.want)
		}
	}
	name, err := id.Text("nameid")
	if err != nil || !namesAccount(name) {
		return nil, reject("account", "sub_id: nameid is missing or unusable")
	}
	if tenant != "" {
		return []string{tenant, name}, nil
	}
	return []string{name}, nil
}
