package keep

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/zalando/go-keyring"
)

// SystemKeyring is the keyring of the person who runs the program: Keychain,
// Credential Manager or the Secret Service. nil where there is none, so that no
// attempt starts one.
func SystemKeyring() Keyring {
	if runtime.GOOS != "darwin" && runtime.GOOS != "windows" && !hasSessionBus() {
		return nil
	}
	return systemKeyring{}
}

// hasSessionBus reports whether a bus of the person's session is there: without
// one the client library would launch its own.
func hasSessionBus() bool {
	if os.Getenv("DBUS_SESSION_BUS_ADDRESS") != "" {
		return true
	}
	_, err := os.Stat(filepath.Join("/run/user", fmt.Sprint(os.Getuid()), "bus"))
	return err == nil
}

const keyringService = "doorward"

// keyringPatience is how long a person has to unlock the keyring.
const keyringPatience = 30 * time.Second

type systemKeyring struct{}

func (systemKeyring) Get(account string) (string, error) {
	secret, err := inTime(func() (string, error) { return keyring.Get(keyringService, account) })
	if errors.Is(err, keyring.ErrNotFound) {
		return "", ErrNoSecret
	}
	return secret, err
}

func (systemKeyring) Set(account, secret string) error {
	_, err := inTime(func() (string, error) { return "", keyring.Set(keyringService, account, secret) })
	return err
}

// inTime gives up on a keyring whose prompt nobody sees.
func inTime(ask func() (string, error)) (string, error) {
	type answer struct {
		secret string
		err    error
	}
	got := make(chan answer, 1)
	go func() {
		secret, err := ask()
		got <- answer{secret, err}
	}()
	select {
	case a := <-got:
		return a.secret, a.err
	case <-time.After(keyringPatience):
		return "", fmt.Errorf("the keyring did not answer within %s", keyringPatience)
	}
}
