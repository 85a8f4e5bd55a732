// Run measures what requests cost Doorward, beside bare programs that do the
// same cryptography and the same durable write, and writes bench/RESULTS.md.
// It is started at the root of the repository: go run ./bench/run.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	seconds     float64
	connections int
	rounds      int
	only        string
	out         string
	keep        string
	peers       bool
}

func main() {
	var o options
	length := flag.Duration("time", 200*time.Millisecond, "about how long each measurement lasts")
	flag.IntVar(&o.connections, "connections", 48, "connections at once")
	flag.IntVar(&o.rounds, "rounds", 30, "interleaved rounds; the peers are in every other one")
	flag.StringVar(&o.only, "only", "", "only rows whose name has this in it, and nothing else; they are profiled")
	flag.StringVar(&o.out, "out", "bench/RESULTS.md", "file for the table")
	flag.StringVar(&o.keep, "keep", "", "directory that profiles are kept in")
	flag.BoolVar(&o.peers, "peers", false, "other makers' servers too (bench/peers), those that can be had")
	flag.Parse()
	o.seconds = length.Seconds()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	dir, err := os.MkdirTemp("", "doorward-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b, err := open(o, dir)
	if err != nil {
		return err
	}
	defer b.close()
	r := results{options: o, began: time.Now(), primitives: primitives{}, peers: b.peers}
	if strings.Contains(connectRow, o.only) {
		if r.bridged, err = b.connect(); err != nil {
			return err
		}
	}
	if err := b.rounds(&r); err != nil {
		return err
	}
	if err := b.profiles(&r); err != nil {
		return err
	}
	if o.only == "" {
		if r.product, err = b.product(); err != nil {
			return err
		}
		if r.client, err = client(o.rounds); err != nil {
			return err
		}
		if err := os.WriteFile(o.out, []byte(r.markdown()), 0o644); err != nil {
			return err
		}
	}
	fmt.Print(r.markdown())
	return r.void()
}

// bench is the programs that run.
type bench struct {
	o         options
	dir       string
	world     *world
	processes map[string]*process
	targets   map[string]target
	peers     []peer // that are measured
}

// open builds the programs, starts them and signs in.
func open(o options, dir string) (*bench, error) {
	b := &bench{o: o, dir: dir, processes: map[string]*process{}, targets: map[string]target{}}
	if err := b.build(); err != nil {
		return nil, err
	}
	var err error
	if b.world, err = newWorld(); err != nil {
		return nil, err
	}
	for name, args := range map[string][]string{
		"floor": {"floor", "-upstream", b.world.url + "/mcp", "-trusted", b.world.trusted},
		"serve": {"subject", "-role", "serve", "-upstream", b.world.url + "/mcp", "-issuer", b.world.url},
		"idp":   {"subject", "-role", "idp"},
	} {
		p, err := start(filepath.Join(dir, args[0]), append(args[1:], "-dir", dir)...)
		if err != nil {
			b.close()
			return nil, err
		}
		b.processes[name] = p
		b.targets[name] = target{base: p.base, host: strings.TrimPrefix(p.base, "http://"), world: b.world}
	}
	for _, name := range []string{"serve", "idp"} {
		t := b.targets[name]
		if t.cookie, err = browser(t.base, ""); err != nil {
			b.close()
			return nil, fmt.Errorf("signing in at %s: %w", name, err)
		}
		b.targets[name] = t
	}
	if o.peers {
		if err := b.openPeers(); err != nil {
			b.close()
			return nil, err
		}
	}
	return b, nil
}

func (b *bench) close() {
	for _, p := range b.processes {
		p.stop()
	}
}

func (b *bench) build() error {
	for _, args := range [][]string{
		{"build", "-o", b.dir + "/", "./bench/floor", "./bench/subject"},
		{"build", "-trimpath", "-ldflags", "-s -w", "-o", b.dir + "/", "./cmd/doorward"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("go %s: %w (run it at the root of the repository)", strings.Join(args, " "), err)
		}
	}
	return nil
}

// rounds measures every row, floor, ours and the peers' in turn.
func (b *bench) rounds(r *results) error {
	for _, row := range rows() {
		if strings.Contains(row.name, b.o.only) {
			r.lines = append(r.lines, line{row: row, theirs: map[string]figure{}})
		}
	}
	if len(r.lines) == 0 && r.bridged.calls > 0 {
		return nil
	}
	if len(r.lines) == 0 {
		return errors.New("no row has that in its name")
	}
	for round := range b.o.rounds + 1 { // the first warms up
		seconds := b.o.seconds
		if round == 0 {
			seconds = min(seconds, 0.2)
		}
		for i := range r.lines {
			l := &r.lines[i]
			floor, err := b.measure(l.row, l.row.floor, seconds)
			if err != nil {
				return err
			}
			ours, err := b.measure(l.row, l.row.ours, seconds)
			if err != nil {
				return err
			}
			if round > 0 {
				l.floor, l.ours = l.floor.better(floor), l.ours.better(ours)
				l.ratios = append(l.ratios, ours.cpu/floor.cpu)
			}
			if round > 1 && round%2 != 0 { // they cost the most time, and nothing is decided by them
				continue
			}
			if err := b.roundOfPeers(l, round, seconds); err != nil {
				return err
			}
		}
		if err := r.primitives.round(b.processes["floor"], b.targets["floor"], b.o.connections, seconds); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) measure(row row, s side, seconds float64) (figure, error) {
	f, err := measure(b.processes[s.at], s, b.targets[s.at], b.o.connections, int(float64(row.rate)*seconds))
	if err != nil {
		err = fmt.Errorf("%s, %s: %w", row.name, s.at, err)
	}
	return f, err
}
