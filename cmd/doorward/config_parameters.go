package main

import "doorward/internal/oauth"

// parameters checks what is added to the authorization requests at a provider.
func (k *checker) parameters(p keyPath, more map[string]string) {
	for _, name := range sortedNames(more) {
		if err := oauth.CheckParameter(name, more[name]); err != nil && !k.broken(p.add(name)) {
			k.fail(p.add(name), "%s", words(err))
		}
	}
}
