// Package browser_test looks at the pages with the eyes of a real browser:
// Debian's chromium, driven over its DevTools protocol.
package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// patience bounds whatever a test waits for.
const patience = 30 * time.Second

// chromium is one running browser; each tab of it has cookies of its own.
var chromium struct {
	sync.Mutex
	ctx  context.Context
	stop func()
}

func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.stop != nil {
		chromium.stop()
	}
	os.Exit(code)
}

// program is the browser's path. Without one the test is skipped aloud; where
// everything must run (CI) it fails.
func program(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const what = "NO CHROMIUM HERE: the pages were not looked at (make deps installs it on Debian)"
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
	return ""
}

// start starts a browser with a profile of its own; preferences may be "".
func start(t *testing.T, preferences string) (context.Context, func()) {
	t.Helper()
	path := program(t)
	profile, err := os.MkdirTemp("", "doorward-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	if preferences != "" {
		if err := os.MkdirAll(filepath.Join(profile, "Default"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(profile, "Default", "Preferences"), []byte(preferences), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.DisableGPU, chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("lang", "en-GB"),
		// A page that comes back from this cache is one that the driver cannot talk to.
		chromedp.Flag("disable-features", "Translate,BackForwardCache"))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	alloc, stopAlloc := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(alloc)
	stop := func() {
		cancel()
		stopAlloc()
		for range 50 { // its children write on for a moment
			if os.RemoveAll(profile) == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	if err := chromedp.Do(ctx); err != nil {
		stop()
		t.Fatalf("%s does not start: %v", path, err)
	}
	return ctx, stop
}

// tab is a tab of the browser.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// newTab opens a tab that shares no cookies with others.
func newTab(t *testing.T) *tab {
	t.Helper()
	chromium.Lock()
	defer chromium.Unlock()
	if chromium.ctx == nil {
		chromium.ctx, chromium.stop = start(t, "")
	}
	return tabOf(t, chromium.ctx, chromedp.WithNewBrowserContext())
}

func tabOf(t *testing.T, browser context.Context, options ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, options...)
	t.Cleanup(cancel)
	b := &tab{t, ctx}
	b.do(chromedp.EmulateViewport(1280, 800))
	_, err := call(b, func(ctx context.Context) (any, error) { // each tab is used as if it were the only one
		_, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
		return nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// second is another tab with the same cookies.
func (b *tab) second() *tab {
	b.t.Helper()
	return tabOf(b.t, b.ctx)
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if _, err := call(b, func(ctx context.Context) (chromedp.Void, error) { return chromedp.Void{}, chromedp.Do(ctx, steps...) }); err != nil {
		b.t.Fatalf("%v, at %s", err, b.at())
	}
}

// call runs a step with patience; the tab outlives it.
func call[T any](b *tab, step func(context.Context) (T, error)) (T, error) {
	if err := chromedp.Do(b.ctx); err != nil { // the tab lives as long as the context of its first step
		var none T
		return none, err
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return step(ctx)
}

// open goes to an address and returns the status of the page.
func (b *tab) open(address string) int64 {
	b.t.Helper()
	return b.lands(chromedp.Navigate(address))
}

// lands does what leads to another page, and returns its status.
func (b *tab) lands(steps ...chromedp.Action[chromedp.Void]) int64 {
	b.t.Helper()
	resp, err := call(b, func(ctx context.Context) (int64, error) {
		r, err := chromedp.RunResponse(ctx, steps...)
		if err != nil || r == nil {
			return 0, err
		}
		return int64(r.Status), nil
	})
	if err != nil {
		b.t.Fatalf("%v, at %s", err, b.at())
	}
	return resp
}

// js is the value of an expression in the page.
func js[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := call(b, func(ctx context.Context) (T, error) { return chromedp.Run(ctx, chromedp.Evaluate[T](expression)) })
	if err != nil {
		b.t.Fatalf("%v: %s", err, expression)
	}
	return v
}

func (b *tab) at() string {
	at, err := chromedp.Run(b.ctx, chromedp.Location())
	if err != nil {
		return err.Error()
	}
	return at
}

// says is the text that can be seen.
func (b *tab) says() string {
	b.t.Helper()
	return js[string](b, `document.body.innerText`)
}

func (b *tab) title() string {
	b.t.Helper()
	return js[string](b, `document.querySelector('h1').innerText`)
}

// signIn types name and password and presses the button.
func (b *tab) signIn(name, password string) int64 {
	b.t.Helper()
	b.do(chromedp.Clear(chromedp.CSS("#username")), chromedp.SendKeys(chromedp.CSS("#username"), name),
		chromedp.SendKeys(chromedp.CSS("#password"), password))
	return b.lands(chromedp.Click(chromedp.CSS("main form:has(#password) button")))
}

// look sets the size of the window and the colours that the person prefers.
func (b *tab) look(width int64, scheme string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, 844))
	_, err := call(b, func(ctx context.Context) (any, error) {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return nil, err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// focused waits until the page has put the focus there.
func (b *tab) focused(selector string) {
	b.t.Helper()
	for late := time.Now().Add(patience); time.Now().Before(late); time.Sleep(10 * time.Millisecond) {
		if js[bool](b, fmt.Sprintf(`document.activeElement.matches(%q)`, selector)) {
			return
		}
	}
	b.t.Fatalf("the focus is not on %s at %s", selector, b.at())
}

// keys presses keys one after another.
func (b *tab) keys(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
}

// tabTo presses Tab until the element has the focus.
func (b *tab) tabTo(selector string) {
	b.t.Helper()
	for range 40 {
		if js[bool](b, fmt.Sprintf(`document.activeElement.matches(%q)`, selector)) {
			return
		}
		b.keys(kb.Tab)
	}
	b.t.Fatalf("Tab never comes to %s at %s", selector, b.at())
}

// control is what assistive software says about something that can be used.
type control struct{ role, name string }

// controls are those of the accessibility tree.
func (b *tab) controls() []control {
	b.t.Helper()
	tree, err := call(b, func(ctx context.Context) (accessibility.GetFullAXTreeResult, error) {
		return chromedp.Call(ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	})
	if err != nil {
		b.t.Fatal(err)
	}
	var out []control
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		switch role := text(n.Role); role {
		case "button", "link", "textbox", "searchbox", "checkbox", "radio", "combobox":
			out = append(out, control{role, text(n.Name)})
		}
	}
	return out
}

func text(v *accessibility.Value) string {
	var s string
	if v == nil || json.Unmarshal(v.Value, &s) != nil {
		return ""
	}
	return s
}
