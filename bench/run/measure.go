package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// figure is what one measurement came to.
type figure struct {
	cpu    float64 // µs of the server for each operation
	rate   float64 // operations a second
	median time.Duration
	worst  time.Duration // the 99th of a hundred
}

// better keeps the measurement that was disturbed least.
func (f figure) better(g figure) figure {
	if f.cpu == 0 || g.cpu < f.cpu {
		return g
	}
	return f
}

// settle is how long work that goes on after the answers (queued audit events)
// is still counted.
const settle = 120 * time.Millisecond

// measure sends n operations over so many connections and returns what they
// cost the process.
func measure(p *process, s side, t target, connections, n int) (figure, error) {
	each := max(1, n/connections)
	ops, conns, err := prepare(s, t, connections, each)
	if err != nil {
		return figure{}, err
	}
	if _, err := p.ask("/gc"); err != nil {
		return figure{}, err
	}
	before, err := p.cpu()
	if err != nil {
		return figure{}, err
	}
	began := time.Now()
	taken, err := load(ops, conns, each)
	wall := time.Since(began)
	if err != nil {
		return figure{}, err
	}
	time.Sleep(settle)
	after, err := p.cpu()
	slices.Sort(taken)
	done := float64(len(taken))
	return figure{cpu: float64((after - before).Nanoseconds()) / 1000 / done, rate: done / wall.Seconds(),
		median: taken[len(taken)/2], worst: taken[len(taken)*99/100]}, err
}

// prepare makes the operation of each connection and opens them. Each is asked
// for nothing once, so that the server has it and its buffers when the clock runs.
func prepare(s side, t target, connections, each int) ([]operation, []*conn, error) {
	ops, conns, errs := make([]operation, connections), make([]*conn, connections), make([]error, connections)
	var all sync.WaitGroup
	for i := range connections {
		all.Go(func() {
			var err1, err2 error
			ops[i], err1 = s.prepare(t, each)
			if conns[i], err2 = dial(t.base); err2 == nil {
				err2 = conns[i].warm()
			}
			errs[i] = errors.Join(err1, err2)
		})
	}
	all.Wait()
	return ops, conns, firstOf(errs)
}

// load runs each operation so often, all connections at once, and returns how
// long every single one took.
func load(ops []operation, conns []*conn, each int) ([]time.Duration, error) {
	taken, errs := make([][]time.Duration, len(ops)), make([]error, len(ops))
	var all sync.WaitGroup
	for i, op := range ops {
		all.Go(func() {
			c := conns[i]
			defer c.wire.Close()
			taken[i] = make([]time.Duration, 0, each)
			for range each {
				began := time.Now()
				if errs[i] = op(c); errs[i] != nil {
					return
				}
				taken[i] = append(taken[i], time.Since(began))
			}
		})
	}
	all.Wait()
	return slices.Concat(taken...), firstOf(errs)
}

// middle is their median.
func middle(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// firstOf is one error of many, which mostly say the same.
func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// primitives are what floors are checked against, in µs: the least of the
// rounds so far.
type primitives map[string]float64

func (ps primitives) keep(name string, us float64) {
	if old, ok := ps[name]; !ok || us < old {
		ps[name] = us
	}
}

// requests are the primitives that go over the wire, each as a request of its
// own, since commits are shared by those who arrive together.
func requests() map[string]side {
	return map[string]side{"hello": fetch("floor", "/hello"), "hello+commit": fetch("floor", "/commit"), "hello+commit2": fetch("floor", "/commit2"),
		"form": same("floor", "/form", credentials),
		"json": {"floor", func(t target, _ int) (operation, error) {
			return always(post(t.host, "/json", "application/json", "", `{"client_name":"Bench","redirect_uris":["https://client.example/callback"]}`), 200), nil
		}}}
}

// round measures every primitive once.
func (ps primitives) round(p *process, t target, connections int, seconds float64) error {
	for name, s := range requests() {
		f, err := measure(p, s, t, connections, int(10000*seconds))
		if err != nil {
			return err
		}
		ps.keep(name, f.cpu)
	}
	ps["commit"], ps["commit2"] = ps["hello+commit"]-ps["hello"], ps["hello+commit2"]-ps["hello"]
	for name, rate := range map[string]int{"sign": 15000, "verify": 8000} {
		body, err := p.ask(fmt.Sprintf("/primitive?name=%s&n=%d", name, max(64, int(float64(rate)*seconds))))
		if err != nil {
			return err
		}
		ns, err := strconv.ParseFloat(string(body), 64)
		if err != nil {
			return err
		}
		ps.keep(name, ns/1000)
	}
	return nil
}

// of is what so many primitives of a row come to.
func (ps primitives) of(r row) float64 {
	sum := 0.0
	for part := range strings.SplitSeq(r.parts, "+") {
		sum += ps[part]
	}
	return sum
}
