package main

import (
	"bytes"
	"fmt"
)

// introspectForm asks what a token is, as the client api.
func introspectForm(host, path, token string) []byte {
	return form(host, path, "client_id", "api", "client_secret", secret, "token", token)
}

// introspected is the introspection of a token that the floor takes.
func introspected(t target, path string) ([]byte, error) {
	token, err := t.world.access("https://as.example/mcp")
	return introspectForm(t.host, path, token), err
}

func introspectAtFloor(t target, _ int) (operation, error) {
	r, err := introspected(t, "/introspect")
	return active(r), err
}

// introspect asks about an access token of the target's own.
func introspect(ask func(host, path, token string) []byte, more ...string) func(target, int) (operation, error) {
	return func(t target, _ int) (operation, error) {
		token, err := t.credentialsToken(more...)
		return active(ask(t.host, "/introspect", token)), err
	}
}

// credentialsToken is an access token of the client agent. more is parameters.
func (t target) credentialsToken(more ...string) (string, error) {
	c, err := dial(t.base)
	if err != nil {
		return "", err
	}
	defer c.wire.Close()
	pairs := append([]string{"grant_type", "client_credentials", "client_id", "agent", "client_secret", secret}, more...)
	if err := c.do(form(t.host, "/token", pairs...), 200); err != nil {
		return "", err
	}
	return c.member("access_token"), nil
}

// active sends always the same introspection, of a token that is alive.
func active(request []byte) operation {
	return func(c *conn) error {
		if err := c.do(request, 200); err != nil {
			return err
		}
		if !bytes.HasPrefix(c.body, []byte(`{"active":true`)) {
			return fmt.Errorf("the token is not alive: %.200s", c.body)
		}
		return nil
	}
}
