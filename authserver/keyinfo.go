package authserver

import (
	"context"
	"time"

	"doorward/internal/jose"
)

// KeyInfo is a published signing key.
type KeyInfo struct {
	ID      string    `json:"id"` // kid
	Alg     string    `json:"alg"`
	Created time.Time `json:"created"`
	Retired time.Time `json:"retired,omitzero"` // zero: it signs
	Until   time.Time `json:"until,omitzero"`   // of a retired one: when it stops being published
}

// Keys lists the published keys, the one that signs first.
func (s *Server) Keys(ctx context.Context) ([]KeyInfo, error) {
	stored, err := s.storedKeys(ctx)
	if err != nil {
		return nil, err
	}
	infos := make([]KeyInfo, 0, len(stored))
	for _, k := range stored {
		info := KeyInfo{ID: k.id, Alg: k.Alg, Created: k.Created, Retired: k.Retired}
		if info.Alg == "" { // of a version that knew no other
			info.Alg = jose.ES256
		}
		if !k.Retired.IsZero() {
			info.Until = k.Retired.Add(k.Longest + keyMargin)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// signWith replaces the signing key if it signs with another algorithm than
// the settings want.
func (s *Server) signWith(ctx context.Context, st *settings) error {
	if s.ring.Load().current.Alg() == st.tokens.Alg {
		return nil
	}
	_, _, err := s.rotate(ctx, st, 0)
	return err
}
