package store

import "fmt"

// What a record and a page may be at most, in bytes unless said otherwise.
const (
	MaxKind    = 32      // length of a kind
	MaxKey     = 512     // length of a key
	MaxValue   = 1 << 20 // length of a value
	MaxIndexes = 8       // number of index names of a record
	MaxIndex   = 512     // length of an index name
	MaxPage    = 1000    // records in a page of List
	PageSize   = 100     // records in a page if Query.Limit is 0
)

// Check returns an error if the op is none that a store can do: an unknown
// action, one that its kind does not have, or a name or value outside the limits. Stores call it on every op
// before they do the first one, so that nothing is written. The error names
// kind and sizes, never a key or a value.
func (o Op) Check() error {
	r := o.Record
	if o.Do < DoPut || o.Do > DoSame {
		return fmt.Errorf("store: unknown action %d: make the op with Put, Create, Add, Take, Once, Delete, Log or Same", o.Do)
	}
	if err := checkKind(r.Kind); err != nil {
		return err
	}
	if len(r.Key) == 0 || len(r.Key) > MaxKey {
		return fmt.Errorf("store: the key of a record of kind %q has %d bytes, allowed are 1 to %d", r.Kind, len(r.Key), MaxKey)
	}
	if len(r.Value) > MaxValue {
		return fmt.Errorf("store: the value of a record of kind %q has %d bytes, allowed are %d", r.Kind, len(r.Value), MaxValue)
	}
	if len(r.Index) > MaxIndexes {
		return fmt.Errorf("store: a record of kind %q has %d index names, allowed are %d", r.Kind, len(r.Index), MaxIndexes)
	}
	if (o.Do == DoOnce) != (r.Kind == KindOnce) {
		return fmt.Errorf("store: an op on a record of kind %q: what has the kind %q is written by Once, and by nothing else", r.Kind, KindOnce)
	}
	if (o.Do == DoLog || o.Do == DoOnce) && len(r.Index) > 0 {
		return fmt.Errorf("store: a record of kind %q, in a journal or of a name used once, has index names", r.Kind)
	}
	for _, name := range r.Index {
		if len(name) == 0 || len(name) > MaxIndex {
			return fmt.Errorf("store: an index name of a record of kind %q has %d bytes, allowed are 1 to %d", r.Kind, len(name), MaxIndex)
		}
	}
	return nil
}

// Check returns an error if the query asks for what a store cannot give.
func (q Query) Check() error {
	if err := checkKind(q.Kind); err != nil {
		return err
	}
	if len(q.Index) > MaxIndex {
		return fmt.Errorf("store: the index name of a query has %d bytes, allowed are %d", len(q.Index), MaxIndex)
	}
	if q.Limit < 0 || q.Limit > MaxPage {
		return fmt.Errorf("store: a page of %d records, allowed are 1 to %d", q.Limit, MaxPage)
	}
	return nil
}

func checkKind(k Kind) error {
	if len(k) == 0 || len(k) > MaxKind {
		return fmt.Errorf("store: a kind has %d bytes, allowed are 1 to %d", len(k), MaxKind)
	}
	return nil
}
