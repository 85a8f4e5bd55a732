package keep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// counterEnv makes this test program count in a profile instead of testing.
const counterEnv = "DOORWARD_KEEP_TEST_COUNT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holderEnv); dir != "" {
		hold(New(Config{Dir: dir}))
	}
	if dir := os.Getenv(counterEnv); dir != "" {
		if err := count(New(Config{Dir: dir}), 25); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// count adds one to the number in Subject, n times.
func count(s *Store, n int) error {
	for range n {
		err := s.Update(context.Background(), "p", func(p *Profile) (bool, error) {
			if p.SignIn == nil {
				p.SignIn = &SignIn{}
			}
			var was int
			fmt.Sscan(p.SignIn.Subject, &was)
			p.SignIn.Subject = fmt.Sprint(was + 1)
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ring is a keyring in memory.
type ring struct {
	mu   sync.Mutex
	m    map[string]string
	down error
}

func (r *ring) Get(account string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return "", r.down
	}
	v, ok := r.m[account]
	if !ok {
		return "", ErrNoSecret
	}
	return v, nil
}

func (r *ring) Set(account, secret string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return r.down
	}
	r.m[account] = secret
	return nil
}

func canary() Profile {
	return Profile{SignIn: &SignIn{Issuer: "https://idp.example", ClientSecret: "canary-secret", IDToken: "canary-id", RefreshToken: "canary-refresh",
		Until: time.Unix(1800000000, 0).UTC()}}
}

func mustReplace(t *testing.T, s *Store, profile string) {
	t.Helper()
	if err := s.Replace(t.Context(), profile, canary()); err != nil {
		t.Fatal(err)
	}
}

// covers: C-TOK-04
func TestKeptSealedForItsOwnerAlone(t *testing.T) {
	keyring := &ring{m: map[string]string{}}
	hexKey := strings.Repeat("a5", 32)
	for name, c := range map[string]struct {
		config Config
		says   string
		files  int
	}{
		"keyring":     {Config{Keyring: keyring}, "keyring", 1},
		"file":        {Config{}, "store.key beside it", 2},
		"keyring off": {Config{Keyring: &ring{down: errors.New("no bus")}}, "store.key beside it", 2},
		"environment": {Config{Key: hexKey, Keyring: keyring}, "DOORWARD_STORE_KEY", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var said []string
			c.config.Dir = filepath.Join(t.TempDir(), "a", "b")
			c.config.Say = func(text string) { said = append(said, text) }
			s := New(c.config)
			if p, err := s.Read(t.Context(), "default"); err != nil || p.SignIn != nil {
				t.Fatalf("nothing is kept: %v %v", p, err)
			}
			if _, err := os.Stat(c.config.Dir); err == nil {
				t.Error("reading nothing made a directory")
			}
			mustReplace(t, s, "default")
			mustReplace(t, s, "default")
			p, err := New(c.config).Read(t.Context(), "default")
			if err != nil || p.SignIn == nil || *p.SignIn != *canary().SignIn {
				t.Fatalf("%+v %v", p.SignIn, err)
			}
			if len(said) != 1 || !strings.Contains(said[0], c.says) {
				t.Errorf("said %q, want %q once", said, c.says)
			}
			checkFiles(t, c.config.Dir, c.files)
			if err := s.Remove(t.Context(), "default"); err != nil {
				t.Fatal(err)
			}
			if p, err := s.Read(t.Context(), "default"); err != nil || p.SignIn != nil {
				t.Errorf("removed, and yet there is %v (%v)", p, err)
			}
			if err := s.Remove(t.Context(), "default"); err != nil {
				t.Errorf("removing nothing: %v", err)
			}
		})
	}
}

// checkFiles looks at modes and for secrets in the clear; want is how many
// files besides locks there are.
func checkFiles(t *testing.T, dir string, want int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("canary")) {
			t.Errorf("%s holds a secret in the clear", e.Name())
		}
		if !strings.HasSuffix(e.Name(), ".lock") {
			found++
		}
	}
	if found != want {
		t.Errorf("%d files, want %d", found, want)
	}
	if info, err := os.Stat(dir); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v %v", info.Mode(), err)
	}
}

