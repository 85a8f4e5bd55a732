//go:build unix

package main

import (
	"syscall"
	"time"
)

// computed is how long this process computed until now, on all processors.
func computed() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
