// Package fake is a Runtime in memory, for tests. Nothing
// happens in it by itself: containers stop when Exit says so. It starts no
// goroutine and reads no clock but the one it is given, so the same calls give
// the same answers.
package fake

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
)

// Runtime holds containers in memory. The zero value is ready to use. The
// exported functions may be set before it is used.
type Runtime struct {
	// Now is the clock; nil counts milliseconds by calls.
	Now func() sdk.Time
	// FailCreate and FailStart, when set, may refuse a container. Their error
	// is returned as it is, so an *isolation.Error carries its reason.
	FailCreate func(*isolation.Spec) error
	FailStart  func(sdk.TaskID) error
	// FailUpdate, when set, may refuse limits.
	FailUpdate func(sdk.TaskID, *isolation.Limits) error
	// Deaf: signals but SIGKILL do not stop containers. Otherwise SIGTERM does,
	// with code 143, as SIGKILL does with 137.
	Deaf bool
	// OnOpen, when set, plays the task's part of a session at the far end, in a
	// goroutine of its own.
	OnOpen func(sdk.TaskID, *session.Request, io.ReadWriteCloser)

	mu    sync.Mutex
	now   sdk.Time
	next  int32
	ctrs  map[sdk.TaskID]*container
	exits map[chan sdk.TaskID]bool
	down  bool
	calls []string
}

type container struct {
	isolation.Container
	spec  isolation.Spec
	usage sdk.Usage
}

var _ isolation.Runtime = (*Runtime)(nil)

// pending is how many exits a channel of Exits holds before it is closed for
// being behind, as the real runtime does.
const pending = 4096

// Create adds a container. Errors: FailCreate's, Conflict for an id in use,
// Unavailable while down.
func (r *Runtime) Create(_ context.Context, s *isolation.Spec) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.begin("create", s.ID); err != nil {
		return err
	}
	if _, taken := r.ctrs[s.ID]; taken {
		return sdk.Errorf(sdk.Conflict, "task/"+string(s.ID), "has a container already")
	}
	if r.FailCreate != nil {
		if err := r.FailCreate(s); err != nil {
			return err
		}
	}
	if r.ctrs == nil {
		r.ctrs = map[sdk.TaskID]*container{}
	}
	r.next++
	r.ctrs[s.ID] = &container{Container: isolation.Container{ID: s.ID, PID: 1000 + r.next, Limits: s.Limits}, spec: *s}
	return nil
}

// Start makes a created container a running one.
func (r *Runtime) Start(_ context.Context, id sdk.TaskID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.find("start", id)
	if err != nil {
		return err
	}
	if c.State != isolation.Created {
		return sdk.Errorf(sdk.Conflict, "task/"+string(id), "is started already")
	}
	if r.FailStart != nil {
		if err := r.FailStart(id); err != nil {
			return err
		}
	}
	c.State, c.Started = isolation.Running, r.time()
	return nil
}

// Signal stops the container on SIGKILL, and on SIGTERM unless Deaf.
func (r *Runtime) Signal(_ context.Context, id sdk.TaskID, sig int, all bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.find("signal", id)
	if err != nil {
		return err
	}
	if c.State == isolation.Stopped {
		return sdk.Errorf(sdk.NotFound, "task/"+string(id), "its container does not run")
	}
	const term, kill = 15, 9
	if sig == kill || sig == term && !r.Deaf {
		r.stop(c, isolation.Exit{Code: 128 + int32(sig), Known: true})
	}
	return nil
}

// Remove deletes a container that does not run.
func (r *Runtime) Remove(_ context.Context, id sdk.TaskID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.begin("remove", id); err != nil {
		return err
	}
	if c := r.ctrs[id]; c != nil && c.State == isolation.Running {
		return sdk.Errorf(sdk.Conflict, "task/"+string(id), "runs")
	}
	delete(r.ctrs, id)
	return nil
}

// List returns all containers, ordered by id.
func (r *Runtime) List(context.Context) ([]isolation.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil, unavailable()
	}
	list := make([]isolation.Container, 0, len(r.ctrs))
	for _, c := range r.ctrs {
		list = append(list, c.Container)
	}
	slices.SortFunc(list, func(a, b isolation.Container) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return list, nil
}

