package agent

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/drupe-os/drupe/agent/disk"
	"github.com/drupe-os/drupe/agent/image"
	"github.com/drupe-os/drupe/agent/plan"
	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// task is all the agent knows of one task.
type task struct {
	rec  disk.Record
	plan plan.Task

	images *fetched
	exit   *isolation.Exit
	// words say more of plan.Fault, or of ill health.
	words string
	// cancel ends the fetch under way.
	cancel context.CancelFunc
	timer  *time.Timer // asks again; nil: none is set

	// working: a worker is calling the runtime for it. settling: it has, and
	// only a fresh look tells what came of it.
	working, settling bool
	// touched is the look that was the latest when a worker last began or
	// ended: that one and older ones may be out of date.
	touched uint64
	// tries counts failures in a row that may pass; retry holds the next step
	// back until then.
	tries int
	retry sdk.Time
	// force are the limits of its running container, notes what it has less of
	// than was asked for, unsized why its new limits are not in force, and
	// refusals how often in a row they could not be set.
	force    *isolation.Limits
	notes    []string
	unsized  string
	refusals int
	// checked: its checks are running.
	checked bool

	rev  uint64         // counts changes of rec
	told sdk.TaskStatus // the last that was reported
}

func (t *task) id() sdk.TaskID { return t.rec.Status.Task }

// recall makes a task of its record after a start of the agent.
func (a *Agent) recall(rec *disk.Record, rebooted bool) *task {
	t := &task{rec: *rec, told: rec.Status}
	t.plan = plan.Task{State: rec.Status.State, Reason: rec.Status.Reason, Launched: rec.Launched,
		Termed: rec.Termed, Killed: rec.Killed, Saved: true}
	if rebooted && rec.Status.State == sdk.Starting {
		// Whether it ran before the machine went down, nobody can tell.
		t.plan.Launched = true
	}
	t.assign(&rec.Assignment)
	if t.plan.State < sdk.Running && t.plan.Goal == plan.Run {
		// What has not begun waits until a server still wants it.
		t.plan.Goal = plan.Unknown
	}
	if rec.Assignment.Task == "" {
		t.plan.Goal = plan.Unknown
	}
	if !t.plan.State.Terminal() {
		a.live.Store(t.id(), true)
	}
	return t
}

// assign takes what the servers want of the task. A template that is absent
// stays as it was.
func (t *task) assign(as *sdk.Assignment) {
	old := &t.rec.Assignment
	template, ports := as.Template, as.Ports
	if template == nil {
		template, ports = old.Template, old.Ports
	}
	t.rec.Assignment = *as
	t.rec.Assignment.Template, t.rec.Assignment.Ports = template, ports
	t.plan.Goal, t.plan.StopReason = plan.Run, as.Reason
	if as.Goal == sdk.GoalStop {
		t.plan.Goal = plan.Stop
	}
	t.plan.Grace = as.Grace
	if t.plan.Grace == 0 && template != nil {
		t.plan.Grace = template.Grace
	}
}

// dir is the task's own folder.
func (a *Agent) dir(id sdk.TaskID) string { return filepath.Join(a.cfg.Dir, "tasks", string(id)) }

func (a *Agent) logDir(id sdk.TaskID) string { return filepath.Join(a.dir(id), "log") }

// safeID reports whether the id can name a folder.
func safeID(id sdk.TaskID) bool {
	s := string(id)
	return s != "" && len(s) < 200 && s[0] != '.' && !strings.ContainsAny(s, "/\x00")
}

// reasonOf returns why err ended a task, and whether it may pass by itself: the
// runtime not being there says nothing about the task.
func reasonOf(err error) (r sdk.Reason, passing bool) {
	var ie *isolation.Error
	var me *image.Error
	switch {
	case errors.As(err, &ie) && ie.Reason != sdk.ReasonNone:
		return ie.Reason, false
	case errors.As(err, &me):
		return me.Reason, false
	}
	return sdk.ReasonStartFailed, sdk.KindOf(err) == sdk.Unavailable
}
