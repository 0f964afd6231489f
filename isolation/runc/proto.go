package runc

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
	"github.com/drupe-os/drupe/sdk/wire"
)

// The language between Client and keeper: frames of sdk/wire over a unix
// socket in the state folder, bodies in JSON. A connection carries one request
// and its answer; after OpExits the answer goes on, one frame for every
// container that stops. A keeper outlives the program that started it, so
// fields are only ever added, and the numbers keep their meaning.
const (
	OpHello    byte = 1  // Hello → Info
	OpCreate   byte = 2  // isolation.Spec
	OpStart    byte = 3  // Target
	OpSignal   byte = 4  // Target
	OpRemove   byte = 5  // Target
	OpList     byte = 6  // → []isolation.Container
	OpUsage    byte = 7  // Targets → []sdk.Usage
	OpExits    byte = 8  // → first an empty answer, then Target after Target
	OpShutdown byte = 9  // kill everything, leave nothing, end
	OpRetire   byte = 10 // end, but leave the containers to the next keeper
	OpUpdate   byte = 11 // Change
	OpOpen     byte = 12 // Session → an empty answer, then the session's own frames, both ways

	Answer  byte = 128
	Refusal byte = 129 // Failure
)

// Protocol is the version of this language.
const Protocol = 1

// Hello opens a client's acquaintance with a keeper.
type Hello struct {
	// DieWith is the process the keeper is not to outlive; 0: none.
	DieWith int `json:"die_with,omitempty"`
}

// Info is what a keeper says of itself.
type Info struct {
	Protocol int    `json:"protocol"`
	PID      int    `json:"pid"`
	Build    string `json:"build"`          // digest of its program
	Runc     string `json:"runc,omitempty"` // version of runc's libraries in it
	// UserNamespaces: containers have user ids of their own. Otherwise Degraded
	// says why not.
	UserNamespaces bool `json:"user_namespaces"`
	// DiskLimit is how disk limits are enforced: "loop", exactly, or "poll", by
	// looking now and then.
	DiskLimit string `json:"disk_limit,omitempty"`
	// Degraded is what this machine cannot do for isolation, in words.
	Degraded []string `json:"degraded,omitempty"`
}

// Target names a container, and a signal where one is wanted.
type Target struct {
	ID     sdk.TaskID `json:"id"`
	Signal int        `json:"signal,omitempty"`
	All    bool       `json:"all,omitempty"`
}

// Targets names containers; none: all.
type Targets struct {
	IDs []sdk.TaskID `json:"ids,omitempty"`
}

// Change is new limits for a container.
type Change struct {
	ID     sdk.TaskID        `json:"id"`
	Limits *isolation.Limits `json:"limits"`
}

// Session asks for a session with a container.
type Session struct {
	ID      sdk.TaskID       `json:"id"`
	Request *session.Request `json:"request"`
}

// Failure is why a request was refused.
type Failure struct {
	Reason sdk.Reason `json:"reason,omitempty"`
	Fault  *sdk.Fault `json:"fault"`
}

// NewFailure makes of err what crosses the socket.
func NewFailure(err error) Failure {
	f := Failure{}
	var ie *isolation.Error
	if errors.As(err, &ie) {
		f.Reason = ie.Reason
	}
	if !errors.As(err, &f.Fault) {
		f.Fault = sdk.Errorf(sdk.Internal, "keeper", "%v", err)
	}
	return f
}

// Err returns the failure as the error it was.
func (f Failure) Err() error {
	if f.Fault == nil {
		f.Fault = sdk.Errorf(sdk.Internal, "keeper", "refused without saying why")
	}
	if f.Reason == sdk.ReasonNone {
		return f.Fault
	}
	return &isolation.Error{Reason: f.Reason, Err: f.Fault}
}

// Send writes a frame with body in JSON. A nil body is an empty one.
func Send(w io.Writer, kind byte, body any) error {
	var b []byte
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return sdk.Errorf(sdk.Internal, "keeper", "encode: %v", err)
		}
	}
	if len(b) > wire.MaxBody {
		return sdk.Errorf(sdk.TooLarge, "keeper", "message of %d bytes, more than %d", len(b), wire.MaxBody)
	}
	_, err := w.Write(wire.AppendFrame(nil, kind, b))
	return err
}

// Parse reads a frame's body.
func Parse(body []byte, into any) error {
	if into == nil || len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return sdk.Errorf(sdk.Corrupt, "keeper", "malformed message: %v", err)
	}
	return nil
}

// socket is the name of the socket within the state folder.
const socket = "keeper.sock"

// WithSocket calls f with an address of the keeper's socket that is short
// enough, however long the path of the state folder: such addresses have some
// hundred bytes at most.
func WithSocket(stateDir string, f func(*net.UnixAddr) error) error {
	dir, err := os.Open(stateDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	name := filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), socket)
	return f(&net.UnixAddr{Net: "unix", Name: name})
}
