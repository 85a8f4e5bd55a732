package doorward

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"

	"doorward/internal/oauth"
)

// Metadata serves the protected resource metadata document (RFC 9728 section
// 3), to whoever asks.
func (g *Guard) Metadata() http.Handler {
	sum := sha256.Sum256(g.document)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			h.Set("Content-Type", "application/json")
			h.Set("Cache-Control", "public, max-age=300")
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("ETag", tag)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(g.document)) // 304 to who has it (RFC 9110 section 13)
		case http.MethodOptions:
			answerPreflight(w, r, "GET, HEAD")
		default:
			h.Set("Allow", "GET, HEAD, OPTIONS")
			writeRefusal(w, http.StatusMethodNotAllowed, oauth.InvalidRequest, "this document is read with GET")
		}
	})
}

// refuse answers a request that check did not let through.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, e *oauth.Error) {
	status := e.HTTPStatus()
	if g.c.Refused != nil {
		detail := e.Description
		if e.Err != nil {
			detail = e.Err.Error()
		}
		copied := *e
		copied.Description = referred(e.Description, g.c.Refused(r, e.Reason, detail))
		e = &copied
	}
	switch status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests: // a matter of time, not of the token
		w.Header().Set("Retry-After", "5")
	default:
		var said []string
		if e.Code != "" {
			said = []string{"error", e.Code, "error_description", e.Description}
		}
		g.Challenge(w, r, withoutOffline(g.c.Scopes), said...)
	}
	writeRefusal(w, status, e.Code, e.Description)
	if e.Code != "" {
		g.c.Logger.Debug("request refused", "resource", g.c.Resource, "code", e.Code, "cause", e.Err, "address", r.RemoteAddr)
	}
}

// referred is a description with its reference.
func referred(description, reference string) string {
	if reference == "" {
		return description
	}
	return description + " (ref " + reference + ")"
}

func writeRefusal(w http.ResponseWriter, status int, code, description string) {
	body, err := json.Marshal(struct {
		Error       string `json:"error,omitempty"`
		Description string `json:"error_description"`
	}{code, description})
	if err != nil {
		panic(err) // two strings
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away gets nothing
}

// admitOrigin refuses browsers' pages of other origins, and, for a server on
// loopback, names that were made to lead here (MCP, streamable HTTP: DNS
// rebinding); and lets the pages that may call read the answer.
func (g *Guard) admitOrigin(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("Access-Control-Expose-Headers", "WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id")
	origins := r.Header["Origin"]
	switch {
	case len(origins) > 1, len(origins) == 1 && !g.origins[origins[0]]:
		g.refuseOrigin(w, r, "this origin may not call here")
		return false
	case g.loopback && !oauth.IsLoopbackHost(r.Host):
		g.refuseOrigin(w, r, "this host name is not mine")
		return false
	case len(origins) == 1:
		w.Header().Set("Access-Control-Allow-Origin", origins[0])
		w.Header().Add("Vary", "Origin")
	}
	return true
}

func (g *Guard) refuseOrigin(w http.ResponseWriter, r *http.Request, description string) {
	if g.c.Refused != nil {
		description = referred(description, g.c.Refused(r, "origin", description))
	}
	writeRefusal(w, http.StatusForbidden, oauth.AccessDenied, description)
}

// answerPreflight answers OPTIONS; browsers send it without credentials.
func answerPreflight(w http.ResponseWriter, r *http.Request, methods string) {
	h := w.Header()
	h.Set("Allow", methods+", OPTIONS")
	h.Set("Access-Control-Allow-Methods", methods)
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
		h.Add("Vary", "Access-Control-Request-Headers")
	}
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}
