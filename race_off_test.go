//go:build !race

package doorward_test

// crowdCalls is how many calls each of a hundred callers makes.
const crowdCalls = 1000
