package stdio

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Config describes a server. Command and Caller are required; every other field
// says what its zero value means.
type Config struct {
	// Name is for the log and for messages to callers.
	Name string
	// Command is the program, found on the PATH of this process unless it has a
	// slash, and its arguments.
	Command []string
	// Env are variables that its processes get besides PATH, HOME and LANG.
	Env map[string]string
	// Dir is their working directory. "": that of this process.
	Dir string
	// Caller says who sends a request, given its context: whose the session is
	// (the same for the same principal, "": nobody, who is refused), and the
	// grant that lets them.
	Caller func(ctx context.Context) (owner, grant string)
	// OnEnd calls end once when the grant ends, at once if it has; forget undoes
	// that. nil: sessions do not end with grants.
	OnEnd func(grant string, end func()) (forget func())
	// Lookup reads our own environment, for the three variables. nil: os.LookupEnv.
	Lookup func(name string) (string, bool)
	// MaxSessions bounds the sessions of everybody. 0: 64.
	MaxSessions int
	// MaxOwn bounds the sessions of one owner; a further one takes the place of
	// that of theirs which has been idle for longest. 0: 8.
	MaxOwn int
	// MaxMessage bounds a message of the server, in bytes. 0: 8 MiB.
	MaxMessage int
	// Start is how long initialize may take. 0: a minute, since a command may
	// have to fetch its program first.
	Start time.Duration
	// Idle ends a session that has neither a request nor a stream for as long.
	// 0: 30 minutes.
	Idle time.Duration
	// Grace is how long a process may take to end by itself. 0: half a second.
	Grace time.Duration
	// Beat is how long a stream may be silent before a comment is sent. 0: 15 s.
	Beat time.Duration
	// Logger gets what the processes say and what goes wrong. nil: nothing.
	Logger *slog.Logger
	// Now is the clock of the bounds of the log. nil: time.Now.
	Now func() time.Time
}

// Server is an http.Handler for one command.
type Server struct {
	c   Config
	env []string

	mu       sync.Mutex
	closed   bool
	sessions map[string]*session
	starting map[string]int // by owner: sessions that are not in the table yet
	procs    sync.WaitGroup
}

// New checks the configuration; no process is started yet.
func New(c Config) (*Server, error) {
	switch {
	case len(c.Command) == 0 || c.Command[0] == "":
		return nil, errors.New("stdio: Config.Command is required")
	case c.Caller == nil:
		return nil, errors.New("stdio: Config.Caller is required")
	}
	defaultTo(&c.MaxSessions, 64)
	defaultTo(&c.MaxOwn, 8)
	defaultTo(&c.MaxMessage, 8<<20)
	defaultTo(&c.Start, time.Minute)
	defaultTo(&c.Idle, 30*time.Minute)
	defaultTo(&c.Grace, 500*time.Millisecond)
	defaultTo(&c.Beat, 15*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With("server", c.Name)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Lookup == nil {
		c.Lookup = os.LookupEnv
	}
	return &Server{c: c, env: environment(c), sessions: map[string]*session{}, starting: map[string]int{}}, nil
}

func defaultTo[T int | time.Duration](v *T, otherwise T) {
	if *v == 0 {
		*v = otherwise
	}
}

// environment is all that a process gets to see of ours.
func environment(c Config) []string {
	env := []string{} // nil would be all of ours (os/exec)
	for _, name := range []string{"PATH", "HOME", "LANG"} {
		if _, own := c.Env[name]; own {
			continue
		}
		if value, ok := c.Lookup(name); ok {
			env = append(env, name+"="+value)
		}
	}
	for name, value := range c.Env {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

// Close ends every session, and returns when the processes have ended.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	all := make([]*session, 0, len(s.sessions))
	for _, one := range s.sessions {
		all = append(all, one)
	}
	s.mu.Unlock()
	for _, one := range all {
		one.end("the server stops")
	}
	s.procs.Wait()
}

var (
	errClosed  = errors.New("the server stops")
	errFull    = errors.New("as many sessions are open as this server takes; try again later")
	errOwnFull = errors.New("you have as many sessions open as one person may, and all of them are at work")
)

// reserve makes room for one more session of the owner.
func (s *Server) reserve(owner string) error {
	for {
		victim, err := s.room(owner)
		if victim == nil {
			return err
		}
		victim.end("a newer session took its place")
	}
}

// room takes a place, or names the session that has to make one free.
func (s *Server) room(owner string) (victim *session, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	own, all, oldest := s.starting[owner], len(s.sessions), time.Time{}
	for _, n := range s.starting {
		all += n
	}
	for _, one := range s.sessions {
		if one.owner != owner {
			continue
		}
		own++
		if since, idle := one.idleSince(); idle && (victim == nil || since.Before(oldest)) {
			victim, oldest = one, since
		}
	}
	switch {
	case own < s.c.MaxOwn && all < s.c.MaxSessions:
		s.starting[owner]++
		s.procs.Add(1) // under the lock, so that Close waits for it or it does not begin
		return nil, nil
	case victim != nil:
		return victim, nil
	case own >= s.c.MaxOwn:
		return nil, errOwnFull
	}
	return nil, errFull
}

// release gives back a place that reserve took; with a session, the session has it now.
func (s *Server) release(owner string, begun *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starting[owner]--; s.starting[owner] == 0 {
		delete(s.starting, owner)
	}
	if begun != nil {
		s.sessions[begun.id] = begun
	}
}

// find is the owner's session of that id, nil if there is none.
func (s *Server) find(id, owner string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.sessions[id]; one != nil && one.owner == owner {
		return one
	}
	return nil
}

func (s *Server) forget(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, one.id)
}
