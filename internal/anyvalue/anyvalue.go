// Package anyvalue makes values of any shape, for tests of what writes and reads them.
package anyvalue

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"time"

	"doorward/internal/oauth"
)

var someTexts = []string{"", "alice", "https://a.example/cb?x=1&y=2", `"quoted\"`, "<script>", "Žluť", "\u202e\u2028", "\x00\x1f\x7f", "\xff\xfe", "🙂"}

// Fill puts something into what v points to, nothing into a third of its members:
// texts that have to be quoted, times of any zone, lists with nothing in them.
func Fill(r *rand.Rand, v any) { fill(r, reflect.ValueOf(v).Elem()) }

func fill(r *rand.Rand, v reflect.Value) {
	if !v.CanSet() || r.IntN(3) == 0 {
		return
	}
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		if r.IntN(4) > 0 {
			*x = Time(r)
		}
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

// Time is a time of this or that zone.
func Time(r *rand.Rand) time.Time {
	at := time.Unix(r.Int64N(1<<32), r.Int64N(2)*r.Int64N(1e9))
	if r.IntN(2) == 0 {
		return at.UTC()
	}
	return at.In(time.FixedZone("", 5400))
}
