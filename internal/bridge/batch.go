package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"sync"
)

// lastBatches is the last revision that has batches.
const lastBatches = "2025-03-26"

// maxBatch bounds the messages of one batch.
const maxBatch = 1000

// parseLine reads one message, or a batch of them (JSON-RPC 2.0, section 6).
func parseLine(text []byte) (messages []message, batch bool, err error) {
	if text = trim(text); len(text) == 0 || text[0] != '[' {
		m, err := parse(text)
		return []message{m}, false, err
	}
	var parts []json.RawMessage
	switch err := json.Unmarshal(text, &parts); {
	case err != nil:
		return nil, true, errors.New("the line is no JSON")
	case len(parts) == 0:
		return nil, true, errors.New("the batch is empty")
	case len(parts) > maxBatch:
		return nil, true, errors.New("the batch has more than 1000 messages")
	}
	for _, part := range parts {
		m, err := parse(part)
		if err != nil {
			return nil, true, err
		}
		messages = append(messages, m)
	}
	return messages, true, nil
}

// takeBatch carries the messages of a batch one by one, which any server
// takes, and answers with one batch. Revisions after 2025-03-26 have none.
func (b *bridge) takeBatch(messages []message, l line) {
	b.mu.Lock()
	version := b.version
	b.mu.Unlock()
	var why []byte
	switch {
	case version > lastBatches:
		why = []byte("batches of messages are not carried: MCP " + version + " has none")
	case has(messages, "initialize"):
		why = []byte("initialize must not be in a batch")
	}
	all := &batch{b: b, left: len(messages), done: func() { b.leave(l.held) }}
	told := false
	for _, m := range messages {
		switch {
		case why != nil && m.isCall():
			told = true
			all.add(refusal(m.ID, codeInvalid, string(why), nil))
		case why != nil:
			all.add(nil)
		case m.isCall() && l.crowded:
			all.add(crowded(m.ID))
		default:
			b.handle(m, all.add)
		}
	}
	if why != nil && !told {
		b.write(refusal(nil, codeInvalid, string(why), nil))
	}
}

func has(messages []message, method string) bool {
	for _, m := range messages {
		if m.Method == method {
			return true
		}
	}
	return false
}

// batch gathers the answers to one batch.
type batch struct {
	b    *bridge
	done func()

	mu      sync.Mutex
	left    int
	answers [][]byte
}

// add takes the answer to one of the messages; nil: it has none. The last one
// brings all to the program.
func (t *batch) add(raw []byte) {
	t.mu.Lock()
	t.left--
	if raw != nil {
		t.answers = append(t.answers, raw)
	}
	last := t.left == 0
	t.mu.Unlock()
	if !last {
		return
	}
	if len(t.answers) > 0 {
		t.b.write(append(append([]byte{'['}, bytes.Join(t.answers, []byte{','})...), ']'))
	}
	t.done()
}
