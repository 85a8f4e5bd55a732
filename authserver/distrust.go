package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// metaTrusted are the issuers whose assertions were ever honoured.
const metaTrusted = "trusted"

// trusts reports whether assertions of an issuer are honoured.
func (st *settings) trusts(issuer string) bool {
	return st.issuers[issuer] != nil || st.workloads[issuer] != nil
}

// endDistrusted ends what came of issuers that were ever trusted, by any process
// on the store, and that st does not trust: taking one out
// of the configuration is an off switch, also while the server does not run.
func (s *Server) endDistrusted(ctx context.Context, st *settings) error {
	for range attempts {
		err := s.endDistrustedOnce(ctx, st)
		if !errors.Is(err, store.ErrConflict) { // else another process wrote the list meanwhile: read it
			return err
		}
	}
	return store.ErrConflict
}

func (s *Server) endDistrustedOnce(ctx context.Context, st *settings) error {
	now := slices.AppendSeq(slices.Collect(maps.Keys(st.issuers)), maps.Keys(st.workloads))
	slices.Sort(now)
	now = slices.Compact(now)
	before, version, err := s.lastTrusted(ctx)
	if err != nil {
		return err
	}
	for _, issuer := range before {
		if st.trusts(issuer) {
			continue
		}
		event := s.ledger.AuditOp(s.event("revoke", audit.Event{Issuer: issuer, Detail: "the issuer is trusted no longer"}))
		receipt, err := s.ledger.End(ctx, ledger.Which{Issuer: issuer}, "issuer not trusted", event)
		if err != nil {
			return err
		}
		if len(receipt.Grants) == 0 {
			continue
		}
		s.log.Info("an issuer is trusted no longer: what came of it has ended", "issuer", issuer, "grants", len(receipt.Grants))
	}
	// None is taken off the list: a process that still has the old configuration may
	// go on to honour it until it starts or reloads, too.
	all := slices.Concat(before, now)
	slices.Sort(all)
	if all = slices.Compact(all); slices.Equal(before, all) {
		return nil
	}
	list, err := json.Marshal(all)
	if err != nil {
		return err
	}
	write := store.Create
	if version != 0 {
		write = store.Put // over that version
	}
	return s.ledger.Store.Commit(ctx, write(store.Record{Kind: ledger.KindMeta, Key: metaTrusted, Value: list, Version: version}))
}

// finishDistrusted does what a reload could not, because the store failed.
func (s *Server) finishDistrusted(ctx context.Context) error {
	if !s.owing.Swap(false) {
		return nil
	}
	err := s.endDistrusted(ctx, s.current())
	if err != nil {
		s.owing.Store(true)
	}
	return err
}

// lastTrusted is the list and its version, 0 if there is none.
func (s *Server) lastTrusted(ctx context.Context) ([]string, uint64, error) {
	r, err := s.ledger.Store.Get(ctx, ledger.KindMeta, metaTrusted)
	if notFound(err) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	var issuers []string
	err = json.Unmarshal(r.Value, &issuers)
	return issuers, r.Version, err
}

// endIfDistrusted ends a grant that was just made if its issuer is trusted no
// longer: a reload takes the new settings first and lists the grants after, so
// that one of the two sees the other.
func (s *Server) endIfDistrusted(ctx context.Context, a *asked, g *oauth.Grant) error {
	if g.Issuer == "" || s.current().trusts(g.Issuer) {
		return nil
	}
	if _, err := s.ledger.End(ctx, ledger.Which{Grant: g.ID}, "issuer not trusted"); err != nil {
		return err
	}
	return a.unacceptable(reject("unknown_issuer", "iss %.200q was taken out of the configuration meanwhile", g.Issuer))
}
