package authserver

import (
	"context"

	"doorward/internal/oauth"
)

// Groups are the groups that a person is in now, as the rules see them: those of
// the sign-in or the assertion, and of the directory of the person's provider
// (Config.Directories), which decides alone about the groups that it has or had. For
// gateways in the same process; an error is the store's.
func (s *Server) Groups(ctx context.Context, who oauth.Subject) ([]string, error) {
	return s.groupsOf(ctx, s.current(), &who)
}

func (s *Server) groupsOf(ctx context.Context, st *settings, who *oauth.Subject) ([]string, error) {
	if who.IsClient() || st.directories[who.Provider] == nil {
		return who.Groups, nil
	}
	return s.ledger.GroupsOf(ctx, who.Provider, who.ID, who.Groups)
}

// today is the subject with the groups of now.
func (s *Server) today(ctx context.Context, st *settings, who oauth.Subject) (oauth.Subject, error) {
	var err error
	who.Groups, err = s.groupsOf(ctx, st, &who)
	return who, err
}
