package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// profiles runs the rows that are over their goal once more, with a profile.
func (b *bench) profiles(r *results) error {
	for i := range r.lines {
		l := &r.lines[i]
		if l.ratio() <= l.row.goal && b.o.only == "" {
			continue
		}
		text, err := b.profile(l.row, l.row.ours, l.ours.rate)
		if err != nil {
			return fmt.Errorf("profile of %s: %w", l.row.name, err)
		}
		l.profile = text
		if b.o.only == "" {
			continue
		}
		if text, err = b.profile(l.row, l.row.floor, l.floor.rate); err != nil {
			return fmt.Errorf("profile of the floor of %s: %w", l.row.name, err)
		}
		l.profile += "\nits floor:\n" + text
	}
	return nil
}

// profile is the ten functions that the most CPU went to.
func (b *bench) profile(row row, s side, rate float64) (string, error) {
	p := b.processes[s.at]
	const seconds = 2
	type answer struct {
		data []byte
		err  error
	}
	got := make(chan answer, 1)
	t := b.targets[s.at]
	each := max(1, (seconds+1)*int(rate)/b.o.connections)
	ops, conns, err := prepare(s, t, b.o.connections, each)
	if err != nil {
		return "", err
	}
	go func() {
		data, err := p.ask(fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
		got <- answer{data, err}
	}()
	time.Sleep(50 * time.Millisecond) // until it runs
	_, err = load(ops, conns, each)
	a := <-got
	if err != nil || a.err != nil {
		return "", fmt.Errorf("%w %w", err, a.err)
	}
	dir := b.dir
	if b.o.keep != "" {
		dir = b.o.keep
	}
	name, _, _ := strings.Cut(strings.ReplaceAll(strings.ReplaceAll(row.name, " ", "-"), ":", ""), ",")
	file := filepath.Join(dir, strings.ReplaceAll(name, "/", "-")+"."+s.at+".pprof")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(file, a.data, 0o644); err != nil {
		return "", err
	}
	out, err := exec.Command("go", "tool", "pprof", "-top", "-nodecount=10", file).Output()
	_, table, _ := strings.Cut(string(out), "Showing top")
	_, table, _ = strings.Cut(table, "\n")
	return table, err
}
