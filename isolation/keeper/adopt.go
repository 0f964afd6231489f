package keeper

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/opencontainers/runc/libcontainer"

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
	if t.rec.PID == 0 {
		k.clear(t)
		return false
	}
	if err := k.resume(t); err != nil {
		logf("%s: ended unseen: %v", t.id, err)
		if t.rec.Boot == k.boot {
			killCgroup(t.rec.Cgroups)
		}
		t.settle(&isolation.Exit{Ended: now()})
		k.leftovers(t)
	}
	return true
}

// resume takes over a container that is still there.
func (k *keeper) resume(t *task) error {
	if t.rec.Boot != k.boot {
		return errors.New("the machine was started anew")
	}
	pidfd, err := openPidfd(t.rec.PID)
	if err != nil {
		return err
	}
	// Loading compares the time at which the process began: with the handle
	// open since before, it is this process that the handle is of.
	ctr, err := libcontainer.Load(k.runcDir, string(t.id))
	if err != nil {
		pidfd.Close()
		return err
	}
	t.ctr = ctr
	status, err := ctr.Status()
	if err == nil && status == libcontainer.Stopped {
		if ws, ok := zombieStatus(t.rec.PID); ok {
			pidfd.Close()
			t.settle(&isolation.Exit{Code: code(ws), Known: true, Ended: now()})
			return nil
		}
		err = errors.New("its first process is gone")
	}
	if err == nil {
		t.ended, err = k.exits.watch(pidfd)
	}
	if err != nil {
		pidfd.Close()
		return err
	}
	t.pidfd = pidfd
	// A keeper that ended between writing the time and executing has left a
	// container that is only created.
	if status == libcontainer.Created {
		t.rec.Started = 0
	}
	pids, err := ctr.Processes()
	if err != nil {
		logf("%s: %v", t.id, err)
	}
	t.out = adoptOutput(t.rec.Pipes, pids)
	t.out.start(t.rec.Spec)
	go t.finish(k.tell)
	return nil
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
	os.RemoveAll(filepath.Join(k.runcDir, string(t.id)))
}
