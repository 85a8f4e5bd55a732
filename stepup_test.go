package doorward_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"doorward"
)

const (
	stepUpCode      = "insufficient_user_authentication"
	stepUpChallenge = `error="insufficient_user_authentication", acr_values="phr", max_age="300"`
)

// callAt calls the MCP server once, and says with which token.
func callAt(t *testing.T, tr *doorward.Transport, address string) (int, error) {
	t.Helper()
	return post(context.Background(), tr, address)
}

// A server that demands a stronger sign-in gets a token of one: the person is
// asked, with what the challenge names, and the refresh token is left alone,
// whose tokens would be of the old sign-in.
//
// covers: T10
func TestStepUpByTheBrowser(t *testing.T) {
	w := newWorld(t)
	w.token = func(url.Values) (int, map[string]any) { return 200, m{"refresh_token": "r"} }
	tr := &doorward.Transport{Flow: w.code()}
	must(t, context.Background(), tr, w.url())
	w.demand = func(url.Values) string {
		if w.sent[len(w.sent)-1].Get("acr_values") == "phr" {
			return ""
		}
		return stepUpChallenge
	}
	must(t, context.Background(), tr, w.url())
	must(t, context.Background(), tr, w.url())
	if len(w.sent) != 2 || w.sent[1].Get("acr_values") != "phr" || w.sent[1].Get("max_age") != "300" || w.sent[0].Has("acr_values") {
		t.Errorf("asked for %v", w.sent)
	}
	for _, form := range w.forms["as"] {
		if form.Get("grant_type") != "authorization_code" {
			t.Errorf("a request with %s", form.Get("grant_type"))
		}
	}

	first := &doorward.Transport{Flow: w.code()} // at its first call, with no token at all
	must(t, context.Background(), first, w.url())
	if n := len(w.sent); n != 4 || w.sent[2].Has("acr_values") || w.sent[3].Get("acr_values") != "phr" {
		t.Errorf("%d sign-ins: %v", n, w.sent)
	}
}

// A sign-in that does not help is the caller's to know: once for a request,
// twice at all, and the token that is good elsewhere stays.
func TestStepUpThatDoesNotHelp(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	flow := w.code()
	open := flow.Open
	tr := &doorward.Transport{Flow: flow, Now: func() time.Time { return now }}
	must(t, context.Background(), tr, w.url())
	w.demand = func(url.Values) string { return stepUpChallenge }
	flow.Open = func(context.Context, string) error { return errors.New("no screen") }
	if _, err := callAt(t, tr, w.url()); err == nil {
		t.Error("no error where the person cannot be asked")
	}
	w.demand = nil
	must(t, context.Background(), tr, w.url())
	if len(w.sent) != 1 || w.count("as") != 1 {
		t.Errorf("the token was not kept: %d sign-ins", len(w.sent))
	}
	w.demand, flow.Open = func(url.Values) string { return stepUpChallenge }, open
	for range 3 {
		if status, err := callAt(t, tr, w.url()); status != 401 || err != nil {
			t.Errorf("status %d, error %v", status, err)
		}
	}
	if n := len(w.sent); n != 2 {
		t.Errorf("%d sign-ins, want the first and one more", n-1)
	}
	now = now.Add(11 * time.Minute)
	if _, err := callAt(t, tr, w.url()); err != nil || len(w.sent) != 3 {
		t.Errorf("after a while: %v, %d sign-ins", err, len(w.sent))
	}
}

