//go:build !windows

package keep

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// ownedByUs reports whether the file is of the user that the program runs as:
// what root put in its place somebody could not read any more.
func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(st.Uid) == os.Geteuid()
}

// tryLock takes the lock if nobody has it.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}
