package stdio

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
)

var errLineTooLong = errors.New("a line is too long")

// readLine reads a line of at most limit bytes, without its end. After a longer
// one, which it does not read to its end, nothing more can be read.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit+1 {
			return nil, errLineTooLong
		}
		switch {
		case err == nil && line == nil:
			return part[:len(part)-1], nil
		case err == nil:
			line = append(line, part...)
			return line[:len(line)-1], nil
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) && len(line) > 0 {
				return line, nil
			}
			return nil, err
		}
	}
}

const (
	maxLogged    = 1 << 10 // bytes of a line in the log
	maxPerMinute = 120     // lines in the log, of one process
)

// voice writes what a process says into the log, within bounds.
type voice struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	minute  time.Time
	said    int
	dropped int
}

// say writes one line down.
func (v *voice) say(what string, line []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now := v.now(); now.Sub(v.minute) >= time.Minute {
		if v.dropped > 0 {
			v.log.Info("an MCP server said more than is written down", "lines", v.dropped)
		}
		v.minute, v.said, v.dropped = now, 0, 0
	}
	if v.said++; v.said > maxPerMinute {
		v.dropped++
		return
	}
	v.log.Info(what, "line", printable(line))
}

// end says what was left out.
func (v *voice) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dropped > 0 {
		v.log.Info("an MCP server said more than is written down", "lines", v.dropped)
		v.dropped = 0
	}
}

// printable is a line without what a terminal would take for commands.
func printable(line []byte) string {
	cut := ""
	if len(line) > maxLogged {
		line, cut = line[:maxLogged], "…"
	}
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, strings.TrimRight(string(line), "\r\n")) + cut
}

// listen writes every line of r down, until it ends.
func (v *voice) listen(r io.Reader) {
	defer v.end()
	in := bufio.NewReaderSize(r, 4<<10)
	for {
		line, err := in.ReadSlice('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			v.say("an MCP server says", line)
		}
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a long line
			_, err = in.ReadSlice('\n')
		}
		if err != nil {
			return
		}
	}
}
