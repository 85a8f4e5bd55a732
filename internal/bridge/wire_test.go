package bridge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestEvents(t *testing.T) {
	for _, c := range []struct{ stream, want string }{
		{"data: a\n\n", "[ a 0]"},
		{"data: a\r\n\r\ndata:b\r\r", "[ a 0][ b 0]"},
		{"\xef\xbb\xbfid: 7\ndata: a\ndata: b\n\n", "[7 a|b 0]"},
		{": ping\n\nevent: message\nretry: 250\ndata:\n\n", "[ <nil> 0][message  250]"},
		{"data: never ended\n", ""},
		{"data: a\n\nid: x\x00y\ndata: b\n\n", "[ a 0][ b 0]"},
		{"retry: soon\nid\ndata\n\n", "[  0]"},
		{"", ""},
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(c.stream), "by byte": iotest.OneByteReader(strings.NewReader(c.stream))} {
			var got strings.Builder
			err := readEvents(r, 100, func(e event) bool {
				data := strings.ReplaceAll(string(e.data), "\n", "|")
				if e.data == nil {
					data = "<nil>"
				}
				fmt.Fprintf(&got, "[%s%s %s %d]", e.name, e.id, data, e.retry.Milliseconds())
				return true
			})
			if err != nil || got.String() != c.want {
				t.Errorf("%s %q: %s %v, want %s", name, c.stream, &got, err, c.want)
			}
		}
	}
	for _, large := range []string{"data: " + strings.Repeat("a", 200) + "\n\n", strings.Repeat("data: aaaaaaaaaaaaaaaaaaaa\n", 10) + "\n"} {
		if err := readEvents(strings.NewReader(large), 100, func(event) bool { return true }); !isTooLarge(err) {
			t.Errorf("%d bytes: %v", len(large), err)
		}
	}
}

func FuzzEvents(f *testing.F) {
	for _, s := range []string{"data: a\n\n", "id: 1\r\ndata: x\r\n\r\n", "\xef\xbb\xbfdata:\r\r", "retry: 9999999999999\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var whole, bytewise []string
		note := func(to *[]string) func(event) bool {
			return func(e event) bool {
				if len(e.data) > 1000 {
					t.Error("larger than permitted")
				}
				*to = append(*to, fmt.Sprintf("%q %q %q %d", e.name, e.id, e.data, e.retry))
				return true
			}
		}
		e1 := readEvents(bytes.NewReader(b), 1000, note(&whole))
		e2 := readEvents(iotest.OneByteReader(bytes.NewReader(b)), 1000, note(&bytewise))
		if (e1 == nil) != (e2 == nil) || e1 == nil && !slices.Equal(whole, bytewise) {
			t.Errorf("%v %v: %q %q", e1, e2, whole, bytewise)
		}
	})
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`:            `{"jsonrpc":"2.0","id":1,"method":"ping"}`,
		" { \"jsonrpc\" : \"2.0\",\n \"method\":\"a\\nb\" } ": `{"jsonrpc":"2.0","method":"a\nb"}`,
		`{"jsonrpc":"2.0","id":"x","result":{}}`:              `{"jsonrpc":"2.0","id":"x","result":{}}`,
		`{"jsonrpc":"2.0","id":null,"error":{}}`:              `{"jsonrpc":"2.0","id":null,"error":{}}`,
		`{"id":1,"method":"ping"}`:                            "",
		`{"jsonrpc":"1.0","id":1,"method":"ping"}`:            "",
		`{"jsonrpc":"2.0","id":{},"method":"ping"}`:           "",
		`{"jsonrpc":"2.0","id":true,"method":"ping"}`:         "",
		`{"jsonrpc":"2.0","id":1}`:                            "",
		`[{"jsonrpc":"2.0","id":1,"method":"ping"}]`:          "",
		`"text"`:               "",
		`{"jsonrpc":"2.0"} {}`: "",
		`hello`:                "",
		``:                     "",
	} {
		m, err := parse([]byte(text))
		if (err == nil) != (want != "") || err == nil && string(m.raw) != strings.ReplaceAll(want, "\n", `\n`) {
			t.Errorf("%q: %q %v", text, m.raw, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":1}}}`))
	f.Add([]byte("{\"jsonrpc\":\"2.0\",\r\n\"method\":\"\\u2028\"}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		if bytes.ContainsAny(m.raw, "\r\n") || !json.Valid(m.raw) {
			t.Errorf("%q is not one line of JSON", m.raw)
		}
		p := m.meta()
		if v := headerValue(p.named(m.Method)); strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
			t.Errorf("%q is no header", v)
		}
		if !json.Valid(refusal(m.ID, codeServer, "x", nil)) {
			t.Error("the refusal is no JSON")
		}
	})
}

func TestToolHeaders(t *testing.T) {
	var tools toolHeaders
	tools.learn(json.RawMessage(`{"tools":[
		{"name":"q","inputSchema":{"properties":{
			"region":{"type":"string","x-mcp-header":"Region"},
			"n":{"type":"integer","x-mcp-header":"N"},"on":{"type":"boolean","x-mcp-header":"On"},
			"bad":{"type":"string","x-mcp-header":"no good"},"none":{"type":"string","x-mcp-header":"None"},
			"in":{"type":"object","properties":{"deep":{"type":"string","x-mcp-header":"Deep"}}}}}},
		{"name":"plain"}]}`))
	h := http.Header{}
	m, err := parse([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"q","arguments":{"region":"Zürich","n":3,"on":true,"bad":"x","none":null,"in":{"deep":" d"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	tools.set(h, m.meta())
	want := map[string]string{"Region": "=?base64?WsO8cmljaA==?=", "N": "3", "On": "true", "Deep": "=?base64?IGQ=?="}
	if len(h) != len(want) {
		t.Errorf("%v", h)
	}
	for name, value := range want {
		if got := h.Get("Mcp-Param-" + name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	tools.learn(json.RawMessage(`{"tools":[{"name":"q"}]}`))
	if h = (http.Header{}); len(h) != 0 {
		t.Error("not empty")
	}
	if tools.set(h, m.meta()); len(h) != 0 {
		t.Errorf("a tool that wants no headers any more gets %v", h)
	}
}
