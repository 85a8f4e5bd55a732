package doorward_test

import (
	"context"
	"testing"

	"doorward"
)

// A resource that does not cover the server's address is believed only where
// the program names it.
//
// covers: C-DISC-03
func TestNamedResource(t *testing.T) {
	for name, c := range map[string]struct {
		published, named string
		ok               bool
	}{
		"found":                      {"", "", true},
		"another, named":             {"api://files", "api://files", true},
		"another, unnamed":           {"api://files", "", false},
		"not that one":               {"api://files", "api://mail", false},
		"its own, and another named": {"", "api://mail", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			switch c.published {
			case "":
			default:
				w.prm["resource"] = c.published
			}
			flow := &doorward.ClientCredentials{Client: doorward.Credentials{ID: "c", Secret: "s"}}
			tr := &doorward.Transport{Flow: flow, Resource: c.named}
			status, err := post(context.Background(), tr, w.url())
			if (err == nil && status == 200) != c.ok {
				t.Fatalf("status %d, %v", status, err)
			}
			if !c.ok {
				if w.count("as") != 0 {
					t.Error("a token was asked for")
				}
				return
			}
			want := c.named
			if want == "" {
				want = w.url()
			}
			if got := w.forms["as"][0].Get("resource"); got != want {
				t.Errorf("resource %q, want %q", got, want)
			}
		})
	}
}
