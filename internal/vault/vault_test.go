package vault

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func newVault(t *testing.T, fill byte) *Vault {
	t.Helper()
	v, err := New(bytes.Repeat([]byte{fill}, MasterKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSealOpen(t *testing.T) {
	v := newVault(t, 1)
	for _, plain := range []string{"", "x", strings.Repeat("secret", 1000)} {
		sealed := v.Seal("key/a", []byte(plain))
		if len(plain) > 4 && bytes.Contains(sealed, []byte(plain[:4])) {
			t.Error("the plain text shows in the sealed bytes")
		}
		got, err := v.Open("key/a", sealed)
		if err != nil || string(got) != plain {
			t.Errorf("opened %d bytes (%v), want %d", len(got), err, len(plain))
		}
	}
	if bytes.Equal(v.Seal("key/a", []byte("x")), v.Seal("key/a", []byte("x"))) {
		t.Error("two seals of one text are equal: the nonce repeats")
	}
}

func TestOpenRefuses(t *testing.T) {
	v := newVault(t, 1)
	sealed := v.Seal("key/a", []byte("secret"))
	changed := func(i int) []byte {
		b := bytes.Clone(sealed)
		b[i] ^= 1
		return b
	}
	for name, c := range map[string]struct {
		v      *Vault
		place  string
		sealed []byte
	}{
		"moved to another place": {v, "key/b", sealed},
		"moved to no place":      {v, "", sealed},
		"another master key":     {newVault(t, 2), "key/a", sealed},
		"changed form":           {v, "key/a", changed(0)},
		"changed nonce":          {v, "key/a", changed(1)},
		"changed text":           {v, "key/a", changed(14)},
		"changed tag":            {v, "key/a", changed(len(sealed) - 1)},
		"cut off":                {v, "key/a", sealed[:len(sealed)-1]},
		"only the form":          {v, "key/a", sealed[:1]},
		"nothing":                {v, "key/a", nil},
	} {
		if plain, err := c.v.Open(c.place, c.sealed); err == nil {
			t.Errorf("%s: opened as %q", name, plain)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells the secret", name)
		}
	}
}

func TestDerive(t *testing.T) {
	v := newVault(t, 1)
	a := v.Derive("refresh")
	if len(a) != 32 || !bytes.Equal(a, newVault(t, 1).Derive("refresh")) {
		t.Error("one use has no constant key of 32 bytes")
	}
	for name, other := range map[string][]byte{
		"another use": v.Derive("cookie"), "another master key": newVault(t, 2).Derive("refresh"), "the master key": v.master,
	} {
		if bytes.Equal(a, other) {
			t.Errorf("the derived key is that of %s", name)
		}
	}
}

func TestNewRefusesOtherSizes(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33, 64} {
		if _, err := New(make([]byte, n)); err == nil {
			t.Errorf("a master key of %d bytes passes", n)
		}
	}
}

func TestMasterFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	key, err := CreateMaster(path)
	if err != nil || len(key) != MasterKeySize || bytes.Equal(key, make([]byte, MasterKeySize)) {
		t.Fatalf("created %d bytes, %v", len(key), err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got, err := LoadMaster(path); err != nil || !bytes.Equal(got, key) {
		t.Errorf("loaded another key: %v", err)
	}
	if _, err := CreateMaster(path); err == nil {
		t.Error("an existing key was written over")
	}
}

func TestLoadMaster(t *testing.T) {
	raw := bytes.Repeat([]byte{0xa5}, MasterKeySize)
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		want    bool
	}{
		"hex":                 {hex.EncodeToString(raw), 0o600, true},
		"hex in upper case":   {strings.ToUpper(hex.EncodeToString(raw)), 0o600, true},
		"hex and a line":      {hex.EncodeToString(raw) + "\r\n", 0o400, true},
		"raw":                 {string(raw), 0o600, true},
		"short hex":           {hex.EncodeToString(raw[1:]), 0o600, false},
		"no hex":              {strings.Repeat("x", 64), 0o600, false},
		"empty":               {"", 0o600, false},
		"long":                {strings.Repeat("a5", 200), 0o600, false},
		"readable by group":   {string(raw), 0o640, false},
		"readable by others":  {string(raw), 0o604, false},
		"writable by a group": {string(raw), 0o620, false},
	} {
		if runtime.GOOS == "windows" && c.mode&0o077 != 0 {
			continue
		}
		path := filepath.Join(t.TempDir(), "master.key")
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		got, err := LoadMaster(path)
		if (err == nil) != c.want || c.want && !bytes.Equal(got, raw) {
			t.Errorf("%s: %v, want accepted: %v", name, err, c.want)
		}
		if c.mode&0o077 != 0 && (err == nil || !strings.Contains(err.Error(), "chmod 600")) {
			t.Errorf("%s: %v does not say what to do", name, err)
		}
		if err != nil && len(c.content) > 8 && strings.Contains(err.Error(), c.content[:8]) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
	if _, err := LoadMaster(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file passes")
	}
	if _, err := LoadMaster(t.TempDir()); err == nil {
		t.Error("a directory passes")
	}
}
