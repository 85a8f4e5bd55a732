//go:build !linux

package main

import "runtime/debug"

// giveBack returns to the system what the collector holds free.
func giveBack() { debug.FreeOSMemory() }
