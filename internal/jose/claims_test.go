package jose

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

func claims(t *testing.T, doc string) Claims {
	t.Helper()
	m, err := object([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// covers: X-JWT-05
func TestCheckTimes(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	at := func(format string, offsets ...any) string {
		for i, o := range offsets {
			offsets[i] = now.Unix() + int64(o.(int))
		}
		return fmt.Sprintf(format, offsets...)
	}
	for _, c := range []struct {
		doc  string
		skew time.Duration
		want bool
	}{
		{at(`{"exp":%d}`, 1), 0, true},
		{at(`{"exp":%d.5}`, 0), 0, true},
		{at(`{"exp":%d}`, 0), 0, false},
		{at(`{"exp":%d}`, -59), time.Minute, true},
		{at(`{"exp":%d}`, -60), time.Minute, false},
		{at(`{"exp":%d}`, -61), time.Hour, false}, // the skew is bounded
		{at(`{"exp":%d}`, 1), -time.Hour, true},
		{at(`{"exp":%d,"nbf":%d,"iat":%d}`, 9, 0, 0), 0, true},
		{at(`{"exp":%d,"nbf":%d}`, 9, 1), 0, false},
		{at(`{"exp":%d,"nbf":%d}`, 99, 60), time.Minute, true},
		{at(`{"exp":%d,"nbf":%d}`, 99, 61), time.Hour, false},
		{at(`{"exp":%d,"iat":%d}`, 99, 60), time.Minute, true},
		{at(`{"exp":%d,"iat":%d}`, 99, 61), time.Minute, false},
		{`{}`, 0, false},
		{`{"exp":null}`, 0, false},
		{at(`{"exp":"%d"}`, 9), 0, false},
		{at(`{"exp":[%d]}`, 9), 0, false},
		{`{"exp":true}`, 0, false},
		{`{"exp":-1}`, 0, false},
		{`{"exp":253402300799}`, 0, true},
		{`{"exp":253402300800}`, 0, false},
		{`{"exp":1e400}`, 0, false},
		{`{"exp":17e8}`, time.Minute, true},
		{at(`{"EXP":%d}`, 9), 0, false},
		{at(`{"exp":%d,"nbf":"%d"}`, 9, -9), 0, false},
		{at(`{"exp":%d,"iat":"%d"}`, 9, -9), 0, false},
		{at(`{"exp":%d,"iat":null}`, 9), 0, false},
		{at(`{"exp":%d,"nbf":{}}`, 9), 0, false},
	} {
		if err := CheckTimes(claims(t, c.doc), now, c.skew); (err == nil) != c.want {
			t.Errorf("%s with %s: %v, want accepted: %v", c.doc, c.skew, err, c.want)
		}
	}
}

// covers: X-JWT-05
func TestClaimTypes(t *testing.T) {
	c := claims(t, `{"s":"a\u0041","n":1,"z":null,"l":["a","b"],"e":[],"m":["a",1],"x":["a",null],"o":{"a":"b"},"d":{"a":1,"a":2}}`)
	for name, want := range map[string]bool{"s": true, "n": true, "z": false, "absent": false, "S": false} {
		if c.Has(name) != want {
			t.Errorf("Has(%s) = %v", name, !want)
		}
	}
	for name, want := range map[string]string{"s": "aA", "z": "", "absent": "", "S": ""} {
		if got, err := c.Text(name); err != nil || got != want {
			t.Errorf("Text(%s) = %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"n", "l", "o"} {
		if got, err := c.Text(name); err == nil {
			t.Errorf("Text(%s) = %q, want an error", name, got)
		}
	}
	for name, want := range map[string][]string{"s": {"aA"}, "l": {"a", "b"}, "e": {}, "z": nil, "absent": nil} {
		if got, err := c.Texts(name); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Texts(%s) = %#v, %v, want %#v", name, got, err, want)
		}
	}
	for _, name := range []string{"n", "m", "x", "o"} {
		if got, err := c.Texts(name); err == nil {
			t.Errorf("Texts(%s) = %q, want an error", name, got)
		}
	}
	var o Claims
	if err := c.Decode("o", &o); err != nil || len(o) != 1 {
		t.Errorf("Decode(o) = %v, %v", o, err)
	}
	if err := c.Decode("absent", &o); err != nil || len(o) != 1 {
		t.Errorf("Decode(absent) changed the value: %v, %v", o, err)
	}
	if err := c.Decode("d", &o); err == nil {
		t.Error("a nested object with a repeated member was decoded into Claims")
	}
}
