package authserver

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"time"
)

// How somebody signed in last is remembered by their browser: a cookie with the
// name of the provider, which is no secret and proves nothing. It decides which
// button stands first, and never where a browser is sent.

// rememberedLife is how long a browser keeps the name after a sign-in.
const rememberedLife = 180 * 24 * time.Hour

// rememberedCookie keeps issuers on one host apart.
func (v *visit) rememberedCookie() string {
	sum := sha256.Sum256([]byte(v.st.cfg.URL))
	name := "dw-provider-" + hex.EncodeToString(sum[:4])
	if !v.st.plain {
		name = "__Host-" + name
	}
	return name
}

// remember keeps the provider that brought somebody, where there is a choice; ""
// and what is none of ours: they came another way.
func (v *visit) remember(provider string) {
	if v.st.proxied != nil || v.st.page == nil && len(v.st.providers) < 2 {
		return
	}
	c := &http.Cookie{Name: v.rememberedCookie(), Value: provider, Path: "/", MaxAge: int(rememberedLife / time.Second),
		Secure: !v.st.plain, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if v.st.provider(provider) == nil {
		if len(v.r.CookiesNamed(c.Name)) == 0 {
			return
		}
		c.Value, c.MaxAge = "", -1
	}
	http.SetCookie(v.w, c)
}

// remembered is the provider that brought somebody last; "": none of ours did.
func (v *visit) remembered() string {
	found := v.r.CookiesNamed(v.rememberedCookie())
	if len(found) != 1 || v.st.provider(found[0].Value) == nil {
		return ""
	}
	return found[0].Value
}

// offered are the providers in the order of their buttons, and the name of the
// one that stands first because it was used last; "": they stand as configured.
func (v *visit) offered() ([]*provider, string) {
	last := v.remembered()
	if last == "" {
		return v.st.providers, ""
	}
	rest := slices.DeleteFunc(slices.Clone(v.st.providers), func(p *provider) bool { return p.Name == last })
	return slices.Insert(rest, 0, v.st.provider(last)), last
}
