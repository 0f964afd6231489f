package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// task is a program and its sidecars, each in a container. Its folder is there
// from before anything else of it is made until after everything else is gone.
type task struct {
	id  sdk.TaskID
	dir string

	// stub waits in a container that was prepared ahead; nil in others. given
	// are the files it gets while it is made.
	stub  *stubPipes
	given []*os.File

	room     *room // where its files are
	own      *program
	sidecars []*program
	closed   chan struct{} // its exit is recorded
	// published are its ports on the node; nil: it has none.
	published *published

	// changing is held while limits are changed, one change after the other.
	changing sync.Mutex

	mu   sync.Mutex
	rec  record
	exit *isolation.Exit
	// ending: its own program has ended, and what sidecars do is their affair.
	ending  bool
	failure *isolation.Exit // of the sidecar that ends it
}

// name is that of the container of the task's own program, and of its cgroup.
func (t *task) name() string {
	if t.rec.Name != "" {
		return t.rec.Name
	}
	return string(t.id)
}

// execute runs the program of a created task.
func (t *task) execute() error {
	if t.stub != nil {
		return t.stub.become(orders{t.own.spec.Args, t.own.spec.Env})
	}
	return t.own.ctr.Exec()
}

// container returns what is told of the task.
func (t *task) container() isolation.Container {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := isolation.Container{ID: t.id, State: isolation.Created, PID: int32(t.rec.PID), Started: t.rec.Started, Exit: t.exit,
		Limits: t.rec.Spec.Limits, Notes: t.rec.Notes}
	switch {
	case t.exit != nil:
		c.State, c.PID = isolation.Stopped, 0
	case t.rec.Started != 0:
		c.State = isolation.Running
	}
	return c
}

func (t *task) stopped() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.exit != nil
}

// finish waits for the end of the task's own program, ends its sidecars, records
// how it ended, and frees what it held; then it tells.
func (t *task) finish(tell func(sdk.TaskID)) {
	left := t.attendAll()
	<-t.own.ended
	t.foretell()
	e := t.own.status()
	e.Ended = now()
	t.published.close()
	t.own.out.drained()
	t.mu.Lock()
	t.ending = true
	failure := t.failure
	t.mu.Unlock()
	t.endSidecars(left)
	t.settle(e, failure)
	tell(t.id)
}

// foretell records how the program ended before its parent's asking makes the
// kernel forget it, and before the wait for its output and its sidecars: a
// keeper may be killed at any moment.
func (t *task) foretell() {
	ws, ok := zombieStatus(t.own.trace.PID)
	if !ok || t.own.proc == nil || t.own.unsure {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rec.Exit = &isolation.Exit{Code: code(ws), Known: true, Ended: now()}
	if err := t.saveRecord(); err != nil {
		logf("%s: %v", t.id, err)
	}
}

// settle records the exit and frees everything but the folder. A sidecar's
// failure that ended the task takes the place of its own program's exit.
func (t *task) settle(e, failure *isolation.Exit) {
	t.count(e)
	if failure != nil {
		f := *failure
		f.Peak, f.Ended = e.Peak, e.Ended
		e = &f
	}
	_, e.DiskHit = t.room.measure()
	if err := writeJSON(filepath.Join(t.dir, exitFile), e); err != nil {
		// The disk is full, most likely: the exit is known for as long as this
		// keeper runs, and the next one will call it unknown.
		logf("%s: exit %d cannot be recorded: %v", t.id, e.Code, err)
	}
	t.own.free()
	t.room.close()
	if t.stub != nil {
		t.stub.close()
	}
	if err := removeCgroups(t.rec.Cgroups); err != nil {
		logf("%s: %v", t.id, err)
	}
	t.mu.Lock()
	t.exit = e
	t.mu.Unlock()
	close(t.closed)
}

// count fills in what the kernel counted for the task. What a sidecar met in
// its own limits is not the task's own program's doing.
func (t *task) count(e *isolation.Exit) {
	count(t.rec.Cgroups, e)
	if len(t.sidecars) > 0 {
		own := isolation.Exit{}
		count(t.cgroups(t.own), &own)
		e.OOM, e.PidsHit = own.OOM, own.PidsHit || e.PidsHit
	}
}

// signal sends sig to the first process of the task's own program, or to all of
// that program's. Sidecars are ended after it; only killing all ends them at
// once.
func (t *task) signal(sig int, all bool) error {
	if t.stopped() {
		return gone(t.id)
	}
	kill := syscall.Signal(sig) == unix.SIGKILL
	// Killing the first process of a pid namespace kills the others too.
	if !all || kill {
		if all {
			// What the sidecars end with now is no failure of theirs.
			t.mu.Lock()
			t.ending = true
			t.mu.Unlock()
		}
		err := t.own.ctr.Signal(syscall.Signal(sig))
		// After it: a keeper that is killed in between leaves a task whose own
		// program was killed, not one that a sidecar has failed.
		if all {
			for _, p := range t.sidecars {
				p.kill()
			}
		}
		if err != nil {
			if t.stopped() || err == libcontainer.ErrNotRunning {
				return gone(t.id)
			}
			return sdk.Errorf(sdk.Internal, "task/"+string(t.id), "signal %d: %w", sig, err)
		}
		return nil
	}
	pids, err := t.own.ctr.Processes()
	if err != nil {
		return sdk.Errorf(sdk.Internal, "task/"+string(t.id), "signal %d: %w", sig, err)
	}
	for _, pid := range pids {
		unix.Kill(pid, syscall.Signal(sig))
	}
	return nil
}

// kill ends all of it and waits until its exit is recorded.
func (t *task) kill() {
	if !t.stopped() {
		t.mu.Lock()
		t.ending = true
		t.mu.Unlock()
		for _, p := range t.programs() {
			p.kill()
		}
	}
	<-t.closed
}

// remove deletes the folder of a stopped container. The record goes first: with
// the rest but half removed, it would be of a container that ended unseen.
func (t *task) remove() error {
	if err := os.Remove(filepath.Join(t.dir, recordFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sdk.Errorf(sdk.Internal, "task/"+string(t.id), "its record cannot be removed: %w", err)
	}
	if err := os.RemoveAll(t.dir); err != nil {
		return sdk.Errorf(sdk.Internal, "task/"+string(t.id), "its files cannot be removed: %w", err)
	}
	return nil
}

func gone(id sdk.TaskID) error {
	return sdk.Errorf(sdk.NotFound, "task/"+string(id), "its container does not run")
}

func pidDir(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }
