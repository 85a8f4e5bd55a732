package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"doorward"
	"doorward/internal/keep"
)

// A run exchanges its person's tokens at the provider that it began with, so
// the token of a sign-in somewhere else that has taken the profile meanwhile
// stays where it is.
func TestKeptSignInOfAnotherProvider(t *testing.T) {
	now := time.Date(2026, 7, 28, 9, 0, 0, 0, time.UTC)
	began := keep.SignIn{Issuer: "https://one.example", ClientID: "c", Subject: "u", IDToken: "token-of-one", Until: now.Add(-time.Minute)}
	for name, tt := range map[string]struct {
		issuer, client, subject string
		refused                 bool
	}{
		"the same":         {began.Issuer, began.ClientID, "u", false},
		"another provider": {"https://two.example", began.ClientID, "u", true},
		"another client":   {began.Issuer, "d", "u", true},
		"somebody else":    {began.Issuer, began.ClientID, "v", true},
	} {
		store := keep.New(keep.Config{Dir: t.TempDir(), Key: strings.Repeat("0f", 32)})
		later := keep.SignIn{Issuer: tt.issuer, ClientID: tt.client, Subject: tt.subject, IDToken: "token-of-later", Until: now.Add(time.Hour)}
		if err := store.Replace(t.Context(), defaultProfile, keep.Profile{SignIn: &later}); err != nil {
			t.Fatal(err)
		}
		p := &somebody{profile: defaultProfile, store: store, held: began, now: func() time.Time { return now }}
		got, err := p.subject(t.Context())
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.refused && (got.Token != "" || p.missing() == nil || !strings.Contains(p.missing().Error(), "start this command again")):
			t.Errorf("%s: the token %q goes out, %v", name, got.Token, p.missing())
		case !tt.refused && got.Token != later.IDToken:
			t.Errorf("%s: the token %q, %v", name, got.Token, p.missing())
		}
	}
}

// A sign-in for this run that one caller gives up is nobody else's failure, and
// who waits for it may give up, too.
func TestSignInGivenUpByOne(t *testing.T) {
	asked, answer := make(chan struct{}, 2), make(chan struct{})
	p := &somebody{now: time.Now, first: func(ctx context.Context) (*keep.SignIn, error) {
		asked <- struct{}{}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-answer:
			return &keep.SignIn{Issuer: "https://one.example", Subject: "u", IDToken: "t"}, nil
		}
	}}
	type result struct {
		who doorward.Subject
		err error
	}
	call := func(ctx context.Context) chan result {
		out := make(chan result, 1)
		go func() {
			who, err := p.subject(ctx)
			out <- result{who, err}
		}()
		return out
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := call(ctx)
	<-asked
	impatient, giveUp := context.WithCancel(t.Context())
	third := call(impatient)
	giveUp()
	if r := <-third; !errors.Is(r.err, context.Canceled) {
		t.Errorf("who waits cannot give up: %v", r.err)
	}
	second := call(t.Context())
	cancel()
	if r := <-first; !errors.Is(r.err, context.Canceled) {
		t.Errorf("%v", r.err)
	}
	<-asked
	close(answer)
	if r := <-second; r.err != nil || r.who.Token != "t" {
		t.Errorf("the second caller has %+v, %v", r.who, r.err)
	}
}

// A call that is given up while the provider rotates the refresh token loses
// neither it nor the profile.
//
// covers: C-TOK-05
func TestRenewalOutlivesItsCall(t *testing.T) {
	store := keep.New(keep.Config{Dir: t.TempDir(), Key: strings.Repeat("0f", 32)})
	ctx, cancel := context.WithCancel(t.Context())
	var at string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":"%s/a","token_endpoint":"%s/token","jwks_uri":"%s/jwks","response_types_supported":["code"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256"]}`, at, at, at, at)
		case "/token":
			cancel()
			time.Sleep(50 * time.Millisecond) // the caller is gone
			fmt.Fprint(w, `{"access_token":"a","token_type":"Bearer","refresh_token":"second","id_token":"none.at.all"}`)
		}
	}))
	defer srv.Close()
	at = srv.URL
	began := keep.SignIn{Issuer: at, ClientID: "c", Subject: "u", IDToken: "old", RefreshToken: "first", Until: time.Now().Add(-time.Minute)}
	if err := store.Replace(t.Context(), defaultProfile, keep.Profile{SignIn: &began}); err != nil {
		t.Fatal(err)
	}
	p := &somebody{profile: defaultProfile, store: store, held: began, now: time.Now}
	if _, err := p.subject(ctx); err == nil {
		t.Error("an ID token that is none was taken")
	}
	kept, err := store.Read(t.Context(), defaultProfile)
	if err != nil || kept.SignIn == nil || kept.SignIn.RefreshToken != "second" {
		t.Errorf("kept is %+v, %v", kept.SignIn, err)
	}
}
