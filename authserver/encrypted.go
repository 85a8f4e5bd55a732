package authserver

import (
	"context"
	"encoding/json"
	"fmt"

	"doorward/internal/jose"
	"doorward/internal/ledger"
)

// decrypters are the keys that ID-JAGs may be encrypted to; nil if no trusted
// issuer may.
func (s *Server) decrypters() []*jose.Decrypter {
	if keys := s.crypt.Load(); keys != nil {
		return *keys
	}
	return nil
}

// openDecrypters takes the decryption keys of the store into use if an issuer of
// st may encrypt, and out of use if none may; the first time it makes them.
func (s *Server) openDecrypters(ctx context.Context, st *settings) error {
	wanted := false
	for _, i := range st.issuers {
		wanted = wanted || i.Encrypted
	}
	if wanted == (s.crypt.Load() != nil) {
		return nil
	}
	var keys *[]*jose.Decrypter
	if wanted {
		list, err := s.storedDecrypters(ctx)
		if err != nil {
			return fmt.Errorf("authserver: decryption keys: %w", err)
		}
		keys = &list
	}
	before := s.crypt.Swap(keys)
	if s.ring.Load() == nil {
		return nil // the first load is still to come
	}
	err := s.loadKeys(ctx) // makes the published document
	if err != nil {
		s.crypt.Store(before)
	}
	return err
}

func (s *Server) storedDecrypters(ctx context.Context) ([]*jose.Decrypter, error) {
	r, err := s.ledger.Store.Get(ctx, ledger.KindMeta, metaCrypt)
	if notFound(err) {
		var fresh []byte
		if fresh, err = s.sealedDecrypters(); err != nil {
			return nil, err
		}
		r.Value, err = s.meta(ctx, metaCrypt, fresh) // of two processes that start together one writes
	}
	if err != nil {
		return nil, err
	}
	plain, err := s.vault.Open(metaCrypt, r.Value)
	if err != nil {
		return nil, err
	}
	var ders [][]byte
	if err := json.Unmarshal(plain, &ders); err != nil {
		return nil, err
	}
	keys := make([]*jose.Decrypter, len(ders))
	for i, der := range ders {
		if keys[i], err = jose.ParseDecrypter(der); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// sealedDecrypters makes a key for each algorithm.
func (s *Server) sealedDecrypters() ([]byte, error) {
	var ders [][]byte
	for _, alg := range jose.EncryptionAlgs() {
		d, err := jose.NewDecrypter(alg)
		if err != nil {
			return nil, err
		}
		der, err := d.Marshal()
		if err != nil {
			return nil, err
		}
		ders = append(ders, der)
	}
	plain, err := json.Marshal(ders)
	if err != nil {
		return nil, err
	}
	return s.vault.Seal(metaCrypt, plain), nil
}

// decrypted puts what an encrypted assertion holds in its place, to which every
// rule applies as if it had come so (AS-JAG-27): its grant and its single use,
// too, since anybody can encrypt the same assertion once more.
func (s *Server) decrypted(a *asked) error {
	if !jose.IsEncrypted(a.Assertion) {
		return nil
	}
	keys := s.decrypters()
	if keys == nil {
		return reject("encrypted", "it is encrypted, and no issuer here may")
	}
	plain, err := jose.Decrypt(a.Assertion, keys)
	if err != nil {
		return reject("encrypted", "%v", err)
	}
	a.Assertion, a.encrypted = plain, true
	return nil
}
