package audit

import (
	"context"
	"crypto/rand"
	"maps"
	"strings"
	"sync"

	"doorward/internal/churn"
)

// MaxAttempts is how many refusals of strangers are kept in memory.
const MaxAttempts = 10_000

// maxText bounds each text of a refusal that is kept in memory, in bytes: what
// stands there is partly what strangers sent. maxWritten bounds those of events
// that are written: whoever may call could send a text that no store takes, and
// what is behind it in the queue would never be written.
const (
	maxText    = 300
	maxWritten = 4 << 10
)

// RefLength is the length of a reference.
const RefLength = 8

// refLetters leaves out what people mistake for each other when they read it
// out.
const refLetters = "abcdefghjkmnpqrstuvwxyz23456789"

// Attempts keeps refusals under the references that callers were told: those
// of authenticated callers in a log, the last of all others in memory, so that
// strangers cannot fill a disk. It is safe for use by any number of goroutines.
type Attempts struct {
	log *Log

	mu      sync.Mutex
	ring    []Event
	next    int // the oldest, once the ring is full
	byRef   churn.Map[string, int]
	dropped int
	refused map[string]uint64 // by reason
}

// NewAttempts keeps the refusals of authenticated callers in log; nil: in
// memory too.
func NewAttempts(log *Log) *Attempts {
	return &Attempts{log: log, refused: map[string]uint64{}}
}

// Keep gives a refusal its reference and keeps it. known says that the caller
// proved who they are, or named something genuine.
func (a *Attempts) Keep(e Event, known bool) (ref string) {
	e.Ref = newRef()
	if e.Outcome == "" {
		e.Outcome = "refused"
	}
	a.count(e.Reason)
	if known && a.log != nil {
		a.log.Add(e)
		return e.Ref
	}
	e.bound(maxText)
	e.own()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ring) < MaxAttempts {
		a.byRef.Set(e.Ref, len(a.ring))
		a.ring = append(a.ring, e)
		return e.Ref
	}
	a.byRef.Delete(a.ring[a.next].Ref)
	a.dropped++
	a.ring[a.next] = e
	a.byRef.Set(e.Ref, a.next)
	a.next = (a.next + 1) % MaxAttempts
	return e.Ref
}

// count counts a refusal under its reason, if that is one of the table.
func (a *Attempts) count(reason string) {
	if !reasons()[reason] {
		reason = "other"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused[reason]++
}

// reasons are those of the table, without the ladders.
var reasons = sync.OnceValue(func() map[string]bool {
	all := make(map[string]bool, len(causes))
	for key := range causes {
		all[key[strings.LastIndexByte(key, ' ')+1:]] = true
	}
	return all
})

// Refused is how many refusals there were, by reason.
func (a *Attempts) Refused() map[string]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.refused)
}

// Waiting is how many events are queued in the log.
func (a *Attempts) Waiting() int {
	if a.log == nil {
		return 0
	}
	return a.log.Waiting()
}

// Recent returns a refusal that is kept in memory.
func (a *Attempts) Recent(ref string) (Event, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, ok := a.byRef.Get(ref)
	if !ok {
		return Event{}, false
	}
	return a.ring[i], true
}

// Dropped is how many refusals had to make room for later ones.
func (a *Attempts) Dropped() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.dropped
}

// Flush writes the refusals that wait in the log.
func (a *Attempts) Flush(ctx context.Context) error {
	if a.log == nil {
		return nil
	}
	return a.log.Flush(ctx)
}

// bound cuts every text of the event; the copy lets go of a larger text that it
// may be a piece of.
func (e *Event) bound(size int) {
	for _, s := range e.texts() {
		if len(*s) > size {
			*s = strings.Clone(strings.ToValidUTF8((*s)[:size], ""))
		}
	}
}

// own copies every text: a short one may be a piece of a large request, which
// would stay in memory with it.
func (e *Event) own() {
	for _, s := range e.texts() {
		*s = strings.Clone(*s)
	}
}

func (e *Event) texts() []*string {
	return []*string{&e.Action, &e.Outcome, &e.Reason, &e.Rule, &e.Person, &e.Client, &e.Resource, &e.Tool,
		&e.Scope, &e.Grant, &e.Issuer, &e.JTI, &e.GrantType, &e.Address, &e.Detail, &e.Step}
}

// newRef is eight characters that a person can read out.
func newRef() string {
	var b [RefLength]byte
	rand.Read(b[:]) // never fails
	for i := range b {
		b[i] = refLetters[int(b[i])%len(refLetters)]
	}
	return string(b[:])
}

// IsRef reports whether a text has the form of a reference.
func IsRef(s string) bool {
	return len(s) == RefLength && strings.Trim(s, refLetters) == ""
}

// Describe puts a reference at the end of a description, within the 300 bytes
// that error_description keeps to.
func Describe(description, ref string) string {
	tail := " (ref " + ref + ")"
	if over := len(description) + len(tail) - maxText; over > 0 {
		description = strings.ToValidUTF8(description[:len(description)-over-3], "") + "..."
	}
	return description + tail
}
