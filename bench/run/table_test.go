package main

import (
	"strings"
	"testing"
)

// The leasts decide, whatever the median of the rounds is, and a floor that does
// more than its primitives voids its row.
func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		floor, ours float64
		want        string
		void        bool
	}{
		{10, 12, "**1.20** (2.50) | 1.30 | within", false},
		{10, 13.1, "**1.31** (2.50) | 1.30 | **over**", false},
		{12.5, 12.5, "**1.00** (2.50) | 1.30 | within", false},
		{12.6, 12.6, "**1.00** (2.50) | 1.30 | void", true},
	} {
		l := line{row: row{name: "x", goal: 1.3, parts: "form+sign"}, floor: figure{cpu: test.floor}, ours: figure{cpu: test.ours}, ratios: []float64{9, 2.5, 0.1}}
		ps := primitives{}
		for _, us := range []float64{8, 7, 9} { // of which 7 counts
			ps.keep("form", us)
		}
		ps.keep("sign", 3)
		r := results{lines: []line{l}, primitives: ps}
		if text := r.markdown(); !strings.Contains(text, test.want) || !strings.Contains(text, "form 7.0") || (r.void() != nil) != test.void {
			t.Errorf("%v: %v\n%s", test, r.void(), text)
		}
	}
}

func TestMiddle(t *testing.T) {
	for _, test := range []struct {
		of   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{5, 1, 2}, 2}} {
		if got := middle(test.of); got != test.want {
			t.Errorf("%v: %v", test.of, got)
		}
	}
}
