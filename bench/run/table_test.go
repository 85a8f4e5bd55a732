package main

import (
	"strings"
	"testing"
)

// A row's ratio is the median of the rounds, whatever the leasts are, and a floor
// that does more than its primitives voids it.
func TestVerdicts(t *testing.T) {
	l := line{row: row{name: "x", goal: 1.3, parts: "form"}, floor: figure{cpu: 10}, ours: figure{cpu: 20},
		ratios: []float64{9, 1.2, 1.1, 1.25, 0.1}, over: []float64{1.1, 1.2, 9}}
	r := results{lines: []line{l}, primitives: []primitives{{"form": 1}, {"form": 7}, {"form": 8}}}
	text := r.markdown()
	if !strings.Contains(text, "**1.20** | 1.30 | within") || !strings.Contains(text, "form 7.0") || r.void() != nil {
		t.Error(text, r.void())
	}
	r.lines[0].ratios = []float64{1.31, 1.32, 0.1, 1.4}
	if text := r.markdown(); !strings.Contains(text, "| **over** |") {
		t.Error(text)
	}
	r.lines[0].over = []float64{1.26, 1.0, 1.27}
	if text := r.markdown(); !strings.Contains(text, "| void |") || r.void() == nil {
		t.Error(text, r.void())
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
