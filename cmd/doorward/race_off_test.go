//go:build !race

package main

// raceDetector slows everything down: limits of time do not hold under it.
const raceDetector = false
