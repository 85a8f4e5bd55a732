// Package scim is what a SCIM 2.0 service provider says and understands (RFC
// 7643, RFC 7644), without storage and without HTTP: users and groups, the
// paths and operations of PATCH, filters, errors, and the documents that
// describe all of it. It takes the dialects of Okta and Microsoft Entra ID
// too: truth values as strings, operations in capitals, values without a path.
//
// Read [User.Patch] first.
package scim

import "fmt"

// URNs of schemas and messages.
const (
	UserURN  = "urn:ietf:params:scim:schemas:core:2.0:User"
	GroupURN = "urn:ietf:params:scim:schemas:core:2.0:Group"
	ListURN  = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	PatchURN = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
	ErrorURN = "urn:ietf:params:scim:api:messages:2.0:Error"
)

// MediaType of answers, and of requests beside application/json.
const MediaType = "application/scim+json"

// Values of scimType (RFC 7644 section 3.12).
const (
	InvalidFilter = "invalidFilter"
	InvalidPath   = "invalidPath"
	InvalidSyntax = "invalidSyntax"
	InvalidValue  = "invalidValue"
	NoTarget      = "noTarget"
	TooMany       = "tooMany"
	Uniqueness    = "uniqueness"
)

// Error is a refusal: 400 with a scimType, and a detail for whoever runs the
// client, which repeats no value of a person.
type Error struct{ Type, Detail string }

// Error is for logs.
func (e *Error) Error() string { return e.Type + ": " + e.Detail }

func refuse(scimType, format string, args ...any) error {
	return &Error{scimType, fmt.Sprintf(format, args...)}
}
