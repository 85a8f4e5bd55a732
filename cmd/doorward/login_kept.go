package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"doorward"
	"doorward/internal/keep"
	"doorward/internal/oauth"
)

const defaultProfile = "default"

// kept is what this person keeps between runs.
func (e env) kept() (*keep.Store, error) {
	base := e.get("XDG_STATE_HOME")
	if base == "" {
		home := e.get("HOME")
		if home == "" {
			var err error
			if home, err = os.UserHomeDir(); err != nil {
				return nil, fmt.Errorf("no place for sign-ins: set HOME or XDG_STATE_HOME: %w", err)
			}
		}
		base = filepath.Join(home, ".local", "state")
	}
	return keep.New(keep.Config{
		Dir: filepath.Join(base, "doorward", "profiles"), Key: e.get("DOORWARD_STORE_KEY"), Keyring: e.keyring,
		Say: func(text string) { e.say("%s", text) },
	}), nil
}

// somebody is a sign-in at the company's provider, as commands use it:
// kept in a profile, or for this run alone.
type somebody struct {
	profile string // "": for this run alone
	store   *keep.Store
	first   func(ctx context.Context) (*keep.SignIn, error) // for this run alone: the sign-in

	now   func() time.Time
	begun sync.Once
	turn  chan struct{} // one renewal at a time

	mu    sync.Mutex
	held  keep.SignIn // what was read last
	again time.Time   // no renewal before: the last one failed
	over  error       // why there is no token to exchange
}

// soon is how long before its end an ID token is renewed: an exchange takes a while.
const soon = 60 * time.Second

// subject is the person for a Transport. Where there is no token any more it is
// empty: a held access token may still be good for this request, and the
// exchange says that somebody must sign in.
func (p *somebody) subject(ctx context.Context) (doorward.Subject, error) {
	p.begun.Do(func() { p.turn = make(chan struct{}, 1) })
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return doorward.Subject{}, ctx.Err()
	}
	p.mu.Lock()
	held, again := p.held, p.again
	p.mu.Unlock()
	if now := p.now(); !fresh(held, now) && !now.Before(again) {
		err := p.update(ctx, &held)
		if err != nil && ctx.Err() != nil { // it is this caller's alone
			return doorward.Subject{}, err
		}
		p.mu.Lock()
		if p.held, p.over = held, err; err != nil {
			p.again = now.Add(10 * time.Second)
		}
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held.Subject == "" {
		return doorward.Subject{}, p.over
	}
	token := p.held.IDToken
	if p.over != nil {
		token = ""
	}
	return doorward.Subject{Person: p.held.Issuer + " " + p.held.Subject, Token: token}, nil
}

func fresh(s keep.SignIn, now time.Time) bool {
	return s.IDToken != "" && (s.Until.IsZero() || now.Before(s.Until.Add(-soon)))
}

// signInPatience bounds a sign-in for this run alone.
const signInPatience = 10 * time.Minute

// update brings a fresh sign-in into held: the one that another process has
// renewed meanwhile, or a renewed one.
func (p *somebody) update(ctx context.Context, held *keep.SignIn) error {
	change := func(kept *keep.Profile) (changed bool, err error) {
		if kept.SignIn == nil {
			held.IDToken = ""
			return false, fmt.Errorf("nobody is signed in in the profile %s: run doorward login ISSUER", p.profile)
		}
		// The exchange goes to the provider that this run began with: no other
		// one's token may, and nobody else's.
		if held.Issuer != kept.SignIn.Issuer || held.ClientID != kept.SignIn.ClientID || held.Subject != kept.SignIn.Subject {
			held.IDToken = ""
			return false, fmt.Errorf("the profile %s is signed in at %s as client %s now, or as somebody else: start this command again",
				p.profile, kept.SignIn.Issuer, kept.SignIn.ClientID)
		}
		if now := p.now(); !fresh(*kept.SignIn, now) {
			changed, err = renew(ctx, kept.SignIn, p.now)
		}
		*held = *kept.SignIn
		return changed, err
	}
	if p.profile != "" {
		return p.store.Update(ctx, p.profile, change)
	}
	if held.Subject == "" {
		ctx, cancel := context.WithTimeout(ctx, signInPatience)
		defer cancel()
		s, err := p.first(ctx)
		if err != nil {
			return err
		}
		*held = *s
		return nil
	}
	s := *held
	_, err := change(&keep.Profile{SignIn: &s})
	return err
}

// renew gets a new ID token with the refresh token (OpenID Connect Core section
// 12). true: the sign-in changed, and must be kept also if there is an error.
func renew(ctx context.Context, s *keep.SignIn, now func() time.Time) (changed bool, err error) {
	again := fmt.Errorf("the sign-in at %s is over: run doorward login %s again", s.Issuer, s.Issuer)
	if s.RefreshToken == "" {
		return false, again
	}
	in := signIn{Issuer: s.Issuer, ClientID: s.ClientID, ClientSecret: s.ClientSecret, HTTP: &http.Client{Timeout: 30 * time.Second}, Now: now}
	meta, err := in.metadata(ctx)
	if err != nil {
		return false, err
	}
	// Who asked may be gone before the answer: the refresh token is used by then,
	// and its successor cannot be had again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	conf := oauth2.Config{ClientID: s.ClientID, ClientSecret: s.ClientSecret,
		Endpoint: oauth2.Endpoint{TokenURL: meta.TokenEndpoint, AuthStyle: authStyle(s.ClientSecret, meta)}}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, noRedirects(in.HTTP))
	tok, err := conf.TokenSource(ctx, &oauth2.Token{RefreshToken: s.RefreshToken}).Token()
	if err != nil {
		err = withoutBody(err)
		var refused *oauth.Error
		if errors.As(err, &refused) && refused.Code == oauth.InvalidGrant {
			return false, again
		}
		return false, fmt.Errorf("the sign-in at %s could not be renewed: %w", s.Issuer, err)
	}
	if tok.RefreshToken != "" && tok.RefreshToken != s.RefreshToken { // C-TOK-05
		s.RefreshToken, changed = tok.RefreshToken, true
	}
	raw, _ := tok.Extra("id_token").(string)
	id, err := in.check(ctx, raw, "", meta)
	if err != nil {
		return changed, err
	}
	if id.Subject != s.Subject { // section 12.2
		return changed, fmt.Errorf("%s renewed the sign-in of somebody else", s.Issuer)
	}
	s.IDToken, s.Until = raw, until(id)
	return true, nil
}

// until is the end of an ID token; zero if it says none.
func until(id idToken) time.Time {
	exp, err := id.Claims.Time("exp")
	if err != nil {
		return time.Time{}
	}
	return exp
}

// issuer is where the person signs in.
func (p *somebody) issuer() string {
	if p == nil {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held.Issuer
}

// missing is why there is no token to exchange.
func (p *somebody) missing() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over
}
