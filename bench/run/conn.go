package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
)

// conn is one keep-alive connection of the load. It is as little of an HTTP
// client as will do, so that the load leaves the processor to the server.
type conn struct {
	host     string
	wire     net.Conn
	in       *bufio.Reader
	location string // of the last answer
	body     []byte // of the last answer, until the next
}

func dial(base string) (*conn, error) {
	host := strings.TrimPrefix(base, "http://")
	wire, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	return &conn{host: host, wire: wire, in: bufio.NewReader(wire)}, nil
}

// get makes a request. headers are whole lines with their ends.
func get(host, target, headers string) []byte {
	return []byte("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + headers + "\r\n")
}

func post(host, path, contentType, headers, body string) []byte {
	return []byte("POST " + path + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: " + contentType + "\r\n" + headers +
		"Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
}

// form is a POST of names and values.
func form(host, path string, pairs ...string) []byte {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(pairs[i] + "=" + url.QueryEscape(pairs[i+1]))
	}
	return post(host, path, "application/x-www-form-urlencoded", "", b.String())
}

// do sends a request and reads the answer, which must have the status.
func (c *conn) do(request []byte, want int) error {
	status, length, chunked, err := c.send(request)
	if err != nil {
		return err
	}
	if err := c.readBody(length, chunked); err != nil {
		return err
	}
	if status != want {
		return fmt.Errorf("%.60q: %d %.300s", request, status, c.body)
	}
	return nil
}

// warm asks for what is not there.
func (c *conn) warm() error {
	_, length, chunked, err := c.send(get(c.host, "/nothing", ""))
	if err != nil {
		return err
	}
	return c.readBody(length, chunked)
}

// begin sends a request whose answer has no end, and reads its header.
func (c *conn) begin(request []byte, want int) error {
	status, _, _, err := c.send(request)
	if err == nil && status != want {
		err = fmt.Errorf("%.60q: %d", request, status)
	}
	return err
}

func (c *conn) send(request []byte) (status, length int, chunked bool, err error) {
	if _, err := c.wire.Write(request); err != nil {
		return 0, 0, false, err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, 0, false, err
	}
	if len(line) < 12 {
		return 0, 0, false, fmt.Errorf("answer %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, false, err
	}
	length, chunked, err = c.header()
	return status, length, chunked, err
}

func (c *conn) header() (length int, chunked bool, err error) {
	c.location = ""
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return length, chunked, nil
		}
		switch name, value, _ := bytes.Cut(line, []byte(": ")); string(name) {
		case "Content-Length":
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, false, err
			}
		case "Transfer-Encoding":
			chunked = true
		case "Location":
			c.location = string(value)
		}
	}
}

func (c *conn) readBody(length int, chunked bool) error {
	if chunked {
		var err error
		if c.body, err = io.ReadAll(httputil.NewChunkedReader(c.in)); err == nil {
			_, err = c.in.ReadSlice('\n')
		}
		return err
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	_, err := io.ReadFull(c.in, c.body)
	return err
}

// member is a string member of the last answer, which is JSON without escapes.
func (c *conn) member(name string) string {
	_, rest, ok := bytes.Cut(c.body, []byte(`"`+name+`":"`))
	if !ok {
		return ""
	}
	value, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(value)
}
