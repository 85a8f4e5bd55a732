package authserver

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"doorward/internal/anyvalue"
	"doorward/internal/audit"
	"doorward/internal/jsonobj"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// What writes its JSON itself writes, byte for byte, what encoding/json does, so
// no member is forgotten or named otherwise, and no text breaks out of its quotes.
func TestOwnEncodingIsJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	l := &ledger.Ledger{}
	for range 3000 {
		var grant oauth.Grant
		var event audit.Event
		var access accessClaims
		var idjag idjagClaims
		var answer oauth.TokenResponse
		var client ledger.Client
		var made registered
		for _, v := range []any{&grant, &event, &access, &idjag, &answer, &client, &made} {
			anyvalue.Fill(r, v)
		}
		event.Time = anyvalue.Time(r)
		same := func(got []byte, v any) {
			t.Helper()
			want, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Fatalf("%T\n is %s\nnot %s", v, got, want)
			}
		}
		o := jsonobj.Begin(nil)
		err := grant.AppendMembers(&o)
		if err != nil {
			t.Fatal(err)
		}
		same(o.End(), grant)
		same(l.AuditOp(event).Record.Value, event)
		same(client.Put().Record.Value, client)
		for _, v := range []interface {
			AppendJSON([]byte) ([]byte, error)
		}{&access, &idjag, &answer, &made} {
			b, err := v.AppendJSON([]byte("before"))
			if err != nil || string(b[:6]) != "before" {
				t.Fatalf("%s, %v", b, err)
			}
			same(b[6:], v)
		}
	}
}

// Details that are no JSON are an error and no broken answer.
func TestOwnEncodingOfWhatIsNoJSON(t *testing.T) {
	broken := oauth.Details{json.RawMessage(`{"type":`)}
	for _, v := range []interface {
		AppendJSON([]byte) ([]byte, error)
	}{&accessClaims{Details: broken}, &oauth.TokenResponse{Details: broken}, registered{ClientMetadata: oauth.ClientMetadata{JWKS: broken[0]}}} {
		if b, err := v.AppendJSON(nil); err == nil {
			t.Errorf("%T: %s", v, b)
		}
	}
}