// What a server demands goes into an authorization request only in the form
// that it has there.
func TestStepUpOfHostileServers(t *testing.T) {
	for name, c := range map[string]struct{ challenge, acr, age string }{
		"long":        {`acr_values="` + strings.Repeat("a", 301) + `", max_age="12345678901"`, "", ""},
		"no number":   {`acr_values=" a  b ", max_age="-1"`, "a b", ""},
		"a parameter": {`acr_values="a&prompt=none", max_age="1&x=y"`, "a&prompt=none", ""},
		"at once":     {`max_age=0`, "", "0"},
		"nothing":     {`scope="x"`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.demand = func(url.Values) string {
				if len(w.sent) < 2 {
					return `error="insufficient_user_authentication", ` + c.challenge
				}
				return ""
			}
			must(t, context.Background(), &doorward.Transport{Flow: w.code()}, w.url())
			if q := w.sent[1]; len(w.sent) != 2 || q.Get("acr_values") != c.acr || q.Get("max_age") != c.age || q.Has("prompt") || q.Has("x") {
				t.Errorf("asked for %v", q)
			}
		})
	}
}

// signIns is a Renew that writes down what it was called for.
type signIns struct {
	mu    sync.Mutex
	calls []string
}

func (s *signIns) renew(ctx context.Context) (doorward.Subject, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, ok := doorward.StepUp(ctx)
	s.calls = append(s.calls, fmt.Sprint(ok, " ", q.Encode()))
	return doorward.Subject{Person: "alice", Token: fmt.Sprint("sign-in-", len(s.calls)), Until: time.Now().Add(time.Hour)}, nil
}

// With cross-app access the sign-in is that at the IdP: Subject.Renew is told
// what it has to fulfil. Neither a refresh token nor an ID-JAG of the old one
// is used.
//
// covers: C-EMA-06
func TestStepUpOfTheServerByCrossApp(t *testing.T) {
	w, s := newWorld(t), &signIns{}
	w.token = func(url.Values) (int, map[string]any) { return 200, m{"refresh_token": "r"} }
	tr := &doorward.Transport{Flow: w.only(doorward.Subject{Person: "alice", Token: "old", Renew: s.renew})}
	must(t, context.Background(), tr, w.url())
	w.demand = func(form url.Values) string {
		if strings.HasSuffix(form.Get("assertion"), "sign-in-1") {
			return ""
		}
		return stepUpChallenge
	}
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() { must(t, context.Background(), tr, w.url()) })
	}
	callers.Wait()
	if want := []string{"true acr_values=phr&max_age=300"}; !slices.Equal(s.calls, want) {
		t.Errorf("Renew was called for %q", s.calls)
	}
	if w.count("idp") != 2 || w.count("as") != 2 || w.forms["idp"][1].Get("subject_token") != "sign-in-1" {
		t.Errorf("%v", w.forms)
	}
}

// An IdP that demands a new sign-in gets it once, for all that wait; what its
// answer names comes to Renew, or in the error where there is none.
//
// covers: C-EMA-06
func TestStepUpOfTheIdP(t *testing.T) {
	w, s := newWorld(t), &signIns{}
	w.exchange = func(form url.Values) (int, map[string]any) {
		if form.Get("subject_token") == "old" {
			return 400, m{"error": stepUpCode, "acr_values": "phr", "max_age": "0"}
		}
		return 200, m{}
	}
	must(t, context.Background(), &doorward.Transport{Flow: w.only(doorward.Subject{Person: "alice", Token: "old", Renew: s.renew})}, w.url())
	if want := []string{"true acr_values=phr&max_age=0"}; !slices.Equal(s.calls, want) || w.count("idp") != 2 {
		t.Errorf("Renew was called for %q, %d exchanges", s.calls, w.count("idp"))
	}

	_, err := callAt(t, &doorward.Transport{Flow: w.only(doorward.Subject{Person: "alice", Token: "old"})}, w.url())
	var e *doorward.Error
	if !errors.As(err, &e) || e.Code != stepUpCode || e.Who != "person" || e.StepUp.Encode() != "acr_values=phr&max_age=0" || !strings.Contains(e.Error(), "acr_values=phr max_age=0") {
		t.Errorf("without Renew: %v", err)
	}

	before := len(s.calls)
	w.exchange = func(url.Values) (int, map[string]any) { return 400, m{"error": stepUpCode, "max_age": 60} }
	_, err = callAt(t, &doorward.Transport{Flow: w.only(doorward.Subject{Person: "alice", Renew: s.renew})}, w.url())
	if !errors.As(err, &e) || e.Code != stepUpCode {
		t.Errorf("an IdP that is never content: %v", err)
	}
	if got := s.calls[before:]; !slices.Equal(got, []string{"false ", "true max_age=60"}) {
		t.Errorf("Renew was called for %q", got)
	}
}

