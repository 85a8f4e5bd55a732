package authserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"doorward/internal/login"
)

// LocalPeople is a sign-in with name and password: of the people given, by
// name, and of those that an administrator added to the store. Plain text
// passwords are hashed here (about 20 ms each). A hash that cannot be read
// keeps that person out, with an error page that says so. It works within a
// Server only, and for one Server.
func LocalPeople(people map[string]LocalPerson) SignIn {
	l := &localPeople{people: make(map[string]LocalPerson, len(people)), passwords: login.NewPasswords()}
	for name, p := range people {
		if p.Password != "" && !login.IsHash(p.Password) {
			p.Password = login.Hash(p.Password)
		}
		l.people[name] = p
	}
	return l
}

type localPeople struct {
	people    map[string]LocalPerson
	passwords *login.Passwords
}

// localPage is the context key under which the login page passes on what a
// page of ours needs.
type localPage struct{}

type localVisit struct {
	*visit
	redirect string
}

// loginView is what the login page shows.
type loginView struct {
	frame
	Attempt
	Problem   string
	Name      string
	Providers []*provider // buttons after the form, before it with Last
	Last      string      // the provider that was used last; "": none was
}

// hintedName is a login_hint as it may stand in the form: what is longer than
// any name, or not one line of text, names nobody.
func hintedName(hint string) string {
	if len(hint) > maxText || cleanText(hint, maxText) != hint {
		return ""
	}
	return hint
}

// SignIn shows the form, and takes what was typed.
func (l *localPeople) SignIn(w http.ResponseWriter, r *http.Request, a Attempt) (*Person, error) {
	v, ok := r.Context().Value(localPage{}).(*localVisit)
	if !ok {
		return nil, errors.New("authserver: LocalPeople was called by something else than the login page of a Server")
	}
	view := loginView{frame: v.frame("Sign in"), Attempt: a, Name: hintedName(a.Hint), Providers: v.st.providers}
	v.leaves = len(v.st.providers) > 0
	if r.Method != http.MethodPost {
		view.Providers, view.Last = v.offered()
		v.show(http.StatusOK, "login.html", view, v.redirect)
		return nil, nil
	}
	name := strings.TrimSpace(r.PostFormValue("username"))
	view.Name = name
	p, hash, err := l.find(r.Context(), v.s, name)
	if err != nil {
		return nil, err
	}
	err = l.passwords.Check(r.Context(), v.s.now(), name, r.RemoteAddr, hash, r.PostFormValue("password"))
	var tooMany *login.TooMany
	switch {
	case err == nil:
		return p, nil
	case errors.As(err, &tooMany):
		seconds := int(tooMany.Wait.Seconds()) + 1
		view.Problem = fmt.Sprintf("Too many wrong passwords. Wait %d s, then try again. Reference: %s", seconds, v.keepPassword(name, hash != "", err))
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		v.show(http.StatusTooManyRequests, "login.html", view, v.redirect)
		return nil, nil
	case errors.Is(err, login.ErrWrong):
		view.Problem = "The name or the password is not right. Reference: " + v.keepPassword(name, hash != "", err)
		v.show(http.StatusForbidden, "login.html", view, v.redirect)
		return nil, nil
	}
	return nil, fmt.Errorf("password of %s: %w", name, err)
}

// find returns the person and their hash, "" if there is none with that name
// who has a password.
func (l *localPeople) find(ctx context.Context, s *Server, name string) (*Person, string, error) {
	if name == "" || len(name) > 256 {
		return nil, "", nil
	}
	if p, ok := l.people[name]; ok {
		return &Person{ID: name, Account: name, Name: name, Email: p.Email, Groups: p.Groups, AMR: []string{"pwd"}}, p.Password, nil
	}
	acc, err := s.ledger.Account(ctx, name)
	if notFound(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	return &Person{ID: acc.ID, Account: acc.ID, Name: acc.Name, Email: acc.Email, Groups: acc.Groups, AMR: []string{"pwd"}}, acc.Password, nil
}
