package keep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Profile is what is kept under one name.
type Profile struct {
	// SignIn is the person's sign-in at the company's provider; nil: none.
	SignIn *SignIn `json:"sign_in,omitempty"`
	// Tokens are what a [Tokens] keeps, by its keys.
	Tokens map[string]json.RawMessage `json:"tokens,omitempty"`
	// Clients are the clients that the person named for authorization servers,
	// by issuer: to no other one goes their secret.
	Clients map[string]Client `json:"clients,omitempty"`
}

// Client is a client that was registered beforehand.
type Client struct {
	ID     string `json:"id"`
	Secret string `json:"secret,omitempty"`
}

// SignIn is what a provider gave at sign-in, and the client that it gave it to.
type SignIn struct {
	Issuer       string    `json:"issuer"`
	ClientID     string    `json:"client_id"`
	ClientSecret string    `json:"client_secret,omitempty"`
	Subject      string    `json:"subject"`         // sub at the issuer
	Name         string    `json:"name,omitempty"`  // what to call the person
	Email        string    `json:"email,omitempty"` // as the issuer has it
	IDToken      string    `json:"id_token"`
	RefreshToken string    `json:"refresh_token,omitempty"`
	Until        time.Time `json:"until"` // exp of the ID token
	Since        time.Time `json:"since"` // when the person signed in
}

// Config says where things lie.
type Config struct {
	// Dir is the directory; it is made, for its owner alone.
	Dir string
	// Key is the key itself, 64 hex digits; "": in the keyring or a file.
	Key string
	// Keyring is the system's keyring. nil: there is none.
	Keyring Keyring
	// Say gets one paragraph when a key is made: what it protects against.
	// nil: nobody is told.
	Say func(string)
}

// Store keeps profiles. It may be used by many goroutines.
type Store struct{ c Config }

// maxFile bounds a profile's file, in bytes.
const maxFile = 8 << 20

const suffix = ".sealed"

var profileName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$`)

// New makes a store. Nothing is read or written before it is used.
func New(c Config) *Store {
	if c.Say == nil {
		c.Say = func(string) {}
	}
	return &Store{c}
}

// CheckName says whether a profile can have this name.
func CheckName(profile string) error {
	if !profileName.MatchString(profile) {
		return fmt.Errorf("%q is no name of a profile: 1 to 64 of a-z A-Z 0-9 _ - and, not first, a dot", profile)
	}
	return nil
}

// Profiles lists the names of what is kept.
func (s *Store) Profiles() ([]string, error) {
	entries, err := os.ReadDir(s.c.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && CheckName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Read returns a profile; the zero one if nothing is kept under that name.
func (s *Store) Read(ctx context.Context, profile string) (Profile, error) {
	var p Profile
	if err := CheckName(profile); err != nil {
		return p, err
	}
	if _, err := os.Lstat(s.file(profile)); errors.Is(err, fs.ErrNotExist) {
		return p, nil // without a directory, a lock or a key
	}
	err := s.alone(ctx, profile, func() (err error) {
		p, err = s.read(ctx, profile)
		return err
	})
	return p, err
}

// Update changes a profile while no other process reads or changes it. What
// change leaves is kept also where it returns an error; false keeps what was
// there.
func (s *Store) Update(ctx context.Context, profile string, change func(*Profile) (keep bool, err error)) error {
	return s.alone(ctx, profile, func() error {
		p, err := s.read(ctx, profile)
		if err != nil {
			return err
		}
		changed, err := change(&p)
		if changed {
			// What a refresh token has brought cannot be had again.
			err = errors.Join(err, s.write(context.WithoutCancel(ctx), profile, p))
		}
		return err
	})
}

// Replace puts a profile in the place of whatever was there, readable or not.
func (s *Store) Replace(ctx context.Context, profile string, p Profile) error {
	return s.alone(ctx, profile, func() error { return s.write(ctx, profile, p) })
}

// Remove forgets a profile. It is no error if there was none.
func (s *Store) Remove(ctx context.Context, profile string) error {
	return s.alone(ctx, profile, func() error {
		err := os.Remove(s.file(profile))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func (s *Store) file(profile string) string { return filepath.Join(s.c.Dir, profile+suffix) }

// place binds sealed bytes to their profile: one file copied over another does
// not open.
func place(profile string) string { return "keep/" + profile }

func (s *Store) read(ctx context.Context, profile string) (Profile, error) {
	var p Profile
	sealed, err := readOwn(s.file(profile))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	v, err := s.vault(ctx)
	if err != nil {
		return p, err
	}
	plain, err := v.Open(place(profile), sealed)
	if err == nil {
		err = json.Unmarshal(plain, &p)
	}
	if err != nil {
		return Profile{}, &Error{Reason: Unreadable, File: s.file(profile), Err: err, Hint: fmt.Sprintf(
			"put the right key back, or start anew with doorward logout --profile %s and doorward login", profile)}
	}
	return p, nil
}

func (s *Store) write(ctx context.Context, profile string, p Profile) error {
	plain, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if len(plain) > maxFile/2 {
		return &Error{Reason: TooLarge, File: s.file(profile), Err: fmt.Errorf("%d bytes", len(plain)),
			Hint: "doorward logout --profile " + profile + " makes room"}
	}
	v, err := s.vault(ctx)
	if err != nil {
		return err
	}
	return s.replaceFile(profile, v.Seal(place(profile), plain))
}

// alone runs f while this process has the profile to itself.
func (s *Store) alone(ctx context.Context, profile string, f func() error) error {
	if err := CheckName(profile); err != nil {
		return err
	}
	return s.locked(ctx, profile+".lock", f)
}

// ensureDir makes the directory, for its owner alone.
func (s *Store) ensureDir() error {
	if err := os.MkdirAll(s.c.Dir, 0o700); err != nil {
		return &Error{Reason: NotWritable, File: s.c.Dir, Err: err, Hint: "set HOME or XDG_STATE_HOME to a place that is yours"}
	}
	return nil
}

func (s *Store) locked(ctx context.Context, name string, f func() error) error {
	if err := s.ensureDir(); err != nil {
		return err
	}
	l, err := lock(ctx, filepath.Join(s.c.Dir, name))
	if err != nil {
		return err
	}
	defer l.Close() // ends the lock
	return f()
}

// readOwn reads a file of ours, which nobody else may write or read.
func readOwn(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, &Error{Reason: NotOurs, File: path, Err: err, Hint: "run this as the person whose file it is, or set XDG_STATE_HOME to a place that is yours"}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkOwn(f, path); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = &Error{Reason: TooLarge, File: path, Hint: "it is larger than anything that is kept there: move it away"}
	}
	return b, err
}

// replaceFile puts b in the place of a profile's file in one step. The new file
// is 0600. Whoever was killed while it wrote one left it half done: under the
// lock there is no other writer, so it goes.
func (s *Store) replaceFile(profile string, b []byte) error {
	name := ".new-" + profile + "+" // no part of a profile's name
	left, err := filepath.Glob(filepath.Join(s.c.Dir, name+"[0-9]*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	tmp, err := os.CreateTemp(s.c.Dir, name+"*")
	if err != nil {
		return s.notWritten(profile, err)
	}
	_, err = tmp.Write(b)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), s.file(profile))
	}
	if err != nil {
		return s.notWritten(profile, errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

func (s *Store) notWritten(profile string, err error) error {
	return &Error{Reason: NotWritable, File: s.file(profile), Err: err, Hint: "is there room, and may you write there?"}
}
