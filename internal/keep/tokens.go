package keep

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// Tokens keeps the tokens of programs in a profile. It fits doorward.TokenStore:
// values are JSON, and a key has one holder among all processes.
type Tokens struct {
	store          *Store
	profile, space string
	note           func(p *Profile, value []byte)
}

var tokenKey = regexp.MustCompile(`^[a-z0-9-]{1,80}$`)

// lockPatience is longer than a person may take for any way to sign in: whoever
// holds a lock longer stands still.
const lockPatience = 31 * time.Minute

// lockTalk is after how long somebody who waits is told why.
const lockTalk = 5 * time.Second

// Tokens is the part of a profile that a program keeps its tokens in. Tokens of
// one space are not found in another one ("" is one, too): programs that ask
// for different things each have their own. note may add to the profile what
// else there is to keep beside a value that is saved; nil: nothing.
func (s *Store) Tokens(profile, space string, note func(p *Profile, value []byte)) *Tokens {
	if space != "" {
		sum := sha256.Sum256([]byte(space))
		space = hex.EncodeToString(sum[:8])
	}
	return &Tokens{s, profile, space, note}
}

// key is the name of a key within the space.
func (t *Tokens) key(key string) (string, error) {
	if !tokenKey.MatchString(key) {
		return "", fmt.Errorf("%q is no key", key)
	}
	if t.space == "" {
		return key, nil
	}
	return key + "." + t.space, nil
}

// Load returns what was saved under key; nil: nothing.
func (t *Tokens) Load(ctx context.Context, key string) ([]byte, error) {
	name, err := t.key(key)
	if err != nil {
		return nil, err
	}
	p, err := t.store.Read(ctx, t.profile)
	return p.Tokens[name], err
}

// Save keeps a value, which is JSON; an empty one removes what was kept.
func (t *Tokens) Save(ctx context.Context, key string, value []byte) error {
	name, err := t.key(key)
	if err != nil {
		return err
	}
	if len(value) > 0 && !json.Valid(value) {
		return errors.New("what should be saved is no JSON")
	}
	if _, err := os.Lstat(t.store.file(t.profile)); len(value) == 0 && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return t.store.Update(ctx, t.profile, func(p *Profile) (bool, error) {
		_, had := p.Tokens[name]
		if len(value) == 0 {
			delete(p.Tokens, name)
			return had, nil
		}
		if p.Tokens == nil {
			p.Tokens = map[string]json.RawMessage{}
		}
		p.Tokens[name] = bytes.Clone(value)
		if t.note != nil {
			t.note(p, value)
		}
		return true, nil
	})
}

// Lock waits until nobody else holds key, and returns what gives it back.
func (t *Tokens) Lock(ctx context.Context, key string) (unlock func(), err error) {
	name, err := t.key(key)
	if err == nil {
		err = CheckName(t.profile)
	}
	if err != nil {
		return nil, err
	}
	if err := t.store.ensureDir(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	waits := time.AfterFunc(lockTalk, func() {
		t.store.c.Say("(another doorward of yours gets a token for this server, or somebody signs in there: waiting for it)")
	})
	defer waits.Stop()
	l, err := lock(ctx, filepath.Join(t.store.c.Dir, t.profile+"."+name+".lock"))
	if err != nil {
		return nil, err
	}
	return func() { l.Close() }, nil
}

// endPatience is how long an end waits for a program that renews a token right
// now: what it brings is ended, too.
const endPatience = 3 * time.Second

// End forgets a profile, whether or not it can be read. Before it is gone, end
// gets what was kept, or why that is not known. No program that renews a token
// of it comes in between, unless it takes longer than 3 seconds.
func (s *Store) End(ctx context.Context, profile string, end func(Profile, error)) error {
	p, err := s.Read(ctx, profile)
	if err == nil {
		waits, cancel := context.WithTimeout(ctx, endPatience)
		defer cancel()
		for name := range p.Tokens {
			if l, err := lock(waits, filepath.Join(s.c.Dir, profile+"."+name+".lock")); err == nil {
				defer l.Close()
			}
		}
		p, err = s.Read(ctx, profile)
	}
	end(p, err)
	return s.Remove(ctx, profile)
}

// Ready says whether anything can be kept.
func (s *Store) Ready() error { return s.ensureDir() }