func TestUnreadable(t *testing.T) {
	keyring := &ring{m: map[string]string{}}
	for name, c := range map[string]struct {
		before Config
		spoil  func(t *testing.T, dir string)
		after  Config
		says   string
		reason string
	}{
		"another key": {Config{Key: strings.Repeat("a5", 32)}, nil, Config{Key: strings.Repeat("5a", 32)}, "another master key", Unreadable},
		"no key":      {Config{Key: strings.Repeat("a5", 32)}, nil, Config{Key: "short"}, "openssl rand -hex 32", BadKey},
		"changed":     {Config{}, flip, Config{}, "doorward login", Unreadable},
		"cut off":     {Config{}, func(t *testing.T, dir string) { truncate(t, dir, 20) }, Config{}, "doorward login", Unreadable},
		"empty":       {Config{}, func(t *testing.T, dir string) { truncate(t, dir, 0) }, Config{}, "doorward login", Unreadable},
		"other name":  {Config{}, func(t *testing.T, dir string) { move(t, dir, "other.sealed", "default.sealed") }, Config{}, "another place", Unreadable},
		"key is gone": {Config{}, func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, keyFile)) }, Config{}, "logout --all", NoKey},
		"readable": {Config{}, func(t *testing.T, dir string) { os.Chmod(filepath.Join(dir, "default.sealed"), 0o644) }, Config{},
			"chmod 600", OpenToOthers},
		"another user's": {Config{}, giveAway, Config{}, "another user of this machine", NotOurs},
		"readable key":   {Config{}, func(t *testing.T, dir string) { os.Chmod(filepath.Join(dir, keyFile), 0o640) }, Config{}, "chmod 600", BadKey},
		"large":          {Config{}, func(t *testing.T, dir string) { truncate(t, dir, maxFile+10) }, Config{}, "larger", TooLarge},
		"locked ring":    {Config{Keyring: keyring}, nil, Config{Keyring: &ring{down: errors.New("locked")}}, "unlock the keyring", KeyringShut},
		"emptied ring":   {Config{Keyring: keyring}, nil, Config{Keyring: &ring{m: map[string]string{}}}, "no such secret", NoKey},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && (strings.HasPrefix(name, "readable") || name == "another user's") {
				t.Skip("Windows has no such bits")
			}
			dir := t.TempDir()
			c.before.Dir, c.after.Dir = dir, dir
			s := New(c.before)
			mustReplace(t, s, "default")
			mustReplace(t, s, "other")
			if c.spoil != nil {
				c.spoil(t, dir)
			}
			after := New(c.after)
			_, err := after.Read(t.Context(), "default")
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q in it", err, c.says)
			}
			var typed *Error
			if !errors.As(err, &typed) || typed.Reason != c.reason || typed.Hint == "" || typed.File == "" {
				t.Errorf("%#v, want the reason %q", err, c.reason)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Error("the error tells a secret")
			}
			ran := false
			err = after.Update(t.Context(), "default", func(*Profile) (bool, error) { ran = true; return true, nil })
			if err == nil || ran {
				t.Error("what cannot be read was changed")
			}
			// What cannot be read can be thrown away.
			if err := after.Remove(t.Context(), "default"); err != nil {
				t.Error(err)
			}
		})
	}
}

// giveAway makes the file somebody else's: what root may do, and else what is
// root's anyway.
func giveAway(t *testing.T, dir string) {
	path := filepath.Join(dir, "default.sealed")
	err := os.Chown(path, 12345, 12345)
	if os.Geteuid() != 0 {
		os.Remove(path)
		err = os.Symlink("/etc/passwd", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, dir string) {
	path := filepath.Join(dir, "default.sealed")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, dir string, size int64) {
	if err := os.Truncate(filepath.Join(dir, "default.sealed"), size); err != nil {
		t.Fatal(err)
	}
}

func move(t *testing.T, dir, from, to string) {
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		t.Fatal(err)
	}
}

// covers: C-TOK-05
func TestProcessesTakeTurns(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), counterEnv+"="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		all.Go(func() { // and goroutines of one process
			if err := count(New(Config{Dir: dir}), 25); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	p, err := New(Config{Dir: dir}).Read(t.Context(), "p")
	if err != nil || p.SignIn == nil || p.SignIn.Subject != "200" {
		t.Errorf("%+v %v: 200 turns were taken", p.SignIn, err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".new-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestWaitingEnds(t *testing.T) {
	s := New(Config{Dir: t.TempDir()})
	err := s.Update(t.Context(), "p", func(*Profile) (bool, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := s.Read(ctx, "p")
		if err != nil {
			return false, fmt.Errorf("reading what is not there must not wait: %w", err)
		}
		if err := s.Replace(ctx, "p", Profile{}); !errors.Is(err, context.DeadlineExceeded) {
			return false, fmt.Errorf("the second came in, too: %w", err)
		}
		return false, nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestUpdateKeepsWhatFailed(t *testing.T) {
	s := New(Config{Dir: t.TempDir()})
	boom := errors.New("boom")
	for _, keep := range []bool{false, true} {
		err := s.Update(t.Context(), "p", func(p *Profile) (bool, error) {
			p.SignIn = &SignIn{Subject: "x"}
			return keep, boom
		})
		p, rerr := s.Read(t.Context(), "p")
		if !errors.Is(err, boom) || rerr != nil || (p.SignIn != nil) != keep {
			t.Errorf("keep %v: %v, %v, %+v", keep, err, rerr, p)
		}
	}
}

func TestNames(t *testing.T) {
	s := New(Config{Dir: t.TempDir()})
	for _, name := range []string{"", ".", "..", "../x", "a/b", `a\b`, ".hidden", "a b", "ä", strings.Repeat("x", 65), "a\x00"} {
		if CheckName(name) == nil {
			t.Errorf("%q passes", name)
		}
		if _, err := s.Read(t.Context(), name); err == nil {
			t.Errorf("%q is read", name)
		}
		if err := s.Replace(t.Context(), name, Profile{}); err == nil {
			t.Errorf("%q is written", name)
		}
	}
	for _, name := range []string{"work", "default", "a.b", "A-1_b"} {
		mustReplace(t, s, name)
	}
	names, err := s.Profiles()
	if err != nil || strings.Join(names, " ") != "A-1_b a.b default work" {
		t.Errorf("%q %v", names, err)
	}
}
