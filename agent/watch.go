package agent

import (
	"context"
	"maps"
	"time"

	"github.com/drupe-os/drupe/agent/disk"
	"github.com/drupe-os/drupe/agent/plan"
	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// watch is what the loop keeps about looking at the runtime.
type watch struct {
	turn   uint64 // looks begun
	busy   bool   // one is under way
	again  bool   // and another is wanted after it
	looked bool   // one has succeeded
	first  chan struct{}
	// forgotten are tasks dropped since some look: that one may still show them.
	forgotten map[sdk.TaskID]uint64
}

func (w *watch) forgot(id sdk.TaskID) {
	if w.forgotten == nil {
		w.forgotten = map[sdk.TaskID]uint64{}
	}
	w.forgotten[id] = w.turn
}

// lookAgain is the wait after the runtime could not be looked at.
const lookAgain = 500 * time.Millisecond

// exits hears of containers that stop, and of the runtime coming back.
func (a *Agent) exits(ctx context.Context) {
	for ctx.Err() == nil {
		ch, err := a.cfg.Runtime.Exits(ctx)
		if err != nil {
			if ctx.Err() == nil {
				a.log.Warn("runtime", "error", err)
			}
		} else {
			// What stopped before the channel was open is found by looking.
			a.post(a.look)
			for range ch {
				a.post(a.look)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookAgain):
		}
	}
}

// look asks the runtime for all containers. Looks asked for during one are
// answered by one more.
func (a *Agent) look() {
	if a.watch.busy {
		a.watch.again = true
		return
	}
	a.watch.busy = true
	a.watch.turn++
	turn := a.watch.turn
	a.ops.wg.Go(func() {
		ctx, cancel := context.WithTimeout(a.ctx, quickCall)
		list, err := a.cfg.Runtime.List(ctx)
		cancel()
		a.post(func() {
			a.watch.busy = false
			if err != nil {
				if a.ctx.Err() == nil {
					a.log.Warn("runtime", "error", err)
				}
				time.AfterFunc(lookAgain, func() { a.post(a.look) })
				return
			}
			a.saw(list, turn)
			if a.watch.again {
				a.watch.again = false
				a.look()
			}
		})
	})
}

// saw takes what a look showed, where it is not out of date.
func (a *Agent) saw(list []isolation.Container, turn uint64) {
	if !a.watch.looked {
		a.watch.looked = true
		close(a.watch.first)
	}
	found := make(map[sdk.TaskID]*isolation.Container, len(list))
	for i := range list {
		id := list[i].ID
		found[id] = &list[i]
		if at, dropped := a.watch.forgotten[id]; a.tasks[id] == nil && !(dropped && at >= turn) {
			// It runs here and there is no record of it: watched and reported.
			a.log.Warn("found a container without a record", "task", id)
			t := &task{rec: disk.Record{Status: sdk.TaskStatus{Task: id}}}
			a.tasks[id] = t
			a.live.Store(id, true)
		}
	}
	maps.DeleteFunc(a.watch.forgotten, func(_ sdk.TaskID, at uint64) bool { return at <= turn })
	for id, t := range a.tasks {
		if t.working || t.touched >= turn {
			continue
		}
		a.update(t, found[id])
		if t.settling {
			t.settling = false
			t.plan.InFlight = plan.Nothing
		}
		a.step(t)
	}
}

// update takes what the runtime shows of one task; nil: nothing.
func (a *Agent) update(t *task, c *isolation.Container) {
	if c == nil {
		t.plan.Seen = plan.Absent
		return
	}
	st := &t.rec.Status
	switch c.State {
	case isolation.Created:
		t.plan.Seen = plan.Created
	case isolation.Running:
		t.plan.Seen, t.plan.Launched, t.rec.Launched = plan.Running, true, true
		if t.plan.Fault != sdk.ReasonNone {
			// What was said to have failed runs.
			t.plan.Fault, t.words = sdk.ReasonNone, ""
		}
		st.Started, st.PID = c.Started, c.PID
		limits := c.Limits
		t.force, t.notes = &limits, c.Notes
		a.measure(t)
		if t.plan.State == sdk.Running {
			// Re-adopted: its checks start over.
			a.check(t)
		}
	case isolation.Stopped:
		t.plan.Seen, t.exit = plan.Stopped, c.Exit
		if t.exit == nil {
			t.exit = &isolation.Exit{}
		}
		if c.Started != 0 {
			st.Started = c.Started
		}
		t.plan.Exit = plan.Exit{Code: t.exit.Code, Known: t.exit.Known, OOM: t.exit.OOM, Pids: t.exit.PidsHit, Disk: t.exit.DiskHit, Sidecar: t.exit.Sidecar != ""}
	}
}
