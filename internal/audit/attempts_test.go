package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Strangers get the last 10,000 places and no more; who is known gets none of
// them.
func TestAttemptsAreBounded(t *testing.T) {
	m := &memory{}
	log := New(func(err error) { t.Error(err) }, m)
	defer log.Close()
	a := NewAttempts(log)
	first := a.Keep(Event{Detail: strings.Repeat("ä", 10_000)}, false)
	e, ok := a.Recent(first)
	if !ok || len(e.Detail) > maxText || e.Outcome != "refused" || e.Ref != first {
		t.Errorf("kept: %t, %d bytes", ok, len(e.Detail))
	}
	known := a.Keep(Event{Client: "c"}, true)
	if _, ok := a.Recent(known); ok {
		t.Error("who is known takes a place in memory")
	}
	if err := a.Flush(t.Context()); err != nil || len(m.events) != 1 || m.events[0].Ref != known {
		t.Errorf("%v: %+v", err, m.events)
	}
	refs := map[string]bool{first: true}
	var last string
	for i := range MaxAttempts {
		last = a.Keep(Event{Detail: fmt.Sprint(i)}, false)
		refs[last] = true
	}
	if _, ok := a.Recent(first); ok || a.Dropped() != 1 {
		t.Errorf("the oldest is there: %t; %d dropped", ok, a.Dropped())
	}
	if e, ok := a.Recent(last); !ok || e.Detail != fmt.Sprint(MaxAttempts-1) {
		t.Errorf("the newest: %t %+v", ok, e)
	}
	if a.byRef.Len() > MaxAttempts || len(a.ring) != MaxAttempts {
		t.Errorf("%d names, %d places", a.byRef.Len(), len(a.ring))
	}
	if len(refs) < MaxAttempts {
		t.Errorf("%d different references only", len(refs))
	}
}

func TestReferences(t *testing.T) {
	for range 100 {
		if r := newRef(); !IsRef(r) {
			t.Fatalf("%q", r)
		}
	}
	for _, s := range []string{"", "abcdefg", "abcdefghi", "ABCDEFGH", "abcdefg1", "abcd efg"} {
		if IsRef(s) {
			t.Errorf("%q passes", s)
		}
	}
}

// covers: X-HTTP-05
func TestDescribe(t *testing.T) {
	if got := Describe("no", "abcdefgh"); got != "no (ref abcdefgh)" {
		t.Error(got)
	}
	if got := Describe(strings.Repeat("x", 300), "abcdefgh"); len(got) != 300 || !strings.HasSuffix(got, "... (ref abcdefgh)") {
		t.Errorf("%d: %s", len(got), got)
	}
}

// The table is whole: each reason breaks a step of each ladder that it can
// occur on, and each step has its words.
func TestTableOfReasons(t *testing.T) {
	for _, l := range ladders {
		for _, step := range l.steps {
			if titles[step] == "" {
				t.Errorf("%s: the step %s has no words", l.name, step)
			}
		}
	}
	for key, c := range causes {
		if titles[c.step] == "" || c.means == "" || c.mend == "" || !slices.Contains([]string{Person, Maker, IdPAdmin, Operator}, c.who) {
			t.Errorf("%s: %+v", key, c)
		}
		of, _, own := strings.Cut(key, " ")
		if i := slices.IndexFunc(ladders, func(l ladder) bool { return l.name == of }); own && (i < 0 || !slices.Contains(ladders[i].steps, c.step)) {
			t.Errorf("%s: its ladder has no step %s", key, c.step)
		}
	}
}

// Every reason that the sources give is in the table.
func TestEveryReasonIsExplained(t *testing.T) {
	given := regexp.MustCompile(`(?:Reason: *|reason: *|invalid\(|reject\(|fault\(|badUpstream\(|tokenFault\{|Reason[A-Z][a-z]+ += )"([a-z_]+)"`)
	var files []string
	for _, glob := range []string{"../../*.go", "../../authserver/*.go", "../gateway/*.go", "../access/*.go", "../oauth/*.go", "../dpop/*.go"} {
		found, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	known := map[string]bool{}
	for key := range causes {
		known[key[strings.LastIndexByte(key, ' ')+1:]] = true
	}
	seen := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range given.FindAllStringSubmatch(string(text), -1) {
			seen++
			if !known[m[1]] {
				t.Errorf("%s: the reason %s is not explained", filepath.Base(file), m[1])
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d reasons found in the sources", seen)
	}
}

// Whatever is kept, something is explained: one broken step, and who must act.
func FuzzExplain(f *testing.F) {
	f.Add("token.refuse", "authorization_code", "code_used", "")
	f.Add("tool.call", "", "denied_by_rule", "tool")
	f.Add("page.refuse", "", "x", "nowhere")
	f.Fuzz(func(t *testing.T, action, grant, reason, step string) {
		x := Explain(Event{Action: action, GrantType: grant, Reason: reason, Step: step})
		broken := 0
		for _, s := range x.Steps {
			if s.Result == StepBroken {
				broken++
			}
		}
		if broken != 1 || x.Who == "" || x.Mend == "" || x.Means == "" {
			t.Errorf("%+v", x)
		}
	})
}
