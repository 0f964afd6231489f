// Package isolation is the contract between an agent and whatever runs tasks in
// isolation on its machine: create, start, wait, signal, measure, remove.
//
// Implementations: isolation/runc (containers through the keeper) and
// isolation/fake (in memory, for tests).
package isolation

import (
	"context"
	"errors"

	"github.com/drupe-os/drupe/sdk"
)

// Spec is one container to create. Everything is resolved: no names of images,
// no defaults left open.
type Spec struct {
	ID sdk.TaskID
	// Layers are the unpacked image layers, lowest first: read-only folders.
	Layers []string
	// ReadOnly makes the root filesystem read-only.
	ReadOnly bool
	// Args, Env, WorkDir, User as for execve. User is "uid:gid" or a name the
	// image knows.
	Args    []string
	Env     []string
	WorkDir string
	User    string
	// Capabilities granted, without "CAP_". None by default.
	Capabilities []string
	// Limits.
	CPUWeight int64 // thousandths of a core the task is charged for
	CPUQuota  int64 // thousandths of a core at most; 0: unbounded
	Memory    int64 // bytes at most; 0: unbounded
	Pids      int64 // processes at most; 0: 1024
	// LogDir receives stdout and stderr (see agent/logstore for the format).
	LogDir string
	Logs   sdk.LogLimits
	// HostNetwork: always true until containers have networks of their own;
	// tasks then use the host ports they were given.
	HostNetwork bool
}

// State is where a container is.
type State uint8

// The states of a container.
const (
	Created State = iota // set up, its program not yet executed
	Running
	Stopped // its exit is recorded
)

// Exit is how a container ended. It is kept until Remove.
type Exit struct {
	// Code is that of the first process; 128+n for signal n.
	Code int32
	// Known is false when it ended while nobody could see how.
	Known bool
	// OOM: the kernel killed a process of it for reaching its memory limit.
	OOM bool
	// PidsHit: it was refused a process for reaching its pids limit.
	PidsHit bool
	// Peak memory in bytes, 0 when not known.
	Peak  int64
	Ended sdk.Time
}

// Container is what an isolator knows of one container.
type Container struct {
	ID      sdk.TaskID
	State   State
	PID     int32 // of its first process, on the host
	Started sdk.Time
	Exit    *Exit // when Stopped
}

// Usage is a sample of what a container has used.
type Usage struct {
	CPU    sdk.Duration // since its start
	Memory int64        // bytes now
	Pids   int64
}

// Runtime runs containers. It outlives the agent: containers and their exits
// stay when the agent goes, and List finds them again. Methods may be called
// concurrently, but not for the same container.
type Runtime interface {
	// Create sets a container up to the point before its program is executed.
	// Errors are faults whose Reason can be had with ReasonOf.
	Create(ctx context.Context, s *Spec) error
	// Start executes the program.
	Start(ctx context.Context, id sdk.TaskID) error
	// Signal sends a signal to the first process, or with all to every process.
	Signal(ctx context.Context, id sdk.TaskID, sig int, all bool) error
	// Remove deletes a stopped or created container with all it holds, its logs
	// excepted. Removing what is not there is no error.
	Remove(ctx context.Context, id sdk.TaskID) error
	// List returns every container, stopped ones included.
	List(ctx context.Context) ([]Container, error)
	// Usage measures a running container.
	Usage(ctx context.Context, id sdk.TaskID) (Usage, error)
	// Exits delivers the id of each container that stops, from now on. The
	// channel closes when the runtime is lost; open it again and List.
	Exits(ctx context.Context) (<-chan sdk.TaskID, error)
}

// Error is why an isolator could not do something, with the task's reason.
type Error struct {
	Reason sdk.Reason
	Err    error
}

// Error returns the cause in words.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf returns the task's reason that err carries: ReasonNone when err is
// nil, ReasonStartFailed when it names none.
func ReasonOf(err error) sdk.Reason {
	if err == nil {
		return sdk.ReasonNone
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return sdk.ReasonStartFailed
}
