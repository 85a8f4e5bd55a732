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
		return nil, &Error{Reason: NotWritable, File: path, Err: err, Hint: "is it yours?"}
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		got, err := tryLock(f)
		if got {
			return f, nil
		}
		if err != nil {
			f.Close()
			return nil, &Error{Reason: NotWritable, File: path, Err: err, Hint: "locks are needed there: set XDG_STATE_HOME to a local disk"}
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, &Error{Reason: Held, File: path, Err: ctx.Err(), Hint: "another doorward of yours is busy there: finish its sign-in, or end it"}
		case <-time.After(wait):
		}
	}
}

// checkOwn wants a regular file of this user that nobody else can read and
// change. Windows keeps no such bits; there the directory's access list protects it.
func checkOwn(f *os.File, path string) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return &Error{Reason: NotOurs, File: path, Hint: "it is no regular file: move it away"}
	case !ownedByUs(info):
		return &Error{Reason: NotOurs, File: path, Hint: "it belongs to another user of this machine: run this as that person, or set XDG_STATE_HOME to a place that is yours"}
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return &Error{Reason: OpenToOthers, File: path, Hint: fmt.Sprintf("others can read or change it (mode %04o): chmod 600 %s", info.Mode().Perm(), path)}
	}
	return nil
}
