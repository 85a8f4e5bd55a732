package authserver

import (
	"context"
	"strings"
	"testing"
	"time"

	"doorward/internal/oauth"
)

// A device in mode proxy: its person signs in at the separate server, confirms
// the code and consents here, and the device gets our tokens, with that server's
// in the vault. Each device needs a sign-in of its own.
//
// covers: AS-PROXY-03
func TestProxiedDevice(t *testing.T) {
	s, f := newProxiedSite(t, nil)
	b := s.browser()
	answer := func(more ...string) reply {
		t.Helper()
		device, user := s.newCodes(t)
		p := b.get(s.url + "/device?user_code=" + user)
		if p.left {
			p = b.get(f.letIn(p))
		}
		p = b.submit(p)
		p.shows(t, 200, "Living room", "Read files", user)
		if r := s.poll(device); r.text("error") != oauth.AuthorizationPending {
			t.Errorf("before the answer: %d %s", r.status, r.body)
		}
		if p = b.submit(p, more...); p.left { // the sign-in before was for another device
			p = b.get(f.letIn(p))
		}
		p.shows(t, 200)
		s.wait(10 * time.Second)
		return s.poll(device)
	}
	seen := map[string]bool{}
	for range 2 {
		before := len(f.forms)
		r := answer()
		if r.status != 200 || strings.Contains(r.body, "upstream-") || len(f.forms) == before {
			t.Fatalf("%d %s", r.status, r.body)
		}
		if sub, _ := claimsOf(t, r.text("access_token")).Text("sub"); sub != proxiedCarol {
			t.Errorf("sub %q", sub)
		}
		id := gid(t, r.text("access_token"))
		if got, err := s.UpstreamToken(context.Background(), id); err != nil || got != "upstream-access" || seen[id] {
			t.Errorf("the vault has %q for %s, %v", got, id, err)
		}
		seen[id] = true
	}
	if r := answer("decision", "no"); r.text("error") != oauth.AccessDenied {
		t.Errorf("after a no: %d %s", r.status, r.body)
	}
}
