package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"doorward"
	"doorward/internal/browse"
	"doorward/internal/oauth"
)

// shown is one numbered line of the demo, and one object with --json.
type shown struct {
	N      int            `json:"n"`
	From   string         `json:"from"`
	To     string         `json:"to"`
	Method string         `json:"method"`
	URL    string         `json:"url"`
	Status int            `json:"status"`
	Claims map[string]any `json:"claims"`
	OK     bool           `json:"ok"`
	MS     float64        `json:"ms"`

	path, what string
}

// walker runs the steps and shows each.
type walker struct {
	*demo
	n int
}

// step shows the line for an exchange. check reads the exchange and says what
// it saw; its error fails the step. x nil: the exchange never came to be.
func (w *walker) step(from, to, missing string, x *exchange, cause error, check func(x *exchange) (string, map[string]any, error)) error {
	w.n++
	s := shown{N: w.n, From: from, To: to, Claims: map[string]any{}}
	var err error
	if x == nil {
		err = fmt.Errorf("%s was never asked", missing)
		if cause != nil {
			err = fmt.Errorf("%s was never asked: %w", missing, cause)
		}
		s.what = missing
	} else {
		s.Method, s.URL, s.path, s.Status, s.MS = x.method, x.url.String(), x.url.Path, x.status, x.ms()
		switch s.what, s.Claims, err = check(x); {
		case x.err != nil:
			s.what, err = missing, fmt.Errorf("%s: %w", missing, x.err)
		case err != nil:
			s.what = missing
		}
	}
	s.OK = err == nil
	w.show(s, x)
	if err != nil {
		return &stepError{w.n, err}
	}
	return nil
}

func (w *walker) show(s shown, x *exchange) {
	if s.Claims == nil {
		s.Claims = map[string]any{}
	}
	if w.json {
		if err := w.printJSON(s); err != nil {
			w.say("%v", err)
		}
		return
	}
	mark, good, bad, off := "", "", "", ""
	if w.colours(w.stdout) {
		good, bad, off = "\x1b[32m", "\x1b[31m", "\x1b[0m"
	}
	if !s.OK {
		mark = bad + "✗ " + off
	} else if good != "" {
		mark = good + "✓ " + off
	}
	fmt.Fprintf(w.stdout, "%2d  %-27s  %-4s %-12s  %3d  %s%s  %.1f ms\n", s.N, s.From+" → "+s.To, s.Method, s.path, s.Status, mark, s.what, s.MS)
	if w.trace && x != nil {
		x.trace(w.stdout)
	}
}

// walk is Alice's last day.
func (d *demo) walk(ctx context.Context) error {
	w := &walker{demo: d}
	alice, err := w.signsIn(ctx, "Alice", "alice", d.secrets["ALICE"], d.corp())
	if err != nil {
		return err
	}
	call, err := w.callsTool(ctx, alice)
	if err != nil {
		return err
	}
	defer call.close()
	bob, err := w.signsIn(ctx, "Bob", "bob", d.secrets["BOB"], d.corp())
	if err != nil {
		return err
	}
	if err := w.isRefused(ctx, bob); err != nil {
		return err
	}
	left, err := w.leaves(ctx, call)
	if err != nil {
		return err
	}
	if err := w.twoCompanies(ctx, call.jag); err != nil {
		return err
	}
	w.printed(left)
	return nil
}

// signsIn brings a person's ID token: once, by the browser.
func (w *walker) signsIn(ctx context.Context, from, name, password string, at employer) (idToken, error) {
	start := w.wire.len()
	p, err := browse.New(name, password, w.wire.as(from))
	if err != nil {
		return idToken{}, err
	}
	// A page that does not answer must not keep the walk: the person gives up.
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tok, err := signIn{
		Issuer: at.idp, ClientID: "desktop-idp", ClientSecret: at.secret,
		RedirectURI: "http://127.0.0.1/callback", Open: p.Open, HTTP: &http.Client{Transport: w.wire.as(from), Timeout: 10 * time.Second}, Now: time.Now,
	}.do(ctx)
	x := last(w.wire.find(start, isGrant(at.idp, oauth.AuthorizationCode)))
	return tok, w.step(from, at.to, "the sign-in", x, err, func(x *exchange) (string, map[string]any, error) {
		if err != nil {
			return "", nil, err
		}
		_, claims := decoded(tok.Raw)
		return fmt.Sprintf("signed in once: ID token, sub=%v aud=%v", claims["sub"], claims["aud"]), claims, nil
	})
}

