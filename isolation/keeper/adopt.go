package keeper

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// adopt finds the containers of the keeper before this one. It runs before
// anybody is answered.
func (k *keeper) adopt() {
	list, err := os.ReadDir(k.tasksDir)
	if err != nil {
		logf("%v", err)
	}
	for _, e := range list {
		t := &task{id: sdk.TaskID(e.Name()), dir: filepath.Join(k.tasksDir, e.Name()), closed: make(chan struct{})}
		if k.adoptOne(t) {
			k.publish(t)
		}
	}
}

// adoptOne reports whether the folder is that of a container. One that was
// never told of is cleared away.
func (k *keeper) adoptOne(t *task) bool {
	if err := readJSON(filepath.Join(t.dir, recordFile), &t.rec); err != nil || t.rec.Spec == nil {
		k.clear(t)
		return false
	}
	var e isolation.Exit
	if err := readJSON(filepath.Join(t.dir, exitFile), &e); err == nil {
		// The keeper before may have ended between recording and freeing.
		k.leftovers(t)
		t.exit = &e
		close(t.closed)
		return true
	}
	t.addPrograms()
	if t.rec.Name != "" && t.rec.Started == 0 {
		// Nobody is left to tell its stub what to become.
		k.clear(t)
		return false
	}
	for _, p := range t.programs() {
		if p.trace.PID == 0 {
			k.clear(t)
			return false
		}
	}
	if e := k.resume(t, t.own); e != nil {
		switch {
		case t.rec.Exit != nil:
			e = t.rec.Exit // the keeper before had seen it
		case t.rec.Started != 0 && !t.rec.Begun && e.Known:
			e = &isolation.Exit{Ended: e.Ended}
		}
		if t.rec.Boot == k.boot {
			killCgroup(t.rec.Cgroups)
		}
		t.settle(e, t.failedBefore())
		k.leftovers(t)
		return true
	}
	adoptRoom(t)
	for _, p := range t.sidecars {
		if p.trace.Exit == nil {
			if e := k.resume(t, p); e != nil {
				count(t.cgroups(p), e)
				t.sidecarEnded(p, e)
				removeCgroups(t.cgroups(p))
				os.RemoveAll(filepath.Join(k.runcDir, p.id))
			}
		}
	}
	if t.failure == nil {
		if t.failure = t.failedBefore(); t.failure != nil {
			t.own.kill()
		}
	}
	t.published = republish(t.id, t.own.trace.PID, t.rec.Spec.Publish)
	if t.rec.Started != 0 && !t.rec.Begun {
		k.finishStart(t)
	}
	go t.finish(k.tell)
	return true
}

// failedBefore returns the exit of the sidecar that an earlier keeper saw fail.
func (t *task) failedBefore() *isolation.Exit {
	for _, p := range t.sidecars {
		if e := p.trace.Exit; e != nil && failed(e) {
			return e
		}
	}
	return nil
}

// resume takes over a container that is still there, or returns how it ended.
func (k *keeper) resume(t *task, p *program) *isolation.Exit {
	ended, err := k.load(t, p)
	if err != nil {
		logf("%s: ended unseen: %v", p.id, err)
		ended = &isolation.Exit{}
	}
	if ended != nil {
		ended.Ended = now()
		return ended
	}
	pids, err := p.ctr.Processes()
	if err != nil {
		logf("%s: %v", p.id, err)
	}
	killStrays(p.trace.PID, pids)
	p.out = adoptOutput(p.trace.Pipes, pids)
	p.out.start(t.rec.Spec, p)
	return nil
}

// load finds a container by its first process. Errors: that has ended, and
// nobody knows how.
func (k *keeper) load(t *task, p *program) (ended *isolation.Exit, err error) {
	if t.rec.Boot != k.boot {
		return nil, errors.New("the machine was started anew")
	}
	pidfd, err := openPidfd(p.trace.PID)
	if err != nil {
		return nil, err
	}
	defer func() {
		if ended != nil || err != nil {
			pidfd.Close()
		}
	}()
	// Loading compares the time at which the process began: with the handle
	// open since before, it is this process that the handle is of.
	if p.ctr, err = libcontainer.Load(k.runcDir, p.id); err != nil {
		return nil, err
	}
	status, err := p.ctr.Status()
	if err != nil {
		return nil, err
	}
	if status == libcontainer.Stopped {
		state, err := p.ctr.State()
		if ws, ok := zombieStatus(p.trace.PID); ok && err == nil && begunAt(p.trace.PID) == state.InitProcessStartTime {
			return &isolation.Exit{Code: code(ws), Known: true}, nil
		}
		return nil, errors.New("its first process is gone")
	}
	if p.ended, err = k.exits.watch(pidfd); err != nil {
		return nil, err
	}
	p.pidfd = pidfd
	return nil, nil
}

// killStrays kills what the sessions of the keeper before have left in a
// container: what does not descend from its first process. Where process ids
// are the node's, that cannot be told.
func killStrays(first int, pids []int) {
	own, err := os.Readlink("/proc/self/ns/pid")
	if theirs, terr := os.Readlink(pidDir(first, "ns/pid")); err != nil || terr != nil || own == theirs {
		return
	}
	within := map[int]bool{}
	for _, pid := range pids {
		within[pid] = true
	}
	for _, pid := range pids {
		at := pid
		for range pids { // bounded: numbers can be used again while we look
			if at == first || !within[at] {
				break
			}
			at = parent(at)
		}
		if at != first && at != 0 {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// parent returns the number of a process's parent, 0 when it has ended.
func parent(pid int) int {
	b, err := os.ReadFile(pidDir(pid, "stat"))
	if err != nil {
		return 0
	}
	// The command's name can hold anything; the fields follow its last ")".
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(fields[1])
	return n
}

// begunAt returns when a process began, as the kernel counts, 0 when it is not
// there.
func begunAt(pid int) uint64 {
	b, err := os.ReadFile(pidDir(pid, "stat"))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 {
		return 0
	}
	n, _ := strconv.ParseUint(fields[19], 10, 64)
	return n
}

// clear removes a container that was never finished.
func (k *keeper) clear(t *task) {
	killCgroup(t.rec.Cgroups)
	k.leftovers(t)
	os.RemoveAll(t.dir)
}

// leftovers removes what freeing a container removes, as far as it is there.
func (k *keeper) leftovers(t *task) {
	if err := removeCgroups(t.rec.Cgroups); err != nil {
		logf("%s: %v", t.id, err)
	}
	os.RemoveAll(filepath.Join(k.runcDir, t.name()))
	for _, p := range t.sidecars {
		os.RemoveAll(filepath.Join(k.runcDir, p.id))
	}
}
