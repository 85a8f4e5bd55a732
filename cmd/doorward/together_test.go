package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/interop/rig"
)

// togetherSite is one issuer, served by two processes on one SQLite file.
const togetherSite = `
url: URL
listen: LISTEN
ops: ""
state: STATE
database: "sqlite:DIR/shared.db"
keys: {master: "file:DIR/master.key"}
people:
  alice: {email: alice@example.com, password: "${ALICE}"}
providers:
  once: {issuer: "${IDP}/once", id_jag: {jwks_uri: "${IDP}/jwks", replay: never, public_clients: [phone]}}
  again: {issuer: "${IDP}/again", id_jag: {jwks_uri: "${IDP}/jwks", public_clients: [phone]}}
clients:
  registered:
    desktop: {secret: "${DESKTOP}", redirect_uris: ["http://127.0.0.1/callback"]}
    laptop: {secret: "${DESKTOP}", redirect_uris: ["http://127.0.0.1/callback"]}
    phone: {redirect_uris: ["http://127.0.0.1/callback"]}
servers:
  one: {path: /one/mcp, run: sample, scopes: {use: Use it}}
tokens: {refresh: {grace: GRACE}}
limits: {token: "off"}
`

// twins are the two processes.
type twins struct {
	*mortal
	addresses []string
	wire      *http.Client
}

func newTwins(t *testing.T, program, grace string) *twins {
	t.Helper()
	d := newDesk(t)
	d.vars["ALICE"], d.vars["DESKTOP"] = alicesPassword, desktopsSecret
	p := newIDP(t)
	d.vars["IDP"] = p.url
	w := &twins{mortal: &mortal{t: t, d: d, program: program, idp: p.url, key: p.key}, wire: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}, Timeout: 2 * time.Minute}}
	w.addresses = []string{"http://" + free(t), "http://" + free(t)}
	w.url, w.http = w.addresses[0], w.wire
	dir := write(t, map[string]string{"master.key": strings.Repeat("k", 32)})
	t.Cleanup(w.wire.CloseIdleConnections)
	for i, address := range w.addresses {
		file := filepath.Join(dir, fmt.Sprintf("%d.yaml", i))
		text := strings.NewReplacer("URL", w.url, "LISTEN", strings.TrimPrefix(address, "http://"), "STATE", filepath.Join(dir, fmt.Sprint(i)),
			"DIR", dir, "GRACE", grace).Replace(togetherSite)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var b binary
		b.start(t, d, program, "serve", "--config", file)
		t.Cleanup(func() { b.Process.Kill(); b.Wait() })
	}
	return w
}

// reply is what one of many got.
type reply struct {
	status int
	body   map[string]any
	err    error
}

func (a reply) text(name string) string {
	s, _ := a.body[name].(string)
	return s
}

// at sends a form to one of the two, as the client desktop.
func (w *twins) at(i int, path string, form url.Values) reply {
	return w.by("desktop", i, path, form)
}

// by is at for another client; the public one is phone.
func (w *twins) by(client string, i int, path string, form url.Values) reply {
	req, err := http.NewRequest(http.MethodPost, w.addresses[i]+path, strings.NewReader(form.Encode()))
	if err != nil {
		return reply{err: err}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if client != "phone" {
		req.SetBasicAuth(client, desktopsSecret)
	}
	resp, err := w.wire.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{err: err}
	}
	a := reply{status: resp.StatusCode}
	a.err = json.Unmarshal(b, &a.body)
	return a
}

// all sends a form n times at once, to both in turn.
func (w *twins) all(n int, form url.Values) []reply {
	return atOnce(n, func(i int) reply { return w.at(i%2, "/token", form) })
}

func atOnce(n int, send func(i int) reply) []reply {
	answers := make([]reply, n)
	start := make(chan struct{})
	var sent sync.WaitGroup
	for i := range n {
		sent.Go(func() {
			<-start
			answers[i] = send(i)
		})
	}
	close(start)
	sent.Wait()
	return answers
}

// opens says whether an access token opens the server at one of the two.
func (w *twins) opens(i int, token string) bool {
	w.t.Helper()
	return opens(w.t, w.addresses[i]+"/one/mcp", token)
}

