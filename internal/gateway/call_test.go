package gateway

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// Whatever an upstream's parser makes of a message, it is what we made of it:
// what can be read in two ways is not taken.
func TestParseCall(t *testing.T) {
	for _, c := range []struct {
		body             string
		method, tool, id string
	}{
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"name":"b","name":"c"}}}`, "tools/call", "a", "1"},
		{` {"id":"x\u0041","params":{"name":"a"},"method":"tools/call","jsonrpc":"2.0"} ` + "\n", "tools/call", "a", `"x\u0041"`},
		{`{"jsonrpc":"2.0","id":-1.5e3,"method":"tools/call","params":{"na\u006de":"\u0061"}}`, "tools/call", "a", "-1.5e3"},
		{`{"jsonrpc":"2.0","id":1,"m\u0065thod":"tools\/c\u0061ll","params":{"name":"\ud83d\ude00"}}`, "tools/call", "😀", "1"},
		{`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}`, "tools/call", "a", ""},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}`, "tools/list", "", "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"a"}}`, "prompts/get", "", "1"},
		{`{"jsonrpc":"2.0","id":1,"result":{"method":"tools/call"}}`, "", "", "1"},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}`, "", "", "1"},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","extra":{"a":[1,2,{"b":null}]}}`, "ping", "", "1"},
	} {
		got, err := parseCall([]byte(c.body))
		if err != nil || got.method != c.method || got.tool() != c.tool || string(got.id) != c.id {
			t.Errorf("%s: %q %q %q, %v", c.body, got.method, got.tool(), got.id, err)
		}
	}
	call := func(members string) string { return `{"jsonrpc":"2.0","id":1,` + members + `}` }
	for name, body := range map[string]string{
		"nothing":                     ``,
		"text":                        `tools/call`,
		"a string":                    `"tools/call"`,
		"a batch":                     `[` + call(`"method":"ping"`) + `]`,
		"an empty batch":              ` []`,
		"two messages":                call(`"method":"ping"`) + call(`"method":"ping"`),
		"a byte order mark":           "\xef\xbb\xbf" + call(`"method":"ping"`),
		"UTF-16":                      "\xff\xfe{\x00}\x00",
		"no UTF-8":                    call(`"method":"ping","x":"` + "\xff" + `"`),
		"method in upper case":        call(`"method":"ping","Method":"tools/call","params":{"name":"a"}`),
		"only Method":                 call(`"Method":"tools/call","params":{"name":"a"}`),
		"METHOD with a long s":        call(`"method":"tools/list","param` + "ſ" + `":{"name":"a"}`),
		"method twice":                call(`"method":"ping","method":"tools/call"`),
		"method twice, once escaped":  call(`"method":"ping","m\u0065thod":"tools/call"`),
		"method in capitals":          call(`"method":"Tools/Call","params":{"name":"a"}`),
		"tools/list in capitals":      call(`"method":"Tools/List"`),
		"method with a space":         call(`"method":" tools/call","params":{"name":"a"}`),
		"method with a NUL":           call(`"method":"tools/call\u0000","params":{"name":"a"}`),
		"params.name with a space":    call(`"method":"tools/call","params":{"name":"a "}`),
		"params.name with a NUL":      call(`"method":"tools/call","params":{"name":"a\u0000"}`),
		"method no string":            call(`"method":7`),
		"method empty":                call(`"method":""`),
		"id twice":                    call(`"id":2,"method":"ping"`),
		"params twice":                call(`"method":"tools/call","params":{"name":"a"},"params":{"name":"b"}`),
		"params.name twice":           call(`"method":"tools/call","params":{"name":"a","name":"b"}`),
		"params.name twice, escaped":  call(`"method":"tools/call","params":{"name":"a","na\u006de":"b"}`),
		"params.Name":                 call(`"method":"tools/call","params":{"name":"a","Name":"b"}`),
		"params._META":                call(`"method":"tools/call","params":{"name":"a","_META":{}}`),
		"params.name no string":       call(`"method":"tools/call","params":{"name":["a"]}`),
		"params.name empty":           call(`"method":"tools/call","params":{"name":""}`),
		"params.name half a pair":     call(`"method":"tools/call","params":{"name":"a\ud800"}`),
		"params.name too long":        call(`"method":"tools/call","params":{"name":"` + strings.Repeat("a", 513) + `"}`),
		"params an array":             call(`"method":"tools/call","params":["a"]`),
		"params a string":             call(`"method":"tools/call","params":"a"`),
		"no params":                   call(`"method":"tools/call"`),
		"null id":                     `{"jsonrpc":"2.0","id":null,"method":"ping"}`,
		"id an object":                `{"jsonrpc":"2.0","id":{},"method":"ping"}`,
		"method and result":           call(`"method":"ping","result":{}`),
		"neither":                     call(`"x":1`),
		"a response without id":       `{"jsonrpc":"2.0","result":{}}`,
		"JSON-RPC 1.0":                `{"id":1,"method":"ping"}`,
		"version a number":            `{"jsonrpc":2.0,"id":1,"method":"ping"}`,
		"comment":                     call(`"method":"ping"/**/`),
		"trailing comma":              call(`"method":"ping",`),
		"single quotes":               `{'jsonrpc':'2.0','id':1,'method':'ping'}`,
		"a bare control character":    call(`"method":"ping","x":"` + "\x01" + `"`),
		"a bad escape":                call(`"method":"ping","x":"\x"`),
		"a leading zero":              call(`"method":"ping","x":01`),
		"NaN":                         call(`"method":"ping","x":NaN`),
		"too deep":                    call(`"method":"ping","params":{"x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`),
		"too deep, unclosed":          call(`"method":"ping","params":{"x":` + strings.Repeat(`{"a":`, 100_000)),
		"more members than are known": call(`"method":"ping"` + manyMembers(600)),
	} {
		if got, err := parseCall([]byte(body)); err == nil {
			t.Errorf("%s: taken as %q %q", name, got.method, got.tool())
		}
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"x`)
		b.WriteString(strings.Repeat("y", i))
		b.WriteString(`":0`)
	}
	return b.String()
}

