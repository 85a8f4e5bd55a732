package gateway

import (
	"bytes"
	"errors"
)

// maxEvent bounds one event of a stream, in bytes.
const maxEvent = 16 << 20

var errEventTooLarge = errors.New("an event of the stream is too large")

// eventSplitter cuts an event stream into events, each with the blank line that
// ends it (HTML, server-sent events). Its zero value is at the start of one.
type eventSplitter struct {
	held []byte // of the event that is not complete yet
	text bool   // the line that has begun is not empty
	cr   bool   // the last byte was a carriage return
}

// feed calls emit with every event that p completes.
func (f *eventSplitter) feed(p []byte, emit func(event []byte) error) error {
	for len(p) > 0 {
		end := f.end(p)
		if end < 0 {
			f.held = append(f.held, p...)
			if len(f.held) > maxEvent {
				return errEventTooLarge
			}
			return nil
		}
		event := p[:end]
		if len(f.held) > 0 {
			f.held = append(f.held, event...)
			event = f.held
		}
		if err := emit(event); err != nil {
			return err
		}
		if f.held = f.held[:0]; cap(f.held) > 64<<10 {
			f.held = nil // an idle stream keeps little
		}
		p = p[end:]
	}
	return nil
}

// end is where the event ends in p, -1 if it does not. Lines end in CR, LF or
// both.
func (f *eventSplitter) end(p []byte) int {
	for i, c := range p {
		switch {
		case c == '\n' && f.cr:
			f.cr = false
		case c == '\n' || c == '\r':
			f.cr = c == '\r'
			switch {
			case f.text:
				f.text = false
			case f.cr && i+1 < len(p) && p[i+1] == '\n':
				f.cr = false
				return i + 2
			default:
				return i + 1
			}
		default:
			f.text, f.cr = true, false
		}
	}
	return -1
}

// changeEvent changes the message that an event carries, if it can be one that
// change is about.
func changeEvent(event []byte, change func(message []byte) ([]byte, error)) ([]byte, error) {
	if !bytes.Contains(event, []byte("tools")) && !bytes.Contains(event, []byte("capabilities")) && !bytes.Contains(event, []byte(`\u`)) {
		return event, nil
	}
	data := eventData(event)
	if len(bytes.TrimSpace(data)) == 0 {
		return event, nil
	}
	message, err := change(data)
	if err != nil || len(message) == len(data) {
		return event, err
	}
	return withData(event, message), nil
}

// sealEventIDs is the event with its id sealed, so that only its reader can
// ask for what came after it.
func sealEventIDs(event []byte, seal func(id string) string) []byte {
	if !bytes.Contains(event, []byte("id")) {
		return event
	}
	var out []byte
	rest := event
	for at := 0; len(rest) > 0; {
		line, next := cutLine(rest)
		end := len(event) - len(next)
		if id, ok := field(line, "id"); ok && len(id) > 0 {
			out = append(append(append(out, "id: "...), seal(string(id))...), '\n')
		} else {
			out = append(out, event[at:end]...)
		}
		at, rest = end, next
	}
	return out
}

// eventData is what the event's data lines say together.
func eventData(event []byte) []byte {
	var data []byte
	first := true
	for len(event) > 0 {
		var line []byte
		line, event = cutLine(event)
		value, ok := dataLine(line)
		switch {
		case !ok:
		case first:
			data, first = value[:len(value):len(value)], false
		default:
			data = append(append(data, '\n'), value...)
		}
	}
	return data
}

// withData is the event with a message in the place of its data.
func withData(event, message []byte) []byte {
	out := make([]byte, 0, len(event))
	written := false
	for len(event) > 0 {
		var line []byte
		rest := event
		line, event = cutLine(event)
		if _, ok := dataLine(line); !ok {
			out = append(out, rest[:len(rest)-len(event)]...)
			continue
		}
		if !written {
			out = append(out, "data: "...)
			for _, c := range message {
				if c == '\n' || c == '\r' { // white space between tokens: it would end the line
					c = ' '
				}
				out = append(out, c)
			}
			out = append(out, '\n')
			written = true
		}
	}
	return out
}

// cutLine cuts a line off, without its end.
func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexAny(b, "\r\n")
	if i < 0 {
		return b, nil
	}
	rest = b[i+1:]
	if b[i] == '\r' && len(rest) > 0 && rest[0] == '\n' {
		rest = rest[1:]
	}
	return b[:i], rest
}

var bom = []byte("\xef\xbb\xbf") // a stream may begin with one

func dataLine(line []byte) ([]byte, bool) { return field(line, "data") }

// field is the value of a line, if it is of that field.
func field(line []byte, name string) ([]byte, bool) {
	value, ok := bytes.CutPrefix(bytes.TrimPrefix(line, bom), []byte(name))
	if !ok || len(value) > 0 && value[0] != ':' {
		return nil, false
	}
	if len(value) > 0 {
		value = bytes.TrimPrefix(value[1:], []byte(" "))
	}
	return value, true
}
