package keep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// holderEnv makes this test program hold a lock, and half a file, until it is killed.
const holderEnv = "DOORWARD_KEEP_TEST_HOLD"

func hold(s *Store) {
	if _, err := s.Tokens("p", "", nil).Lock(context.Background(), "k"); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	err := s.alone(context.Background(), "p", func() error {
		if err := os.WriteFile(filepath.Join(s.c.Dir, ".new-p+123"), []byte("half"), 0o600); err != nil {
			return err
		}
		fmt.Println("held")
		select {}
	})
	fmt.Println(err)
	os.Exit(1)
}

// covers: C-TOK-04
func TestTokens(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	s := New(Config{Dir: dir})
	noted := func(p *Profile, value []byte) {
		p.Clients = map[string]Client{"https://as.example": {ID: "c", Secret: string(value)}}
	}
	mine, other := s.Tokens("p", "", nil), s.Tokens("p", "scope read", noted)
	if v, err := mine.Load(t.Context(), "k"); v != nil || err != nil {
		t.Fatalf("%q %v", v, err)
	}
	if err := mine.Save(t.Context(), "k", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("forgetting nothing made a directory")
	}
	if err := mine.Save(t.Context(), "k", []byte(`{"access":"canary"}`)); err != nil {
		t.Fatal(err)
	}
	if v, err := other.Load(t.Context(), "k"); v != nil || err != nil {
		t.Errorf("another space finds %q %v", v, err)
	}
	if err := other.Save(t.Context(), "k", []byte(`"canary-2"`)); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, dir, 2)
	mustReplaceSignIn(t, s)
	again := New(Config{Dir: dir})
	if v, err := again.Tokens("p", "", nil).Load(t.Context(), "k"); string(v) != `{"access":"canary"}` || err != nil {
		t.Errorf("%q %v", v, err)
	}
	p, err := again.Read(t.Context(), "p")
	if err != nil || len(p.Tokens) != 2 || p.Clients["https://as.example"].Secret != `"canary-2"` || p.SignIn == nil {
		t.Errorf("%+v %v", p, err)
	}
	if v, err := again.Tokens("q", "", nil).Load(t.Context(), "k"); v != nil || err != nil {
		t.Errorf("another profile finds %q %v", v, err)
	}
	if err := mine.Save(t.Context(), "k", nil); err != nil {
		t.Fatal(err)
	}
	if v, err := mine.Load(t.Context(), "k"); v != nil || err != nil {
		t.Errorf("forgotten, and yet there is %q %v", v, err)
	}
	for _, key := range []string{"", "../k", "K", "a.b", strings.Repeat("k", 81)} {
		_, lerr := mine.Lock(t.Context(), key)
		_, rerr := mine.Load(t.Context(), key)
		if lerr == nil || rerr == nil || mine.Save(t.Context(), key, []byte(`1`)) == nil {
			t.Errorf("the key %q passes", key)
		}
	}
	if mine.Save(t.Context(), "k", []byte("no JSON")) == nil {
		t.Error("what is no JSON is saved")
	}
}

func mustReplaceSignIn(t *testing.T, s *Store) {
	t.Helper()
	err := s.Update(t.Context(), "p", func(p *Profile) (bool, error) {
		p.SignIn = canary().SignIn
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A key has one holder; other keys, and the profile itself, stay free.
func TestTokensLock(t *testing.T) {
	var said bytes.Buffer
	var mu sync.Mutex
	c := Config{Dir: t.TempDir(), Say: func(text string) { mu.Lock(); defer mu.Unlock(); said.WriteString(text) }}
	tok := New(c).Tokens("p", "", nil)
	unlock, err := tok.Lock(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if free, err := tok.Lock(t.Context(), "other"); err != nil {
		t.Error(err)
	} else {
		free()
	}
	if err := tok.Save(t.Context(), "k", []byte(`1`)); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), lockTalk+200*time.Millisecond)
	defer cancel()
	var typed *Error
	if _, err := New(c).Tokens("p", "", nil).Lock(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &typed) || typed.Reason != Held {
		t.Errorf("a second holder: %v", err)
	}
	mu.Lock()
	if !strings.Contains(said.String(), "waiting for it") {
		t.Errorf("said %q", said.String())
	}
	mu.Unlock()
	unlock()
	if unlock, err = tok.Lock(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	unlock()
}

// Who is killed with the locks in hand and a file half written keeps nobody
// from going on, and leaves nothing behind.
func TestKilledHolder(t *testing.T) {
	dir := t.TempDir()
	s := New(Config{Dir: dir})
	mustReplaceSignIn(t, s)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 5)
	if n, err := out.Read(line); err != nil || string(line[:n]) != "held\n" {
		t.Fatalf("%q %v", line[:n], err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Tokens("p", "", nil).Lock(ctx, "k"); err == nil {
		t.Error("two hold it")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	unlock, err := s.Tokens("p", "", nil).Lock(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if err := s.Tokens("p", "", nil).Save(t.Context(), "k", []byte(`1`)); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Read(t.Context(), "p"); err != nil || p.SignIn == nil || string(p.Tokens["k"]) != "1" {
		t.Errorf("%+v %v", p, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A place where nothing can be written says so, and what was there stays.
func TestNotWritable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tok := New(Config{Dir: filepath.Join(dir, "profiles")}).Tokens("p", "", nil)
	var typed *Error
	if err := tok.Save(t.Context(), "k", []byte(`1`)); !errors.As(err, &typed) || typed.Reason != NotWritable || typed.Hint == "" {
		t.Errorf("%v", err)
	}
	if _, err := tok.Lock(t.Context(), "k"); !errors.As(err, &typed) || typed.Reason != NotWritable {
		t.Errorf("%v", err)
	}
	// As on a full disk: the new file cannot take the old one's place.
	s := New(Config{Dir: filepath.Join(t.TempDir(), "p")})
	mustReplaceSignIn(t, s)
	file := s.file("p")
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(file, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Replace(t.Context(), "p", Profile{}); !errors.As(err, &typed) || typed.Reason != NotWritable {
		t.Errorf("%v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.c.Dir, ".new-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
