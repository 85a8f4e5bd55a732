package oauth

import "doorward/internal/jsonobj"

// AppendMembers writes what encoding/json would write of the grant.
func (g *Grant) AppendMembers(o *jsonobj.Object) error {
	o.Text("id", g.ID)
	o.Open("subject")
	g.Subject.appendMembers(o)
	o.Close()
	o.Text("client", g.Client)
	o.Text("resource", g.Resource)
	o.SomeTexts("scopes", g.Scopes)
	if len(g.Details) > 0 {
		if err := o.Any("authorization_details", g.Details); err != nil {
			return err
		}
	}
	o.Text("type", g.Type)
	o.SomeText("issuer", g.Issuer)
	o.Time("created", g.Created)
	o.Time("expires", g.Expires)
	o.SomeText("nonce", g.Nonce)
	o.SomeText("key", g.Key)
	return nil
}

func (s *Subject) appendMembers(o *jsonobj.Object) {
	o.Text("id", s.ID)
	o.SomeText("provider", s.Provider)
	o.SomeText("account", s.Account)
	o.SomeText("tenant", s.Tenant)
	o.SomeText("name", s.Name)
	o.SomeText("email", s.Email)
	o.SomeTexts("groups", s.Groups)
	o.True("groups_unknown", s.GroupsUnknown)
	o.SomeTime("auth_time", s.AuthTime)
	o.SomeText("acr", s.ACR)
	o.SomeTexts("amr", s.AMR)
	o.SomeText("session", s.Session)
}

// AppendJSON writes what encoding/json would write of the answer.
func (t *TokenResponse) AppendJSON(b []byte) ([]byte, error) {
	o := jsonobj.Begin(b)
	o.Text("access_token", t.AccessToken)
	o.SomeText("issued_token_type", t.IssuedTokenType)
	o.Text("token_type", t.TokenType)
	o.SomeNumber("expires_in", t.ExpiresIn)
	o.SomeText("refresh_token", t.RefreshToken)
	o.SomeText("scope", t.Scope)
	o.SomeText("id_token", t.IDToken)
	if len(t.Details) > 0 {
		if err := o.Any("authorization_details", t.Details); err != nil {
			return b, err
		}
	}
	o.SomeText("resource", t.Resource)
	return o.End(), nil
}

// AppendMembers writes what encoding/json would write of the metadata.
func (c *ClientMetadata) AppendMembers(o *jsonobj.Object) error {
	o.SomeText("client_id", c.ClientID)
	o.SomeText("client_name", c.ClientName)
	o.SomeText("client_uri", c.ClientURI)
	o.SomeText("logo_uri", c.LogoURI)
	o.SomeTexts("redirect_uris", c.RedirectURIs)
	o.SomeTexts("grant_types", c.GrantTypes)
	o.SomeTexts("response_types", c.ResponseTypes)
	o.SomeText("scope", c.Scope)
	o.SomeText("token_endpoint_auth_method", c.TokenEndpointAuthMethod)
	o.SomeText("application_type", c.ApplicationType)
	o.SomeTexts("contacts", c.Contacts)
	o.SomeText("tos_uri", c.TosURI)
	o.SomeText("policy_uri", c.PolicyURI)
	o.SomeText("software_id", c.SoftwareID)
	o.SomeText("software_version", c.SoftwareVersion)
	o.SomeText("jwks_uri", c.JWKSURI)
	o.True("require_pushed_authorization_requests", c.PushedOnly)
	o.True("dpop_bound_access_tokens", c.DPoPBound)
	o.SomeText("backchannel_logout_uri", c.BackchannelLogoutURI)
	o.True("backchannel_logout_session_required", c.BackchannelLogoutSession)
	o.SomeText("frontchannel_logout_uri", c.FrontchannelLogoutURI)
	o.True("frontchannel_logout_session_required", c.FrontchannelLogoutSession)
	err := o.SomeRaw("jwks", c.JWKS)
	o.SomeText("token_endpoint_auth_signing_alg", c.TokenEndpointAuthSigningAlg)
	return err
}
