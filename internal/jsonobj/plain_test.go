package jsonobj

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// read is ReadPlain into what encoding/json makes of an object.
func read(text string) (map[string]any, bool) {
	out := map[string]any{}
	ok := ReadPlain(text, func(name string, v Plain) bool {
		var text string
		var texts []string
		var truth bool
		switch {
		case v.Text(&text):
			out[name] = text
		case v.Texts(&texts):
			all := []any{}
			for _, t := range texts {
				all = append(all, t)
			}
			out[name] = all
		case v.Bool(&truth):
			out[name] = truth
		default:
			return false
		}
		return true
	})
	return out, ok
}

func TestReadPlain(t *testing.T) {
	for _, text := range []string{
		`{}`, " \n\t\r{ \n} ", `{"a":"b"}`, ` { "a" : [ "b" , "c" ] , "d" : true,"e":false } `, `{"a":[]}`, `{"a":["b"],"a":"c"}`, `{"":""}`,
	} {
		got, ok := read(text)
		var want map[string]any
		if err := json.Unmarshal([]byte(text), &want); err != nil || !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v %v; encoding/json: %v %v", text, got, ok, want, err)
		}
	}
	for _, text := range []string{
		``, ` `, `{`, `}`, `[]`, `"a"`, `true`, `null`, `{}{}`, `{}x`, `{,}`, `{"a"}`, `{"a":}`, `{"a":"b",}`, `{"a":"b" "c":"d"}`, `{"a":"b"`, `{a:"b"}`, `{'a':'b'}`,
		`{"A":"b"}`, `{"a":"\u0041"}`, `{"a":"ü"}`, "{\"a\":\"\x00\"}", "{\"a\":\"\n\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\x7f\"}", `{"ſ":"b"}`, `{"a-b":"c"}`, `{"a\u0062":"c"}`,
		`{"a":1}`, `{"a":null}`, `{"a":{}}`, `{"a":[1]}`, `{"a":["b",]}`, `{"a":[,"b"]}`, `{"a":["b" "c"]}`, `{"a":["b"}`, `{"a":["b"`, `{"a":[["b"]]}`, `{"a":[null]}`,
		`{"a":True}`, `{"a":truex}`, `{"a":tru`, "\ufeff{}", "\v{}", "{\u00a0}",
	} {
		if got, ok := read(text); ok {
			t.Errorf("%s is read as %v", text, got)
		}
	}
}

// Whoever takes the members says what they may be, and the first that is wrong ends it.
func TestPlainMembersMayBeRefused(t *testing.T) {
	var a, b string
	asked := 0
	if ReadPlain(`{"a":"x","b":["y"],"c":"z"}`, func(name string, v Plain) bool {
		asked++
		return name != "a" && v.Text(&b) || name == "a" && v.Text(&a)
	}) || a != "x" || b != "" || asked != 2 {
		t.Errorf("%q, %q, %d members", a, b, asked)
	}
}

// FuzzReadPlain: what is read is what encoding/json reads.
func FuzzReadPlain(f *testing.F) {
	for _, s := range []string{`{"a":"b","c":["d","e"],"f":true}`, `{"a":[]}`, ` {"a" : false } `, `{"a":"b","a":"c"}`, `{"a":"\n"}`, `{"a":tru}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := read(text)
		if !ok {
			return
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(text), &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %v; encoding/json: %v %v", text, got, want, err)
		}
		for _, name := range slices.Sorted(maps.Keys(got)) {
			if name != strings.ToLower(name) {
				t.Fatalf("%q: the name %q", text, name)
			}
		}
	})
}
