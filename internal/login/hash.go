package login

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Parameters of new hashes: the OWASP choice for argon2id, about 20 ms.
const (
	hashMemory  = 19 << 10 // KiB
	hashTime    = 2
	hashThreads = 1
	hashSalt    = 16 // bytes
	hashKey     = 32 // bytes
)

// hash is an argon2id hash with its parameters (RFC 9106).
type hash struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

// Hash hashes a password with argon2id and returns the PHC string
// ($argon2id$v=19$m=19456,t=2,p=1$SALT$HASH).
func Hash(password string) string {
	h := hash{memory: hashMemory, time: hashTime, threads: hashThreads, salt: make([]byte, hashSalt)}
	rand.Read(h.salt)
	h.key = h.derive(password, hashKey)
	return h.String()
}

// IsHash reports whether a configured password is a hash and not plain text.
func IsHash(password string) bool { return strings.HasPrefix(password, "$argon2id$") }

// CheckHash says what is wrong with an argon2id hash in PHC form, or nil.
func CheckHash(phc string) error {
	_, err := parseHash(phc)
	return err
}

func (h hash) derive(password string, size int) []byte {
	defer collect()
	return argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(size))
}

// collect frees what a hash was made in (19 MiB by default) for the next one.
// In a heap that is larger anyway the collector does it in time.
func collect() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	if metrics.Read(live); live[0].Value.Uint64() < 64<<20 {
		runtime.GC()
	}
}

// matches compares in constant time.
func (h hash) matches(password string) bool {
	return subtle.ConstantTimeCompare(h.derive(password, len(h.key)), h.key) == 1
}

func (h hash) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.threads, b64(h.salt), b64(h.key))
}

// parseHash reads the PHC string form. What a hash may cost is bounded: a
// sign-in must not be able to stop the server.
func parseHash(phc string) (hash, error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return hash{}, errors.New("not an argon2id hash of the form $argon2id$v=19$m=…,t=…,p=…$SALT$HASH")
	}
	if parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return hash{}, fmt.Errorf("argon2id version must be v=%d", argon2.Version)
	}
	var h hash
	settings := strings.Split(parts[3], ",")
	if len(settings) != 3 {
		return hash{}, errors.New("argon2id parameters must be m=…,t=…,p=…")
	}
	for i, want := range []struct {
		name     string
		min, max uint64
		set      func(uint64)
	}{
		{"m", 8, 256 << 10, func(n uint64) { h.memory = uint32(n) }},
		{"t", 1, 16, func(n uint64) { h.time = uint32(n) }},
		{"p", 1, 16, func(n uint64) { h.threads = uint8(n) }},
	} {
		digits, ok := strings.CutPrefix(settings[i], want.name+"=")
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || n < want.min || n > want.max {
			return hash{}, fmt.Errorf("argon2id parameter %s must be a number from %d to %d", want.name, want.min, want.max)
		}
		want.set(n)
	}
	var err error
	b64 := base64.RawStdEncoding.Strict()
	if h.salt, err = b64.DecodeString(parts[4]); err != nil || len(h.salt) < 8 || len(h.salt) > 64 {
		return hash{}, errors.New("argon2id salt must be 8 to 64 bytes in unpadded base64")
	}
	if h.key, err = b64.DecodeString(parts[5]); err != nil || len(h.key) < 16 || len(h.key) > 64 {
		return hash{}, errors.New("argon2id hash must be 16 to 64 bytes in unpadded base64")
	}
	return h, nil
}
