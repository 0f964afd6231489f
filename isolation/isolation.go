// Package isolation is the contract between an agent and whatever runs tasks in
// isolation on its machine: create, start, wait, signal, measure, remove.
//
// Implementations: isolation/runc (containers through the keeper) and
// isolation/fake (in memory, for tests).
package isolation

import (
	"context"
	"errors"
	"io"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
)

// Spec is one task to set up: its own program in a container, and its sidecars
// in containers beside it. Everything is resolved: no names of images, no
// defaults left open.
type Spec struct {
	ID sdk.TaskID
	// Program is the task's own.
	Program Program
	// Sidecars share the program's network, IPC and volumes. They start before
	// it and are ended after it; one that fails ends the task.
	Sidecars []Program
	// Limits of all of it together.
	Limits Limits
	// LogDir receives stdout and stderr (see sdk/logfile for the format), those
	// of a sidecar in a folder of its name.
	LogDir string
	Logs   sdk.LogLimits
	// PrivateNetwork gives it a network with loopback only. Publish are then the
	// host ports at which it is reached: the task listens on the same numbers.
	PrivateNetwork bool
	Publish        []sdk.PortBinding
	// HostPID, HostIPC and HostUsers share the node's namespaces.
	HostPID, HostIPC, HostUsers bool
	// Mounts are made in every container of it.
	Mounts []Mount
	// Devices it may use.
	Devices []Device
	// Warm allows it to be started from a container that was prepared for an
	// equal one.
	Warm bool
}

// Program is one container: a root file system and what runs in it.
type Program struct {
	// Name is "" for the task's own, else the sidecar's.
	Name string
	// Layers are the unpacked image layers, lowest first: read-only folders.
	Layers []string
	// HostRoot shows the node's own root file system instead of Layers, as
	// far as everybody may read it.
	HostRoot bool
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
	// Limits of its own within the task's; of the task's own program, none.
	Limits Limits
}

// Limits bound a task, and are what Update changes.
type Limits struct {
	CPUWeight int64 // thousandths of a core the task is charged for
	CPUQuota  int64 // thousandths of a core at most; 0: unbounded
	// CPUs and Mems are the cores and NUMA nodes it runs on, as in "0-3,8"; "":
	// all.
	CPUs, Mems string
	// Memory in bytes at most, 0: unbounded; Reservation is what it keeps when
	// the machine is short; Swap may be used beside Memory.
	Memory, Reservation, Swap int64
	Pids                      int64 // processes at most; 0: 1024
	// Disk is what its root file systems and volumes on disk hold at most, in
	// bytes; 0: unbounded. Update does not change it.
	Disk      int64
	IO        *sdk.IOLimits
	Hugepages []sdk.Hugepages
	// Rlimits of its processes. Update does not change them.
	Rlimits []sdk.Rlimit
}

// Mount is a folder or file seen in a container. Exactly one of Host and
// Ephemeral is set.
type Mount struct {
	Name     string
	Path     string // in the container
	ReadOnly bool
	// Host is a path of the node; it belongs to whom it belongs there.
	Host string
	// Trusted: Host is the node's own doing, such as a file of the agent's, and
	// not what somebody asked for: what is read-only there is shown with the
	// container's ids.
	Trusted   bool
	Ephemeral *sdk.EphemeralVolume
}

// Device is a device node made in a container.
type Device struct {
	Host   string // path on the node
	Path   string // in the container
	Access string // "rwm" or parts of it
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
	// DiskHit: it was refused space for reaching its disk limit, or ended for it.
	DiskHit bool
	// Sidecar that failed and so ended it; "": none.
	Sidecar string
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
	// Limits are those in force.
	Limits Limits
	// Notes say, each in a few words, what it has less of than was asked for,
	// since the machine could not give it.
	Notes []string
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
	// Usage measures running containers: all of them when none is named. Those
	// that do not run are left out. Task and At are set.
	Usage(ctx context.Context, ids ...sdk.TaskID) ([]sdk.Usage, error)
	// Update changes the limits of a created or running container. Where one of
	// them cannot be set, none is changed.
	Update(ctx context.Context, id sdk.TaskID, l *Limits) error
	// Open opens a session with a running container: exec, attach, a connection
	// to a port, files in or out. What is returned carries frames of
	// sdk/session, both ways, and closing it ends the session.
	Open(ctx context.Context, id sdk.TaskID, q *session.Request) (io.ReadWriteCloser, error)
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
