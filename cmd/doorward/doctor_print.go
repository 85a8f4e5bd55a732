package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"doorward/internal/doctor"
)

// printReport writes what a walk found, in colours on a terminal.
func (e env) printReport(r doctor.Report) error {
	var paint doctor.Paint
	if e.colours(e.stdout) {
		colour := map[string]string{doctor.OK: "\x1b[32m", doctor.Warn: "\x1b[33m", doctor.Fail: "\x1b[31m"}
		paint = func(result, text string) string { return colour[result] + text + "\x1b[0m" }
	}
	_, err := io.WriteString(e.stdout, r.Text(paint))
	return err
}

// progress shows on a terminal what is looked at when that takes over a second.
func (e env) progress() (step func(title string), done func()) {
	f, ok := e.stderr.(*os.File)
	if !ok || e.get("TERM") == "dumb" || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	var (
		mu    sync.Mutex
		title string
		stop  = make(chan struct{})
		ended sync.WaitGroup
	)
	ended.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for shown := false; ; shown = true {
			select {
			case <-tick.C:
				mu.Lock()
				fmt.Fprintf(f, "\r\x1b[K  looking: %s", title)
				mu.Unlock()
			case <-stop:
				if shown {
					fmt.Fprint(f, "\r\x1b[K")
				}
				return
			}
		}
	})
	step = func(s string) {
		mu.Lock()
		defer mu.Unlock()
		title = s
	}
	return step, func() { close(stop); ended.Wait() }
}
