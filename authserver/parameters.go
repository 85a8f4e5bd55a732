package authserver

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

// checkParameters checks what an operator adds to the authorization requests at
// a provider.
func checkParameters(more map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(more)) {
		if err := oauth.CheckParameter(name, more[name]); err != nil {
			return fmt.Errorf("parameters: %q %w", name, err)
		}
	}
	return nil
}

// request is what each authorization request at the provider says, whoever is
// sent there.
func (p *provider) request(back string, meta providerMetadata) url.Values {
	q := url.Values{"response_type": {"code"}, "client_id": {p.ClientID}, "redirect_uri": {back}, "code_challenge_method": {"S256"}}
	if len(p.Scopes) > 0 {
		q.Set("scope", strings.Join(p.Scopes, " "))
	}
	if meta.ClaimsParameter { // OpenID Connect Core section 5.5: else how old the sign-in is may be left out
		q.Set("claims", `{"id_token":{"auth_time":{"essential":true}}}`)
	}
	for name, value := range p.Parameters {
		q.Set(name, value)
	}
	return q
}
