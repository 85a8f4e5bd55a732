package doctor

import (
	"fmt"
	"strings"
)

// columns is how wide the report is.
const columns = 80

// parties says who is meant.
var parties = map[string]string{
	Person:   "person (you)",
	Operator: "operator (whoever runs the MCP server and its authorization server)",
	Maker:    "client's maker (or whoever configures the client)",
}

// Paint colours a text by a result; nil leaves it as it is.
type Paint func(result, text string) string

// Text is the report for people: what it comes to, the way that was walked,
// every step, and then what is to be mended.
func (r Report) Text(paint Paint) string {
	if paint == nil {
		paint = func(_, text string) string { return text }
	}
	var b strings.Builder
	b.WriteString(r.verdict(paint) + "\n\n" + r.Draw(paint) + "\n")
	for _, s := range r.Steps {
		line := s.Title
		switch {
		case s.Result != OK:
			line = s.ID + ": see below"
		case s.Saw != "":
			line += ": " + s.Saw
		}
		b.WriteString(paint(s.Result, fmt.Sprintf("%-4s", s.Result)) + "  " + wrap(line, 6) + "\n")
	}
	for _, result := range []string{Fail, Warn} {
		for _, s := range r.Steps {
			if s.Result == result {
				b.WriteString("\n" + s.finding(paint))
			}
		}
	}
	return b.String()
}

// verdict is the whole report in a sentence.
func (r Report) verdict(paint Paint) string {
	count := map[string]int{}
	var first Step
	for _, s := range r.Steps {
		if count[s.Result]++; s.Result == Fail && count[s.Result] == 1 {
			first = s
		}
	}
	things := func(n int, more string) string {
		if n == 1 {
			return "1 " + more + "thing is"
		}
		return fmt.Sprintf("%d %sthings are", n, more)
	}
	switch {
	case count[Fail] > 1:
		more := fmt.Sprintf("It breaks at %s (%s acts): %s. %s broken, too.", first.ID, first.Who, strings.TrimSuffix(first.Saw, "."), things(count[Fail]-1, "more "))
		return paint(Fail, wrap(more, 0))
	case count[Fail] == 1:
		return paint(Fail, wrap(fmt.Sprintf("It breaks at %s (%s acts): %s", first.ID, first.Who, first.Saw), 0))
	case count[Warn] > 0:
		return paint(Warn, wrap("Nothing is broken; "+things(count[Warn], "")+" worth a look, at the end.", 0))
	}
	return paint(OK, "Nothing is broken.")
}

// finding is one step to be mended.
func (s Step) finding(paint Paint) string {
	who := s.Who
	if party := parties[s.Who]; party != "" {
		who = party
	}
	var b strings.Builder
	b.WriteString(paint(s.Result, fmt.Sprintf("%s  %s", s.Result, s.ID)) + "\n")
	for _, line := range []struct{ name, text string }{{"wanted", s.Title}, {"saw", s.Saw}, {"mend", s.Mend}, {"who acts", who}, {"rule", s.Rule}} {
		if line.text != "" {
			fmt.Fprintf(&b, "  %-10s%s\n", line.name+":", wrap(line.text, 12))
		}
	}
	return b.String()
}

// wrap breaks a text between words, so that it ends before the last column if
// it begins at this one. A word that is too long (a URL, to be copied) stays.
func wrap(text string, indent int) string {
	var b strings.Builder
	at := indent
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case at+1+len(word) > columns:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String()
}
