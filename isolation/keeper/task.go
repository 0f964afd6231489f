package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// task is one container. Its folder is there from before anything else of it
// is made until after everything else is gone.
type task struct {
	id  sdk.TaskID
	dir string

	ctr    *libcontainer.Container
	proc   *libcontainer.Process // nil when another keeper created it
	pidfd  *os.File
	out    *output
	ended  <-chan struct{} // the first process has
	closed chan struct{}   // its exit is recorded

	// changing is held while limits are changed, one change after the other.
	changing sync.Mutex

	mu   sync.Mutex
	rec  record
	exit *isolation.Exit
}

// container returns what is told of the task.
func (t *task) container() isolation.Container {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := isolation.Container{ID: t.id, State: isolation.Created, PID: int32(t.rec.PID), Started: t.rec.Started, Exit: t.exit}
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

// finish waits for the end of the first process, records it, and frees what
// the container held; then it tells.
func (t *task) finish(tell func(sdk.TaskID)) {
	<-t.ended
	e := t.status()
	e.Ended = now()
	t.out.drained()
	t.settle(e)
	tell(t.id)
}

// settle records the exit and frees everything but the folder.
func (t *task) settle(e *isolation.Exit) {
	count(t.rec.Cgroups, e)
	if err := writeJSON(filepath.Join(t.dir, exitFile), e); err != nil {
		// The disk is full, most likely: the exit is known for as long as this
		// keeper runs, and the next one will call it unknown.
		logf("%s: exit %d cannot be recorded: %v", t.id, e.Code, err)
	}
	if t.ctr != nil {
		if err := t.ctr.Destroy(); err != nil {
			logf("%s: %v", t.id, err)
		}
	}
	if err := removeCgroups(t.rec.Cgroups); err != nil {
		logf("%s: %v", t.id, err)
	}
	if t.pidfd != nil {
		t.pidfd.Close()
	}
	t.mu.Lock()
	t.exit = e
	t.mu.Unlock()
	close(t.closed)
}

// status returns how the first process ended.
func (t *task) status() *isolation.Exit {
	if t.proc != nil {
		if st, _ := t.proc.Wait(); st != nil {
			if ws, ok := st.Sys().(syscall.WaitStatus); ok {
				return &isolation.Exit{Code: code(ws), Known: true}
			}
		}
		return &isolation.Exit{}
	}
	ws, ok := strangersStatus(t.pidfd, t.rec.PID)
	if !ok {
		return &isolation.Exit{}
	}
	return &isolation.Exit{Code: code(ws), Known: true}
}

func code(ws syscall.WaitStatus) int32 {
	if ws.Signaled() {
		return 128 + int32(ws.Signal())
	}
	return int32(ws.ExitStatus())
}

// signal sends sig to the first process, or to all of them.
func (t *task) signal(sig int, all bool) error {
	if t.stopped() {
		return gone(t.id)
	}
	// Killing the first process of a pid namespace kills the others too.
	if !all || syscall.Signal(sig) == unix.SIGKILL {
		if err := t.ctr.Signal(syscall.Signal(sig)); err != nil {
			if t.stopped() || err == libcontainer.ErrNotRunning {
				return gone(t.id)
			}
			return sdk.Errorf(sdk.Internal, "task/"+string(t.id), "signal %d: %w", sig, err)
		}
		return nil
	}
	pids, err := t.ctr.Processes()
	if err != nil {
		return sdk.Errorf(sdk.Internal, "task/"+string(t.id), "signal %d: %w", sig, err)
	}
	for _, pid := range pids {
		unix.Kill(pid, syscall.Signal(sig))
	}
	return nil
}

// kill ends the container and waits until its exit is recorded.
func (t *task) kill() {
	if !t.stopped() {
		t.ctr.Signal(unix.SIGKILL)
	}
	<-t.closed
}

// remove deletes the folder of a stopped container.
func (t *task) remove() error {
	if err := os.RemoveAll(t.dir); err != nil {
		return sdk.Errorf(sdk.Internal, "task/"+string(t.id), "its files cannot be removed: %w", err)
	}
	return nil
}

func gone(id sdk.TaskID) error {
	return sdk.Errorf(sdk.NotFound, "task/"+string(id), "its container does not run")
}

func pidDir(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }
