package main

import "testing"

// The row measures calls with a token, not sign-ins.
func TestClientRow(t *testing.T) {
	a, err := client(2)
	if err != nil {
		t.Fatal(err)
	}
	if a.bare <= 0 || a.ours <= a.bare || a.allocs < 1 || a.allocs > addedAllocsGoal+0.5 {
		t.Errorf("%+v", a)
	}
	t.Log(a.markdown())
}
