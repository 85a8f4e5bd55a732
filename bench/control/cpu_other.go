//go:build !unix

package control

import "time"

// CPU needs a Unix system: elsewhere the benchmarks do not run.
func CPU() time.Duration {
	panic("the benchmarks read the CPU time of a process as Unix accounts it")
}