// Usage returns what SetUsage set, of the containers that run.
func (r *Runtime) Usage(_ context.Context, ids ...sdk.TaskID) ([]sdk.Usage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := []sdk.Usage{}
	for id, c := range r.ctrs {
		if c.State == isolation.Running && (len(ids) == 0 || slices.Contains(ids, id)) {
			u := c.usage
			u.Task = id
			list = append(list, u)
		}
	}
	return list, nil
}

// Update notes the limits: Spec of the container shows them. Errors: FailUpdate's.
func (r *Runtime) Update(_ context.Context, id sdk.TaskID, l *isolation.Limits) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.find("update", id)
	if err != nil {
		return err
	}
	if r.FailUpdate != nil {
		if err := r.FailUpdate(id, l); err != nil {
			return err
		}
	}
	c.spec.Limits, c.Limits = *l, *l
	return nil
}

// Open opens a session that OnOpen plays the task's part of.
func (r *Runtime) Open(_ context.Context, id sdk.TaskID, q *session.Request) (io.ReadWriteCloser, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.find("open", id); err != nil {
		return nil, err
	}
	if r.OnOpen == nil {
		return nil, sdk.Errorf(sdk.Unsupported, "task/"+string(id), "sessions are not played here")
	}
	near, far := net.Pipe()
	go r.OnOpen(id, q, far)
	return near, nil
}

// Exits delivers exits from now on. The channel closes when ctx ends or on
// Crash.
func (r *Runtime) Exits(ctx context.Context) (<-chan sdk.TaskID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil, unavailable()
	}
	ch := make(chan sdk.TaskID, pending)
	if r.exits == nil {
		r.exits = map[chan sdk.TaskID]bool{}
	}
	r.exits[ch] = true
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.hangUp(ch)
	})
	return ch, nil
}

// Exit stops a container by itself, with a code. It reports whether the
// container was there and had not stopped.
func (r *Runtime) Exit(id sdk.TaskID, code int32) bool {
	return r.ExitAs(id, isolation.Exit{Code: code, Known: true})
}

// ExitAs is Exit with all of how it ended; Ended is filled in when zero. It
// works while the runtime is down, as containers do end then.
func (r *Runtime) ExitAs(id sdk.TaskID, e isolation.Exit) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.ctrs[id]
	if c == nil || c.State == isolation.Stopped {
		return false
	}
	r.stop(c, e)
	return true
}

// SetUsage sets what Usage says of a container.
func (r *Runtime) SetUsage(id sdk.TaskID, u sdk.Usage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.ctrs[id]; c != nil {
		c.usage = u
	}
}

// Spec returns what a container was created from.
func (r *Runtime) Spec(id sdk.TaskID) (isolation.Spec, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.ctrs[id]; c != nil {
		return c.spec, true
	}
	return isolation.Spec{}, false
}

// Calls returns the calls made so far, as in "create a", but not List, Usage
// or Exits.
func (r *Runtime) Calls() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

// Crash makes every call fail until Recover, and closes the channels of Exits;
// containers stay.
func (r *Runtime) Crash() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = true
	for ch := range r.exits {
		r.hangUp(ch)
	}
}

// Recover ends a Crash.
func (r *Runtime) Recover() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = false
}

func (r *Runtime) begin(call string, id sdk.TaskID) error {
	if r.down {
		return unavailable()
	}
	if call != "usage" {
		r.calls = append(r.calls, call+" "+string(id))
	}
	return nil
}

func (r *Runtime) find(call string, id sdk.TaskID) (*container, error) {
	if err := r.begin(call, id); err != nil {
		return nil, err
	}
	if c := r.ctrs[id]; c != nil {
		return c, nil
	}
	return nil, sdk.Errorf(sdk.NotFound, "task/"+string(id), "has no container here")
}

func (r *Runtime) stop(c *container, e isolation.Exit) {
	if e.Ended == 0 {
		e.Ended = r.time()
	}
	c.State, c.PID, c.Exit = isolation.Stopped, 0, &e
	for ch := range r.exits {
		select {
		case ch <- c.ID:
		default:
			r.hangUp(ch)
		}
	}
}

func (r *Runtime) hangUp(ch chan sdk.TaskID) {
	if r.exits[ch] {
		delete(r.exits, ch)
		close(ch)
	}
}

func (r *Runtime) time() sdk.Time {
	if r.Now != nil {
		return r.Now()
	}
	r.now++
	return r.now
}

func unavailable() error { return sdk.Errorf(sdk.Unavailable, "keeper", "does not answer") }
