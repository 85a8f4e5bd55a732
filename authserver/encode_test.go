package authserver

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

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
			fill(r, reflect.ValueOf(v).Elem())
		}
		event.Time = anyTime(r, false)
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

var someTexts = []string{"", "alice", "https://a.example/cb?x=1&y=2", `"quoted\"`, "<script>", "Žluť", "\u202e\u2028", "\x00\x1f\x7f", "\xff\xfe", "🙂"}

// fill puts something into a value, nothing into a third of its members.
func fill(r *rand.Rand, v reflect.Value) {
	if !v.CanSet() || r.IntN(3) == 0 {
		return
	}
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = anyTime(r, true)
		return
	case *json.RawMessage:
		*x = json.RawMessage(`{"keys": [{"kty":"EC", "x":"<&>"}]}`)
		return
	case *oauth.Details:
		*x = oauth.Details{json.RawMessage(`{"type":"a", "b":["<"]}`), json.RawMessage(`{"type":"c"}`)}[:1+r.IntN(2)]
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(r, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 4))
		for i := range v.Len() {
			fill(r, v.Index(i))
		}
	case reflect.String:
		v.SetString(someTexts[r.IntN(len(someTexts))])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int64:
		v.SetInt(r.Int64N(1 << 40))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(r.IntN(256)))
	default:
		panic("a member of a kind that this does not know: " + v.Type().String())
	}
}

func anyTime(r *rand.Rand, zero bool) time.Time {
	if zero && r.IntN(4) == 0 {
		return time.Time{}
	}
	at := time.Unix(r.Int64N(1<<32), r.Int64N(2)*r.Int64N(1e9))
	if r.IntN(2) == 0 {
		return at.UTC()
	}
	return at.In(time.FixedZone("", 5400))
}
