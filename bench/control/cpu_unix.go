//go:build unix

package control

import (
	"syscall"
	"time"
)

// CPU is what this process has used so far, user and system, as the operating
// system accounts it.
func CPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // RUSAGE_SELF is always there
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
