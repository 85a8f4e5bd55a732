// Package stdio serves an MCP server that speaks over its standard input and
// output as streamable HTTP: a process for each session.
//
// It owns the processes: what they get to see of this machine, how many there
// are, and that each of them ends. It does not know who may call; it stands
// behind the gateway, whose exchanges name the caller. Read Server.ServeHTTP
// first, then session.begin.
//
// # A session
//
// It begins with initialize, in a process of its own, and ends with DELETE,
// with the grant that it was used under, when nobody has used it for a while,
// with the server, or when its process ends; then calls that wait get a
// JSON-RPC error, and the session is not found any more. It is its owner's
// alone.
//
// # What goes where
//
// The answer to a request is the body of its POST: JSON, or an event stream
// once there is something to say before it. Progress goes into the stream of
// the request that asked for it. Other requests and notifications of the server
// go to the stream of a GET; while none is open, into the stream of the latest
// request that waits, since a server asks its questions while it works; else
// they wait for a GET, within bounds. Streams cannot be resumed: a client whose
// connection broke asks again.
//
// The revisions with sessions are served (up to 2025-11-25); a request without
// one gets 400.
//
// # What a process gets
//
// PATH, HOME and LANG of ours and the variables of its configuration, nothing
// else; a process group of its own where there are any. Its standard error goes
// to the log, a bounded number of lines. When its session ends its input is
// closed and the group is told to terminate, and killed after a moment. On
// Windows, which has no such signal, the process is killed after that moment.
package stdio
