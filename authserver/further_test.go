package authserver

import (
	"maps"

	"doorward/internal/oauth"

	"github.com/rogpeppe/go-internal/testscript"
)

type command = func(*testscript.TestScript, bool, []string)

// furtherCommands are those of the scripts of devices, pushed requests and
// details.
var furtherCommands = map[string]command{
	"usercode": scripted((*script).cmdUserCode), // usercode TEXT: is it in the form of one
	"named":    scripted((*script).cmdNamed),    // named TEXT: is it in the form of a request_uri of ours
	"device":   scripted((*script).cmdDevice),   // [!] device yes|no USER_CODE PERSON: their answer
}

// furtherNames are variables of all scripts.
var furtherNames = []string{"DEVICE_CODE=" + oauth.DeviceCode, "CHALLENGE=" + oauth.S256(codeVerifier)}

func with(more, all map[string]command) map[string]command {
	maps.Copy(all, more)
	return all
}
