package agent

import (
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/drupe-os/drupe/agent/disk"
	"github.com/drupe-os/drupe/sdk"
)

// saver is what the loop keeps about writing the checkpoint: one write at a
// time, with all that changed since the last.
type saver struct {
	dirty  map[sdk.TaskID]*task
	drops  map[sdk.TaskID]bool // to delete
	busy   bool
	urgent bool // somebody waits for the next write
	timer  *time.Timer
	wg     sync.WaitGroup
}

// lazily is how long a change may wait for others to be written with it.
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
			if err != nil {
				a.unsaved(err, revs, del)
				return
			}
			for t, rev := range revs {
				t.saved = rev
				if t.rev == rev && t.plan.State.Terminal() && !t.plan.Saved {
					t.plan.Saved = true
					a.step(t)
				}
			}
			if len(s.dirty)+len(s.drops) > 0 {
				a.save(false)
			}
		})
	})
}

// unsaved puts back what could not be written and tries again later. Until
// then nothing is let go of that only the record would know.
func (a *Agent) unsaved(err error, revs map[*task]uint64, del []sdk.TaskID) {
	a.log.Error("checkpoint", "error", err)
	s := &a.saver
	if s.dirty == nil {
		s.dirty = map[sdk.TaskID]*task{}
	}
	for t := range revs {
		if a.tasks[t.id()] == t {
			s.dirty[t.id()] = t
		}
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
}

// sweep removes images nobody uses and the folders of tasks long forgotten.
func (a *Agent) sweep() {
	known := make(map[string]bool, len(a.tasks))
	var inUse []sdk.Digest
	for id, t := range a.tasks {
		known[string(id)] = true
		if t.rec.Image != "" {
			inUse = append(inUse, t.rec.Image)
		}
	}
	a.ops.wg.Go(func() {
		if n, err := a.cfg.Images.Sweep(inUse, time.Hour); err != nil {
			a.log.Warn("images", "error", err)
		} else if n > 0 {
			a.log.Info("removed unused layers", "layers", n)
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
