package main

import (
	"strings"
	"testing"
)

// A client by its metadata document is approved before anybody has seen it.
func TestClientApproveByURL(t *testing.T) {
	inBothStates(t, "", func(_ *testing.T, c *counter) {
		const id = "https://app.example/client.json"
		if out := c.does("client", "approve", id); !strings.Contains(out, "approved: "+id) {
			c.t.Errorf("%s", out)
		}
		c.does("client", "approve", id) // once more is no error
		if out := c.does("client", "list"); !strings.Contains(out, id) || !strings.Contains(out, "document") {
			c.t.Errorf("%s", out)
		}
		for _, bad := range []string{"https://app.example", "http://app.example/c", "https://app.example/a/../c", "nobody"} {
			if r := c.admin("client", "approve", bad); r.code != 1 || !strings.Contains(r.errs, "there is no client") {
				c.t.Errorf("%s: exit %d %s", bad, r.code, r.errs)
			}
		}
		c.does("client", "remove", id)
		if out := c.does("client", "list"); strings.Contains(out, id) {
			c.t.Errorf("removed, and still there: %s", out)
		}
	})
}
