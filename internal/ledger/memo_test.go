package ledger

import (
	"strings"
	"testing"
	"unsafe"

	"doorward/store"
)

// What is remembered of a record is no piece of the request that named it.
func TestMemoHoldsNoRequest(t *testing.T) {
	l := &Ledger{}
	request := strings.Repeat("k", 1<<20)
	if _, err := Parse[Account](l, store.Record{Kind: KindAccount, Key: request[:10], Value: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if len(l.parsed.byID) != 1 {
		t.Fatalf("%d records are remembered", len(l.parsed.byID))
	}
	for at := range l.parsed.byID {
		if unsafe.StringData(at.key) == unsafe.StringData(request) {
			t.Error("the whole request stays in memory with the key")
		}
	}
}
