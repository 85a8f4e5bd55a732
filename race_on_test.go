//go:build race

package doorward_test

// crowdCalls is how many calls each of a hundred callers makes. The race
// detector makes everything ten times slower.
const crowdCalls = 150
