package login

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"doorward/internal/limit"
)

// ErrWrong: there is no such person, they have no password, or it was another.
// The three are one.
var ErrWrong = errors.New("wrong name or password")

// TooMany is the refusal to check a password after too many wrong ones.
type TooMany struct {
	Wait time.Duration // until the next one is checked
}

// Error says how long to wait.
func (e *TooMany) Error() string {
	return fmt.Sprintf("too many wrong passwords, wait %s", e.Wait.Round(time.Second))
}

// Wrong passwords a minute before checking stops. A person is held off from
// the address where the wrong ones came from; the higher bounds are for who
// tries one person from many addresses, or many people from one. So a stranger
// locks out neither a person elsewhere nor the others behind one address.
const (
	wrongHere    = 10
	wrongPerson  = 100
	wrongAddress = 100
	longestTyped = 1024 // bytes
)

// Passwords checks typed passwords: few at a time, since each costs memory,
// and fewer after wrong ones.
type Passwords struct {
	gate     chan struct{}
	throttle throttle
}

// NewPasswords returns a checker that runs as many checks at once as there are
// processors.
func NewPasswords() *Passwords {
	return &Passwords{gate: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// Check compares what was typed for name with a hash in PHC form; phc "" means
// that there is no such person, which costs as much time as a wrong password
// with the parameters of Hash. address is the caller's (host:port or host). The
// error is ErrWrong, a *TooMany, an unreadable hash, or the context's.
func (p *Passwords) Check(ctx context.Context, now time.Time, name, address, phc, typed string) error {
	h := hash{memory: hashMemory, time: hashTime, threads: hashThreads, salt: make([]byte, hashSalt), key: make([]byte, hashKey)}
	if phc != "" {
		var err error
		if h, err = parseHash(phc); err != nil {
			return err
		}
	}
	from, who := limit.Network(address), limit.Key(name) // what is typed for a name may be as long as a form
	// Taken before the check and given back after a right one, so that many at
	// once are no more than one after the other.
	use := []use{{"both\x00" + who + "\x00" + from, wrongHere}, {"person\x00" + who, wrongPerson}, {"address\x00" + from, wrongAddress}}
	if wait := p.throttle.take(now, use); wait > 0 {
		return &TooMany{Wait: wait}
	}
	select {
	case p.gate <- struct{}{}:
	case <-ctx.Done():
		p.throttle.giveBack(now, use)
		return ctx.Err()
	}
	right := len(typed) <= longestTyped && h.matches(typed) && phc != ""
	<-p.gate
	if !right {
		return ErrWrong
	}
	p.throttle.giveBack(now, use)
	return nil
}