// An IdP that is never content has the person asked for two requests, and not for
// every one that a program makes; later once more.
func TestStepUpOfAnIdPThatIsNeverContent(t *testing.T) {
	w, s := newWorld(t), &signIns{}
	now := time.Now()
	w.exchange = func(url.Values) (int, map[string]any) { return 400, m{"error": stepUpCode, "max_age": 60} }
	tr := &doorward.Transport{Flow: w.only(doorward.Subject{Person: "alice", Token: "old", Renew: s.renew}), Now: func() time.Time { return now }}
	for range 20 {
		_, _ = callAt(t, tr, w.url()) // what it ends with is TestStepUpOfTheIdP's
	}
	if n := len(s.calls); n < 1 || n > 4 {
		t.Errorf("asked %d times: %q", n, s.calls)
	}
	before := len(s.calls)
	now = now.Add(2 * time.Minute)
	if _, _ = callAt(t, tr, w.url()); len(s.calls) == before {
		t.Error("never asked again")
	}
}

// A step-up that the MCP server demanded counts for later ID-JAGs, too, as long
// as it lasts, though Subject has the old token still.
func TestStepUpOfTheServerLasts(t *testing.T) {
	w, s := newWorld(t), &signIns{}
	now := time.Now()
	tr := &doorward.Transport{Flow: w.only(doorward.Subject{Person: "alice", Token: "old", Until: now.Add(24 * time.Hour), Renew: s.renew}), Now: func() time.Time { return now }}
	w.demand = func(form url.Values) string {
		if strings.HasSuffix(form.Get("assertion"), "old") {
			return stepUpChallenge
		}
		return ""
	}
	must(t, context.Background(), tr, w.url())
	now = now.Add(30 * time.Minute) // past the ID-JAG
	w.needs = "more"
	must(t, context.Background(), tr, w.url())
	if len(s.calls) != 1 {
		t.Errorf("asked %d times: %q", len(s.calls), s.calls)
	}
}

// What a step-up brought is tried before the person is asked once more, though
// Subject has the old token still.
func TestStepUpIsUsedAgain(t *testing.T) {
	w, s := newWorld(t), &signIns{}
	w.exchange = func(form url.Values) (int, map[string]any) {
		if form.Get("subject_token") == "old" {
			return 400, m{"error": stepUpCode, "max_age": 60}
		}
		return 200, m{}
	}
	flow := w.only(doorward.Subject{Person: "alice", Token: "old", Renew: s.renew})
	tr := &doorward.Transport{Flow: flow}
	must(t, context.Background(), tr, w.url())
	w.needs = "more"
	must(t, context.Background(), tr, w.url())
	if len(s.calls) != 1 || w.count("idp") != 4 {
		t.Errorf("Renew was called %d times, %d exchanges", len(s.calls), w.count("idp"))
	}
}

// The authorization server may demand it, too, where the ID-JAG is redeemed;
// Assertion learns it as Renew does.
func TestStepUpOfTheAuthorizationServer(t *testing.T) {
	w := newWorld(t)
	w.token = func(form url.Values) (int, map[string]any) {
		if form.Get("assertion") == "plain" {
			return 400, m{"error": stepUpCode, "acr_values": "phr"}
		}
		return 200, m{}
	}
	flow := w.crossApp()
	flow.Assertion = func(ctx context.Context, _ doorward.Subject, _, _ string, _ []string) (string, error) {
		if q, ok := doorward.StepUp(ctx); ok && q.Get("acr_values") == "phr" {
			return "strong", nil
		}
		return "plain", nil
	}
	must(t, as("alice"), &doorward.Transport{Flow: flow}, w.url())
	if w.count("as") != 2 {
		t.Errorf("%d redemptions", w.count("as"))
	}
	flow.Assertion = nil
	w.token = func(form url.Values) (int, map[string]any) { return 400, m{"error": stepUpCode} }
	var e *doorward.Error
	if _, err := post(as("alice"), &doorward.Transport{Flow: flow}, w.url()); !errors.As(err, &e) || e.Step != "redeem" || e.Who != "person" || e.StepUp != nil || w.count("idp") != 1 {
		t.Errorf("without Renew: %v, %d exchanges", err, w.count("idp"))
	}
}

