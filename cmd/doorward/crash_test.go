package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
	"doorward/store/sqlite"
)

// What an authorization server answered is a promise, however it ends. Here it
// ends by SIGKILL at random moments, in the middle of what several clients ask
// of it, and starts again on the same state. Whatever was answered must hold;
// what was under way may have been done or not, but not half. (The disk itself
// stays up: that a commit outlives the power is for the store to see to.)

// covers: AS-CODE-02, AS-CODE-03, AS-RT-03, AS-JAG-09, SEC-11, A08
func TestKilled(t *testing.T) {
	t.Parallel()
	rounds := 6
	if os.Getenv("DOORWARD_SOAK") == "1" {
		rounds = 50
	}
	r := newMortal(t)
	r.start("0s")
	visitors := []*visitor{r.visitor(), r.visitor()}
	families := make([]*family, 3)
	var kept []client
	met := map[string]int{}
	for round := range rounds {
		for i, f := range families {
			if f == nil {
				families[i] = r.family(visitors[0])
			}
		}
		all := r.killedAtWork(visitors, families)
		d := r.read()
		if round%3 == 2 {
			r.killAtStart()
		}
		grace := []string{"0s", "1m"}[round%2]
		r.start(grace)
		for i, s := range all {
			if s.err != nil {
				t.Fatalf("round %d, worker %d: %v", round, i, s.err)
			}
			tally(met, s)
			r.checkCodes(d, s.codes)
			r.checkAssertions(d, s.assertions)
			r.checkClients(s.clients)
			kept = append(kept, some(s.clients, 2)...)
		}
		for i, f := range families {
			if _, rotated := d.holds(f.tokens[len(f.tokens)-1]); rotated {
				met["refreshes done whose answer was lost"]++
			}
			if f = r.checkFamily(d, f, grace); f != nil && len(f.tokens) > 3 && rand.IntN(3) == 0 {
				r.reuse(f)
				f = nil
			}
			families[i] = f
		}
		r.checkClients(kept)
		d.Close()
		if t.Failed() {
			t.Fatalf("after round %d", round)
		}
	}
	t.Logf("%d rounds: %v", rounds, met)
}

// killedAtWork lets everybody work, and kills the server among them.
func (r *mortal) killedAtWork(visitors []*visitor, families []*family) []*seen {
	var all []*seen
	var work sync.WaitGroup
	begin := func(f func(*seen)) {
		s := &seen{}
		all = append(all, s)
		work.Go(func() { f(s) })
	}
	for _, v := range visitors {
		begin(func(s *seen) { r.redeemCodes(v, s) })
	}
	for _, f := range families {
		begin(func(s *seen) { r.refreshAlong(f, s) })
	}
	for range 2 {
		begin(r.redeemAssertions)
	}
	begin(r.registerClients)
	time.Sleep(20*time.Millisecond + rand.N(400*time.Millisecond))
	r.kill()
	work.Wait()
	return all
}

// tally says what the kills met, so that somebody can see that they did.
func tally(met map[string]int, s *seen) {
	for _, c := range s.codes {
		met["codes"]++
		if c.state == underWay {
			met["codes under way"]++
		}
	}
	for _, a := range s.assertions {
		met["ID-JAGs"]++
		if a.state == underWay {
			met["ID-JAGs under way"]++
		}
	}
	if s.family != nil && s.family.pending {
		met["refreshes under way"]++
	}
	met["clients"] += len(s.clients)
}

// disk is the state as a server that was killed left it.
type disk struct {
	store.Store
	ledger *ledger.Ledger
	grants []ledger.Grant
}

