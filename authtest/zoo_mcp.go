package authtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

func (v *visit) revision() string {
	if v.habits.revision != "" {
		return v.habits.revision
	}
	return "2025-11-25"
}

// params are those of initialize.
func (v *visit) params() string {
	name, err := json.Marshal(v.client.String())
	if err != nil {
		return "{}"
	}
	return `{"protocolVersion":"` + v.revision() + `","capabilities":{},"clientInfo":{"name":` + string(name) + `,"version":"1"}}`
}

// initialize begins a session with the token.
func (v *visit) initialize(ctx context.Context) error {
	resp, err := v.rpc(ctx, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":`+v.params()+`}`)
	if err != nil {
		return err
	}
	if err := done(resp); err != nil {
		return err
	}
	v.session = resp.Header.Get("Mcp-Session-Id")
	if resp, err = v.rpc(ctx, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); err != nil {
		return err
	}
	return done(resp)
}

func (v *visit) list(ctx context.Context) error {
	resp, err := v.rpc(ctx, `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	if err != nil {
		return err
	}
	return done(resp)
}

// done reads an answer to its end; anything but 2xx is an error.
func done(resp *http.Response) error {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("answered %s %.200s", resp.Status, body)
	}
	return err
}

// rpc posts a message to the MCP server.
func (v *visit) rpc(ctx context.Context, message string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.site.MCP, strings.NewReader(message))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if v.token != "" {
		req.Header.Set("Authorization", "Bearer "+v.token)
	}
	if v.session != "" {
		req.Header.Set("Mcp-Session-Id", v.session)
	}
	if v.revision() > "2025-03-26" && v.token != "" {
		req.Header.Set("MCP-Protocol-Version", v.revision())
	}
	return v.http.Do(req)
}
