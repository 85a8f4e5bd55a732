// Package servers_test puts other people's MCP servers behind the gateway: as
// commands, and as upstreams where they serve HTTP.
package servers_test
