// Package vault is what is encrypted at rest: signing keys and upstream
// tokens. AES-256-GCM with random nonces, one master key, and the place where
// the sealed bytes belong as additional data, so that they cannot be moved.
package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
)

// Vault seals and opens with one master key. It may be used by many goroutines.
type Vault struct {
	master []byte
	aead   cipher.AEAD
}

// MasterKeySize is the size of a master key in bytes.
const MasterKeySize = 32

// format is the first byte of everything sealed: AES-256-GCM, its nonce in
// front.
const format = 1

// New makes a vault of a master key of 32 bytes.
func New(master []byte) (*Vault, error) {
	if len(master) != MasterKeySize {
		return nil, fmt.Errorf("master key: %d bytes instead of %d", len(master), MasterKeySize)
	}
	v := &Vault{master: append([]byte(nil), master...)}
	// Sealing has a key of its own, so that no derived key is ever the one
	// that encrypts.
	key, err := v.derive("doorward seal")
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	if v.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	return v, nil
}

// Seal encrypts. place names where the result will lie ("key/KID").
func (v *Vault) Seal(place string, plain []byte) []byte {
	sealed := make([]byte, 1, 1+len(plain)+v.aead.Overhead())
	sealed[0] = format
	return v.aead.Seal(sealed, nil, plain, []byte(place))
}

// Open decrypts what was sealed for the same place.
func (v *Vault) Open(place string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != format {
		return nil, fmt.Errorf("%s is not sealed in a form that this version knows", place)
	}
	plain, err := v.aead.Open(nil, nil, sealed[1:], []byte(place))
	if err != nil {
		return nil, fmt.Errorf("%s cannot be opened: it was sealed with another master key or for another place, or was changed", place)
	}
	return plain, nil
}

// Derive returns a 32-byte key for one use, from the master key (HKDF-SHA-256).
func (v *Vault) Derive(use string) []byte {
	key, err := v.derive("doorward derive " + use)
	if err != nil {
		// HKDF fails only for output over 8,160 bytes, and in FIPS mode for
		// input under 14; both lengths are fixed here.
		panic(errors.Join(errors.New("vault: derive"), err))
	}
	return key
}

func (v *Vault) derive(info string) ([]byte, error) {
	return hkdf.Key(sha256.New, v.master, nil, info, MasterKeySize)
}
