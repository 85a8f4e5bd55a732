package doctor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"doorward"
	"doorward/internal/oauth"
)

// call sends the first message again, with the token.
func (w *walk) call(t *doorward.Transport) bool {
	w.Progress(titles["call"].Title)
	a, err := w.send(t, initialize, "2025-11-25")
	if err != nil {
		return w.refusal("call", err)
	}
	challenge := bearer(oauth.ParseChallenges(a.header.Values("WWW-Authenticate")))
	p := problem{saw: a.kind()}
	if challenge["error"] != "" {
		p.saw = fmt.Sprintf("%d %s: %s", a.status, challenge["error"], challenge["error_description"])
	}
	switch {
	case a.status == http.StatusUnauthorized:
		p.mend = "The server refuses what its own authorization server gave. Compare what it checks with the token above: issuer, audience, keys, algorithm, clock; its log says which (with Doorward: doorward why REFERENCE)."
		return w.fail("call", p)
	case a.status == http.StatusForbidden && challenge["error"] == oauth.InsufficientScope:
		p.mend = "Grant the scope that it asks for, or ask for less: " + challenge["scope"]
		return w.fail("call", p)
	case a.status == http.StatusForbidden:
		p.mend = "Allow this person or client at the server (with Doorward: doorward can PERSON SERVER)."
		return w.fail("call", p)
	case a.status >= 500:
		p.mend = "Look into the log of the server, and of what stands behind it: the token was taken."
		return w.fail("call", p)
	}
	w.ok("call", fmt.Sprintf("initialize gets %d", a.status))
	return w.protocol(t, a)
}

// send sends a message through the Transport, which adds the token.
func (w *walk) send(t *doorward.Transport, message, version string) (*answer, error) {
	ctx, cancel := context.WithTimeout(w.ctx, oneAnswer)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url.String(), strings.NewReader(message))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Mcp-Protocol-Version": version} {
		req.Header.Set(name, value)
	}
	if message == discovery {
		req.Header.Set("Mcp-Method", "server/discover")
	}
	sent := w.Now()
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	w.date(req.URL.Host, resp.Header, sent)
	a := &answer{status: resp.StatusCode, header: resp.Header}
	a.body, err = firstMessage(resp.Header.Get("Content-Type"), io.LimitReader(resp.Body, 256<<10))
	w.endSession(t, resp.Header.Get("Mcp-Session-Id"))
	return a, err
}

// endSession leaves nothing behind at the server.
func (w *walk) endSession(t *doorward.Transport, session string) {
	if session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(w.ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, w.url.String(), nil)
	if err != nil {
		return
	}
	req.Header.Set("Mcp-Session-Id", session)
	req.Header.Set("Mcp-Protocol-Version", "2025-11-25")
	if resp, err := t.RoundTrip(req); err == nil {
		_ = resp.Body.Close()
	}
}

// firstMessage is a JSON-RPC message: the body, or the first of an event
// stream, which need not end.
func firstMessage(contentType string, body io.Reader) ([]byte, error) {
	if !strings.HasPrefix(contentType, "text/event-stream") {
		return io.ReadAll(body)
	}
	var data []byte
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 256<<10)
	for lines.Scan() {
		line := bytes.TrimRight(lines.Bytes(), "\r")
		if rest, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			data = append(append(data, bytes.TrimPrefix(rest, []byte(" "))...), '\n')
		}
		if len(line) == 0 && len(bytes.TrimSpace(data)) > 0 {
			return data, nil
		}
	}
	return data, lines.Err()
}

// revisions are those that there are.
var revisions = []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"}

// protocol is which revisions the server speaks.
func (w *walk) protocol(t *doorward.Transport, first *answer) bool {
	var spoken []string
	var said struct {
		Result struct {
			Version string `json:"protocolVersion"`
		} `json:"result"`
	}
	old := ""
	if json.Unmarshal(first.body, &said) == nil && first.status/100 == 2 {
		old = said.Result.Version
	}
	if slices.Contains(revisions, old) {
		spoken = append(spoken, old+" (initialize)")
	}
	if a, err := w.send(t, discovery, "2026-07-28"); err == nil && a.status/100 == 2 {
		var said struct {
			Result json.RawMessage `json:"result"`
		}
		if json.Unmarshal(a.body, &said) == nil && len(said.Result) > 0 && string(said.Result) != "null" {
			spoken = append(spoken, "2026-07-28 (server/discover)")
		}
	}
	switch {
	case len(spoken) == 0 && old != "":
		return w.warn("protocol", problem{saw: fmt.Sprintf("initialize was answered with version %q, which does not exist", short(old)), mend: "Answer with a revision that there is, at most the one that was asked for."})
	case len(spoken) == 0:
		return w.warn("protocol", problem{saw: "neither initialize nor server/discover was answered with a result: " + first.kind(), mend: "Look into the server's log: the token was taken, and the first message failed."})
	}
	return w.ok("protocol", strings.Join(spoken, ", "))
}
