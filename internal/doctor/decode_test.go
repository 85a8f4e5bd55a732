package doctor

import (
	"strings"
	"testing"
	"time"

	"doorward/internal/oauth"
)

// FuzzIDJAG: whatever comes in the place of an ID-JAG, what is said of it has
// no signature in it and can be shown.
func FuzzIDJAG(f *testing.F) {
	for _, s := range []string{"", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJFUzI1NiIsInR5cCI6Im9hdXRoLWlkLWphZytqd3QifQ.eyJhdWQiOlsiYSIsImIiXSwiZXhwIjoiMSJ9.AAAAAAAAAAAAAAAA"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		c := chain{idp: "https://idp.example", issuer: "https://as.example", resource: "https://mcp.example/mcp", client: "agent"}
		x := tokenExchange{answer: oauth.TokenResponse{AccessToken: token, IssuedTokenType: oauth.TokenTypeIDJAG}}
		p, said := c.check(x, time.Unix(1e9, 0))
		if p.saw == "" && said == "" || p.saw != "" && p.mend == "" {
			t.Errorf("%+v %q", p, said)
		}
		if i := strings.LastIndexByte(token, '.'); i > 0 && len(token)-i > 16 && strings.Contains(oauth.Printable(p.saw+said), token[i+1:]) {
			t.Errorf("%q", p.saw+said)
		}
	})
}

// FuzzFirstMessage: a stream is read up to its first message, and no further.
func FuzzFirstMessage(f *testing.F) {
	for _, s := range []string{"data: {}\n\n", "event: x\r\ndata:1\r\ndata: 2\r\n\r\n", ":\n\n\ndata", "data: a\n\ndata: b\n\n", "data:\xf6data: b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		got, err := firstMessage("text/event-stream", strings.NewReader(stream+"\n\n"))
		if err != nil {
			return
		}
		more, err := firstMessage("text/event-stream", strings.NewReader(stream+"\n\ndata: second\n\n"))
		if err != nil || len(strings.TrimSpace(string(got))) > 0 && string(more) != string(got) {
			t.Errorf("%q, and %q (%v) with another message after it, of %q", got, more, err, stream)
		}
		whole, err := firstMessage("application/json", strings.NewReader(stream))
		if err != nil || string(whole) != stream {
			t.Errorf("%q, %v", whole, err)
		}
	})
}

// No line is wider than a terminal, whatever step breaks.
func TestDrawingFits(t *testing.T) {
	for _, c := range Checks() {
		for _, result := range []string{OK, Warn, Fail} {
			for _, idp := range []string{"", "https://idp.example"} {
				r := Report{URL: "https://mcp.example/mcp", OK: result != Fail, Steps: []Step{{ID: c.ID, Result: result}}, issuer: "https://as.example", idp: idp}
				d := r.Draw(nil)
				for line := range strings.Lines(d) {
					if len(line) > columns+1 {
						t.Errorf("%s: %d columns: %s", c.ID, len(line), line)
					}
				}
				// An arrow of the identity provider is drawn where there is one.
				drawn := strings.Contains(d, result+" "+c.ID)
				if hidden := idp == "" && c.arrow == exchange || idp != "" && c.arrow == signIn; result != OK && drawn == hidden {
					t.Errorf("%s %s: drawn %t\n%s", result, c.ID, drawn, d)
				}
			}
		}
	}
}

func TestWrap(t *testing.T) {
	for _, text := range []string{"", "a", strings.Repeat("word ", 60), strings.Repeat("x", 200), "a " + strings.Repeat("y", 90) + " b c"} {
		for _, indent := range []int{0, 6, 13} {
			got := wrap(text, indent)
			for i, line := range strings.Split(got, "\n") {
				if i == 0 {
					line = strings.Repeat(" ", indent) + line
				}
				if len(line) > columns && len(strings.Fields(line)) > 1 {
					t.Errorf("%q is too wide", line)
				}
			}
			if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(text), " ") {
				t.Errorf("%q became %q", text, got)
			}
		}
	}
}

// Each step of the table is about something, and each id is there once.
func TestChecks(t *testing.T) {
	if len(titles) != len(checks) {
		t.Errorf("%d ids for %d checks", len(titles), len(checks))
	}
	for _, c := range checks {
		if c.Title == "" || c.Rule == "" || c.Who == "" || strings.ContainsAny(c.ID, " -") {
			t.Errorf("%+v", c)
		}
	}
}
