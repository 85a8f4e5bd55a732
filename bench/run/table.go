package main

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
)

// results is everything that a run found out.
type results struct {
	options    options
	began      time.Time
	lines      []line
	primitives primitives
	product    product
	client     added
	bridged    bridged
	peers      []peer
}

// line is a row with its figures.
type line struct {
	row         row
	floor, ours figure
	theirs      map[string]figure // by the name of the peer
	ratios      []float64         // ours to the floor, of each round
	profile     string            // of a row that is over its goal
}

func (l *line) ratio() float64 { return l.ours.cpu / l.floor.cpu }

// tolerance is how far a floor may lie above what it is made of.
const tolerance = 1.25

// allowed is what the floor may cost.
func (r *results) allowed(l *line) float64 { return tolerance * r.primitives.of(l.row) }

func (r *results) isVoid(l *line) bool { return l.row.parts != "" && l.floor.cpu > r.allowed(l) }

// void is an error if a floor does more than its primitives: then its ratio
// flatters us.
func (r *results) void() error {
	var errs []error
	for i := range r.lines {
		if l := &r.lines[i]; r.isVoid(l) {
			errs = append(errs, fmt.Errorf("void: the floor of %q took %.1f µs, and %s are worth at most %.1f", l.row.name, l.floor.cpu, l.row.parts, r.allowed(l)))
		}
	}
	return errors.Join(errs...)
}

func (r *results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What requests cost\n\n%s, %d cores, %s %s/%s, %d connections, %d rounds, the least. Made by `make bench`; [README.md](README.md) says how.\n\n",
		r.began.UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, r.options.connections, r.options.rounds)
	b.WriteString("µs of CPU of the server process for each operation, user and system. Only the ratios travel to other machines; in brackets is the median of the rounds' own ratios.\n\n")
	b.WriteString("| operation | floor | Doorward | ratio | goal | | a second | median | 99 % |" + r.heads() + "\n")
	for i := range r.lines {
		l := &r.lines[i]
		verdict := "within"
		switch {
		case r.isVoid(l):
			verdict = "void"
		case l.ratio() > l.row.goal:
			verdict = "**over**"
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.0f | **%.2f** (%.2f) | %.2f | %s | %.0f | %s | %s |%s\n", l.row.name, l.floor.cpu, l.ours.cpu, l.ratio(), middle(l.ratios), l.row.goal, verdict,
			l.ours.rate, millis(l.ours.median), millis(l.ours.worst), r.cells(l))
	}
	b.WriteString(r.aboutPeers())
	b.WriteString("\nPrimitives of the same run (µs):")
	for _, name := range []string{"hello", "form", "json", "sign", "verify", "commit", "commit2"} {
		fmt.Fprintf(&b, " %s %.1f ·", name, r.primitives[name])
	}
	b.WriteString(" where commit is one row of 300 bytes and commit2 two, over a request without them. A floor that costs more than " +
		"1.25 × its primitives makes its row void.\n")
	if p := r.product; p.binary > 0 {
		b.WriteString("\n| `doorward serve` | | goal |\n|---|--:|--:|\n")
		fmt.Fprintf(&b, "| start to first answer, empty state | %d ms | 150 ms |\n| start to first answer, later | %d ms | 100 ms |\n", p.first.Milliseconds(), p.later.Milliseconds())
		fmt.Fprintf(&b, "| resident memory, idle | %.0f MiB | |\n| peak resident memory under these loads | %.0f MiB | 64 MiB |\n", p.idle, p.peak)
		fmt.Fprintf(&b, "| an idle SSE stream through the gateway | %.0f KiB | 40 KiB |\n| binary | %.1f MiB | 45 MiB |\n", p.stream, p.binary)
	}
	if r.client.bare > 0 {
		b.WriteString(r.client.markdown())
	}
	b.WriteString(r.aboutConnect())
	for i := range r.lines {
		if l := &r.lines[i]; l.profile != "" {
			fmt.Fprintf(&b, "\n## Where it goes: %s\n\n```\n%s```\n", l.row.name, l.profile)
		}
	}
	return b.String()
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
