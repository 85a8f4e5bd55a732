package authserver

import (
	"encoding/json"
	"reflect"
	"testing"

	"doorward/internal/ledger"
)

// Every member that is read has the name and the type that encoding/json gives it.
func TestPlainRegistrationIsReadWhole(t *testing.T) {
	body := `{"redirect_uris":["https://a.example/","http://127.0.0.1/b"],"client_name":"n","client_uri":"u","grant_types":[],"response_types":["code"],
		"token_endpoint_auth_method":"none","token_endpoint_auth_signing_alg":"ES256","application_type":"native","jwks_uri":"k",
		"dpop_bound_access_tokens":true,"require_pushed_authorization_requests":true,"backchannel_logout_uri":"b","backchannel_logout_session_required":true,
		"frontchannel_logout_uri":"f","frontchannel_logout_session_required":true,"logo_uri":"ignored","contacts":["ignored"],"scope":"ignored"}`
	var got wish
	if !got.readPlain(body) {
		t.Fatal("it is not read")
	}
	want := wish{RedirectURIs: []string{"https://a.example/", "http://127.0.0.1/b"}, Name: "n", URI: "u", GrantTypes: []string{}, ResponseTypes: []string{"code"},
		AuthMethod: "none", AuthAlg: "ES256", Application: "native", JWKSURI: "k", DPoPBound: true, PushedOnly: true,
		Logout: ledger.Logout{Backchannel: "b", BackchannelSession: true, Frontchannel: "f", FrontchannelSession: true}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	for i := range reflect.TypeFor[wish]().NumField() {
		field := reflect.TypeFor[wish]().Field(i)
		if v := reflect.ValueOf(got).Field(i); v.IsZero() && field.Type != reflect.TypeFor[json.RawMessage]() {
			t.Errorf("%s is not read", field.Name)
		}
	}
}

func TestParseWishSameEitherWay(t *testing.T) {
	for _, body := range registrationBodies {
		sameWish(t, body)
	}
}

var registrationBodies = []string{
	`{"redirect_uris":["https://a.example/"],"client_name":"x"}`,
	`{"redirect_uris":["https://a.example/"],"client_name":"ü","grant_types":null}`,
	`{"Redirect_URIs":["https://a.example/"],"client_name":"\u0041"}`,
	`{"redirect_uris":"https://a.example/"}`, `{"redirect_uris":[]}`, `{"client_name":["x"]}`, `{"dpop_bound_access_tokens":"true"}`,
	`{"client_name":"x","client_name":"y","redirect_uris":["a","b"],"redirect_uris":["c"]}`,
	`{"jwks":"x"}`, `{"jwks":{"keys":[]}}`, `{"software_statement":"x"}`, `{"client_id":"x","client_id_issued_at":1}`,
	`{}`, ` {"contacts":["a"],"logo_uri":"b","scope":"c","tos_uri":true} `, `{"redirect_uris":["a"]} {}`, `[]`, ``, `null`,
}

// sameWish fails if a body is read in another way than encoding/json reads it.
func sameWish(t *testing.T, body string) {
	t.Helper()
	var plain, whole wish
	if !plain.readPlain(body) {
		return
	}
	if err := json.Unmarshal([]byte(body), &whole); err != nil || !reflect.DeepEqual(plain, whole) {
		t.Errorf("%q: %+v; encoding/json: %+v %v", body, plain, whole, err)
	}
}

func FuzzWish(f *testing.F) {
	for _, body := range registrationBodies {
		f.Add(body)
	}
	f.Fuzz(sameWish)
}
