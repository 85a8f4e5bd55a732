//go:build !race

package authserver

// soakRequests is how many requests TestSoak sends by itself.
const soakRequests = 20_000

const raceDetector = false
