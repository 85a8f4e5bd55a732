package authserver

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"doorward/internal/oauth"
)

// FuzzClientHeader: whatever stands in an Authorization header, it names one
// client with one secret, or is refused as client authentication is.
func FuzzClientHeader(f *testing.F) {
	b64 := base64.StdEncoding.EncodeToString
	for _, s := range []string{"", "Basic", "Basic ", "basic " + b64([]byte("agent:"+agentSecret)), "Basic " + b64([]byte("a%3Ab:c%20d")), "Basic " + b64([]byte("nocolon")),
		"Basic " + b64([]byte("a:%zz")), "Basic " + b64([]byte(":secret")), "Basic ====", "Bearer x", "Basic " + b64([]byte("\xff:\x00")), "Basic\t" + b64([]byte("a:b"))} {
		f.Add(s, "agent")
	}
	f.Fuzz(func(t *testing.T, header, bodyID string) {
		cred, err := readBasic(header, bodyID)
		if err != nil {
			e, ok := err.(*oauth.Error)
			if !ok || e.Code != oauth.InvalidClient && e.Code != oauth.InvalidRequest || e.Description != oauth.Printable(e.Description) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if cred.id == "" || cred.secret == "" || bodyID != "" && bodyID != cred.id {
			t.Fatalf("%q: %+v", header, cred)
		}
		r := httptest.NewRequest(http.MethodPost, asURL, nil)
		r.SetBasicAuth(oauth.EscapeBasic(cred.id), oauth.EscapeBasic(cred.secret))
		if again, err := readBasic(r.Header.Get("Authorization"), ""); err != nil || again != cred {
			t.Fatalf("%+v written again is %+v, %v", cred, again, err)
		}
	})
}

// FuzzAttempt: no text but one that this server sealed, byte for byte, opens as
// an attempt of this browser and this use.
func FuzzAttempt(f *testing.F) {
	w := newWorld(f)
	v := &visit{s: w.as, st: w.as.current(), named: "b"}
	good := v.seal(forConsent, attempt{Person: "alice"})
	f.Add("", uint16(0), byte(1))
	f.Add(v.seal(forLogin, attempt{}), uint16(3), byte(0))
	f.Add(strings.Repeat("A", 10_000), uint16(60), byte(32))
	f.Add("\xff==", uint16(9), byte(255))
	f.Fuzz(func(t *testing.T, text string, at uint16, x byte) {
		if a, _, err := v.unseal(forConsent, text); err == nil {
			t.Fatalf("%q opens as %+v", text, a)
		}
		sealed, err := base64.RawURLEncoding.DecodeString(good)
		if err != nil {
			t.Fatal(err)
		}
		sealed[int(at)%len(sealed)] ^= x
		if _, _, err := v.unseal(forConsent, base64.RawURLEncoding.EncodeToString(sealed)); (err == nil) != (x == 0) {
			t.Fatalf("byte %d changed by %x: %v", int(at)%len(sealed), x, err)
		}
	})
}