// over wants an access token refused by both, at the other one within a second.
func (w *twins) over(token string) {
	w.t.Helper()
	for i := range w.addresses {
		for until := time.Now().Add(5 * time.Second); w.opens(i, token); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(until) {
				w.t.Errorf("process %d: the access token still opens the server", i)
				break
			}
		}
	}
}

func (w *twins) refused(what string, a reply) {
	w.t.Helper()
	if a.err != nil || a.status != http.StatusBadRequest || a.text("error") != "invalid_grant" {
		w.t.Errorf("%s: %d %v %v", what, a.status, a.body, a.err)
	}
}

// first redeems a code of its own.
func (w *twins) first(v *visitor) reply {
	w.t.Helper()
	c, err := v.code()
	if err != nil {
		w.t.Fatal(err)
	}
	a := w.at(0, "/token", redemption(c))
	if a.err != nil || a.status != http.StatusOK {
		w.t.Fatalf("%d %v %v", a.status, a.body, a.err)
	}
	return a
}

func redemption(c *code) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "code": {c.text}, "code_verifier": {c.verifier}}
}

func refreshing(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

// winners wants invalid_grant for all but those that got tokens.
func winners(t *testing.T, answers []reply) []reply {
	t.Helper()
	var won []reply
	refused := map[string]int{}
	for _, a := range answers {
		switch {
		case a.err != nil:
			t.Fatal(a.err)
		case a.status == http.StatusOK:
			won = append(won, a)
		default:
			refused[fmt.Sprint(a.status, " ", a.text("error"))]++
		}
	}
	if n := len(answers) - len(won); refused["400 invalid_grant"] != n {
		t.Errorf("%d won; the others were told %v", len(won), refused)
	}
	return won
}

// built is the program.
func built(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil || runtime.GOOS == "windows" {
		t.Skip("needs go and SIGKILL")
	}
	return rig.Doorward(t)
}

// One code and one refresh token, a thousand times at once, over two processes
// on one file, with no limit on requests.
//
// covers: SEC-11, SEC-13, AS-CODE-02, AS-CODE-03, AS-RT-03, AS-RT-07
func TestThousandTogether(t *testing.T) {
	t.Parallel()
	program := built(t)
	const n = 1000
	t.Run("code", func(t *testing.T) {
		w := newTwins(t, program, "0s")
		c, err := w.visitor().code()
		if err != nil {
			t.Fatal(err)
		}
		won := winners(t, w.all(n, redemption(c)))
		if len(won) != 1 {
			t.Fatalf("%d of %d redemptions succeeded", len(won), n)
		}
		w.refused("the winner's refresh token", w.at(1, "/token", refreshing(won[0].text("refresh_token"))))
		w.over(won[0].text("access_token"))
	})
	t.Run("refresh without grace", func(t *testing.T) {
		w := newTwins(t, program, "0s")
		a := w.first(w.visitor())
		if !w.opens(1, a.text("access_token")) {
			t.Fatal("the first access token does not open the server")
		}
		won := winners(t, w.all(n, refreshing(a.text("refresh_token"))))
		if len(won) != 1 {
			t.Fatalf("%d of %d refreshes succeeded", len(won), n)
		}
		w.refused("the winner's successor", w.at(1, "/token", refreshing(won[0].text("refresh_token"))))
		w.over(won[0].text("access_token"))
		w.over(a.text("access_token"))
	})
	t.Run("refresh with grace", func(t *testing.T) {
		w := newTwins(t, program, "10s")
		a := w.first(w.visitor())
		started := time.Now()
		won := winners(t, w.all(n, refreshing(a.text("refresh_token"))))
		took := time.Since(started)
		successor := a.text("refresh_token")
		for i, each := range won {
			if i == 0 {
				successor = each.text("refresh_token")
			}
			if each.text("refresh_token") != successor {
				t.Fatal("two successors")
			}
		}
		// What comes after the grace is reuse, and ends the family: no machine is
		// that slow.
		if len(won) != n || took > 9*time.Second {
			t.Fatalf("%d of %d refreshes succeeded in %v", len(won), n, took)
		}
		if next := w.at(1, "/token", refreshing(successor)); next.status != http.StatusOK || !w.opens(1, next.text("access_token")) {
			t.Errorf("the successor: %d %v %v", next.status, next.body, next.err)
		}
	})
}
