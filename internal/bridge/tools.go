package bridge

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"slices"
)

// withoutTools is an answer to tools/list without some of its tools.
func (m message) withoutTools(bad []string) message {
	var result map[string]json.RawMessage
	var tools []json.RawMessage
	if json.Unmarshal(m.Result, &result) != nil || json.Unmarshal(result["tools"], &tools) != nil {
		return m
	}
	tools = slices.DeleteFunc(tools, func(tool json.RawMessage) bool {
		var t struct {
			Name string `json:"name"`
		}
		return json.Unmarshal(tool, &t) == nil && slices.Contains(bad, t.Name)
	})
	var members map[string]json.RawMessage
	if json.Unmarshal(m.raw, &members) != nil {
		return m
	}
	var err error
	if result["tools"], err = json.Marshal(tools); err != nil {
		return m
	}
	if members["result"], err = json.Marshal(result); err != nil {
		return m
	}
	raw, err := json.Marshal(members)
	if err != nil {
		return m
	}
	if less, err := parse(raw); err == nil {
		return less
	}
	return m
}

// isHeaderMismatch looks into a refusal, which can be read afterwards all the same.
func isHeaderMismatch(resp *http.Response) bool {
	if resp.StatusCode != http.StatusBadRequest {
		return false
	}
	var e rpcError
	m, err := parse(peek(resp))
	return err == nil && json.Unmarshal(m.Error, &e) == nil && e.Code == codeHeaders
}

// peek is the body of a refusal, which can be read afterwards all the same.
func peek(resp *http.Response) []byte {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil {
		text = nil
	}
	rest := resp.Body
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(text), rest), rest}
	return text
}

// maxPages bounds the pages of tools/list that are read for one tool.
const maxPages = 50

// relearn asks for the tools again, since the server misses a header of one.
// It reports whether there are other headers for it now.
func (b *bridge) relearn(ctx context.Context, m message) bool {
	tool := m.meta().Name
	before := b.tools.knows(tool)
	var params struct {
		Meta   json.RawMessage `json:"_meta,omitempty"`
		Cursor string          `json:"cursor,omitempty"`
	}
	if json.Unmarshal(m.Params, &params) != nil {
		return false
	}
	params.Cursor = ""
	for range maxPages {
		answer, err := b.ask(ctx, "tools/list", params)
		if err != nil || len(answer.Result) == 0 {
			return false
		}
		b.tools.learn(answer.Result)
		var page struct {
			Next string `json:"nextCursor"`
		}
		if now := b.tools.knows(tool); !sameHeaders(before, now) {
			return true
		}
		if json.Unmarshal(answer.Result, &page) != nil || page.Next == "" {
			return false
		}
		params.Cursor = page.Next
	}
	return false
}

func sameHeaders(a, b []toolHeader) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(h toolHeader) bool {
		return !slices.ContainsFunc(b, func(o toolHeader) bool { return o.header == h.header && slices.Equal(o.path, h.path) })
	})
}

// ask sends a request of our own and returns its answer. What else comes with
// it is the program's.
func (b *bridge) ask(ctx context.Context, method string, params any) (message, error) {
	raw, err := json.Marshal(struct {
		Version string `json:"jsonrpc"`
		ID      string `json:"id"`
		Method  string `json:"method"`
		Params  any    `json:"params"`
	}{"2.0", "doorward-" + rand.Text(), method, params})
	if err != nil {
		return message{}, err
	}
	m, err := parse(raw)
	if err != nil {
		return message{}, err
	}
	return b.answerTo(ctx, m)
}

// answerTo sends a request that is not the program's and returns its answer.
func (b *bridge) answerTo(ctx context.Context, m message) (answer message, err error) {
	resp, _, err := b.post(ctx, m)
	if err != nil {
		return message{}, err
	}
	err = b.receive(ctx, resp, m, func(got, of message) {
		if got.answers(of) {
			answer = got
		} else {
			b.pass(got)
		}
	})
	return answer, err
}
