// Package oauth holds the nouns and the rules of the protocol: Grant, Client,
// TokenRequest, the error codes, redirect URI matching, PKCE, scopes, resource
// indicators, challenges and the metadata documents.
//
// It is pure: no I/O, no clock, standard library only. What a rule needs to
// know about time is an argument. Read [Grant] first: every feature of Doorward
// is a verb on it.
package oauth
