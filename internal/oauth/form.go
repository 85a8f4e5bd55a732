package oauth

import (
	"net/url"
	"strings"
)

// usualForm is how many parameters a form usually has at most.
const usualForm = 16

// ParseForm is url.ParseQuery at half its cost for the forms that clients send.
// Values are parts of body where nothing in them is escaped.
func ParseForm(body string) (url.Values, error) {
	if form, ok := plainForm(body); ok {
		return form, nil
	}
	return url.ParseQuery(body)
}

// plainForm reads a form with few parameters and nothing wrong in it; false: it
// is another.
func plainForm(body string) (url.Values, bool) {
	n := strings.Count(body, "&") + 1
	if n > usualForm || strings.IndexByte(body, ';') >= 0 {
		return nil, false
	}
	form := make(url.Values, n)
	room := make([]string, 0, n) // of all values, most of which stand alone
	for more := true; more; {
		var pair string
		if pair, body, more = strings.Cut(body, "&"); pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, ok1 := unescaped(name)
		value, ok2 := unescaped(value)
		if !ok1 || !ok2 {
			return nil, false
		}
		if before, there := form[name]; there {
			form[name] = append(before, value)
			continue
		}
		room = append(room, value)
		form[name] = room[len(room)-1 : len(room) : len(room)]
	}
	return form, true
}

func unescaped(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 { // nearly all
		return s, true
	}
	s, err := url.QueryUnescape(s)
	return s, err == nil
}
