//go:build race

package probe_test

// raceDetector slows everything down: then each fault is looked for among the
// rules of its own part only.
const raceDetector = true
