package bridge

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

// stateless is the first revision without sessions and without a stream of the
// server's own.
const stateless = "2026-07-28"

// Error codes of MCP 2026-07-28 by which a server shows that it speaks that
// revision.
const (
	codeHeaders    = -32020
	codeCapability = -32021
	codeVersion    = -32022
)

// rpcError is the error of an answer.
type rpcError struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// mismatched puts words before a server's error that comes of the two sides
// speaking different wires. The code and the data stay the server's: clients
// that speak both wires go by them.
func (b *bridge) mismatched(m message, status int, answer message) message {
	var e rpcError
	if json.Unmarshal(answer.Error, &e) != nil {
		return answer
	}
	why := b.wires(m, status, e)
	if why == "" {
		return answer
	}
	e.Message = why + "; the server said: " + oauth.Printable(e.Message)
	raw, err := json.Marshal(struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   rpcError        `json:"error"`
	}{"2.0", m.ID, e})
	if err != nil {
		return answer
	}
	if said, err := parse(raw); err == nil {
		return said
	}
	return answer
}

// wires says which side speaks which wire, if that is what an error means.
func (b *bridge) wires(m message, status int, e rpcError) string {
	var data struct {
		Supported []string `json:"supported"`
	}
	_ = json.Unmarshal(e.Data, &data) // of other errors it is something else
	isOld := func(version string) bool { return version < stateless }
	some := len(data.Supported) > 0
	switch {
	case m.Method == "initialize":
		switch e.Code {
		case codeHeaders, codeCapability, codeVersion, codeNoMethod:
			if !slices.ContainsFunc(data.Supported, isOld) {
				return b.onlyStateless(m, data.Supported)
			}
		}
	case m.meta().Meta.Version < stateless || b.modern.Load():
	case e.Code == codeVersion:
		if some && !slices.ContainsFunc(data.Supported, func(v string) bool { return !isOld(v) }) {
			return b.onlyStateful(m, data.Supported)
		}
	case e.Code == codeHeaders || e.Code == codeCapability:
	case e.Code == codeServer || e.Code == codeInvalid:
		if m.Method == "server/discover" || isRefusal(status) {
			return b.onlyStateful(m, nil)
		}
	case m.Method == "server/discover" && (e.Code == codeNoMethod || e.Code == codeParams):
		return b.onlyStateful(m, nil)
	}
	return ""
}

func (b *bridge) onlyStateless(m message, supported []string) string {
	var p struct {
		Version string `json:"protocolVersion"`
	}
	_ = json.Unmarshal(m.Params, &p) // without it the text says less
	return fmt.Sprintf("the MCP server at %s speaks only the wire without sessions (MCP %s), and this client the one with sessions (initialize, MCP %s): "+
		"use a client that speaks %s, or ask the server's operator to serve both", b.c.URL, listed(supported, stateless), oauth.Printable(p.Version), stateless)
}

func (b *bridge) onlyStateful(m message, supported []string) string {
	return fmt.Sprintf("the MCP server at %s speaks only the wire with sessions (initialize, MCP %s), and this client asks in the one without (MCP %s): "+
		"clients that speak both now begin again with initialize; others cannot use this server", b.c.URL, listed(supported, "2025-11-25 and before"), oauth.Printable(m.meta().Meta.Version))
}

func listed(versions []string, otherwise string) string {
	if len(versions) == 0 || len(versions) > 20 {
		return otherwise
	}
	return oauth.Printable(strings.Join(versions, ", "))
}

// maybeStateful is the hint for a refusal without words of MCP.
func (b *bridge) maybeStateful(m message, status int) string {
	if isRefusal(status) && m.meta().Meta.Version >= stateless && !b.modern.Load() {
		return "; or it speaks only the wire with sessions (initialize, MCP 2025-11-25 and before), and this client asks in the one without"
	}
	return ""
}

// isRefusal reports the statuses by which servers refuse what they do not know.
func isRefusal(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable:
		return true
	}
	return false
}
