// Package authtest is a real identity provider, a real authorization server and
// a guarded MCP server in memory, for tests: what a program meets in production,
// on loopback, with a clock that the test moves.
//
// [New] starts them and the test's end stops them. Nothing in it is a double:
// it is the engine, the gateway and the store that `doorward` runs.
//
// A test of a client takes [World.CrossApp] or [World.Browser] and calls
// [World.MCP]. A test of a server puts its handler into [Config.MCP]; who called
// it stands in the request's context (doorward.CallerFrom). [World.Ahead] moves
// the clock of all parts, [World.Leave] is the off switch, and [Config.Wrap] sees
// every request of the two issuers, to count them or to make them fail.
//
// [NewWeak] is something else: a small authorization server with the holes that
// its caller names, to try out what should find them. [Clients] are doubles of
// the programs that people connect to MCP servers with, for any server.
package authtest
