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
	"scim":     scripted((*script).cmdSCIM),     // scim METHOD PATH [BODY|FILE] [HEADER=VALUE…]: as the provisioning of corp
	"member":   scripted((*script).cmdMember),   // [!] member PATH.OF.MEMBERS [VALUE] of the last answer
	"take":     scripted((*script).cmdTake),     // take VARIABLE PATH.OF.MEMBERS
	"usercode": scripted((*script).cmdUserCode), // usercode TEXT: is it in the form of one
	"named":    scripted((*script).cmdNamed),    // named TEXT: is it in the form of a request_uri of ours
	"device":   scripted((*script).cmdDevice),   // [!] device yes|no USER_CODE PERSON: their answer
}

// furtherNames are variables of all scripts.
var furtherNames = []string{"DEVICE_CODE=" + oauth.DeviceCode, "CHALLENGE=" + oauth.S256(codeVerifier), "SCIM=" + asURL + "/scim/corp"}

func with(more, all map[string]command) map[string]command {
	maps.Copy(all, more)
	return all
}
