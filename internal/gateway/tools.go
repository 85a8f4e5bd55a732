package gateway

import (
	"bytes"
	"errors"
)

// filterTools leaves the tools out of a JSON-RPC response that keep refuses.
// Every other byte stays; a message without a list of tools comes back as it
// is. An error means that it cannot be told what the message says.
func filterTools(message []byte, keep func(tool string) bool) ([]byte, error) {
	s := scanner{b: message}
	if err := s.document(); err != nil {
		return nil, err
	}
	result, at, err := member(message, "result", 0)
	if err != nil || result == nil {
		return message, err
	}
	list, at, err := member(result, "tools", at)
	if err != nil || list == nil || list[0] != '[' {
		return message, err
	}
	out := bytes.NewBuffer(make([]byte, 0, len(message)))
	out.Write(message[:at+1])
	count, kept := 0, 0
	err = elements(list, func(start, end int) error {
		count++
		name, err := toolName(list[start:end])
		if err != nil || name == "" || !keep(name) {
			return err
		}
		if kept++; kept > 1 {
			out.WriteByte(',')
		}
		out.Write(list[start:end])
		return nil
	})
	if err != nil || kept == count {
		return message, err
	}
	out.Write(message[at+len(list)-1:])
	return out.Bytes(), nil
}

var errNoObject = errors.New("an object was expected")

// member is the value of a member of an object, nil if it has none, and where
// it begins, counted from base.
func member(object []byte, name string, base int) (value []byte, at int, err error) {
	if object[0] != '{' && bytes.TrimLeft(object, " \t\r\n")[0] != '{' {
		return nil, 0, errNoObject
	}
	err = members(object, func(n, v []byte, i int) error {
		if string(n) == name {
			value, at = v, base+i
		}
		return nil
	})
	return value, at, err
}

// toolName is a tool's name, "" if it has none: then nobody can be asked
// whether it may be shown.
func toolName(tool []byte) (string, error) {
	if tool[0] != '{' {
		return "", nil
	}
	value, _, err := member(tool, "name", 0)
	if err != nil || value == nil || value[0] != '"' {
		return "", err
	}
	name, err := unquote(value)
	return string(name), err
}
