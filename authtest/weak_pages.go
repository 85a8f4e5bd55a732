package authtest

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"html"
	"net/http"
	"net/url"
)

// page writes a page with the headers that keep it from being abused.
func (w *Weak) page(rw http.ResponseWriter, status int, framingFault, title, content string) {
	h := rw.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	policy := "base-uri 'none'"
	if !w.has("AS-UI-04.script") {
		policy += "; default-src 'none'; img-src https:"
	}
	if !w.has(framingFault) {
		policy += "; frame-ancestors 'none'"
		h.Set("X-Frame-Options", "DENY")
	}
	h.Set("Content-Security-Policy", policy)
	if !w.has("AS-UI-04.referrer") {
		h.Set("Referrer-Policy", "no-referrer")
	}
	if w.has("AS-UI-04.foreign") {
		content += `<img src="https://images.example.com/logo.png" alt="">`
	}
	rw.WriteHeader(status)
	fmt.Fprintf(rw, "<!doctype html><title>%s</title><h1>%s</h1>%s", html.EscapeString(title), html.EscapeString(title), content)
}

func (w *Weak) cookieName() string {
	if w.has("AS-UI-06.secure") {
		return "weak"
	}
	return "__Host-weak"
}

// session is the browser's session and the person who signed in there.
func (w *Weak) session(r *http.Request) (id, person string) {
	c, err := r.Cookie(w.cookieName())
	if err != nil {
		return "", ""
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	person, ok := w.sessions[c.Value]
	if !ok {
		return "", ""
	}
	return c.Value, person
}

// startSession gives a browser a session if it has none.
func (w *Weak) startSession(rw http.ResponseWriter, r *http.Request) string {
	if id, _ := w.session(r); id != "" {
		return id
	}
	return w.newSession(rw, "")
}

func (w *Weak) newSession(rw http.ResponseWriter, person string) string {
	id := rand.Text()
	w.mu.Lock()
	w.sessions[id] = person
	w.mu.Unlock()
	c := &http.Cookie{Name: w.cookieName(), Value: id, Path: "/", Secure: !w.has("AS-UI-06.secure"), HttpOnly: !w.has("AS-UI-06.httponly")}
	if !w.has("AS-UI-06.samesite") {
		c.SameSite = http.SameSiteLaxMode
	}
	http.SetCookie(rw, c)
	return id
}

// attempt is the request that a page goes on with. It belongs to one session.
func (w *Weak) attempt(r *http.Request, fault string) (*weakAttempt, string) {
	id := r.FormValue("attempt")
	session, _ := w.session(r)
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.attempts[id]
	if a == nil || a.session != session && !(r.Method == http.MethodPost && w.has(fault)) {
		return nil, ""
	}
	return a, id
}

func form(action, id, fields string) string {
	return fmt.Sprintf(`<form method="post" action="%s"><input type="hidden" name="attempt" value="%s">%s</form>`, action, id, fields)
}

func (w *Weak) login(rw http.ResponseWriter, r *http.Request) {
	a, id := w.attempt(r, "AS-UI-02.login")
	if a == nil {
		w.errorPage(rw, "there is nothing to go on with")
		return
	}
	if r.Method != http.MethodPost {
		w.page(rw, http.StatusOK, "AS-UI-03.login", "Sign in",
			form("/login", id, `<input name="name"><input type="password" name="password"><button>Sign in</button>`))
		return
	}
	name := r.FormValue("name")
	if subtle.ConstantTimeCompare([]byte(r.FormValue("password")), []byte(name+"-password-12")) != 1 {
		w.errorPage(rw, "name or password is wrong")
		return
	}
	session, _ := w.session(r)
	if w.has("AS-UI-06.session") && session != "" {
		w.mu.Lock()
		w.sessions[session] = name
		w.mu.Unlock()
	} else {
		session = w.newSession(rw, name)
	}
	w.mu.Lock()
	a.session = session
	w.mu.Unlock()
	status := http.StatusSeeOther
	if w.has("AS-AUTHZ-07.login") {
		status = http.StatusTemporaryRedirect
	}
	http.Redirect(rw, r, "/consent?attempt="+id, status)
}

func (w *Weak) consent(rw http.ResponseWriter, r *http.Request) {
	a, id := w.attempt(r, "AS-UI-02.consent")
	_, person := w.session(r)
	if a == nil || person == "" {
		w.errorPage(rw, "there is nothing to go on with")
		return
	}
	if r.Method == http.MethodPost && r.FormValue("decision") == "yes" {
		w.mu.Lock()
		delete(w.attempts, id)
		w.mu.Unlock()
		status := http.StatusSeeOther
		if w.has("AS-AUTHZ-07.consent") {
			status = http.StatusPermanentRedirect
		}
		w.approve(rw, r, a, person, status)
		return
	}
	name := html.EscapeString(a.client.name)
	if w.has("AS-UI-05.name") {
		name = a.client.name
	}
	host := ""
	if u, err := url.Parse(a.redirect); err == nil && !w.has("AS-UI-01.names") {
		host = u.Host
	}
	w.page(rw, http.StatusOK, "AS-UI-03.consent", "Allow access?", fmt.Sprintf("<p>%s at %s wants %s.</p>", name, html.EscapeString(host), html.EscapeString(a.query.Get("scope")))+
		form("/consent", id, `<button name="decision" value="yes">Allow</button><button name="decision" value="no">Refuse</button>`))
}
