package jose

import (
	"encoding/json"
	"reflect"
	"testing"
)

// textsOf is what encoding/json reads: an array of strings without null.
func textsOf(raw string) ([]string, bool) {
	var list []*string
	if err := json.Unmarshal([]byte(raw), &list); err != nil || list == nil {
		return nil, false
	}
	out := make([]string, len(list))
	for i, s := range list {
		if s == nil {
			return nil, false
		}
		out[i] = *s
	}
	return out, true
}

// covers: X-JWT-05
func TestTextsAsTheStandardLibraryReadsThem(t *testing.T) {
	for _, raw := range []string{
		`[]`, `[ ]`, `["a"]`, `[ "a" , "b" ]`, "[\"a\",\n\t\"b\"\r]", `["",""]`, `["\u0041\n"]`, `["\ud800"]`, `["ä","日本"]`, `["a,b","]"]`,
		`[null]`, `["a",null]`, `[1]`, `["a",true]`, `[["a"]]`, `[{"a":"b"}]`, `{"a":"b"}`, `"a"`, `1`, `true`,
		``, `[`, `]`, `["a"`, `["a",`, `["a",]`, `[,"a"]`, `["a" "b"]`, `["a"]x`, `["a"]]`, `["\x"]`, "[\"\n\"]", `[a]`, `['a']`,
	} {
		want, ok := textsOf(raw)
		got, err := texts([]byte(raw))
		if (err == nil) != ok || ok && !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q %v; encoding/json: %q %v", raw, got, err, want, ok)
		}
	}
}

// What was read of one token's header is never taken for another's.
func TestHeadersOfTwoKeysInTurn(t *testing.T) {
	one, two := newP256(t, "one"), newP256(t, "two")
	var tokens []string
	for _, k := range []*Key{one, two, one} {
		for _, typ := range []string{"at+jwt", "id+jwt"} {
			tokens = append(tokens, signed(t, k, typ))
		}
	}
	for range 2 {
		for i, token := range tokens {
			k, typ := []*Key{one, one, two, two, one, one}[i], []string{"at+jwt", "id+jwt"}[i%2]
			v, err := Verify(token, NewSet(one, two), []string{ES256}, []string{typ})
			if want := (Header{ES256, k.ID(), typ}); err != nil || v.Header() != want {
				t.Errorf("token %d: %+v, %v, want %+v", i, v.Header(), err, want)
			}
			if _, err := Verify(token, NewSet(one, two), []string{ES256}, []string{"other"}); err == nil {
				t.Errorf("token %d passes as another type", i)
			}
		}
	}
}

func signed(t *testing.T, k *Key, typ string) string {
	t.Helper()
	token, err := k.Sign(typ, map[string]string{"sub": "x"})
	if err != nil {
		t.Fatal(err)
	}
	return token
}
