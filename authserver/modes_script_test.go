package authserver

import (
	"context"
	"errors"
	"html"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// modeScript is what the commands of a script about mode proxy or passthrough
// work on, beside those of script.
type modeScript struct {
	*script
	t    *testing.T
	site *site
	b    *browser
	page page
	f    *fakeProvider // proxy: the separate server, which signs carol in
	e    *elsewhere    // passthrough: it, whose answers the script says
}

// TestModeScripts runs testdata/modes/*.txtar: one script per flow of a mode, which
// the name begins with.
func TestModeScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/modes/*.txtar")
	if err != nil || len(scripts) < 5 {
		t.Fatal(scripts, err)
	}
	for _, file := range scripts {
		mode, flow, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".txtar"), "_")
		t.Run(mode+" "+flow, func(t *testing.T) {
			m := &modeScript{t: t}
			switch mode {
			case "proxy":
				m.site, m.f = newProxiedSite(t, nil)
			case "passthrough":
				m.site, m.e, _ = newRelay(t, nil)
			case "onegate": // passthrough, with one client there for all
				m.site, m.e, _ = newRelay(t, gate)
			default:
				t.Fatalf("no mode %q", mode)
			}
			m.b, m.script = m.site.browser(), &script{at: m.site.Server}
			testscript.Run(t, testscript.Params{Files: []string{file}, Cmds: modeCommands(), Setup: func(env *testscript.Env) error {
				env.Values["script"], env.Values["mode"] = m.script, m
				env.Vars = append(env.Vars, "ISSUER="+siteURL, "THERE="+loginURL, "FILES="+files, "BACK="+desktopBack, "VERIFIER="+verifier, "GATE="+elsewhereSecret)
				return nil
			}})
		})
	}
}

func modeCommands() map[string]command {
	own := func(f func(*modeScript, bool, []string)) command {
		return func(ts *testscript.TestScript, neg bool, args []string) {
			m := ts.Value("mode").(*modeScript)
			m.ts = ts
			f(m, neg, args)
		}
	}
	return map[string]command{
		"basic": scripted((*script).cmdBasic), "post": scripted((*script).cmdPost), "get": scripted((*script).cmdGet), "status": scripted((*script).cmdStatus),
		"json": scripted((*script).cmdJSON), "header": scripted((*script).cmdHeader), "save": scripted((*script).cmdSave), "same": scripted((*script).cmdSame),
		"claim": scripted((*script).cmdClaim), "body": scripted((*script).cmdBody), "audit": scripted((*script).cmdAudit), "end": scripted((*script).cmdEnd),
		"ended": scripted((*script).cmdEnded),

		"browse":   own((*modeScript).browse),   // browse CLIENT REDIRECT_URI [NAME=VALUE…]: the browser is sent to ask for a code
		"press":    own((*modeScript).press),    // press [NAME=VALUE…]: the button of the page's form
		"shows":    own((*modeScript).shows),    // [!] shows TEXT…: the page is one of ours and says so
		"arrived":  own((*modeScript).arrived),  // arrived PREFIX: the browser was sent there
		"query":    own((*modeScript).query),    // [!] query NAME [VALUE]: of where it was sent
		"pick":     own((*modeScript).pick),     // pick VARIABLE NAME: of the same
		"letin":    own((*modeScript).letIn),    // letin: the separate server signs carol in and sends the browser back
		"turnaway": own((*modeScript).turnAway), // turnaway ERROR: it sends the browser back with that
		"vault":    own((*modeScript).vault),    // [!] vault TOKEN [VALUE]: what the separate server issued, for that token's grant
		"issues":   own((*modeScript).issues),   // issues TOKEN: the separate server's next access tokens
		"lost":     own((*modeScript).lost),     // lost ERROR: it refuses token requests from now on with that
		"says":     own((*modeScript).says),     // says STATUS BODY: its next answers
		"relayed":  own((*modeScript).relayed),  // relayed PATH [NAME=VALUE… -NAME…]: the last request there and its form
		"later":    own((*modeScript).later),    // later DURATION: time goes by
		"register": own((*modeScript).register), // register JSON
	}
}

func (m *modeScript) browse(_ bool, args []string) {
	var pairs []string
	for _, a := range args[2:] {
		name, value, _ := strings.Cut(a, "=")
		pairs = append(pairs, name, value)
	}
	m.page = m.b.get(m.site.ask(args[0], args[1], pairs...))
}

func (m *modeScript) press(_ bool, args []string) {
	var typed []string
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		typed = append(typed, name, value)
	}
	m.page = m.b.submit(m.page, typed...)
}

func (m *modeScript) shows(neg bool, args []string) {
	for _, text := range args {
		if m.page.left || strings.Contains(html.UnescapeString(m.page.body), text) == neg {
			m.ts.Fatalf("at %s (%d), %q: %s", m.page.url, m.page.status, text, m.page.body)
		}
	}
}

func (m *modeScript) arrived(_ bool, args []string) {
	if !m.page.left || !strings.HasPrefix(m.page.url.String(), args[0]) {
		m.ts.Fatalf("not at %s but at %s (%d):\n%s", args[0], m.page.url, m.page.status, m.page.body)
	}
}

func (m *modeScript) query(neg bool, args []string) {
	got := m.page.url.Query()[args[0]]
	m.compare(neg, "parameter "+args[0], strings.Join(got, " and "), got != nil, args[1:])
}

func (m *modeScript) pick(_ bool, args []string) {
	m.ts.Setenv(args[0], m.page.url.Query().Get(args[1]))
}

func (m *modeScript) letIn(bool, []string) { m.page = m.b.get(m.f.letIn(m.page)) }

func (m *modeScript) turnAway(_ bool, args []string) {
	q := m.page.url.Query()
	m.page = m.b.get(q.Get("redirect_uri") + "?" + url.Values{"error": {args[0]}, "state": {q.Get("state")}, "iss": {loginURL}}.Encode())
}

func (m *modeScript) vault(neg bool, args []string) {
	_, c := m.peek(args[0])
	id, _ := c.Text("gid")
	got, err := m.site.UpstreamToken(context.Background(), id)
	if err != nil && !errors.Is(err, ErrNoUpstream) && !errors.Is(err, ErrUpstreamOver) {
		m.ts.Fatalf("%v", err)
	}
	m.compare(neg, "the vault", got, err == nil, args[1:])
}

func (m *modeScript) issues(_ bool, args []string) {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	m.f.extra["access_token"] = args[0]
}

func (m *modeScript) lost(_ bool, args []string) {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	m.f.refuse = args[0]
}

func (m *modeScript) says(_ bool, args []string) {
	status := map[string]int{"200": 200, "201": 201, "400": 400, "401": 401, "503": 503}[args[0]]
	m.e.mu.Lock()
	defer m.e.mu.Unlock()
	m.e.status, m.e.body = status, args[1]
}

func (m *modeScript) relayed(neg bool, args []string) {
	if neg {
		if n := len(m.e.seen); n != 0 {
			m.ts.Fatalf("%d requests were relayed", n)
		}
		return
	}
	r, form := m.e.last(m.t)
	if r.URL.Path != args[0] {
		m.ts.Fatalf("relayed to %s", r.URL)
	}
	for _, a := range args[1:] {
		name, value, has := strings.Cut(a, "=")
		if absent, is := strings.CutPrefix(name, "-"); is && form.Has(absent) || !is && (!has || form.Get(name) != value) {
			m.ts.Fatalf("%s is %q", name, form[name])
		}
	}
}

func (m *modeScript) later(_ bool, args []string) {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		m.ts.Fatalf("%v", err)
	}
	m.site.wait(d)
}

func (m *modeScript) register(_ bool, args []string) {
	m.last = postJSON(m.site.Server, "/register", args[0])
	m.ts.Logf("%d %s", m.last.status, m.last.body)
}
