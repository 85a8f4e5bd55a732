package keep

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"doorward/internal/vault"
)

// Keyring keeps one short secret for each account.
type Keyring interface {
	// Get returns the secret; ErrNoSecret if the keyring has none for account.
	Get(account string) (string, error)
	// Set keeps it.
	Set(account, secret string) error
}

// ErrNoSecret is a keyring that works and has no such secret. Any other error of
// a Keyring is one that cannot be used now.
var ErrNoSecret = errors.New("the keyring has no such secret")

const keyFile = "store.key"

// What each place of the key is good for, said when the key is made.
const (
	inKeyring = `What you sign in to is kept in %s, sealed with a key in the system's keyring. That protects it from whoever gets a
copy of the files (a backup, a lost disk), not from programs that run as you while the keyring is open.`
	inFile = `What you sign in to is kept in %s, sealed with the key in store.key beside it, since no keyring can be used here. That
protects it from other users of this machine, not from whoever copies the whole directory, nor from programs that run as
you. To keep the key elsewhere set DOORWARD_STORE_KEY (64 hex digits).`
	inEnvironment = `What you sign in to is kept in %s, sealed with the key in DOORWARD_STORE_KEY. That protects it from whoever gets a
copy of the files, not from whoever can read that variable.`
)

// vault opens the vault with the key: the given one, the file's, the keyring's.
// With none of them, one is made for an empty directory.
func (s *Store) vault(ctx context.Context) (*vault.Vault, error) {
	key, err := s.key(ctx)
	if err != nil {
		return nil, err
	}
	return vault.New(key)
}

func (s *Store) key(ctx context.Context) (key []byte, err error) {
	if s.c.Key != "" {
		return s.givenKey()
	}
	err = s.locked(ctx, "key.lock", func() error {
		key, err = s.keptKey()
		return err
	})
	return key, err
}

func (s *Store) givenKey() ([]byte, error) {
	key, err := hex.DecodeString(s.c.Key)
	if err != nil || len(key) != vault.MasterKeySize {
		return nil, &Error{Reason: BadKey, File: "DOORWARD_STORE_KEY", Hint: "it is not 64 hex digits: make one with openssl rand -hex 32"}
	}
	if s.empty() {
		s.say(inEnvironment)
	}
	return key, nil
}

func (s *Store) keptKey() ([]byte, error) {
	path := filepath.Join(s.c.Dir, keyFile)
	key, err := vault.LoadMaster(path)
	if err == nil {
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Reason: BadKey, File: path, Err: err, Hint: "put the right key back, or forget the sign-ins with doorward logout --all"}
	}
	if s.c.Keyring != nil {
		key, err = s.keyringKey()
		if err == nil {
			return key, nil
		}
		// A key file made now would make everything unreadable that a key in
		// the keyring has sealed.
		var known *Error
		if errors.As(err, &known) {
			return nil, err
		}
		if !s.empty() {
			reason := KeyringShut
			if errors.Is(err, ErrNoSecret) {
				reason = NoKey
			}
			return nil, &Error{Reason: reason, File: s.c.Dir, Err: err,
				Hint: "its key should be in the system's keyring: unlock the keyring, or forget the sign-ins with doorward logout --all"}
		}
	} else if !s.empty() {
		return nil, &Error{Reason: NoKey, File: s.c.Dir,
			Hint: fmt.Sprintf("put %s back, set DOORWARD_STORE_KEY, or forget the sign-ins with doorward logout --all", path)}
	}
	key, err = vault.CreateMaster(path)
	if err != nil {
		return nil, &Error{Reason: NotWritable, File: path, Err: err, Hint: "is there room, and may you write there?"}
	}
	s.say(inFile)
	return key, nil
}

// keyringKey reads the key of this directory from the keyring, or makes it.
func (s *Store) keyringKey() ([]byte, error) {
	account := s.account()
	text, err := s.c.Keyring.Get(account)
	if errors.Is(err, ErrNoSecret) && s.empty() {
		key := make([]byte, vault.MasterKeySize)
		rand.Read(key) // never fails
		if err := s.c.Keyring.Set(account, hex.EncodeToString(key)); err != nil {
			return nil, err
		}
		s.say(inKeyring)
		return key, nil
	}
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(text)
	if err != nil || len(key) != vault.MasterKeySize {
		return nil, &Error{Reason: BadKey, File: s.c.Dir, Hint: "what the keyring has under doorward is no key: remove it there"}
	}
	return key, nil
}

// account is the key's name in the keyring: each directory has its own.
func (s *Store) account() string {
	dir, err := filepath.Abs(s.c.Dir)
	if err != nil {
		dir = s.c.Dir
	}
	sum := sha256.Sum256([]byte(dir))
	return "store-" + hex.EncodeToString(sum[:8])
}

// empty reports whether nothing is sealed yet.
func (s *Store) empty() bool {
	names, err := s.Profiles()
	return err == nil && len(names) == 0
}

func (s *Store) say(text string) { s.c.Say(fmt.Sprintf(text, s.c.Dir)) }