// transport is the client of five lines that the README shows.
func (w *walker) transport(who string, at employer, tok idToken) *doorward.Transport {
	return &doorward.Transport{
		Base: w.wire.as(who),
		Flow: &doorward.CrossApp{
			IdP:    doorward.Credentials{Issuer: at.idp, ID: "desktop-idp", Secret: at.secret},
			Server: doorward.Credentials{ID: "desktop", Secret: w.secrets["SERVER_SECRET"]},
			Subject: func(context.Context) (doorward.Subject, error) {
				return doorward.Subject{Person: tok.Subject, Token: tok.Raw}, nil
			},
		},
	}
}

// alicesCall is what goes on after her call: her session with its stream, and
// the token that she holds.
type alicesCall struct {
	session *mcp.ClientSession
	stream  *exchange
	token   string
	jag     map[string]any // claims of the ID-JAG that it came by
}

func (c *alicesCall) close() {
	if c.session != nil {
		c.session.Close()
	}
}

// callsTool lets a real MCP client call a tool; every line is read from what
// its transport did on the way.
func (w *walker) callsTool(ctx context.Context, tok idToken) (*alicesCall, error) {
	start := w.wire.len()
	c := &alicesCall{}
	cctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	session, result, cause := w.call(cctx, w.transport("Alice's client", w.corp(), tok))
	c.session = session
	mcpURL := w.server + "/mcp"
	at := func(method, url string, status int) *exchange {
		all := w.wire.find(start, func(x *exchange) bool { return x.method == method && x.url.String() == url })
		for _, x := range all {
			if x.status == status {
				return x
			}
		}
		return first1(all)
	}
	from, server := "Alice's client", "Doorward"
	resource := ""
	steps := []func() error{
		func() error {
			return w.step(from, server, "the challenge", at("POST", mcpURL, 401), cause, w.checkChallenge)
		},
		func() error {
			return w.step(from, server, "the resource metadata", at("GET", w.server+oauth.WellKnownPRM+"/mcp", 200), cause, func(x *exchange) (what string, _ map[string]any, err error) {
				resource, what, err = w.checkResource(x)
				return what, nil, err
			})
		},
		func() error {
			return w.step(from, server, "the server metadata", at("GET", w.server+oauth.WellKnownAS, 200), cause, w.checkServer)
		},
		func() error {
			return w.step(from, "IdP", "the ID-JAG exchange", first1(w.wire.find(start, exchangeAt(w.idp))), cause, func(x *exchange) (what string, _ map[string]any, err error) {
				what, c.jag, err = w.checkExchange(x, resource)
				return what, c.jag, err
			})
		},
		func() error {
			return w.step(from, server, "the ID-JAG redemption", first1(w.wire.find(start, redemptionAt(w.server))), cause, func(x *exchange) (what string, claims map[string]any, err error) {
				c.token, what, claims, err = w.checkRedemption(x, resource, "corp")
				return what, claims, err
			})
		},
		func() error {
			x := last(w.wire.find(start, func(x *exchange) bool { return x.rpcMethod() == "tools/call" }))
			return w.step(from, "MCP server", "tools/call whoami", x, cause, func(x *exchange) (string, map[string]any, error) {
				return checkCall(x, result, cause, "corp/alice")
			})
		},
		func() error {
			x := w.openStream(ctx, start, mcpURL)
			c.stream = x
			return w.step(from, "MCP server", "the open stream", x, cause, func(x *exchange) (string, map[string]any, error) {
				if err := wantStatus(x, 200); err != nil {
					return "", nil, err
				}
				if !x.isStream() {
					return "", nil, fmt.Errorf("the answer is %q, no event stream", x.answer.Get("Content-Type"))
				}
				return "her stream of events is open", nil, nil
			})
		},
	}
	for _, s := range steps {
		if err := s(); err != nil {
			return c, err
		}
	}
	return c, nil
}

