package oauth

import (
	"encoding/json"
	"strings"
	"testing"
)

// covers: AS-RAR-01
func TestParseDetails(t *testing.T) {
	for text, want := range map[string]string{
		"":               "",
		`[{"type":"a"}]`: `[{"type":"a"}]`,
		` [ {"b":1.50, "type":"a", "c":[true,null,{"d":"\u00e9"}]} , {"type":"a"} ] `: `[{"b":1.50,"c":[true,null,{"d":"é"}],"type":"a"},{"type":"a"}]`,
		`[{"type":"a","n":123456789012345678901234567890}]`:                           `[{"n":123456789012345678901234567890,"type":"a"}]`,
	} {
		d, err := ParseDetails(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		b, _ := json.Marshal(d)
		if got := string(b); got != want && !(want == "" && got == "null") {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		var again Details // what lies in a record is read back in the same spelling
		if err := json.Unmarshal(b, &again); err != nil || !again.HasAll(d) || !d.HasAll(again) {
			t.Errorf("%s: read back %s, %v", text, again, err)
		}
	}
	for name, text := range map[string]string{
		"no JSON":           `[{"type":"a"}`,
		"no array":          `{"type":"a"}`,
		"empty":             `[]`,
		"null":              `null`,
		"no object":         `["a"]`,
		"a null":            `[null]`,
		"no type":           `[{"actions":["read"]}]`,
		"empty type":        `[{"type":""}]`,
		"type is a number":  `[{"type":1}]`,
		"second has none":   `[{"type":"a"},{}]`,
		"twice":             `[{"type":"a","type":"b"}]`,
		"twice, escaped":    `[{"type":"a","\u0074ype":"b"}]`,
		"twice, inside":     `[{"type":"a","x":{"y":1,"y":2}}]`,
		"control character": `[{"type":"a","x":"\u0007"}]`,
		"in a name":         `[{"type":"a","\u0000":1}]`,
		"no UTF-8":          "[{\"type\":\"a\",\"x\":\"\xff\"}]",
		"half a surrogate":  `[{"type":"a","x":"\ud800"}]`,
		"deep":              `[{"type":"a","x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}]`,
		"many":              `[` + strings.Repeat(`{"type":"a"},`, 20) + `{"type":"a"}]`,
		"long":              `[{"type":"` + strings.Repeat("a", maxDetails) + `"}]`,
		"two":               `[{"type":"a"}][{"type":"a"}]`,
		"rubbish after it":  `[{"type":"a"}] x`,
	} {
		d, err := ParseDetails(text)
		if e, ok := err.(*Error); !ok || e.Code != InvalidAuthzDetails || d != nil || e.Description != Printable(e.Description) {
			t.Errorf("%s: %s, %v", name, d, err)
		}
	}
}

func FuzzParseDetails(f *testing.F) {
	for _, seed := range []string{`[{"type":"a","x":[1,{"y":"z"}]}]`, `[{"type":"a","type":"b"}]`, `[[[[[[[[[[[[`, `[{"type":"\u0000"}]`, `[{"type":"<a>","n":1e400}]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDetails(text)
		if err != nil || d == nil {
			return
		}
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseDetails(string(b))
		if len(b) <= maxDetails && (err != nil || !again.HasAll(d) || len(again) != len(d)) {
			t.Errorf("%q: %s is read as %s, %v", text, b, again, err)
		}
	})
}
