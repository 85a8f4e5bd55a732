package main

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"

	"golang.org/x/oauth2"
)

// jag is an ID-JAG of one of the two issuers, for a client.
func (w *twins) jag(issuer, client string) url.Values {
	w.t.Helper()
	now := time.Now().Unix()
	text, err := w.key.Sign(oauth.TypIDJAG, map[string]any{"iss": w.idp + "/" + issuer, "sub": "carol", "aud": w.url, "client_id": client,
		"jti": oauth2.GenerateVerifier(), "iat": now, "exp": now + 240, "resource": w.url + "/one/mcp", "scope": "use"})
	if err != nil {
		w.t.Fatal(err)
	}
	form := url.Values{"grant_type": {oauth.JWTBearer}, "assertion": {text}}
	if client == "phone" {
		form.Set("client_id", client)
	}
	return form
}

// known waits until both processes have the keys of both issuers, which they
// fetch in the background.
func (w *twins) known() {
	w.t.Helper()
	for i := range w.addresses {
		for _, issuer := range []string{"once", "again"} {
			for until := time.Now().Add(10 * time.Second); w.at(i, "/token", w.jag(issuer, "desktop")).status != http.StatusOK; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(until) {
					w.t.Fatalf("process %d does not honour the issuer %s", i, issuer)
				}
			}
		}
	}
}

// grantsOf are the grants that access tokens name.
func grantsOf(t *testing.T, answers []reply) map[string]int {
	t.Helper()
	grants := map[string]int{}
	for _, a := range answers {
		_, c, err := jose.Peek(a.text("access_token"))
		if err != nil {
			t.Fatal(err)
		}
		gid, _ := c.Text("gid")
		grants[gid]++
	}
	return grants
}

// One ID-JAG, a thousand times at once, over two processes on one file, with no
// limit on requests: once where the issuer's policy is never and for a client
// without a secret; by its own client as often as it likes with auto, all of it
// one grant, and never by another's.
//
// covers: SEC-14, AS-JAG-02, AS-JAG-07, AS-JAG-09
func TestThousandAssertions(t *testing.T) {
	t.Parallel()
	w := newTwins(t, built(t), "0s")
	w.known()
	const n = 1000
	for name, tt := range map[string]struct{ issuer, client string }{
		"never":                  {"once", "desktop"},
		"never, a public client": {"once", "phone"},
		"auto, a public client":  {"again", "phone"},
	} {
		t.Run(name, func(t *testing.T) {
			jag := w.jag(tt.issuer, tt.client)
			won := winners(t, atOnce(n, func(i int) reply { return w.by(tt.client, i%2, "/token", jag) }))
			if len(won) != 1 {
				t.Fatalf("%d of %d redemptions succeeded", len(won), n)
			}
			if !w.opens(0, won[0].text("access_token")) || !w.opens(1, won[0].text("access_token")) {
				t.Error("the winner's access token does not open the server: what the others did ended it")
			}
		})
	}
	t.Run("auto", func(t *testing.T) {
		jag := w.jag("again", "desktop")
		answers := atOnce(n, func(i int) reply {
			if i%4 > 1 { // at both processes
				return w.by("laptop", i%2, "/token", jag)
			}
			return w.at(i%2, "/token", jag)
		})
		var own, others []reply
		for i, a := range answers {
			if i%4 > 1 {
				others = append(others, a)
			} else {
				own = append(own, a)
			}
		}
		if won := winners(t, others); len(won) != 0 {
			t.Errorf("another client redeemed it %d times", len(won))
		}
		won := winners(t, own)
		if len(won) != len(own) {
			t.Fatalf("%d of %d redemptions of its own client succeeded", len(won), len(own))
		}
		if grants := grantsOf(t, won); len(grants) != 1 {
			t.Fatalf("it made %d grants", len(grants))
		}
		// All of it is one grant, so that one revocation ends it.
		if a := w.at(0, "/revoke", url.Values{"token": {won[0].text("access_token")}}); a.status != http.StatusOK {
			t.Errorf("revoke: %d %v", a.status, a.body)
		}
		w.over(won[len(won)-1].text("access_token"))
		w.refused("the assertion of an ended grant", w.at(1, "/token", jag))
	})
}
