package main

import (
	"strings"
	"testing"
	"time"

	"doorward/internal/keep"
)

// A run exchanges its person's tokens at the provider that it began with, so
// the token of a sign-in somewhere else that has taken the profile meanwhile
// stays where it is.
func TestKeptSignInOfAnotherProvider(t *testing.T) {
	now := time.Date(2026, 7, 28, 9, 0, 0, 0, time.UTC)
	began := keep.SignIn{Issuer: "https://one.example", ClientID: "c", Subject: "u", IDToken: "token-of-one", Until: now.Add(-time.Minute)}
	for name, tt := range map[string]struct {
		issuer, client string
		refused        bool
	}{
		"the same":         {began.Issuer, began.ClientID, false},
		"another provider": {"https://two.example", began.ClientID, true},
		"another client":   {began.Issuer, "d", true},
	} {
		store := keep.New(keep.Config{Dir: t.TempDir(), Key: strings.Repeat("0f", 32)})
		later := keep.SignIn{Issuer: tt.issuer, ClientID: tt.client, Subject: "u", IDToken: "token-of-later", Until: now.Add(time.Hour)}
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
