// Package doorward is MCP authorization for programs that call MCP servers and
// for programs that are called.
//
// To call: a [Transport] is an http.RoundTripper that reads a server's
// challenge, finds its authorization server, gets a token by the [Flow] that it
// was given and sends the request once more. [CrossApp] is enterprise-managed
// authorization (an ID-JAG from the company's IdP), [ClientCredentials] is for
// programs that act for themselves, [Workload] for those that the place where
// they run vouches for, [AuthorizationCode] for people with a browser. What goes
// wrong is an [Error] that says who can mend it.
//
// To be called: a [Guard] checks tokens in front of an http.Handler and serves
// the metadata that clients look for.
//
// The package keeps tokens in memory, and in the [TokenStore] that it is given;
// it starts no browser and writes no file. It imports the standard library, golang.org/x/oauth2 and a JOSE
// library. [Transport.RoundTrip] is the function to read first.
package doorward