func TestCheckHeaders(t *testing.T) {
	tool := call{method: toolsCall, name: "größe"}
	read := call{method: "resources/read", uri: "file:///a"}
	for _, c := range []struct {
		name   string
		call   call
		header http.Header
		ok     bool
	}{
		{"none", tool, http.Header{}, true},
		{"both", tool, http.Header{"Mcp-Method": {"tools/call"}, "Mcp-Name": {"=?base64?Z3LDtsOfZQ==?="}}, true},
		{"uri", read, http.Header{"Mcp-Method": {"resources/read"}, "Mcp-Name": {"file:///a"}}, true},
		{"method", tool, http.Header{"Mcp-Method": {"tools/list"}}, false},
		{"methods", tool, http.Header{"Mcp-Method": {"tools/call", "tools/list"}}, false},
		{"method of a response", call{id: []byte("1")}, http.Header{"Mcp-Method": {"tools/call"}}, false},
		{"name", tool, http.Header{"Mcp-Name": {"groesse"}}, false},
		{"names", tool, http.Header{"Mcp-Name": {"=?base64?Z3LDtsOfZQ==?=", "other"}}, false},
		{"name in bad base64", tool, http.Header{"Mcp-Name": {"=?base64?%%?="}}, false},
		{"name, but the body has none", call{method: toolsList}, http.Header{"Mcp-Name": {"a"}}, false},
		{"a tool's uri", call{method: toolsCall, name: "a", uri: "b"}, http.Header{"Mcp-Name": {"b"}}, false},
	} {
		if err := c.call.checkHeaders(c.header); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestCheckContent(t *testing.T) {
	for header, ok := range map[string]bool{
		"application/json": true, "application/json; charset=utf-8": true, "Application/JSON;charset=UTF-8": true,
		"application/json; charset=utf-7": false, "application/json; charset=utf-16": false, "text/plain": false, "": false,
		"application/json, text/plain": false, "multipart/form-data; boundary=x": false, "application/jsonx": false,
	} {
		if err := checkContent(http.Header{"Content-Type": {header}}); (err == nil) != ok {
			t.Errorf("%q: %v", header, err)
		}
	}
	for name, h := range map[string]http.Header{
		"none": {}, "two": {"Content-Type": {"application/json", "application/json"}},
		"coded": {"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}},
	} {
		if checkContent(h) == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// What we take is JSON for encoding/json too, and means the same there.
func FuzzParseCall(f *testing.F) {
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`,
		`{"jsonrpc":"2.0","id":"é","m\u0065thod":"tools/call","params":{"na\u006de":"\ud83d\ude00","name ":1}}`,
		`{"jsonrpc":"2.0","id":1e5,"result":[true,false,null,-0.1E+2]}`,
		`[{}]`, `{"a":"\ud800"}`, "{\"jsonrpc\":\"2.0\",\"Method\":\"x\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := scanner{b: body}
		if taken := s.document() == nil; taken && !json.Valid(body) {
			t.Fatalf("%q is no JSON", body)
		}
		c, err := parseCall(body)
		if err != nil {
			return
		}
		var lenient struct { // as lenient as an upstream in Go
			Method string          `json:"method"`
			ID     json.RawMessage `json:"id"`
			Params json.RawMessage `json:"params"`
		}
		if err := json.Unmarshal(body, &lenient); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if lenient.Method != c.method || !bytes.Equal(lenient.ID, c.id) {
			t.Fatalf("%q: method %q, not %q", body, lenient.Method, c.method)
		}
		if c.method == toolsCall {
			var params struct {
				Name string `json:"name"`
			}
			if err := json.Unmarshal(lenient.Params, &params); err != nil || params.Name != c.name {
				t.Fatalf("%q: tool %q, not %q (%v)", body, params.Name, c.name, err)
			}
		}
	})
}

func BenchmarkParseCall(b *testing.B) {
	body := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_file","arguments":{"path":"/tmp/some/file.txt","n":[1,2,3]},"_meta":{"progressToken":7}}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseCall(body); err != nil {
			b.Fatal(err)
		}
	}
}
