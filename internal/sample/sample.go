// Package sample is the built-in MCP server: something to call, and to see
// oneself as the gateway sees one.
//
// It has two tools. whoami says who calls; note keeps notes of the caller's
// own, in memory, and needs the scope sample:write. Who calls is what the
// gateway says in Doorward-Subject, Doorward-Client and Doorward-Scope, which
// nobody can send through it; so this server must stand behind one.
package sample

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// The scopes of the server.
const (
	ScopeRead  = "sample:read"  // for everything
	ScopeWrite = "sample:write" // for the tool note
)

const (
	maxNote   = 1 << 10 // bytes of a note
	maxNotes  = 20      // of one caller; older ones go
	maxPeople = 1000    // with notes; whoever wrote longest ago goes
	// statelessFrom is the first protocol version without sessions.
	statelessFrom = "2026-07-28"
	// idle is how long a session may last that nobody uses.
	idle = time.Hour
)

// New makes the server. It speaks the revisions of MCP with sessions (up to
// 2025-11-25, with a stream for GET) and without (from 2026-07-28).
func New() http.Handler {
	s := server()
	one := func(*http.Request) *mcp.Server { return s }
	// The gateway has checked Host and Origin already, and the public name may
	// well lead to loopback.
	stateful := mcp.NewStreamableHTTPHandler(one, &mcp.StreamableHTTPOptions{SessionTimeout: idle, DisableLocalhostProtection: true})
	stateless := mcp.NewStreamableHTTPHandler(one, &mcp.StreamableHTTPOptions{
		Stateless: true, JSONResponse: true, PropagateRequestCancellation: true, DisableLocalhostProtection: true,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Protocol-Version") >= statelessFrom {
			stateless.ServeHTTP(w, r)
			return
		}
		stateful.ServeHTTP(w, r)
	})
}

func server() *mcp.Server {
	n := &notebook{notes: map[string][]string{}}
	s := mcp.NewServer(&mcp.Implementation{Name: "doorward-sample", Version: "1.0.0"}, nil)
	mcp.AddTool(s, &mcp.Tool{
		Name: "whoami", Description: "Say who is calling: the account, the client and the scopes of the access token.",
		Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true},
	}, whoami)
	mcp.AddTool(s, &mcp.Tool{
		Name: "note", Description: "Keep a short note (in memory, until the server stops) and return all of the caller's notes.",
	}, n.note)
	return s
}

// Who is what whoami answers.
type Who struct {
	Subject string   `json:"subject" jsonschema:"the account; empty if the client acts for itself"`
	Client  string   `json:"client" jsonschema:"the client id"`
	Scopes  []string `json:"scopes" jsonschema:"what the access token allows at most"`
}

type nothing struct{}

func caller(req *mcp.CallToolRequest) Who {
	who := Who{Scopes: []string{}}
	if req.Extra != nil {
		h := req.Extra.Header
		who.Subject, who.Client = h.Get("Doorward-Subject"), h.Get("Doorward-Client")
		who.Scopes = append(who.Scopes, strings.Fields(h.Get("Doorward-Scope"))...)
	}
	return who
}

func whoami(_ context.Context, req *mcp.CallToolRequest, _ nothing) (*mcp.CallToolResult, Who, error) {
	return nil, caller(req), nil
}

// Note is what the tool note takes.
type Note struct {
	Text string `json:"text" jsonschema:"what to keep, at most 1024 bytes"`
}

// Notes is what it answers.
type Notes struct {
	Notes []string `json:"notes" jsonschema:"the caller's notes, oldest first"`
}

// notebook keeps the notes of each caller.
type notebook struct {
	mu    sync.Mutex
	notes map[string][]string
	order []string // of callers, by when they wrote last
}

func (n *notebook) note(_ context.Context, req *mcp.CallToolRequest, in Note) (*mcp.CallToolResult, Notes, error) {
	who := caller(req)
	switch {
	case who.Subject == "" && who.Client == "":
		return nil, Notes{}, fmt.Errorf("nobody is named as the caller: this server must stand behind the gateway")
	case !slices.Contains(who.Scopes, ScopeWrite):
		return nil, Notes{}, fmt.Errorf("the scope %s is needed", ScopeWrite)
	case in.Text == "" || len(in.Text) > maxNote:
		return nil, Notes{}, fmt.Errorf("a note has 1 to %d bytes", maxNote)
	}
	key := who.Subject
	if key == "" {
		key = "client:" + who.Client
	}
	return nil, Notes{Notes: n.add(key, in.Text)}, nil
}

func (n *notebook) add(key, text string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	notes := append(slices.Clone(n.notes[key]), text)
	if len(notes) > maxNotes {
		notes = notes[1:]
	}
	n.notes[key] = notes
	if i := slices.Index(n.order, key); i >= 0 {
		n.order = slices.Delete(n.order, i, i+1)
	}
	n.order = append(n.order, key)
	if len(n.order) > maxPeople {
		delete(n.notes, n.order[0])
		n.order = slices.Delete(n.order, 0, 1)
	}
	return notes
}
