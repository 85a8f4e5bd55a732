package authserver

import (
	"strconv"
	"testing"
	"time"
)

func TestPollsForgetDevicesWhoseCodesAreOver(t *testing.T) {
	var p polls
	start := time.Unix(1_800_000_000, 0)
	for i := range 1000 {
		p.tooSoon(start, strconv.Itoa(i))
	}
	later := start.Add(deviceLife - time.Second)
	p.tooSoon(later, "late")
	p.sweep(later)
	if len(p.last) != 1001 {
		t.Fatalf("%d devices are known before their codes are over, of 1001", len(p.last))
	}
	p.sweep(start.Add(deviceLife))
	if len(p.last) != 1 || !p.tooSoon(later, "late") {
		t.Fatalf("%d devices are known, and not only the one whose code lives", len(p.last))
	}
}

func TestPollsAreBounded(t *testing.T) {
	var p polls
	now := time.Unix(1_800_000_000, 0)
	for i := range 2*mostPolls + 10 {
		p.tooSoon(now, strconv.Itoa(i))
	}
	if len(p.last) > mostPolls {
		t.Fatalf("%d devices are remembered", len(p.last))
	}
}
