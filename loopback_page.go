package doorward

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"html"
	"io"
	"net/http"
	"strings"

	"doorward/internal/oauth"
)

// ending is what the browser shows at the end of a sign-in. Nothing of the
// request stands on it (C-CB-06): its words are ours, but for the client's name.
type ending struct {
	status      int
	sign        string // what the mark shows: done, refused or other
	title, text string // {} stands for the client's name
}

var (
	pageDone = ending{http.StatusOK, "done", "You are signed in",
		"You can close this window and go back to {}."}
	pageUnfinished = ending{http.StatusBadGateway, "refused", "The sign-in could not be finished",
		"You did your part, but {} got no access. It says why; close this window and go back there."}
	pageDenied = ending{http.StatusForbidden, "refused", "You did not allow it",
		"{} got no access. If that was a mistake, start again there; otherwise close this window."}
	pageRefused = ending{http.StatusBadRequest, "refused", "The sign-in was refused",
		"The authorization server let nobody in. {} says why; close this window and go back there."}
	pageMixedUp = ending{http.StatusBadRequest, "refused", "This answer was not accepted",
		"It is not what the server that you were sent to should have answered, so nothing was done with it. {} says why; close this window and go back there."}
	pageOver = ending{http.StatusBadRequest, "other", "This sign-in is over",
		"It was finished before, or {} waits for it no longer. Start again there if you are not signed in."}
	pageForeign = ending{http.StatusBadRequest, "other", "This answer belongs to no sign-in that is open here",
		"Nothing was done with it. Start again in the program that sent you here."}
	pageUnreadable = ending{http.StatusBadRequest, "other", "This answer cannot be read",
		"Nothing was done with it. Start again in the program that sent you here."}
)

// pageFor is the page of an answer to our request that brought no code.
func pageFor(err error) ending {
	var e *Error
	switch {
	case !errors.As(err, &e) || e.Code == "":
		return pageMixedUp
	case e.Code == oauth.AccessDenied:
		return pageDenied
	}
	return pageRefused
}

// marks are drawn, so that no picture has to be fetched.
var marks = map[string]string{
	"done":    `<path d="M7 12.5l3.5 3.5L17 9"/>`,
	"refused": `<path d="M8 8l8 8M16 8l-8 8"/>`,
	"other":   `<path d="M12 7v6M12 16.5v.5"/>`,
}

const pageStyle = `:root{color-scheme:light dark;--ground:#f5f6f8;--card:#fff;--text:#1b1f24;--soft:#57606a;--line:#d9dee4;--done:#1a7f4b;--refused:#b3261e;--other:#8a6100}
@media (prefers-color-scheme:dark){:root{--ground:#14171b;--card:#1d2127;--text:#eceff3;--soft:#a3adb8;--line:#343b44;--done:#5ccb8f;--refused:#ff8a80;--other:#e6b450}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--ground);color:var(--text);font:1rem/1.55 system-ui,sans-serif}
main{width:100%;max-width:27rem;padding:2rem;background:var(--card);border:1px solid var(--line);border-radius:.75rem;overflow-wrap:anywhere}
svg{width:2.75rem;height:2.75rem;fill:none;stroke:currentColor;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}
.done svg{color:var(--done)}.refused svg{color:var(--refused)}.other svg{color:var(--other)}
h1{margin:.75rem 0 .5rem;font-size:1.375rem;line-height:1.3}
p{margin:0;color:var(--soft)}`

var pageStyleHash = func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

// pageHeader keeps the page to itself: the URL has the code in it (C-CB-06).
func pageHeader(h http.Header) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+pageStyleHash+"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
}

func (p ending) write(w http.ResponseWriter, e expected) {
	name := e.client
	if name == "" {
		name = "the program"
	}
	text := html.EscapeString(strings.ReplaceAll(p.text, "{}", name))
	title := html.EscapeString(p.title)
	w.WriteHeader(p.status)
	_, _ = io.WriteString(w, `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>`+title+`</title><style>`+pageStyle+`</style></head>
<body class="`+p.sign+`"><main><svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="10"/>`+marks[p.sign]+`</svg>
<h1>`+title+`</h1><p>`+text+`</p></main></body></html>
`)
}
