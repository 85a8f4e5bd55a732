package doctor

import (
	"fmt"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

// lane is who takes part.
type lane int

const (
	theClient lane = iota
	theServer
	theIssuer
	theIdP
)

// arrow is one message of the drawing.
type arrow int

const (
	request arrow = iota
	refusal
	describe
	discover
	register
	signIn
	exchange
	redeem
	keys
	call
)

// arrows are the messages in the order in which they are drawn.
var arrows = []struct {
	what     arrow
	from, to lane
	label    string
}{
	{request, theClient, theServer, "request"},
	{refusal, theServer, theClient, "401"},
	{describe, theClient, theServer, "metadata"},
	{discover, theClient, theIssuer, "metadata"},
	{register, theClient, theIssuer, "who the client is"},
	{signIn, theClient, theIssuer, "sign-in"},
	{exchange, theClient, theIdP, "ID token, for an ID-JAG"},
	{redeem, theClient, theIssuer, "token"},
	{keys, theServer, theIssuer, "keys"},
	{call, theClient, theServer, "call"},
}

// Draw draws the way of a client, the arrow that broke marked, in 80 columns.
func (r Report) Draw(paint Paint) string {
	if paint == nil {
		paint = func(_, text string) string { return text }
	}
	enterprise := r.idp != ""
	worst := map[arrow]Step{}
	for _, s := range r.Steps {
		a := titles[s.ID].arrow
		if before, ok := worst[a]; !ok || rank(s.Result) > rank(before.Result) {
			worst[a] = s
		}
	}
	c := canvas{last: theIssuer}
	if enterprise {
		c.last = theIdP
	}
	var b strings.Builder
	b.WriteString(c.names())
	for _, a := range arrows {
		if a.what == exchange && !enterprise || a.what == signIn && enterprise {
			continue
		}
		s, walked := worst[a.what]
		if a.what == redeem && enterprise && s.Result == OK && !r.has("redeem") {
			walked = false // its endpoint was tried, the ID-JAG was not
		}
		line, note := c.arrow(a.from, a.to, a.label, s.Result, walked), ""
		switch {
		case !walked && !r.OK:
			note = "not reached"
		case !walked:
			note = "not tried without --flow"
		case s.Result == OK:
			note = OK
		default:
			note = s.Result + " " + s.ID
		}
		if walked {
			line, note = paint(s.Result, line), paint(s.Result, note)
		}
		fmt.Fprintf(&b, "%s   %s\n", line, note)
	}
	b.WriteString("\n  MCP server   " + oauth.Printable(r.URL) + "\n")
	for _, named := range []struct{ who, at string }{{"auth server ", r.issuer}, {"IdP         ", r.idp}} {
		if named.at != "" {
			b.WriteString("  " + named.who + " " + oauth.Printable(named.at) + "\n")
		}
	}
	return b.String()
}

func (r Report) has(id string) bool {
	return slices.ContainsFunc(r.Steps, func(s Step) bool { return s.ID == id })
}

func rank(result string) int { return map[string]int{OK: 1, Warn: 2, Fail: 3}[result] }

// canvas has a column for each lane.
type canvas struct{ last lane }

const (
	margin = 3
	apart  = 15
)

func (c canvas) column(l lane) int { return margin + int(l)*apart }

func (c canvas) blank() []byte {
	line := []byte(strings.Repeat(" ", c.column(c.last)+1))
	for l := theClient; l <= c.last; l++ {
		line[c.column(l)] = '|'
	}
	return line
}

func (c canvas) names() string {
	line := []byte(strings.Repeat(" ", c.column(c.last)+7))
	for l, name := range []string{"client", "MCP server", "auth server", "IdP"} {
		if lane(l) <= c.last {
			copy(line[c.column(lane(l))-len(name)/2:], name)
		}
	}
	return strings.TrimRight(string(line), " ") + "\n"
}

// arrow draws one message. A broken one ends in an X before it arrives; one
// that nobody sent is dotted.
func (c canvas) arrow(from, to lane, label, result string, walked bool) string {
	line := c.blank()
	left, right := c.column(min(from, to))+1, c.column(max(from, to))-1
	stroke := byte('-')
	if !walked {
		stroke = '.'
	}
	for i := left; i <= right; i++ {
		line[i] = stroke
	}
	text := " " + label + " "
	copy(line[left+(right-left+1-len(text))/2:], text)
	head, at := byte('>'), right
	if to < from {
		head, at = '<', left
	}
	line[at] = head
	if result == Fail {
		line[at] = 'X'
	}
	return string(line)
}
