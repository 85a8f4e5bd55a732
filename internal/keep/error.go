package keep

// Why something cannot be kept or read.
const (
	Unreadable   = "it cannot be read"          // half written, changed, or sealed with another key
	NoKey        = "its key is missing"         // neither file nor keyring has it
	KeyringShut  = "the keyring is locked"      // or cannot be reached
	BadKey       = "the key is no key"          // DOORWARD_STORE_KEY, or what the keyring has
	NotOurs      = "it is not this user's"      // another user's, or no file
	OpenToOthers = "it is open to others"       // its mode
	NotWritable  = "nothing can be written"     // disk full, read-only, no place
	TooLarge     = "it is too large"            //
	Held         = "another process is at work" // until the end of patience
)

// Error is a failure to keep something, or to find it again.
type Error struct {
	Reason string // one of the constants
	File   string // or directory, or variable
	Hint   string // what to do
	Err    error  // the cause; may be nil
}

// Error says what to do, too.
func (e *Error) Error() string {
	s := e.File + ": " + e.Reason
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s + "; " + e.Hint
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
