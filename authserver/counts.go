package authserver

// Counts are numbers of what a Server did since it was made.
type Counts struct {
	Tokens map[string]uint64 // answers of the token endpoint with a token, by grant type
	Ended  int               // ended grants that a token which has not expired may name
}

// Counts returns them as they are now.
func (s *Server) Counts() Counts {
	c := Counts{Tokens: make(map[string]uint64, len(s.issued)), Ended: s.ended.Len()}
	for grantType, n := range s.issued {
		c.Tokens[grantType] = n.Load()
	}
	return c
}

// Owns reports whether the issuer serves something at a path: an endpoint, a
// page, or the callback of a provider. What Protect added is not among them.
func (s *Server) Owns(path string) bool {
	if _, ok := s.routes[path]; ok {
		return true
	}
	_, ok := s.callbackRoute(path)
	return ok
}
