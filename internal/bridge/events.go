package bridge

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// event is one of an event stream (HTML, server-sent events).
type event struct {
	name, id string
	data     []byte
	retry    time.Duration
}

// readEvents calls each with the events of a stream until it says no. An event
// larger than most bytes is an error.
func readEvents(r io.Reader, most int, each func(event) bool) error {
	var e event
	some := false // a line of the event was seen
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), most+16)
	lines.Split(eventLines())
	for first := true; lines.Scan(); first = false {
		line := lines.Bytes()
		if first {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if len(line) == 0 {
			if some && !each(e) {
				return nil
			}
			e, some = event{}, false
			continue
		}
		some = true
		if e.add(line); len(e.data) > most {
			return errTooLarge
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return errTooLarge
	}
	return lines.Err()
}

var errTooLarge = wrong("the server's message is larger than this bridge carries")

func isTooLarge(err error) bool { return errors.Is(err, errTooLarge) }

// add reads one field.
func (e *event) add(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "event":
		e.name = string(value)
	case "data":
		if e.data != nil {
			e.data = append(e.data, '\n')
		}
		e.data = append(e.data, value...)
		if e.data == nil {
			e.data = []byte{}
		}
	case "id":
		if id := string(value); !strings.ContainsFunc(id, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
			e.id = id
		}
	case "retry":
		if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
			e.retry = time.Duration(ms) * time.Millisecond
		}
	}
}

// eventLines splits at CR, LF or both, without waiting for what follows a CR.
func eventLines() bufio.SplitFunc {
	afterCR := false
	return func(data []byte, atEOF bool) (int, []byte, error) {
		skip := 0
		if afterCR && len(data) > 0 {
			if data[0] == '\n' {
				skip = 1
			}
			afterCR = false
		}
		if i := bytes.IndexAny(data[skip:], "\r\n"); i >= 0 {
			afterCR = data[skip+i] == '\r'
			return skip + i + 1, data[skip : skip+i], nil
		}
		// An event without its blank line is none: the rest is dropped.
		if atEOF {
			return len(data), nil, nil
		}
		return skip, nil, nil
	}
}
