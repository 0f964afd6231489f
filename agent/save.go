package agent

import (
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/drupe-os/drupe/agent/disk"
	"github.com/drupe-os/drupe/sdk"
)

// Statuses are said once they are on disk, never before: what the servers have
// heard, the node remembers after a crash. One write of ten records costs less
// than a millisecond, and it happens beside the work, not in front of it.

// saver is what the loop keeps about writing the checkpoint: one write at a
// time, with all that changed since the last.
type saver struct {
	dirty  map[sdk.TaskID]*task
	drops  map[sdk.TaskID]bool // to delete
	busy   bool
	urgent bool // somebody waits for the next write
	timer  *time.Timer
	wg     sync.WaitGroup
	// tried counts writes that ended, well or not; hellos wait for theirs.
	tried  uint64
	hellos []waiting
}

// waiting is somebody who wants to be told after so many writes.
type waiting struct {
	until uint64
	tell  func()
}

// lazily is how long a change that nobody is told of may wait for others to be written with it.
// Losing it costs nothing: the servers and the runtime know it too.
const lazily = 200 * time.Millisecond

// saveAgain is the wait after a write that failed.
const saveAgain = time.Second

func (s *saver) wait() { s.wg.Wait() }

// drop has the task's record deleted.
func (s *saver) drop(t *task) {
	delete(s.dirty, t.id())
	if s.drops == nil {
		s.drops = map[sdk.TaskID]bool{}
	}
	s.drops[t.id()] = true
}

// changed notes that the task's record is to be written, at once when something
// waits for it.
func (a *Agent) changed(t *task, urgent bool) {
	if a.saver.dirty == nil {
		a.saver.dirty = map[sdk.TaskID]*task{}
	}
	t.rev++
	a.saver.dirty[t.id()] = t
	delete(a.saver.drops, t.id())
	a.save(urgent)
}

// save writes now, or soon.
func (a *Agent) save(urgent bool) {
	s := &a.saver
	s.urgent = s.urgent || urgent
	switch {
	case s.busy:
	case s.urgent:
		a.write()
	case s.timer == nil:
		s.timer = time.AfterFunc(lazily, func() { a.post(a.write) })
	}
}

// collect takes all that is to be written.
func (a *Agent) collect() (recs []disk.Record, del []sdk.TaskID, revs map[*task]uint64) {
	s := &a.saver
	revs = make(map[*task]uint64, len(s.dirty))
	for _, t := range s.dirty {
		recs = append(recs, t.rec)
		revs[t] = t.rev
	}
	for id := range s.drops {
		del = append(del, id)
	}
	s.dirty, s.drops = nil, nil
	return recs, del, revs
}

// write writes what changed, in a worker.
func (a *Agent) write() {
	s := &a.saver
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if s.busy || len(s.dirty)+len(s.drops) == 0 {
		return
	}
	recs, del, revs := a.collect()
	s.busy, s.urgent = true, false
	s.wg.Go(func() {
		err := a.store.Save(recs, del)
		a.post(func() {
			s.busy = false
			s.tried++
			if err != nil {
				a.unsaved(err, revs, del)
			} else {
				a.saved(recs, revs)
			}
			a.greet()
			if len(s.dirty)+len(s.drops) > 0 {
				a.save(false)
			}
		})
	})
}

// saved tells what is on disk now, and lets go of what waited for it.
func (a *Agent) saved(recs []disk.Record, revs map[*task]uint64) {
	for i := range recs {
		t := a.tasks[recs[i].Status.Task]
		if rev, ok := revs[t]; ok {
			t.tell(a, &recs[i].Status)
			if t.rev == rev && !t.plan.Saved {
				t.plan.Saved = true
				a.step(t)
			}
		}
	}
}

// tell reports the status, unless it was told already.
func (t *task) tell(a *Agent, st *sdk.TaskStatus) {
	if st.State != sdk.Staging && t.told != *st {
		t.told = *st
		a.up.Report(*st)
	}
}

// greet answers the hellos whose write has ended.
func (a *Agent) greet() {
	s := &a.saver
	rest := s.hellos[:0]
	for _, h := range s.hellos {
		if s.tried >= h.until {
			h.tell()
		} else {
			rest = append(rest, h)
		}
	}
	s.hellos = rest
}

// afterSave runs tell once all that changed so far was written or refused.
func (a *Agent) afterSave(tell func()) {
	s := &a.saver
	switch {
	case s.busy:
		s.hellos = append(s.hellos, waiting{s.tried + 2, tell})
		if len(s.dirty)+len(s.drops) == 0 {
			s.hellos[len(s.hellos)-1].until--
		}
		s.urgent = true
	case len(s.dirty)+len(s.drops) == 0:
		tell()
	default:
		s.hellos = append(s.hellos, waiting{s.tried + 1, tell})
		a.save(true)
	}
}

// unsaved puts back what could not be written and tries again later. Until
// then nothing is let go of that only the record would know. The servers are
// told nevertheless, and a task that is to end is ended: a full disk must not
// stop the rest of the cluster from going on.
func (a *Agent) unsaved(err error, revs map[*task]uint64, del []sdk.TaskID) {
	a.log.Error("checkpoint", "error", err)
	s := &a.saver
	if s.dirty == nil {
		s.dirty = map[sdk.TaskID]*task{}
	}
	if s.drops == nil {
		s.drops = map[sdk.TaskID]bool{}
	}
	for _, id := range del {
		if a.tasks[id] == nil {
			s.drops[id] = true
		}
	}
	s.urgent = false
	if s.timer == nil {
		s.timer = time.AfterFunc(saveAgain, func() { a.post(a.write) })
	}
	for t := range revs {
		if a.tasks[t.id()] != t {
			continue
		}
		s.dirty[t.id()] = t
		t.tell(a, &t.rec.Status)
		if t.plan.State == sdk.Killing {
			t.plan.Saved = true
			a.step(t)
		}
	}
}

// sweep removes images nobody uses and the folders of tasks long forgotten.
func (a *Agent) sweep() {
	known := make(map[string]bool, len(a.tasks))
	for id := range a.tasks {
		known[string(id)] = true
	}
	inUse := a.imagesInUse()
	a.ops.wg.Go(func() {
		if n, err := a.cfg.Images.Sweep(inUse, time.Hour); err != nil {
			a.log.Warn("images", "error", err)
		} else if n > 0 {
			a.log.Info("removed unused layers", "layers", n)
		}
		if n, err := a.modules.Sweep(inUse, time.Hour); err != nil {
			a.log.Warn("modules", "error", err)
		} else if n > 0 {
			a.log.Info("removed unused modules", "modules", n)
		}
		dir := filepath.Join(a.cfg.Dir, "tasks")
		entries, err := os.ReadDir(dir)
		if err != nil {
			a.log.Warn("tasks", "error", err)
			return
		}
		for _, e := range entries {
			info, err := os.Stat(filepath.Join(dir, e.Name(), "log"))
			if err != nil || known[e.Name()] || time.Since(info.ModTime()) < a.cfg.KeepLogs {
				continue
			}
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				a.log.Warn("tasks", "error", err)
			}
		}
	})
}
