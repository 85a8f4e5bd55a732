//go:build !unix

package sqlite

import "errors"

func beginOpening() (end func()) { return func() {} }

// openWALIndex fails: without the index every read asks SQLite.
func openWALIndex(string) (*walIndex, error) {
	return nil, errors.New("the WAL index is not mapped on this system")
}
