package authserver

import (
	"bytes"
	"encoding/json"
	"net/http"

	"doorward/internal/oauth"
)

// relayRegister relays a registration, or answers with the client that all
// share. Nothing of ours goes into the request but where answers come back to.
func (s *Server) relayRegister(w http.ResponseWriter, r *http.Request) {
	st := s.current()
	body, err := readBody(w, r, st, "application/json")
	if err == nil {
		err = s.registerElsewhere(w, r, st, body)
	}
	if err != nil {
		s.refuse(w, r, err)
	}
}

func (s *Server) registerElsewhere(w http.ResponseWriter, r *http.Request, st *settings, body []byte) error {
	var asked oauth.ClientMetadata
	if err := json.Unmarshal(body, &asked); err != nil {
		return &oauth.Error{Code: oauth.InvalidClientMetadata, Description: "the body is no client metadata"}
	}
	if st.relay.ClientID != "" {
		for _, uri := range asked.RedirectURIs {
			if err := oauth.CheckRedirectURI(uri, true); err != nil && !inCatalogue(uri) {
				return err
			}
		}
		if len(asked.RedirectURIs) == 0 {
			return &oauth.Error{Code: oauth.InvalidRedirectURI, Description: "redirect_uris is missing"}
		}
		w.Header()["Cache-Control"] = noStore
		s.writeJSON(w, r, http.StatusCreated, oauth.ClientMetadata{ClientID: st.relay.ClientID, ClientName: asked.ClientName, RedirectURIs: asked.RedirectURIs,
			GrantTypes: []string{oauth.AuthorizationCode, oauth.RefreshToken}, ResponseTypes: []string{"code"}, TokenEndpointAuthMethod: authNone})
		return nil
	}
	its, err := st.relay.places(r.Context())
	if err != nil {
		return err
	}
	if its.RegistrationEndpoint == "" {
		return &oauth.Error{Code: oauth.InvalidRequest, Status: http.StatusNotFound, Description: "the separate server registers nobody by itself"}
	}
	send := func(body []byte) (relayed, error) {
		out, err := http.NewRequestWithContext(r.Context(), http.MethodPost, its.RegistrationEndpoint, bytes.NewReader(body))
		if err != nil {
			return relayed{}, err
		}
		out.Header.Set("Content-Type", "application/json")
		return askRelay(st, out, true, "client_id")
	}
	if more, ok := withReturn(body, st.returns()); ok && st.relay.named(its) {
		if answer, err := send(more); err == nil && answer.status < 300 {
			s.keepReturn(r.Context(), st, &answer)
			answer.pass(w)
			return nil
		} // else it may be our address that it does not take
	}
	answer, err := send(body)
	if err != nil {
		return err
	}
	answer.pass(w)
	return nil
}
