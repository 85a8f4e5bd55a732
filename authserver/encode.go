package authserver

import "doorward/internal/jsonobj"

// What encoding/json would write of claims and answers, faster: a request writes little else.

// AppendJSON implements jsonobj.Appender.
func (c *accessClaims) AppendJSON(b []byte) ([]byte, error) {
	o := jsonobj.Begin(b)
	o.Text("iss", c.Issuer)
	o.Text("sub", c.Subject)
	o.Text("aud", c.Audience)
	o.Text("client_id", c.Client)
	o.Number("exp", c.Expires)
	o.Number("iat", c.IssuedAt)
	o.Text("jti", c.ID)
	o.SomeText("scope", c.Scope)
	o.Text("gid", c.Grant)
	if len(c.Details) > 0 {
		if err := o.Any("authorization_details", c.Details); err != nil {
			return b, err
		}
	}
	o.SomeNumber("auth_time", c.AuthTime)
	o.SomeText("acr", c.ACR)
	o.SomeTexts("amr", c.AMR)
	c.Confirm.appendMember(&o)
	return o.End(), nil
}

// AppendJSON implements jsonobj.Appender.
func (c *idjagClaims) AppendJSON(b []byte) ([]byte, error) {
	o := jsonobj.Begin(b)
	o.Text("iss", c.Issuer)
	o.Text("sub", c.Subject)
	o.Text("aud", c.Audience)
	o.Text("client_id", c.Client)
	o.Text("jti", c.ID)
	o.Number("exp", c.Expires)
	o.Number("iat", c.IssuedAt)
	o.Text("resource", c.Resource)
	o.SomeText("scope", c.Scope)
	o.SomeNumber("auth_time", c.AuthTime)
	o.SomeText("acr", c.ACR)
	o.SomeTexts("amr", c.AMR)
	o.SomeText("email", c.Email)
	o.SomeText("name", c.Name)
	o.SomeTexts("groups", c.Groups)
	o.True("hasgroups", c.HasGroups)
	c.Confirm.appendMember(&o)
	return o.End(), nil
}

// AppendJSON implements jsonobj.Appender.
func (r registered) AppendJSON(b []byte) ([]byte, error) {
	o := jsonobj.Begin(b)
	if err := r.AppendMembers(&o); err != nil {
		return b, err
	}
	o.Number("client_id_issued_at", r.IssuedAt)
	o.SomeText("client_secret", r.Secret)
	if r.SecretExpiresAt != nil {
		o.Number("client_secret_expires_at", *r.SecretExpiresAt)
	}
	o.SomeText("registration_client_uri", r.ManagedAt)
	o.SomeText("registration_access_token", r.Token)
	return o.End(), nil
}

func (c *confirmation) appendMember(o *jsonobj.Object) {
	if c == nil {
		return
	}
	o.Open("cnf")
	o.SomeText("jkt", c.Key)
	o.SomeText("x5t#S256", c.Cert)
	o.Close()
}
