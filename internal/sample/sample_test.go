package sample

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func post(t *testing.T, h http.Handler, version, body string, who ...string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/mcp", strings.NewReader(body))
	r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {version},
		"Mcp-Method": {"tools/call"}, "Mcp-Name": {"note"}}
	for i := 0; i < len(who); i += 2 {
		r.Header.Set(who[i], who[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(b)
}

func noteCall(text string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"note","arguments":{"text":%q},"_meta":{`+
		`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`, text)
}

// Notes are for whom the gateway names, and for nobody else.
func TestNote(t *testing.T) {
	h := New()
	alice := []string{"Doorward-Subject", "alice", "Doorward-Client", "desktop", "Doorward-Scope", ScopeRead + " " + ScopeWrite}
	for _, c := range []struct {
		name, text string
		who        []string
		want       string
	}{
		{"alice", "one", alice, `{"notes":["one"]}`},
		{"alice again", "two", alice, `{"notes":["one","two"]}`},
		{"a client for itself", "mine", []string{"Doorward-Client", "desktop", "Doorward-Scope", ScopeWrite}, `{"notes":["mine"]}`},
		{"a person called like the client's notes", "x", []string{"Doorward-Subject", "bob", "Doorward-Client", "desktop", "Doorward-Scope", ScopeWrite}, `{"notes":["x"]}`},
		{"without the scope", "x", []string{"Doorward-Subject", "alice", "Doorward-Scope", ScopeRead}, `the scope sample:write is needed`},
		{"nobody", "x", []string{"Doorward-Scope", ScopeWrite}, `behind the gateway`},
		{"nothing", "", alice, `a note has 1 to 1024 bytes`},
		{"too much", strings.Repeat("x", 1025), alice, `a note has 1 to 1024 bytes`},
	} {
		status, body := post(t, h, "2026-07-28", noteCall(c.text), c.who...)
		if status != 200 || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s", c.name, status, body)
		}
	}
}

func TestNotebookIsBounded(t *testing.T) {
	n := notebook{notes: map[string][]string{}}
	for i := range 50 {
		n.add("alice", fmt.Sprint(i))
	}
	if got := n.add("alice", "last"); len(got) != maxNotes || got[maxNotes-1] != "last" {
		t.Errorf("%d notes, the last is %q", len(got), got[len(got)-1])
	}
	for i := range maxPeople + 10 {
		n.add(fmt.Sprint("p", i), "x")
	}
	if len(n.notes) != maxPeople || len(n.order) != maxPeople || n.notes["alice"] != nil {
		t.Errorf("notes of %d people", len(n.notes))
	}
}
