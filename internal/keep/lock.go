package keep

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"time"
)

// lock opens the lock file and waits for its turn. Closing the file, also by
// the end of the process, lets the next one in.
func lock(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		got, err := tryLock(f)
		if got {
			return f, nil
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("%s cannot be locked: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("another process holds %s: %w", path, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// checkOwn wants a regular file that only its owner can read and change.
// Windows keeps no such bits; there the directory's access list protects it.
func checkOwn(f *os.File, path string) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("others can read or change %s (mode %04o): chmod 600 %s", path, info.Mode().Perm(), path)
	}
	return nil
}
