package authserver

import (
	"encoding/json"
	"net/http/httptest"
	"strconv"
	"strings"
)

// cmdSCIM sends a request as the SCIM client of corp. A body that is the name
// of a file of the script is that file. The header Authorization= takes its
// token away.
func (s *script) cmdSCIM(_ bool, args []string) {
	body := ""
	if len(args) > 2 {
		body = args[2]
		if strings.HasSuffix(body, ".json") {
			body = s.ts.ReadFile(body)
			for _, name := range []string{"ID2", "ID", "GROUP"} {
				body = strings.ReplaceAll(body, "$"+name, s.ts.Getenv(name))
			}
		}
	}
	r := httptest.NewRequest(args[0], asURL+"/scim/corp"+args[1], strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+scimToken)
	if body != "" {
		r.Header.Set("Content-Type", "application/scim+json; charset=utf-8")
	}
	for i := 3; i < len(args); i++ {
		name, value, _ := strings.Cut(args[i], "=")
		r.Header.Del(name)
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	s.last = send(s.as, r)
	s.ts.Logf("%d %s", s.last.status, s.last.body)
}

// member follows names and positions into the last answer.
func (s *script) member(path string) (any, bool) {
	var v any
	if json.Unmarshal([]byte(s.last.body), &v) != nil {
		return nil, false
	}
	for name := range strings.SplitSeq(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = at[name]; !ok {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(at) {
				return nil, false
			}
			v = at[i]
		default:
			return nil, false
		}
	}
	return v, true
}

func (s *script) cmdMember(neg bool, args []string) {
	got, there := s.member(args[0])
	if text, ok := got.(string); ok && args[0] == "detail" {
		got = refTail.ReplaceAllString(text, "")
	}
	s.compare(neg, args[0], got, there, args[1:])
}

func (s *script) cmdTake(_ bool, args []string) {
	v, ok := s.member(args[1])
	if !ok {
		s.ts.Fatalf("no member %s in %s", args[1], s.last.body)
	}
	s.ts.Setenv(args[0], plain(v))
}