// openStream waits for the GET stream that the MCP client opens by itself.
func (w *walker) openStream(ctx context.Context, start int, mcpURL string) *exchange {
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		x := last(w.wire.find(start, func(x *exchange) bool { return x.method == "GET" && x.url.String() == mcpURL }))
		if x != nil {
			return x
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// call connects and calls whoami.
func (w *walker) call(ctx context.Context, t *doorward.Transport) (*mcp.ClientSession, *mcp.CallToolResult, error) {
	client := mcp.NewClient(&mcp.Implementation{Name: "doorward-demo", Version: version}, nil)
	session, err := client.Connect(context.WithoutCancel(ctx), &mcp.StreamableClientTransport{
		Endpoint: w.server + "/mcp", HTTPClient: &http.Client{Transport: t}, MaxRetries: -1,
	}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"}) // the wire that has a stream to end
	if err != nil {
		return nil, nil, err
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "whoami"})
	return session, result, err
}

// refInText finds the reference of a refusal.
var refInText = regexp.MustCompile(` \(ref ([a-z2-9]{8})\)`)

// isRefused shows the rule that keeps Bob out.
func (w *walker) isRefused(ctx context.Context, tok idToken) error {
	start := w.wire.len()
	bctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	session, _, cause := w.call(bctx, w.transport("Bob's client", w.corp(), tok))
	if session != nil {
		defer session.Close()
	}
	x := last(w.wire.find(start, exchangeAt(w.idp)))
	return w.step("Bob's client", "IdP", "the ID-JAG exchange", x, cause, func(x *exchange) (string, map[string]any, error) {
		code, description, err := w.refusedByRule(x, cause)
		if err != nil {
			return "", nil, err
		}
		if m := refInText.FindStringSubmatch(description); m != nil {
			w.refused = m[1]
		} else {
			return "", nil, fmt.Errorf("the refusal has no reference: %s", description)
		}
		return "no ID-JAG: " + code + ", " + description, map[string]any{"error": code, "error_description": description}, nil
	})
}

// refusedByRule checks that the deny rule of an audience refused an exchange,
// by its name.
func (w *walker) refusedByRule(x *exchange, cause error) (code, description string, err error) {
	refusal := x.refusal()
	rule := fmt.Sprintf("audiences[%q].deny[0]", w.server)
	switch {
	case x.status == http.StatusOK || cause == nil:
		err = errors.New("a rule denies it, and it got through")
	case x.status != http.StatusBadRequest || refusal.Code != oauth.InvalidTarget:
		err = fmt.Errorf("refused, but not by a rule: status %d %s %s", x.status, refusal.Code, refusal.Description)
	case !strings.Contains(strings.ReplaceAll(refusal.Description, "'", `"`), rule):
		err = fmt.Errorf("the refusal does not name the rule %s: %s", rule, refusal.Description)
	}
	return refusal.Code, refusal.Description, err
}

// leaves ends everything of Alice's and shows that it ended.
func (w *walker) leaves(ctx context.Context, c *alicesCall) (receipt, error) {
	var r receipt
	start := w.wire.len()
	left := time.Now()
	err := w.administers(ctx, "leave", leaveIn{Person: "alice"}, &r)
	x := last(w.wire.find(start, func(x *exchange) bool { return x.url.Path == "/leave" }))
	if err := w.step("administrator", "Doorward", "leave alice", x, err, func(*exchange) (string, map[string]any, error) {
		if err != nil {
			return "", nil, err
		}
		if len(r.Grants) == 0 {
			return "", nil, errors.New("leave found nothing of Alice's to end")
		}
		return fmt.Sprintf("leave alice: %s ended", count(len(r.Grants), "grant")), map[string]any{"grants": r.Grants, "took_ms": r.TookMS}, nil
	}); err != nil {
		return r, err
	}
	if err := w.streamEnds(ctx, c, left); err != nil {
		return r, err
	}
	if err := w.tokenIsOver(ctx, "Alice's client", c.token); err != nil {
		return r, err
	}
	start = w.wire.len()
	nctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, cause := c.session.CallTool(nctx, &mcp.CallToolParams{Name: "whoami"})
	x = last(w.wire.find(start, redemptionAt(w.server)))
	if x == nil { // the client's stream, cut off, may have asked before the call did
		x = last(w.wire.find(0, redemptionAt(w.server)))
	}
	return r, w.step("Alice's client", "Doorward", "a new ID-JAG redemption", x, cause, func(x *exchange) (string, map[string]any, error) {
		if cause == nil {
			return "", nil, errors.New("the client of Alice called a tool after she left")
		}
		if err := wantStatus(x, 400); err != nil {
			return "", nil, err
		}
		return "nor does a new ID-JAG help: " + x.refusal().Code, map[string]any{"error": x.refusal().Code}, nil
	})
}

func (w *walker) printed(r receipt) {
	if w.json {
		return
	}
	fmt.Fprintln(w.stdout, "\nThe receipt:")
	if err := w.printReceipt(r, false); err != nil {
		w.say("%v", err)
	}
}

// administers is a command such as `doorward leave alice --state …` over the
// server's socket.
func (w *walker) administers(ctx context.Context, command string, in any, r *receipt) error {
	a, err := (&adminFlags{state: w.serverState}).open(ctx, w.env)
	if err != nil {
		return err
	}
	defer a.close()
	recording := &recorder{next: a.http.Transport}
	a.http.Transport = recording.as("administrator")
	err = a.ask(ctx, command, in, r)
	w.wire.mu.Lock()
	w.wire.all = append(w.wire.all, recording.all...)
	w.wire.mu.Unlock()
	return err
}

func (w *walker) streamEnds(ctx context.Context, c *alicesCall, left time.Time) error {
	timer := time.NewTimer(3 * time.Second)
	defer timer.Stop()
	err := error(nil)
	select {
	case <-c.stream.ended:
	case <-timer.C:
		err = errors.New("her stream is still open after three seconds")
	case <-ctx.Done():
		err = ctx.Err()
	}
	took := time.Since(left)
	c.stream.mu.Lock()
	c.stream.took = took
	c.stream.mu.Unlock()
	return w.step("Doorward", "Alice's client", "the open stream", c.stream, nil, func(*exchange) (string, map[string]any, error) {
		if err == nil && took > time.Second {
			err = fmt.Errorf("her stream lived on for %s", took.Round(time.Millisecond))
		}
		return fmt.Sprintf("her stream ended %.0f ms after the word", float64(took.Microseconds())/1000), map[string]any{"ended_ms": took.Milliseconds()}, err
	})
}

// withToken shows the token that she held to the door once more.
func (w *walker) withToken(ctx context.Context, token string) (*exchange, error) {
	start := w.wire.len()
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.server+"/mcp", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Authorization", "Bearer "+token)
	who := "Alice, once more"
	client := &http.Client{Transport: w.wire.as(who), Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	return last(w.wire.find(start, func(x *exchange) bool { return x.who == who })), err
}

func wantStatus(x *exchange, want int) error {
	if x.status == want {
		return nil
	}
	if r := x.refusal(); r.Code != "" {
		return fmt.Errorf("status %d instead of %d: %s %s", x.status, want, r.Code, r.Description)
	}
	return fmt.Errorf("status %d instead of %d", x.status, want)
}

func last(all []*exchange) *exchange {
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

func first1(all []*exchange) *exchange {
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// checkCall reads what the tool answered, which must know who called.
func checkCall(x *exchange, result *mcp.CallToolResult, cause error, account string) (string, map[string]any, error) {
	switch {
	case cause != nil:
		return "", nil, cause
	case x.status != http.StatusOK:
		return "", nil, wantStatus(x, http.StatusOK)
	case result.IsError || len(result.Content) == 0:
		return "", nil, errors.New("the tool answered with an error")
	}
	b, err := json.Marshal(result.Content[0])
	if err != nil {
		return "", nil, err
	}
	var text struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(b, &text); err != nil {
		return "", nil, err
	}
	claims := map[string]any{"text": text.Text}
	if !strings.Contains(text.Text, `"`+account+`"`) {
		return "", nil, fmt.Errorf("the tool does not know that it was %s who called: %s", account, cut(text.Text, 200))
	}
	return "tools/call whoami: " + cut(text.Text, 120), claims, nil
}
