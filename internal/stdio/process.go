package stdio

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// process is the child of one session.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	grace  time.Duration
	queue  *outbox // messages to it
	voice  *voice
	exited chan struct{} // closed when its leader has ended
	gone   chan struct{} // closed when all of its group has
	status error         // of the leader, once exited is closed

	stopping sync.Once
	stopped  chan struct{} // closed by stop
}

// start starts a process, for which room has counted s.procs. receive gets each line of its output, in one
// goroutine; over is called once, with the reason, when it can serve no longer.
func (s *Server) start(receive func(line []byte), over func(why string)) (*process, error) {
	cmd := exec.Command(s.c.Command[0], s.c.Command[1:]...)
	cmd.Env, cmd.Dir = s.env, s.c.Dir
	ownGroup(cmd)
	// Pipes of our own: those of exec.Cmd are closed by Wait with what is still in them.
	out, outEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	errs, errsEnd, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, out.Close(), outEnd.Close())
	}
	cmd.Stdout, cmd.Stderr = outEnd, errsEnd
	p := &process{cmd: cmd, grace: s.c.Grace, queue: newOutbox(), exited: make(chan struct{}), gone: make(chan struct{}), stopped: make(chan struct{})}
	if p.in, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	_, _ = outEnd.Close(), errsEnd.Close() // the child has its own
	if err != nil {
		_, _ = out.Close(), errs.Close()
		return nil, err
	}
	p.voice = &voice{log: s.c.Logger.With("pid", cmd.Process.Pid), now: s.c.Now}
	go p.voice.listen(errs)
	go p.write(over)
	read := make(chan string, 1)
	go func() { read <- p.read(out, s.c.MaxMessage, receive) }()
	go func() {
		defer s.procs.Done()
		p.wait(func() { _, _ = out.Close(), errs.Close() })
	}()
	go func() {
		why := <-read // all that it had to say was read
		select {
		case <-p.exited:
			why = "it ended (" + p.ending() + ")"
		case <-time.After(100 * time.Millisecond): // only its output did
		}
		over(why)
	}()
	return p, nil
}

// read hands over what comes, and says why no more does.
func (p *process) read(out io.Reader, limit int, receive func([]byte)) string {
	in := bufio.NewReaderSize(out, 16<<10)
	for {
		line, err := readLine(in, limit)
		switch {
		case errors.Is(err, errLineTooLong):
			return fmt.Sprintf("it sent a message of more than %d bytes", limit)
		case err != nil:
			return "it closed its output"
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			receive(line)
		}
	}
}

// write sends what is queued.
func (p *process) write(over func(string)) {
	for {
		select {
		case <-p.exited:
			return
		case <-p.stopped:
			return
		case <-p.queue.more:
		}
		for _, m := range p.queue.take() {
			if _, err := p.in.Write(append(m.raw, '\n')); err != nil {
				select {
				case <-p.exited: // which says more
				case <-p.stopped:
				case <-time.After(100 * time.Millisecond):
					over("it closed its input")
				}
				return
			}
		}
	}
}

// wait sees the process to its end, and then what it started.
func (p *process) wait(closePipes func()) {
	p.status = p.cmd.Wait()
	close(p.exited)
	// What it started may hold its pipes, and may outlive it for the grace.
	terminate(p.cmd)
	for end := time.Now().Add(p.grace); groupLives(p.cmd) && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if groupLives(p.cmd) {
		kill(p.cmd)
	}
	// Time for what is still in the pipes, if somebody who left the group holds them.
	time.AfterFunc(200*time.Millisecond, closePipes)
	close(p.gone)
}

// stop ends the process: by itself, or after the grace. It does not wait.
func (p *process) stop() {
	p.stopping.Do(func() {
		close(p.stopped)
		go func() {
			go func() { _ = p.in.Close() }() // unblocks a write, too; on Windows it waits for one
			select {
			case <-p.exited:
				return
			default:
				terminate(p.cmd)
			}
			select {
			case <-p.exited:
			case <-time.After(p.grace):
				kill(p.cmd)
			}
		}()
	})
}

// ending is how its leader ended; exited must be closed.
func (p *process) ending() string {
	if p.status == nil {
		return "exit status 0"
	}
	return p.status.Error()
}
