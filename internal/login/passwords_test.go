package login

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const right = "correct battery staple horse"

// cheap is a hash of right that costs next to nothing.
var cheap = func() string {
	h := hash{memory: 8, time: 1, threads: 1, salt: []byte("0123456789abcdef")}
	h.key = h.derive(right, hashKey)
	return h.String()
}()

func TestHash(t *testing.T) {
	phc := Hash(right)
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=19456,t=2,p=1$") || !IsHash(phc) {
		t.Fatalf("hash %q", phc)
	}
	if phc == Hash(right) {
		t.Error("two hashes of one password are equal: no salt")
	}
	if err := CheckHash(phc); err != nil {
		t.Error(err)
	}
	h, err := parseHash(phc)
	if err != nil || !h.matches(right) || h.matches(right+" ") || h.String() != phc {
		t.Errorf("parsed %+v, %v", h, err)
	}
}

func TestCheckHashRefuses(t *testing.T) {
	salt, key := "MDEyMzQ1Njc4OWFiY2RlZg", strings.Repeat("A", 43)
	good := "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + key
	if err := CheckHash(good); err != nil {
		t.Fatal(err)
	}
	for name, phc := range map[string]string{
		"empty":            "",
		"plain text":       "hunter2hunter2",
		"argon2i":          strings.Replace(good, "argon2id", "argon2i", 1),
		"bcrypt":           "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
		"other version":    strings.Replace(good, "v=19", "v=16", 1),
		"4 GiB":            strings.Replace(good, "m=8", "m=4194304", 1),
		"no passes":        strings.Replace(good, "t=1", "t=0", 1),
		"many passes":      strings.Replace(good, "t=1", "t=1000", 1),
		"other order":      strings.Replace(good, "m=8,t=1", "t=1,m=8", 1),
		"sign":             strings.Replace(good, "t=1", "t=+1", 1),
		"no salt":          strings.Replace(good, salt, "", 1),
		"padded base64":    good + "=",
		"short key":        strings.TrimSuffix(good, key) + "AAAA",
		"one part more":    good + "$",
		"parameter behind": strings.Replace(good, "p=1", "p=1,data=x", 1),
	} {
		if CheckHash(phc) == nil {
			t.Errorf("%s: %s is taken", name, phc)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add(cheap)
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$$")
	f.Add("$argon2id$v=19$m=,t=,p=$x$y")
	f.Fuzz(func(t *testing.T, phc string) {
		h, err := parseHash(phc)
		if err == nil && (h.memory > 256<<10 || h.time > 16 || len(h.key) < 16) {
			t.Errorf("%q is beyond the bounds", phc)
		}
	})
}

func TestCheck(t *testing.T) {
	p, ctx, now := NewPasswords(), context.Background(), time.Now()
	for _, c := range []struct {
		name, hash, typed string
		want              error
	}{
		{"right", cheap, right, nil},
		{"wrong", cheap, right + "x", ErrWrong},
		{"empty", cheap, "", ErrWrong},
		{"nobody", "", right, ErrWrong},
		{"nobody, empty", "", "", ErrWrong},
		{"endless", cheap, strings.Repeat("x", longestTyped+1), ErrWrong},
	} {
		if err := p.Check(ctx, now, c.name, "192.0.2.1:1", c.hash, c.typed); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := p.Check(ctx, now, "x", "192.0.2.1:1", "plain", right); err == nil || errors.Is(err, ErrWrong) {
		t.Errorf("unreadable hash: %v", err)
	}
}

// covers: SEC-31
func TestWrongPasswordsAreThrottled(t *testing.T) {
	p, ctx, now := NewPasswords(), context.Background(), time.Now()
	check := func(name, address, typed string) error { return p.Check(ctx, now, name, address, cheap, typed) }
	for range wrongHere {
		if err := check("alice", "192.0.2.1:1", "wrong"); !errors.Is(err, ErrWrong) {
			t.Fatal(err)
		}
	}
	var tooMany *TooMany
	if err := check("alice", "192.0.2.1:2", right); !errors.As(err, &tooMany) || tooMany.Wait <= 0 || tooMany.Wait > time.Minute {
		t.Fatalf("the right password after %d wrong ones: %v", wrongHere, err)
	}
	if err := check("bob", "192.0.2.1:1", right); err != nil {
		t.Errorf("somebody else at that address: %v", err)
	}
	if err := check("alice", "198.51.100.7:1", right); err != nil {
		t.Errorf("the same person elsewhere: %v", err)
	}
	now = now.Add(tooMany.Wait)
	if err := check("alice", "192.0.2.1:1", right); err != nil {
		t.Errorf("after the wait: %v", err)
	}
}

func TestAddressesTogetherAreThrottled(t *testing.T) {
	p, ctx, now := NewPasswords(), context.Background(), time.Now()
	refused := 0
	for i := range 300 {
		var tooMany *TooMany
		address := "2001:db8:0:1::" + string("0123456789abcdef"[i%16]) + ":" // one /64
		if errors.As(p.Check(ctx, now, strings.Repeat("n", i%200+1), "["+strings.TrimSuffix(address, ":")+"]:1", cheap, "wrong"), &tooMany) {
			refused++
		}
	}
	if refused != 300-wrongAddress {
		t.Errorf("%d of 300 refused, want %d", refused, 300-wrongAddress)
	}
}

func TestManyAtOnceAreNoMoreThanOneAfterTheOther(t *testing.T) {
	p, ctx, now := NewPasswords(), context.Background(), time.Now()
	var wrong atomic.Int32
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if errors.Is(p.Check(ctx, now, "alice", "192.0.2.1:1", cheap, "wrong"), ErrWrong) {
				wrong.Add(1)
			}
		})
	}
	all.Wait()
	if wrong.Load() != wrongHere {
		t.Errorf("%d passwords were checked, want %d", wrong.Load(), wrongHere)
	}
}

func TestThrottleIsBounded(t *testing.T) {
	var th throttle
	now := time.Now()
	for i := range 3 * mostCounted {
		th.take(now, []use{{string(rune(i)) + strings.Repeat("x", i%7), 10}})
	}
	if len(th.used) > mostCounted {
		t.Errorf("%d names are remembered", len(th.used))
	}
}

func TestWeak(t *testing.T) {
	for password, weak := range map[string]bool{
		"":                              true,
		"hunter2":                       true,
		"elevenchars":                   true,
		"password1234":                  true,
		"PasswordPassword":              true,
		"123456789012":                  true,
		"qwertyuiop123":                 true,
		"Administrator2026!":            true,
		"aaaaaaaaaaaaaaaa":              true,
		"abababababababab":              true,
		"abcdefghijklmnop":              true,
		"correct horse battery staple":  true,
		"kM3!xv92Lq.w":                  false,
		"my aunt sells seven umbrellas": false,
		"żółć gęślą jaźń":               false,
	} {
		if got := Weak(password); (got != "") != weak {
			t.Errorf("%q: %q", password, got)
		}
	}
}
