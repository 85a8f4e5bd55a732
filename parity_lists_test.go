package doorward_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// upstreamList is a part of docs/parity.md (c) whose tests have a row each in
// docs/parity-tests.md.
type upstreamList struct {
	part  string // c1, …
	cases int
	read  func(line string, into *upstreamNames)
}

var upstreamLists = []upstreamList{
	{"c1", 143, readTypeScript}, {"c2", 53, readTypeScript}, {"c3", 18 + 33 + 15 + 10, readTypeScriptClient},
	{"c5", 21, readCSharp}, {"c6", 251 + 4, readGo},
	{"c4", 215 + 11 + 15 + 9 + 58, readTypeScriptClient},
}

// upstreamNames are the names of tests by file, as they are read.
type upstreamNames struct {
	file   string
	byFile map[string][]string
	says   map[string]int // how many there are in a file, as its heading says
}

func (u *upstreamNames) add(name string) { u.byFile[u.file] = append(u.byFile[u.file], name) }

var (
	headingOfFile = regexp.MustCompile(`^\*\*(\S+) — (\d+) cases\*\*`)
	groupOfCases  = regexp.MustCompile(`^- \*([^*]+)\*: (.*)`)
)

// readTypeScript: a heading for each file, its tests between semicolons. What
// stands under a heading without a count is no list of tests.
func readTypeScript(line string, into *upstreamNames) {
	if m := headingOfFile.FindStringSubmatch(line); m != nil {
		into.file = m[1]
		into.says[m[1]], _ = strconv.Atoi(m[2])
		return
	}
	if strings.HasPrefix(line, "**") {
		into.file = ""
	}
	if m := groupOfCases.FindStringSubmatch(line); m != nil && into.file != "" {
		for one := range strings.SplitSeq(strings.Replace(m[2], "; warns on unstamped", ", warns on unstamped", 1), "; ") {
			into.add(strings.ReplaceAll(one, " ⟨table⟩", ""))
		}
	}
}

var headingOfClient = regexp.MustCompile(`^\*\*(.+?)(?: — ([^*]+)| \((\d+)\))\*\*(?:: (.*))?$`)

// readTypeScriptClient: as readTypeScript, also under headings without a count,
// with names that follow a heading in its own line.
func readTypeScriptClient(line string, into *upstreamNames) {
	m := headingOfClient.FindStringSubmatch(line)
	if m == nil {
		readTypeScript(line, into)
		return
	}
	readTypeScript(line, into) // the count, if it has one
	into.file = m[1]
	if between := map[bool]string{true: ", ", false: "; "}[m[3] != ""]; m[4] != "" {
		for one := range strings.SplitSeq(m[4], between) {
			into.add(one)
		}
	}
}

// readCSharp: names between semicolons, with words in brackets that are not
// theirs; the list ends with what upstream does not test.
func readCSharp(line string, into *upstreamNames) {
	const file = "C#: IdentityAssertionGrantProvider"
	if strings.HasPrefix(line, "### ") {
		into.file = file
	}
	if strings.HasPrefix(line, "Not tested upstream") {
		into.file = ""
	}
	if m := groupOfCases.FindStringSubmatch(line); m != nil && into.file == file {
		for one := range strings.SplitSeq(m[2], "; ") {
			name, _, _ := strings.Cut(one, " ")
			if !strings.Contains(name, "_") {
				continue // the rest of a remark
			}
			into.add(strings.Replace(name, "…", "IdentityAssertionGrantProvider", 1))
		}
	}
}

var goTest = regexp.MustCompile(`^  - (\w+)(?:: (.*))?$`)

// readGo: a test in each line, with its subtests after a colon; groups of other
// tests between semicolons.
func readGo(line string, into *upstreamNames) {
	const file = "Go SDK"
	if strings.HasPrefix(line, "### ") {
		into.file = file
	}
	if m := goTest.FindStringSubmatch(line); m != nil && m[2] == "" {
		into.add(m[1])
	} else if m != nil {
		for sub := range strings.SplitSeq(m[2], ", ") {
			into.add(m[1] + "/" + sub)
		}
	}
	if m := groupOfCases.FindStringSubmatch(line); m != nil {
		for one := range strings.SplitSeq(m[2], "; ") {
			into.add(one)
		}
	}
}

// upstreamCases are the tests that docs/parity.md lists, by file.
func upstreamCases(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile("docs/parity.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, list := range upstreamLists {
		_, part, _ := strings.Cut(string(b), "\n### "+list.part+".")
		part, _, _ = strings.Cut("### "+part, "\n### ")
		names := &upstreamNames{byFile: map[string][]string{}, says: map[string]int{}}
		for line := range strings.SplitSeq(part, "\n") {
			list.read(line, names)
		}
		sum := 0
		for file, tests := range names.byFile {
			all[file] = tests
			sum += len(tests)
			if n, said := names.says[file]; said && n != len(tests) {
				t.Errorf("docs/parity.md: %s has %d cases and %d names", file, n, len(tests))
			}
		}
		if sum != list.cases {
			t.Errorf("docs/parity.md (%s): %d cases, not %d", list.part, sum, list.cases)
		}
	}
	return all
}
