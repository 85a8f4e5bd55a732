package keep

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// ownedByUs leaves it to the access list of the directory.
func ownedByUs(fs.FileInfo) bool { return true }

// tryLock takes the lock if nobody has it.
func tryLock(f *os.File) (bool, error) {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}
