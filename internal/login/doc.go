// Package login brings back a person: local people with their passwords, and
// the session that a browser holds afterwards.
//
// It owns the cookies, the session records and how a typed password is
// checked. It does not write pages and does not know OAuth requests
// (authserver does). Read [Sessions.Start] and [Passwords.Check] first.
package login
