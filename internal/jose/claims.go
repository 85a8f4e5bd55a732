package jose

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Claims are the members of a JWT's payload, by exact name. Repeated members
// make a token invalid.
type Claims map[string]json.RawMessage

// UnmarshalJSON reads an object as strictly as a token's payload, so that
// nested claims (cnf, act) can be decoded into Claims of their own.
func (c *Claims) UnmarshalJSON(data []byte) error {
	members, err := object(append([]byte(nil), data...))
	if err == nil {
		*c = members
	}
	return err
}

// Has reports whether the claim is there (null counts as absent).
func (c Claims) Has(name string) bool {
	raw, ok := c[name]
	return ok && string(raw) != "null"
}

// Text is a string claim: "" if absent, an error if it is no JSON string.
func (c Claims) Text(name string) (string, error) {
	raw, ok := c[name]
	if !ok || string(raw) == "null" {
		return "", nil
	}
	s, err := text(raw)
	if err != nil {
		return "", fmt.Errorf("claim %s: %w", name, err)
	}
	return s, nil
}

// Texts is a claim that is a string or an array of strings; nil if absent.
func (c Claims) Texts(name string) ([]string, error) {
	raw, ok := c[name]
	switch {
	case !ok || string(raw) == "null":
		return nil, nil
	case at(raw, 0) == '"':
		s, err := c.Text(name)
		return []string{s}, err
	}
	list, err := texts(raw)
	if err != nil {
		return nil, fmt.Errorf("claim %s is neither a string nor an array of strings", name)
	}
	return list, nil
}

// maxDate is the last second of the year 9999.
const maxDate = 253402300799

// Time is a NumericDate: the zero time if absent, an error if it is no JSON
// number or outside the years 1970 to 9999.
func (c Claims) Time(name string) (time.Time, error) {
	if !c.Has(name) {
		return time.Time{}, nil
	}
	raw := string(c[name])
	if n, err := strconv.ParseInt(raw, 10, 64); err == nil && n >= 0 && n <= maxDate {
		return time.Unix(n, 0).UTC(), nil
	}
	// RFC 7519 section 2: fractions of a second may be there. The first byte
	// keeps out a string, an object and a literal.
	f, err := strconv.ParseFloat(raw, 64)
	if raw == "" || raw[0] < '0' || raw[0] > '9' || err != nil || f > maxDate {
		return time.Time{}, fmt.Errorf("claim %s is no number of seconds between the years 1970 and 9999", name)
	}
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(part*1e9)).UTC(), nil
}

// Decode reads one claim into v; absent leaves v alone. Into a *Claims it is
// read as strictly as a payload.
func (c Claims) Decode(name string, v any) error {
	if !c.Has(name) {
		return nil
	}
	if err := json.Unmarshal(c[name], v); err != nil {
		return fmt.Errorf("claim %s: %w", name, err)
	}
	return nil
}

// maxSkew bounds the difference of clocks that CheckTimes allows for.
const maxSkew = 60 * time.Second

// CheckTimes checks exp (required), nbf and iat (if there) of verified claims
// against now with a skew of at most 60 seconds.
func CheckTimes(c Claims, now time.Time, skew time.Duration) error {
	skew = min(max(skew, 0), maxSkew)
	var at [3]time.Time
	for i, name := range [3]string{"exp", "nbf", "iat"} {
		if raw, there := c[name]; there && string(raw) == "null" {
			return fmt.Errorf("claim %s is null, which is no number", name)
		}
		t, err := c.Time(name)
		if err != nil {
			return err
		}
		at[i] = t
	}
	exp, nbf, iat := at[0], at[1], at[2]
	switch {
	case exp.IsZero():
		return errors.New("claim exp is missing")
	case !now.Before(exp.Add(skew)): // RFC 7519 section 4.1.4: "on or after"
		return fmt.Errorf("claim exp: the token expired at %s", exp.Format(time.RFC3339))
	case nbf.After(now.Add(skew)): // section 4.1.5
		return fmt.Errorf("claim nbf: the token is not valid before %s", nbf.Format(time.RFC3339))
	case iat.After(now.Add(skew)):
		return fmt.Errorf("claim iat: the token says that it was issued later than now, at %s: check the clocks", iat.Format(time.RFC3339))
	}
	return nil
}
