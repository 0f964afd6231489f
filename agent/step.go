package agent

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/agent/check"
	"github.com/drupe-os/drupe/agent/disk"
	"github.com/drupe-os/drupe/agent/plan"
	"github.com/drupe-os/drupe/sdk"
)

// desired takes what the servers want.
func (a *Agent) desired(d *sdk.Desired) {
	mentioned := make(map[sdk.TaskID]bool, len(d.Tasks))
	for i := range d.Tasks {
		as := &d.Tasks[i]
		mentioned[as.Task] = true
		t := a.tasks[as.Task]
		if t == nil {
			t = &task{rec: disk.Record{Status: sdk.TaskStatus{Task: as.Task}}}
			a.tasks[as.Task] = t
			a.live.Store(as.Task, true)
			if a.doubt && d.Full || a.lost[as.Task] {
				// It may have run here already. Running it twice is worse than
				// telling its framework to have it replaced.
				t.plan.Fault = sdk.ReasonCheckpointLost
				t.words = "this node's record of the task was lost, and it has no container"
			}
		}
		delete(a.lost, as.Task)
		t.assign(as)
		a.changed(t, false)
		if t.plan.Seen == plan.Running {
			t.plan.ResizeAt, t.refusals = 0, 0
			a.measure(t)
			a.check(t)
		}
	}
	if d.Full {
		a.doubt = false
		for id, t := range a.tasks {
			if !mentioned[id] {
				t.plan.Goal = plan.Unknown
			}
		}
	}
	for _, id := range d.Forget {
		if t := a.tasks[id]; t != nil {
			t.plan.Forget = true
			a.step(t)
		}
	}
	for id := range mentioned {
		if t := a.tasks[id]; t != nil {
			a.step(t)
		}
	}
}

// step does what the planner says, until it says to wait.
func (a *Agent) step(t *task) {
	for a.watch.looked && a.ctx.Err() == nil {
		at := now()
		s := plan.Next(&t.plan, at)
		switch {
		case s.Op == plan.Nothing:
			if s.Wake != 0 {
				a.wake(t, s.Wake)
			}
			return
		case s.Op != plan.SetStatus && s.Op != plan.Forget && at < t.retry:
			a.wake(t, t.retry)
			return
		}
		switch s.Op {
		case plan.SetStatus:
			a.setStatus(t, s, at)
		case plan.Fetch:
			a.fetch(t)
		case plan.Create:
			a.create(t)
		case plan.Start:
			a.start(t)
		case plan.Term:
			t.plan.Termed, t.rec.Termed = at, at
			a.signal(t, plan.Term, t.stopSignal(), false)
		case plan.Kill:
			t.plan.Killed, t.rec.Killed = at, at
			a.signal(t, plan.Kill, int(unix.SIGKILL), true)
		case plan.Remove:
			a.remove(t)
		case plan.Resize:
			a.resize(t)
		case plan.Forget:
			a.forget(t)
			return
		}
	}
}

// wake asks again at that time.
func (a *Agent) wake(t *task, at sdk.Time) {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timer = time.AfterFunc(at.Sub(now()).Std(), func() { a.post(func() { a.step(t) }) })
}

// setStatus enters a state; it is reported once it is on disk.
func (a *Agent) setStatus(t *task, s plan.Step, at sdk.Time) {
	st := &t.rec.Status
	text := message(t, s, at)
	st.State, st.Reason, st.Message = s.State, s.Reason, text
	t.plan.State, t.plan.Reason, t.plan.Saved = s.State, s.Reason, false
	if s.State == sdk.Running {
		a.check(t)
	} else {
		a.uncheck(t)
	}
	if s.State.Terminal() {
		if t.cancel != nil {
			t.cancel()
		}
		st.PID, st.Ended = 0, at
		if t.exit != nil {
			st.ExitCode = t.exit.Code
			if t.exit.Ended != 0 {
				st.Ended = t.exit.Ended
			}
		}
		if s.State != sdk.Finished && st.Health == sdk.Healthy {
			st.Health = sdk.HealthUnknown
		}
		a.live.Delete(t.id())
	}
	a.log.Info("task", "task", t.id(), "state", s.State.String(), "reason", s.Reason.String(), "message", text)
	a.changed(t, true)
}

// check starts the task's health checks; without any it is healthy.
func (a *Agent) check(t *task) {
	st := &t.rec.Status
	tm := t.rec.Assignment.Template
	if tm == nil || t.checked || st.State != sdk.Running {
		return
	}
	t.checked = true
	if len(tm.Checks) == 0 {
		if st.Health != sdk.Healthy {
			st.Health = sdk.Healthy
			a.changed(t, true)
		}
		return
	}
	a.checks.Add(check.Target{Task: t.id(), Host: a.cfg.Machine.Address, Ports: t.rec.Assignment.Ports, Checks: tm.Checks,
		Started: st.Started, Health: st.Health})
}

func (a *Agent) uncheck(t *task) {
	if t.checked {
		t.checked = false
		a.checks.Remove(t.id())
	}
}

// verdict takes what the checks say of a task.
func (a *Agent) verdict(v check.Verdict) {
	t := a.tasks[v.Task]
	if t == nil || t.plan.State != sdk.Running {
		return
	}
	t.rec.Status.Health = v.Health
	t.plan.Unhealthy = v.Health == sdk.Unhealthy
	if t.plan.Unhealthy {
		t.words = v.Message
	}
	a.changed(t, true)
	a.step(t)
}

// forget drops the task; its output stays until the sweep finds it old.
func (a *Agent) forget(t *task) {
	if t.timer != nil {
		t.timer.Stop()
	}
	a.uncheck(t)
	a.live.Delete(t.id())
	delete(a.tasks, t.id())
	a.watch.forgot(t.id())
	a.saver.drop(t)
	a.save(false)
}
