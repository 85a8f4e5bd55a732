package authserver

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

//go:embed pages
var pageFiles embed.FS

// pages are the templates by file name. The style sheet stands in each page,
// so that one answer is all that a page needs.
var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"style": func() template.CSS { return template.CSS(styleText()) },
}).ParseFS(pageFiles, "pages/*.html"))

func styleText() string {
	b, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		panic(err) // it is compiled in
	}
	return string(b)
}

// styleHash lets exactly our style sheet through the content security policy.
var styleHash = func() string {
	sum := sha256.Sum256([]byte(styleText()))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

// frame is what every page shows around its content.
type frame struct {
	Title  string
	Issuer string
	Called string // the name of who is signed in; "": it says no more than their account
}

func (v *visit) frame(title string) frame {
	f := frame{Title: title, Issuer: v.st.name}
	if v.session != nil {
		if who := v.session.Subject; who.Name != who.ID && who.Name != who.Account {
			f.Called = who.Name
		}
	}
	return f
}

// failure is an error page: what happened, what to do, and who has to.
type failure struct {
	frame
	status            int
	Title             string
	Happened, Do, Who string
	Command           string // to be copied
	Link, LinkHost    string // the way back to the client; "": none
	Again             string // the way to try again; "": none
	Reference         string
}

// fail shows an error page. Its reference stands in the log beside the cause;
// a page that brings none gets one.
func (v *visit) fail(status int, page failure, cause error) {
	page.frame = v.frame(page.Title)
	if page.Reference == "" {
		page.Reference = v.keepPage(cause)
	}
	level := v.s.log.InfoContext
	if status >= http.StatusInternalServerError {
		level = v.s.log.ErrorContext
	}
	level(v.r.Context(), "page refused", "path", v.r.URL.Path, "status", status, "reference", page.Reference, "cause", cause, "address", address(v.r))
	v.show(status, "error.html", page, "")
}

// show writes a page. redirect is where its form will lead in the end, "" if
// nowhere: browsers apply form-action to the redirect after a POST too.
func (v *visit) show(status int, name string, view any, redirect string) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, view); err != nil {
		v.s.log.ErrorContext(v.r.Context(), "page cannot be written", "page", name, "error", err)
		http.Error(v.w, "The page could not be made; the log of the server says why.", http.StatusInternalServerError)
		return
	}
	secureHeaders(v.w.Header())
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	target := "; form-action 'self'" + formTarget(redirect)
	if v.leaves { // nobody knows over which hosts a provider signs people in
		target = ""
	}
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+styleHash+target+frameSources(v.frames)+
		"; frame-ancestors 'none'; base-uri 'none'")
	v.w.WriteHeader(status)
	if v.r.Method != http.MethodHead {
		v.w.Write(b.Bytes())
	}
}

// formTarget is the source expression for a redirect URI: its origin, or its
// scheme where CSP has no form for the host (private-use schemes, IPv6).
func formTarget(redirect string) string {
	u, err := url.Parse(redirect)
	if err != nil || redirect == "" {
		return ""
	}
	if u.Scheme == "https" || u.Scheme == "http" {
		if host := strings.ToLower(u.Host); host != "" && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-:_") == "" {
			return " " + u.Scheme + "://" + host
		}
	}
	return " " + u.Scheme + ":"
}

// frameSources lets a page load frames of these origins and no others.
func frameSources(urls []string) string {
	sources := map[string]bool{}
	for _, u := range urls {
		sources[formTarget(u)] = true
	}
	if len(sources) == 0 {
		return ""
	}
	return "; frame-src" + strings.Join(slices.Sorted(maps.Keys(sources)), "")
}

// claimed reports whether a redirect URI belongs to whoever owns its https
// host, and so proves who the client is.
func claimed(redirect string) bool {
	return strings.HasPrefix(redirect, "https://") && !oauth.IsLoopbackRedirect(redirect)
}
