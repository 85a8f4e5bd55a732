//go:build race

package authserver

// soakRequests is how many requests TestSoak sends by itself.
const soakRequests = 2_000

// raceDetector makes everything ten times slower: sweeps do a part of their work
// under it, and all of it without.
const raceDetector = true
