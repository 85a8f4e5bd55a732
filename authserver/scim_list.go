package authserver

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/scim"
)

// part is which part of a list is asked for (RFC 7644 section 3.4.2.4).
type part struct{ start, count int }

// query reads the query; a parameter twice is refused.
func (c *scimCall) query() (url.Values, part, []scim.Condition, error) {
	p := part{1, scim.MaxResults}
	q, err := onceEach(c.r.URL.RawQuery)
	if err != nil {
		return nil, p, nil, &scim.Error{Type: scim.InvalidSyntax, Detail: "the query cannot be read"}
	}
	for name, to := range map[string]*int{"startIndex": &p.start, "count": &p.count} {
		if !q.Has(name) {
			continue
		}
		if *to, err = strconv.Atoi(q.Get(name)); err != nil {
			return nil, p, nil, &scim.Error{Type: scim.InvalidValue, Detail: name + " must be a number"}
		}
	}
	p.start, p.count = max(p.start, 1), min(max(p.count, 0), scim.MaxResults)
	if !q.Has("filter") {
		return q, p, nil, nil
	}
	conditions, err := scim.ParseFilter(q.Get("filter"))
	return q, p, conditions, err
}

// listing collects the part of a list that is asked for.
type listing struct {
	part
	total  int
	found  []map[string]any
	failed error
}

// add takes one more, of which body makes the answer; false: it has failed.
func (c *scimCall) add(l *listing, body func() (map[string]any, error)) bool {
	if l.total++; l.total >= l.start && len(l.found) < l.count {
		var one map[string]any
		if one, l.failed = body(); l.failed == nil {
			l.found = append(l.found, c.selected(one))
		}
	}
	return l.failed == nil
}

// answer is the list, unless it or going through the directory (err) failed.
func (l *listing) answer(err error) (scimAnswer, error) {
	if err = cmp.Or(err, l.failed); err != nil {
		return scimAnswer{}, err
	}
	return scimAnswer{status: http.StatusOK, body: scim.List(l.found, l.total, l.start)}, nil
}

// listUsers is GET /Users.
func (c *scimCall) listUsers(ctx context.Context) (scimAnswer, error) {
	_, p, conditions, err := c.query()
	if err != nil {
		return scimAnswer{}, err
	}
	for _, one := range conditions {
		if !(scim.User{}).Filterable(one.Path) {
			return scimAnswer{}, &scim.Error{Type: scim.InvalidFilter, Detail: "users can be found by id, userName, externalId, displayName, active and emails.value"}
		}
	}
	l := listing{part: p, found: []map[string]any{}}
	return l.answer(c.eachUser(ctx, conditions, func(u ledger.DirectoryUser) bool {
		if slices.ContainsFunc(conditions, func(one scim.Condition) bool { return !u.Is(one) }) {
			return true
		}
		return c.add(&l, func() (map[string]any, error) { return c.userBody(ctx, u) })
	}))
}

// eachUser calls fn for those of whom the conditions may hold.
func (c *scimCall) eachUser(ctx context.Context, conditions []scim.Condition, fn func(ledger.DirectoryUser) bool) error {
	l, externalID := c.s.ledger, ""
	for _, one := range conditions {
		value, _ := one.Value.(string)
		var u ledger.DirectoryUser
		var err error
		switch one.Attr {
		case "id":
			u, err = l.DirectoryUser(ctx, c.d.name, value)
		case "username":
			u, err = l.DirectoryUserNamed(ctx, c.d.name, value)
		case "externalid":
			externalID = value
			continue
		default:
			continue
		}
		if err == nil {
			fn(u)
		}
		return ignoreNotFound(err)
	}
	return l.EachDirectoryUser(ctx, c.d.name, externalID, fn)
}

// meta is RFC 7643 section 3.1.
func (c *scimCall) meta(kind, id string, created, modified time.Time, version uint64) map[string]any {
	return map[string]any{"resourceType": kind, "created": scim.Stamp(created), "lastModified": scim.Stamp(modified),
		"version": etag(version), "location": c.base() + "/" + kind + "s/" + id}
}

// selected keeps what attributes asks for, or leaves out what excludedAttributes
// names (RFC 7644 section 3.9); id and schemas are always there.
func (c *scimCall) selected(body map[string]any) map[string]any {
	q := c.r.URL.Query()
	only, without := attributeNames(q.Get("attributes")), attributeNames(q.Get("excludedAttributes"))
	for name := range body {
		folded := strings.ToLower(name)
		if name != "id" && name != "schemas" && (len(only) > 0 && !slices.Contains(only, folded) || slices.Contains(without, folded)) {
			delete(body, name)
		}
	}
	return body
}

// wants reports whether the answer is to have an attribute that is there by default.
func (c *scimCall) wants(name string) bool {
	_, there := c.selected(map[string]any{name: nil})[name]
	return there
}

// attributeNames are those of a list, without what follows a dot.
func attributeNames(list string) []string {
	var names []string
	for one := range strings.SplitSeq(list, ",") {
		if p, err := scim.ParsePath(one); err == nil {
			names = append(names, p.Attr)
		}
	}
	return names
}
