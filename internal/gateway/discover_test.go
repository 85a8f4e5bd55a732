package gateway

import (
	"encoding/json"
	"testing"
)

// covers: REV-14
func TestAdvertise(t *testing.T) {
	const a, b = "io.modelcontextprotocol/enterprise-managed-authorization", "x/y"
	for _, c := range []struct{ in, want string }{
		{`{"result":{}}`, `{"result":{"capabilities":{"extensions":{"` + a + `":{},"x/y":{}}}}}`},
		{` { "result" : { "v":1 } }`, ` { "result" : {"capabilities":{"extensions":{"` + a + `":{},"x/y":{}}}, "v":1 } }`},
		{`{"result":{"capabilities":{}}}`, `{"result":{"capabilities":{"extensions":{"` + a + `":{},"x/y":{}}}}}`},
		{`{"result":{"capabilities":{"tools":{}}}}`, `{"result":{"capabilities":{"extensions":{"` + a + `":{},"x/y":{}},"tools":{}}}}`},
		{`{"result":{"capabilities":{"extensions":{ }}}}`, `{"result":{"capabilities":{"extensions":{"` + a + `":{},"x/y":{} }}}}`},
		{`{"result":{"capabilities":{"extensions":{"x\/y":{"k":1}}}}}`, `{"result":{"capabilities":{"extensions":{"` + a + `":{},"x\/y":{"k":1}}}}}`},
		{`{"result":{"capabilities":{"extensions":{"x/y":{},"` + a + `":{}}}}}`, `{"result":{"capabilities":{"extensions":{"x/y":{},"` + a + `":{}}}}}`},
		{`{"error":{"capabilities":{}}}`, `{"error":{"capabilities":{}}}`},
		{`{"result":[]}`, `{"result":[]}`},
		{`{"result":{"capabilities":7}}`, `{"result":{"capabilities":7}}`},
		{`{"result":{"capabilities":{"extensions":null}}}`, `{"result":{"capabilities":{"extensions":null}}}`},
		{`{"params":{"result":{}}}`, `{"params":{"result":{}}}`},
	} {
		got, err := advertise([]byte(c.in), []string{a, b})
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\n got %s\nwant %s", c.in, err, got, c.want)
		}
		if !json.Valid(got) {
			t.Errorf("%s: no JSON: %s", c.in, got)
		}
		if same, err := advertise([]byte(c.in), nil); err != nil || string(same) != c.in {
			t.Errorf("%s: without extensions: %s %v", c.in, same, err)
		}
	}
	for _, bad := range []string{"", "x", `{"result":{"capabilities":{},"capabilities":{}}}`, `{"result":{},"result":{}}`} {
		if got, err := advertise([]byte(bad), []string{a}); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
}

// What comes out is JSON with the extensions in it and all else as it was.
func FuzzAdvertise(f *testing.F) {
	for _, seed := range []string{`{"result":{}}`, `{"result":{"capabilities":{"extensions":{"a":{}}}}}`, `{"result":{"capabilities":{"x":[1,{"result":2}]}}}`, `[]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out, err := advertise([]byte(in), []string{"a", "b"})
		if err != nil {
			return
		}
		var was, is struct {
			Result json.RawMessage `json:"result"`
		}
		if !json.Valid(out) || json.Unmarshal([]byte(in), &was) != nil {
			if json.Valid([]byte(in)) && !json.Valid(out) {
				t.Fatalf("%q became %q", in, out)
			}
			return
		}
		again, err := advertise(out, []string{"a", "b"})
		if err != nil || string(again) != string(out) {
			t.Fatalf("%q, then %q, then %q: %v", in, out, again, err)
		}
		_ = json.Unmarshal(out, &is)
		if len(is.Result) < len(was.Result) {
			t.Fatalf("%q lost something: %q", in, out)
		}
	})
}
