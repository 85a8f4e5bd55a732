package gateway

import (
	"encoding/json"
	"strings"
	"testing"
)

func notSecret(tool string) bool { return !strings.HasPrefix(tool, "secret") }

// Only the tools go; every other byte stays.
func TestFilterTools(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"},{"name":"secret1"},{"name":"b"}],"nextCursor":"c"}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"},{"name":"b"}],"nextCursor":"c"}}`},
		{`{ "result" : { "_meta":{}, "tools" : [ {"name":"secret1","x":[{"name":"a"}]} , {"description":"ä\n","name":"a"} ] , "ttlMs":5 }, "id":"x" }`,
			`{ "result" : { "_meta":{}, "tools" : [{"description":"ä\n","name":"a"}] , "ttlMs":5 }, "id":"x" }`},
		{`{"result":{"tools":[{"name":"secret1"}]}}`, `{"result":{"tools":[]}}`},
		{`{"result":{"tools":[{"n\u0061me":"\u0073ecret1"}]}}`, `{"result":{"tools":[]}}`},
		{`{"result":{"tools":[{"title":"no name"},7,null,{"name":3},{"name":"a"}]}}`, `{"result":{"tools":[{"name":"a"}]}}`},
		{`{"result":{"tools":[  ]}}`, `{"result":{"tools":[  ]}}`},
		{`{"result":{"tools":{"listChanged":true}}}`, `{"result":{"tools":{"listChanged":true}}}`},
		{`{"result":{"content":[{"name":"secret1"}]}}`, `{"result":{"content":[{"name":"secret1"}]}}`},
		{`{"method":"notifications/tools/list_changed"}`, `{"method":"notifications/tools/list_changed"}`},
		{`{"id":1,"error":{"code":1}}`, `{"id":1,"error":{"code":1}}`},
		{`{"result":{"tools":[ {"name":"a"} , {"name":"b"} ]}}`, `{"result":{"tools":[ {"name":"a"} , {"name":"b"} ]}}`},
	} {
		got, err := filterTools([]byte(c.in), notSecret)
		if err != nil || string(got) != c.want {
			t.Errorf("%s\ngives %s, %v", c.in, got, err)
		}
	}
	for _, in := range []string{
		``, `x`, `[]`, `[{"result":{"tools":[{"name":"secret1"}]}}]`, `{"result":{"tools":[{"name":"secret1"}]}} x`,
		`{"result":{"tools":[{"name":"secret1"}]},"result":{}}`, `{"result":{"tools":[],"tools":[{"name":"secret1"}]}}`,
		`{"result":{"tools":[{"name":"a","name":"secret1"}]}}`, `{"result":{"tools":[{"name":"secret1"}`, `{"result":7}`,
	} {
		if got, err := filterTools([]byte(in), notSecret); err == nil {
			t.Errorf("%s: gives %s", in, got)
		}
	}
}

// However the bytes arrive, the same events go out.
func TestEventsInPieces(t *testing.T) {
	const message = `{"id":1,"result":{"tools":[{"name":"secret1"},{"name":"a"}]}}`
	const filtered = `{"id":1,"result":{"tools":[{"name":"a"}]}}`
	for _, c := range []struct{ in, want string }{
		{"event: message\nid: 7\ndata: " + message + "\n\n", "event: message\nid: 7\ndata: " + filtered + "\n\n"},
		{"event: message\r\ndata:" + message + "\r\nid: 7\r\n\r\n", "event: message\r\ndata: " + filtered + "\nid: 7\r\n\r\n"},
		{"data: " + message + "\r\rdata: x\r\r", "data: " + filtered + "\n\rdata: x\r\r"},
		{": tools comment\n\nevent: prime\nid: 1\ndata: \n\n", ": tools comment\n\nevent: prime\nid: 1\ndata: \n\n"},
		{"data: " + strings.ReplaceAll(message, ",", ",\ndata:") + "\n\n", "data: " + strings.ReplaceAll(filtered, ",", ", ") + "\n\n"},
		{"\xef\xbb\xbfdata: " + message + "\n\ndata: {\"result\":{}}\n\n", "data: " + filtered + "\n\ndata: {\"result\":{}}\n\n"},
		{"data: " + message + "\n", "data: " + filtered + "\n"}, // the stream ends in the middle of it
	} {
		for size := 1; size <= len(c.in); size++ {
			var out strings.Builder
			emit := func(event []byte) error {
				event, err := changeEvent(event, func(m []byte) ([]byte, error) { return filterTools(m, notSecret) })
				out.Write(event)
				return err
			}
			var s eventSplitter
			for rest := c.in; rest != ""; {
				n := min(size, len(rest))
				if err := s.feed([]byte(rest[:n]), emit); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := emit(s.held); err != nil {
				t.Fatal(err)
			}
			if got := out.String(); got != c.want {
				t.Fatalf("pieces of %d of %q\ngive %q\nwant %q", size, c.in, got, c.want)
			}
		}
	}
}

// An event is there for its reader as soon as it is complete.
func TestEventsAreNotHeldBack(t *testing.T) {
	for _, end := range []string{"\n\n", "\r\n\r\n", "\r\r"} {
		var s eventSplitter
		n := 0
		if err := s.feed([]byte("data: x"+end), func([]byte) error { n++; return nil }); err != nil || n != 1 || len(s.held) != 0 {
			t.Errorf("%q: %d events, %d bytes held", end, n, len(s.held))
		}
	}
	var s eventSplitter
	if err := s.feed(make([]byte, maxEvent+1), func([]byte) error { return nil }); err == nil {
		t.Error("an event without end is kept")
	}
}

// Nobody sees a tool that is not for them, whatever the upstream writes.
func FuzzFilterEvent(f *testing.F) {
	f.Add("data: {\"id\":1,\"result\":{\"tools\":[{\"name\":\"secret1\"},{\"name\":\"a\"}]}}\n\n", 3)
	f.Add("event: m\r\ndata:{\"result\":\r\ndata: {\"t\\u006fols\":[{\"name\":\"\\u0073ecret\"}]}}\r\n\r\n", 1)
	f.Fuzz(func(t *testing.T, in string, size int) {
		if size < 1 {
			size = 1
		}
		var s eventSplitter
		emit := func(event []byte) error {
			event, err := changeEvent(event, func(m []byte) ([]byte, error) { return filterTools(m, notSecret) })
			if err != nil {
				return err
			}
			for _, name := range listed(eventData(event)) {
				if !notSecret(name) {
					t.Fatalf("%q shows %q", event, name)
				}
			}
			return nil
		}
		for rest := in; rest != ""; {
			n := min(size, len(rest))
			if s.feed([]byte(rest[:n]), emit) != nil {
				return
			}
			rest = rest[n:]
		}
	})
}

// listed are the tools that encoding/json finds in a message, by exact names.
func listed(message []byte) (names []string) {
	var m, result, tool map[string]json.RawMessage
	var tools []json.RawMessage
	if json.Unmarshal(message, &m) != nil || json.Unmarshal(m["result"], &result) != nil || json.Unmarshal(result["tools"], &tools) != nil {
		return nil
	}
	for _, raw := range tools {
		tool = nil
		var name string
		if json.Unmarshal(raw, &tool) == nil && json.Unmarshal(tool["name"], &name) == nil {
			names = append(names, name)
		}
	}
	return names
}
