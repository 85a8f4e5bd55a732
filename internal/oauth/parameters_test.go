package oauth

import (
	"strings"
	"testing"
)

func TestCheckParameter(t *testing.T) {
	for _, ok := range [][2]string{{"access_type", "offline"}, {"hd", "acme.example"}, {"audience", "https://api.example/"}, {"prompt", "consent"}, {"State", "x"},
		{"domain_hint", "a b ü"}, {strings.Repeat("n", 64), strings.Repeat("v", 512)}} {
		if err := CheckParameter(ok[0], ok[1]); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	bad := [][2]string{{"prompt", "login"}, {"prompt", "none"}, {"prompt", "login consent"}, {"prompt", ""}, {"", "x"}, {"a b", "x"}, {"ü", "x"}, {"a\n", "x"}, {"hd", ""}, {"hd", "a\nb"}, {"hd", "\xff"},
		{strings.Repeat("n", 65), "v"}, {"n", strings.Repeat("v", 513)}}
	for _, name := range strings.Fields("response_type response_mode client_id redirect_uri scope state client_secret client_assertion client_assertion_type code_challenge" +
		" code_challenge_method resource request request_uri dpop_jkt iss nonce max_age acr_values login_hint id_token_hint claims registration") {
		bad = append(bad, [2]string{name, "consent"})
	}
	for _, b := range bad {
		if CheckParameter(b[0], b[1]) == nil {
			t.Errorf("%q was accepted", b)
		}
	}
}
