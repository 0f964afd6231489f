// Package session is the language of a session with a running task: a program
// run in its container, its own output watched, a connection to one of its
// ports, files copied in or out.
//
// A session is a connection that carries frames of sdk/wire. The first frame of
// the one who opens it is not among them: how a Request arrives is the
// carrier's business (a WebSocket's query on the HTTP API, a frame between
// server and agent, a request to the keeper). After it, both sides send the
// frames below until one sends End or the connection closes. Servers and agents
// in between pass frames on and do not look into them.
//
// Data is sent only as far as the other side has room: at first Window bytes,
// then as many more as its More frames say. So whoever is in between never
// waits for a reader that has stopped, signals overtake input that is not
// read, and a side that has gone is noticed at once.
package session

import "github.com/drupe-os/drupe/sdk"

// The kinds of frame in a session. Numbers are above those of sdk/wire's, so
// that a frame that strays is noticed.
const (
	In      byte = 64 // client: bytes for the program, the port or the archive
	InEnd   byte = 65 // client: there are no more; empty
	Resize  byte = 66 // client: Size in JSON
	Signal  byte = 67 // client: the number in one byte
	More    byte = 70 // both: 4 bytes little-endian, how many more bytes of data may come
	Out     byte = 72 // task: bytes of its stdout, the port or the archive
	Err     byte = 73 // task: bytes of its stderr
	OutEnd  byte = 74 // task: there are no more of either; empty
	Started byte = 75 // task: the program runs, the port is connected; empty
	End     byte = 79 // task: Result in JSON, the last frame
)

// MaxData is the most bytes that one frame of In, Out or Err carries.
const MaxData = 32 << 10

// Window is how many bytes of data a side may send before it is told that there
// may be More: In by the client, Out and Err together by the task.
const Window = 256 << 10

// Op is what a session does.
type Op string

// The operations.
const (
	Exec    Op = "exec"    // run a program in the container
	Attach  Op = "attach"  // watch the output of the task's own program as it comes
	Forward Op = "forward" // connect to a TCP port of the task
	Get     Op = "get"     // a tar archive of Path comes out
	Put     Op = "put"     // a tar archive goes in and is unpacked below Path
)

// Request says what a session is to do.
type Request struct {
	Op Op `json:"op"`
	// Sidecar whose container it is; "": the task's own.
	Sidecar string `json:"sidecar,omitempty"`

	// For Exec: the program and its arguments, variables added to those of the
	// container's own program, folder and user in place of its.
	Command []string `json:"command,omitempty"`
	Env     []string `json:"env,omitempty"`
	WorkDir string   `json:"workdir,omitempty"`
	User    string   `json:"user,omitempty"`
	// TTY gives it a terminal of Size; stdout and stderr are then one.
	TTY  bool `json:"tty,omitempty"`
	Size Size `json:"size,omitzero"`
	// Input: frames of In will come. Without it the program's stdin is empty.
	Input bool `json:"input,omitempty"`

	// For Forward: the port on the task's loopback.
	Port uint16 `json:"port,omitempty"`

	// For Get and Put: an absolute path in the container. Get packs what is
	// there under its base name; with "/." at the end, what is in that folder.
	// Put unpacks below a folder that is there; a Path that is not becomes the
	// name of the one thing in the archive.
	Path string `json:"path,omitempty"`
}

// Size is a terminal's, in characters.
type Size struct {
	Rows    uint16 `json:"rows"`
	Columns uint16 `json:"columns"`
}

// Result is how a session ended.
type Result struct {
	// Code is the program's exit code, 128+n for signal n; 0 for what is no
	// program and went well. A program that is not there has 127, one that may
	// not be executed 126; both come with an Error.
	Code int32 `json:"code"`
	// Error is what went wrong where no program ran: a fault.
	Error *sdk.Fault `json:"error,omitempty"`
}
