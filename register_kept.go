package doorward

import (
	"context"
	"encoding/json"
	"time"

	"doorward/internal/oauth"
)

// keptRegistration is a client that registered itself, as it lies in a TokenStore.
type keptRegistration struct {
	Version int         `json:"v"`
	Issuer  string      `json:"issuer"`
	Client  *keptClient `json:"client"`
}

// clientKey is what a registration is held under. One for devices has other
// grants than one for browsers.
func (f *AuthorizationCode) clientKey(md *oauth.ServerMetadata) string {
	if f.byDevice(md) {
		return md.Issuer + " " + oauth.DeviceCode
	}
	return md.Issuer
}

// registered is the client that registered itself with this issuer before, in
// this run or in another one.
func (f *AuthorizationCode) registered(ctx context.Context, w want, md *oauth.ServerMetadata) (registration, bool, error) {
	t, key := w.t, f.clientKey(md)
	r, ok := t.state.clients.get(t.now(), key)
	if ok || t.Store == nil {
		return r, ok, nil
	}
	value, err := t.Store.Load(ctx, t.keyOf("client", key))
	if err != nil {
		return registration{}, false, storeFailed(md.Issuer, "the client that registered itself cannot be read", err)
	}
	var k keptRegistration
	if len(value) == 0 || json.Unmarshal(value, &k) != nil || k.Version != 1 || k.Issuer != md.Issuer || k.Client == nil || k.Client.ID == "" {
		return registration{}, false, nil
	}
	if until := k.Client.Until; !until.IsZero() && !t.now().Before(until) {
		return registration{}, false, nil
	}
	r = k.Client.registration()
	t.state.clients.put(t.now(), key, r, k.Client.Until)
	return r, true, nil
}

// keepRegistration holds a new client, also for later runs. until is the end of
// its secret; zero: none.
func (f *AuthorizationCode) keepRegistration(ctx context.Context, w want, md *oauth.ServerMetadata, r registration, until time.Time) error {
	t, key := w.t, f.clientKey(md)
	t.state.clients.put(t.now(), key, r, until)
	if t.Store == nil {
		return nil
	}
	c := keepClient(r)
	c.Until = until
	value, err := json.Marshal(keptRegistration{Version: 1, Issuer: md.Issuer, Client: c})
	if err == nil {
		err = t.Store.Save(ctx, t.keyOf("client", key), value)
	}
	if err != nil {
		return storeFailed(md.Issuer, "the client that registered itself cannot be saved", err)
	}
	return nil
}

// dropRegistration forgets a client that the issuer does not know any more
// (C-REG-07).
func (f *AuthorizationCode) dropRegistration(ctx context.Context, w want, md *oauth.ServerMetadata) error {
	t, key := w.t, f.clientKey(md)
	t.state.clients.drop(key)
	if t.Store == nil {
		return nil
	}
	if err := t.Store.Save(ctx, t.keyOf("client", key), nil); err != nil {
		return storeFailed(md.Issuer, "the client that is not known any more cannot be removed", err)
	}
	return nil
}
