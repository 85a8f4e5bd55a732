package vault

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
)

// LoadMaster reads a master key file (64 hex digits or 32 raw bytes; refused
// if others can read it). Windows keeps no such permission bits, so there the
// directory's access list is what protects it.
func LoadMaster(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("master key: %s is no regular file", path)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("master key: others can read or change %s (mode %04o): run chmod 600 %s",
			path, info.Mode().Perm(), path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	if len(raw) == MasterKeySize {
		return raw, nil
	}
	key, err := hex.DecodeString(string(bytes.TrimSpace(raw)))
	if err != nil || len(key) != MasterKeySize {
		return nil, fmt.Errorf("master key: %s holds neither 64 hex digits nor 32 raw bytes: make one with openssl rand -hex 32", path)
	}
	return key, nil
}

// CreateMaster writes a new random master key to path (0600, must not exist)
// and returns it.
func CreateMaster(path string) ([]byte, error) {
	key := make([]byte, MasterKeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("master key: %w: load it, or move it away; what it sealed cannot be opened without it", err)
	}
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	// A key that is lost with the power takes all that it sealed with it.
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return nil, fmt.Errorf("master key: %w", errors.Join(err, os.Remove(path)))
	}
	return key, nil
}