// read copies the database first: what the copy's reader repairs, the server
// has still to repair by itself.
func (r *mortal) read() *disk {
	r.t.Helper()
	from, to := filepath.Join(r.dir, ".doorward", "doorward.db"), filepath.Join(r.t.TempDir(), "copy.db")
	for _, tail := range []string{"", "-wal"} {
		b, err := os.ReadFile(from + tail)
		if errors.Is(err, fs.ErrNotExist) && tail != "" {
			continue
		}
		if err == nil {
			err = os.WriteFile(to+tail, b, 0o600)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	db, err := sqlite.Open(to)
	if err != nil {
		r.t.Fatalf("what was killed left a database that cannot be opened: %v", err)
	}
	d := &disk{Store: db, ledger: &ledger.Ledger{Store: db}}
	for after := ""; ; {
		recs, next, err := db.List(r.t.Context(), store.Query{Kind: ledger.KindGrant, After: after, Limit: store.MaxPage})
		if err != nil {
			r.t.Fatal(err)
		}
		for _, rec := range recs {
			g, err := d.ledger.Grant(r.t.Context(), rec.Key)
			if err != nil {
				r.t.Fatal(err)
			}
			d.grants = append(d.grants, g)
		}
		if after = next; after == "" {
			return d
		}
	}
}

// holds says which refresh token of a family is current there: the one that
// the client has, its successor whose answer was under way, or neither.
func (d *disk) holds(token string) (current, rotated bool) {
	hash := sha256.Sum256([]byte(token))
	for _, g := range d.grants {
		if g.Refresh != nil && g.Ended.IsZero() {
			current = current || bytes.Equal(g.Refresh.Hash, hash[:])
			rotated = rotated || bytes.Equal(g.Refresh.Previous, hash[:])
		}
	}
	return current, rotated
}

// spent says whether a code was used up, and whether its grant got its handle:
// one without the other would be a code that is spent and lost. Of a code that
// says itself what was asked nothing lies there until then (docs/adr/0013).
func (r *mortal) spent(d *disk, c *code) (taken, handled bool) {
	r.t.Helper()
	hash := sha256.Sum256([]byte(c.text))
	for _, g := range d.grants {
		if g.Code != nil && bytes.Equal(g.Code.Hash, hash[:]) {
			return g.Code.Used, g.Refresh != nil
		}
	}
	if len(c.text) == keptCode {
		r.t.Fatal("a code that was answered is not on disk")
	}
	return false, false
}

// keptCode is the length of a code that is a grant's id and a secret.
const keptCode = 22 + 43

// asserted says whether the jti of an ID-JAG was used up there, and whether the
// grant is there that it was answered with.
func (r *mortal) asserted(d *disk, text string) (spent, granted bool) {
	r.t.Helper()
	token, err := jose.Read(text)
	if err != nil {
		r.t.Fatal(err)
	}
	iss, err1 := token.Claims().Text("iss")
	jti, err2 := token.Claims().Text("jti")
	if err := errors.Join(err1, err2); err != nil {
		r.t.Fatal(err)
	}
	name := sha256.Sum256(fmt.Appendf(nil, "%q %q", iss, jti))
	use, err := d.Get(r.t.Context(), store.KindOnce, fmt.Sprintf("jag:%x", name))
	if errors.Is(err, store.ErrNotFound) {
		return false, false
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return true, slices.ContainsFunc(d.grants, func(g ledger.Grant) bool { return bytes.HasSuffix(use.Value, []byte(g.ID)) })
}

// some is at most n of a list, always with the last, which the kill met.
func some[T any](list []T, n int) []T {
	if len(list) <= n {
		return list
	}
	out := []T{list[len(list)-1]}
	for _, i := range rand.Perm(len(list) - 1)[:n-1] {
		out = append(out, list[i])
	}
	return out
}

// refused checks that err is invalid_grant.
func (r *mortal) refused(what string, err error) {
	r.t.Helper()
	if err == nil || !strings.Contains(err.Error(), oauth.InvalidGrant) {
		r.t.Errorf("%s: %v, want invalid_grant", what, err)
	}
}

func (r *mortal) worksOrNot(what, access string, works bool) {
	r.t.Helper()
	if got := opens(r.t, r.url+"/one/mcp", access); got != works {
		r.t.Errorf("%s: opens the server: %t, want %t", what, got, works)
	}
}

func (r *mortal) checkCodes(d *disk, codes []*code) {
	r.t.Helper()
	for _, c := range some(codes, 12) {
		taken, handled := r.spent(d, c)
		if taken != handled || c.state == done && !taken || c.state == unsent && taken {
			r.t.Errorf("a code in state %d is taken: %t, its grant has a handle: %t", c.state, taken, handled)
		}
		if c.state == done {
			r.worksOrNot("the token of a code", c.got.access, true)
			got, err := r.refresh(c.got.refresh)
			if err != nil {
				r.t.Errorf("the refresh token of a code: %v", err)
			}
			_, err = r.redeem(c)
			r.refused("a code that was spent before the kill", err)
			_, err = r.refresh(got.refresh)
			r.refused("what a code gave that was used twice", err)
			continue
		}
		_, err := r.redeem(c)
		if !taken {
			if err != nil {
				r.t.Errorf("a code that was not spent: %v", err)
			}
			_, err = r.redeem(c)
		}
		r.refused("a code that was spent", err)
	}
}

// checkFamily settles a refresh that was under way, and leaves the family
// usable or, if it was lost with the answer, nil.
func (r *mortal) checkFamily(d *disk, f *family, grace string) *family {
	r.t.Helper()
	last := f.tokens[len(f.tokens)-1]
	current, rotated := d.holds(last)
	if current == rotated || rotated && !f.pending {
		r.t.Errorf("of a family, the last token that was answered is current: %t, rotated: %t, with a refresh under way: %t", current, rotated, f.pending)
		return nil
	}
	if f.access != "" {
		r.worksOrNot("the token of a refresh", f.access, true)
	}
	got, err := r.refresh(last)
	if rotated && grace == "0s" {
		r.refused("a token that was rotated as the server was killed", err)
		return nil
	}
	if err != nil {
		r.t.Errorf("the refresh token that was answered last (current: %t, rotated: %t, grace %s): %v", current, rotated, grace, err)
		return nil
	}
	if rotated { // the answer that was lost, again: the very token that lies there
		if stillCurrent, _ := d.holds(got.refresh); !stillCurrent {
			r.t.Error("the repeated answer has another token than the one that was committed")
		}
	}
	f.tokens, f.access, f.pending = append(f.tokens, got.refresh), got.access, false
	return f
}

// reuse shows a rotated token, which ends the family.
func (r *mortal) reuse(f *family) {
	r.t.Helper()
	n := len(f.tokens)
	old := max(n-3, 0) // older than any grace
	if n > 3 {
		old = rand.IntN(n - 2)
	}
	_, err := r.refresh(f.tokens[old])
	r.refused("a rotated refresh token", err)
	_, err = r.refresh(f.tokens[n-1])
	r.refused("the current token of a family of which a rotated one was used", err)
	r.worksOrNot("the access token of that family", f.access, false)
}

func (r *mortal) checkAssertions(d *disk, list []*assertion) {
	r.t.Helper()
	for _, a := range some(list, 12) {
		spent, granted := r.asserted(d, a.text)
		if spent != granted || a.state == done && !spent {
			r.t.Errorf("an ID-JAG in state %d is spent: %t, its grant is on disk: %t", a.state, spent, granted)
		}
		if a.state == done && a.revoked != underWay {
			r.worksOrNot(fmt.Sprintf("the token of an ID-JAG (revoked: %t)", a.revoked == done), a.access, a.revoked != done)
		}
		_, err := r.assert(a.text)
		if !spent {
			if err != nil {
				r.t.Errorf("an ID-JAG that was not spent: %v", err)
			}
			_, err = r.assert(a.text)
		}
		r.refused("an ID-JAG that was spent", err)
	}
}

// checkClients shows each client's secret: an unknown client would be
// invalid_client.
func (r *mortal) checkClients(list []client) {
	r.t.Helper()
	for _, c := range some(list, 12) {
		body := url.Values{"grant_type": {"authorization_code"}, "code": {"none"}, "client_id": {c.id}, "client_secret": {c.secret}}.Encode()
		resp, err := r.http.Post(r.url+"/token", "application/x-www-form-urlencoded", strings.NewReader(body))
		if err != nil {
			r.t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.Contains(string(b), oauth.InvalidGrant) {
			r.t.Errorf("a client that was registered: %d %s", resp.StatusCode, b)
		}
	}
}

// family begins a grant with a refresh token.
func (r *mortal) family(v *visitor) *family {
	r.t.Helper()
	c, err := v.code()
	if err != nil {
		r.t.Fatal(err)
	}
	got, err := r.redeem(c)
	if err != nil {
		r.t.Fatal(err)
	}
	return &family{tokens: []string{got.refresh}, access: got.access}
}
