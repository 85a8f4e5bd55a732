//go:build !unix

package main

import "os"

// hangup: there is no such signal here; a change of the file reloads it.
var hangup os.Signal
