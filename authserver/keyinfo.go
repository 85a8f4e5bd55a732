package authserver

import (
	"context"
	"time"
)

// KeyInfo is a published signing key.
type KeyInfo struct {
	ID      string    `json:"id"` // kid
	Alg     string    `json:"alg"`
	Created time.Time `json:"created"`
	Signs   time.Time `json:"signs"`            // from when on, also ahead
	Retired time.Time `json:"retired,omitzero"` // when the next one signs in its place, also ahead; zero: no next one is known
	Until   time.Time `json:"until,omitzero"`   // of one with Retired: when it stops being published
}

// Keys lists the published keys, the one that signs last first.
func (s *Server) Keys(ctx context.Context) ([]KeyInfo, error) {
	stored, err := s.storedKeys(ctx)
	if err != nil {
		return nil, err
	}
	infos := make([]KeyInfo, 0, len(stored))
	for _, k := range stored {
		info := KeyInfo{ID: k.id, Alg: k.alg(), Created: k.Created, Signs: k.from(), Retired: k.Retired}
		if !k.Retired.IsZero() {
			info.Until = k.Retired.Add(k.Longest + keyMargin)
		}
		infos = append(infos, info)
	}
	return infos, nil
}
