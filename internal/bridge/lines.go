package bridge

import (
	"bufio"
	"encoding/json"
	"errors"
	"regexp"
	"sync"
	"time"
)

// line is one message of the program, or the remark that it was too long.
type line struct {
	text    []byte
	held    int  // blocks of room
	crowded bool // no room was left
	tooLong bool
	id      json.RawMessage // of one that was too long, if it can be told
}

const (
	block = 4 << 10
	ahead = 1024 // lines that are read ahead
	// roomPatience is how long the program's side waits for room. Then calls are
	// refused, since those before may wait for an answer that is not read yet.
	roomPatience = 10 * time.Second
)

func blocks(n int) int { return n/block + 1 }

// read brings the lines of In, as many as there is room for, so that their end
// is seen while initialize takes its time. Their end bounds the rest of the run.
func (b *bridge) read() <-chan line {
	lines := make(chan line, ahead)
	go func() {
		defer close(lines)
		r := bufio.NewReaderSize(b.c.In, 64<<10)
		for {
			l, err := readLine(r, b.c.MaxMessage)
			if len(l.text) > 0 || l.tooLong {
				b.enter(&l)
				select {
				case lines <- l:
				case <-b.ctx.Done():
					return
				}
			}
			if err != nil {
				time.AfterFunc(b.c.Linger, func() { b.stop(errOver) })
				return
			}
		}
	}()
	return lines
}

// enter takes room for a line. Only the reader does.
func (b *bridge) enter(l *line) {
	if l.tooLong {
		return
	}
	var late <-chan time.Time
	for n := blocks(len(l.text)); l.held < n; {
		select {
		case b.room <- struct{}{}:
			l.held++
			continue
		default:
		}
		if late == nil {
			late = time.After(roomPatience)
		}
		select {
		case b.room <- struct{}{}:
			l.held++
		case <-late:
			l.crowded = true
			return
		case <-b.ctx.Done():
			return
		}
	}
}

// leave gives room back.
func (b *bridge) leave(n int) {
	for range n {
		<-b.room
	}
}

// crowded refuses a call for which there was no room.
func crowded(id json.RawMessage) []byte {
	return refusal(id, codeServer, "too many calls wait for the MCP server: try again when some are answered", cause{Retry: true})
}

// readLine reads up to a line feed; of a line that is too long, only its id is kept.
func readLine(r *bufio.Reader, most int) (line, error) {
	var l line
	var tail []byte // of a line that is too long
	for {
		part, err := r.ReadSlice('\n')
		switch {
		case l.tooLong:
			tail = lastOf(append(tail, part...))
		case len(l.text)+len(part) > most+1:
			l.tooLong = true
			l.id = firstID(l.text)
			tail = lastOf(append(lastOf(l.text), part...))
			l.text = nil
		default:
			l.text = append(l.text, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if l.tooLong && l.id == nil {
			l.id = lastID(tail)
		}
		l.text = trim(l.text)
		return l, err
	}
}

const tailLength = 512

func lastOf(b []byte) []byte {
	if len(b) <= tailLength {
		return b
	}
	return append([]byte(nil), b[len(b)-tailLength:]...)
}

// Libraries write the id first or last; elsewhere it is not looked for. Hardly
// anybody sends what is too long, so that the patterns are made when somebody does.
var (
	idFirst = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^\s*\{(?:\s*"(?:jsonrpc|method)"\s*:\s*"[^"\\]*"\s*,){0,2}\s*"id"\s*:\s*("[^"\\]*"|-?[0-9]{1,18})\s*,`)
	})
	idLast = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`[\]}]\s*,(?:\s*"jsonrpc"\s*:\s*"2.0"\s*,)?\s*"id"\s*:\s*("[^"\\]*"|-?[0-9]{1,18})\s*\}\s*$`)
	})
)

func firstID(head []byte) json.RawMessage { return submatch(idFirst(), head[:min(len(head), 1024)]) }
func lastID(tail []byte) json.RawMessage  { return submatch(idLast(), tail) }

func submatch(re *regexp.Regexp, b []byte) json.RawMessage {
	if m := re.FindSubmatch(b); m != nil {
		return append(json.RawMessage(nil), m[1]...)
	}
	return nil
}