// Flows without a person say that one is wanted, and ask for no other token.
func TestStepUpWithoutAPerson(t *testing.T) {
	for name, flow := range map[string]doorward.Flow{
		"ClientCredentials": &doorward.ClientCredentials{Client: doorward.Credentials{ID: "svc", Secret: "svc-secret"}},
		"Workload":          &doorward.Workload{Assertion: newPlatform(t).jwt},
	} {
		w := newWorld(t)
		w.demand = func(url.Values) string { return stepUpChallenge }
		_, err := callAt(t, &doorward.Transport{Flow: flow}, w.url())
		var e *doorward.Error
		if !errors.As(err, &e) || e.Code != stepUpCode || e.Who != "operator" || e.StepUp.Get("acr_values") != "phr" || w.count("as") != 1 {
			t.Errorf("%s: %v, %d token requests", name, err, w.count("as"))
		}
	}
}

// Whoever signs in on another device is asked for the same.
func TestStepUpByDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevices(t)
		var calls atomic.Int32
		base := roundTripper(func(req *http.Request) (*http.Response, error) {
			resp, err := d.RoundTrip(req)
			if req.URL.Path == "/mcp" && req.Header.Get("Authorization") != "" && calls.Add(1) == 1 {
				resp.StatusCode = 401
				resp.Header.Set("WWW-Authenticate", "Bearer "+stepUpChallenge)
			}
			return resp, err
		})
		status, err := post(t.Context(), &doorward.Transport{Flow: d.flow(), Base: base}, "https://mcp.example/mcp")
		if err != nil || status != 200 || len(d.asked) != 2 || d.asked[0].Has("acr_values") || d.asked[1].Get("acr_values") != "phr" || d.asked[1].Get("max_age") != "300" {
			t.Errorf("status %d, error %v, asked for %v", status, err, d.asked)
		}
	})
}

// The refresh token that the IdP made of an old SAML assertion does not take
// the place of the one that a step-up brought.
//
// covers: C-EMA-06
func TestStepUpBySAMLAssertion(t *testing.T) {
	w := newWorld(t)
	w.exchange = func(form url.Values) (int, map[string]any) {
		if form.Get("requested_token_type") == typeRefresh {
			return 200, m{"issued_token_type": typeRefresh, "access_token": "refresh-of-" + form.Get("subject_token")}
		}
		return 200, m{}
	}
	w.demand = func(form url.Values) string {
		if strings.HasSuffix(form.Get("assertion"), "refresh-of-new") {
			return ""
		}
		return stepUpChallenge
	}
	s := doorward.Subject{Person: "alice", Type: typeSAML, Renew: func(ctx context.Context) (doorward.Subject, error) {
		token := "old"
		if _, ok := doorward.StepUp(ctx); ok {
			token = "new"
		}
		return doorward.Subject{Person: "alice", Token: token, Type: typeSAML}, nil
	}}
	must(t, t.Context(), &doorward.Transport{Flow: w.only(s)}, w.url())
	var proofs []string
	for _, form := range w.forms["idp"] {
		proofs = append(proofs, form.Get("subject_token"))
	}
	if want := []string{"old", "refresh-of-old", "new", "refresh-of-new"}; !slices.Equal(proofs, want) {
		t.Errorf("exchanged %q, want %q", proofs, want)
	}
}
