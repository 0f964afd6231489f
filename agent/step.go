package agent

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/agent/check"
	"github.com/drupe-os/drupe/agent/disk"
	"github.com/drupe-os/drupe/agent/image"
	"github.com/drupe-os/drupe/agent/plan"
	"github.com/drupe-os/drupe/sdk"
)

// How long a call to the runtime may take.
const (
	slowCall  = 60 * time.Second
	quickCall = 10 * time.Second
)

// retryAfter is the wait before a step that failed for the machine's sake is
// tried again; after maxTries the task fails.
const (
	retryAfter = sdk.Second
	maxTries   = 10
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

// fail notes that a step cannot succeed, or holds it back for a while when
// that may pass.
func (t *task) fail(err error) {
	reason, passing := reasonOf(err)
	if t.tries++; passing && t.tries < maxTries {
		t.retry = now().Add(retryAfter)
		return
	}
	t.plan.Fault, t.words = reason, err.Error()
}

func (a *Agent) fetch(t *task) {
	if err := checkTemplate(&t.rec.Assignment); err != nil {
		t.plan.Fault, t.words = sdk.ReasonInvalidTemplate, err.Error()
		return
	}
	ctx, cancel := context.WithCancel(a.ctx)
	t.cancel = cancel
	t.plan.InFlight = plan.Fetch
	ref := t.rec.Assignment.Template.Run.Container.Image
	a.fetches.do(func() {
		var img *image.Image
		err := ctx.Err()
		if err == nil {
			img, err = a.cfg.Images.Resolve(ctx, ref)
		}
		cancel()
		a.post(func() {
			a.fetches.release()
			t.plan.InFlight, t.cancel = plan.Nothing, nil
			switch {
			case t.plan.State.Terminal():
			case err != nil:
				t.fail(err)
			default:
				t.image, t.plan.ImageReady, t.tries = img, true, 0
				t.rec.Image, t.rec.StopSignal = img.Digest, signalOf(img.Config.StopSignal)
				a.changed(t, false)
			}
			a.step(t)
		})
	})
}

// call has a worker call the runtime. after, run by the loop, settles what the
// call says of the task; when it reports false only a fresh look can tell.
func (a *Agent) call(t *task, op plan.Op, limit time.Duration, work func(context.Context) error, after func(error) bool) {
	t.plan.InFlight, t.working, t.touched = op, true, a.watch.turn
	a.ops.do(func() {
		// A call that has begun is finished, also when the agent ends.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), limit)
		err := work(ctx)
		cancel()
		a.post(func() {
			a.ops.release()
			t.working, t.touched = false, a.watch.turn
			if err != nil {
				a.log.Warn("task", "task", t.id(), "step", op.String(), "error", err)
			}
			if after(err) {
				t.plan.InFlight = plan.Nothing
				a.step(t)
				return
			}
			t.settling = true
			a.look()
		})
	})
}

func (a *Agent) create(t *task) {
	spec, err := specOf(&t.rec.Assignment, t.image, a.cfg.Machine.Address, a.name, a.logDir(t.id()))
	if err != nil {
		t.plan.Fault, t.words = sdk.ReasonInvalidTemplate, err.Error()
		return
	}
	a.call(t, plan.Create, slowCall, func(ctx context.Context) error {
		if err := os.MkdirAll(spec.LogDir, 0o700); err != nil {
			return sdk.Errorf(sdk.Unavailable, "task/"+string(spec.ID), "make its folder: %w", err)
		}
		return a.cfg.Runtime.Create(ctx, spec)
	}, func(err error) bool {
		if err != nil {
			t.fail(err)
			return false
		}
		t.plan.Seen, t.tries = plan.Created, 0
		return true
	})
}

func (a *Agent) start(t *task) {
	id, ports := t.id(), t.rec.Assignment.Ports
	t.plan.Launched, t.rec.Launched = true, true
	a.changed(t, false)
	taken := false
	a.call(t, plan.Start, slowCall, func(ctx context.Context) error {
		if err := portsFree(ports); err != nil {
			taken = true
			return err
		}
		return a.cfg.Runtime.Start(ctx, id)
	}, func(err error) bool {
		switch {
		case taken:
			t.plan.Fault, t.words = sdk.ReasonPortTaken, err.Error()
			return true
		case err != nil:
			t.fail(err)
		}
		return false
	})
}

// portsFree tries whether the task will be able to listen on its ports.
func portsFree(ports []sdk.PortBinding) error {
	for _, p := range ports {
		l, err := net.Listen("tcp", ":"+strconv.Itoa(int(p.Port)))
		if err != nil {
			return sdk.Errorf(sdk.Conflict, "port "+p.Name, "host port %d is taken: %w", p.Port, err).
				Because("a program outside Drupe listens on it").
				ToFix("stop that program (ss -ltnp 'sport = :%d' shows it), or leave the port out of the node's pool", p.Port)
		}
		l.Close()
	}
	return nil
}

func (a *Agent) signal(t *task, op plan.Op, sig int, all bool) {
	id := t.id()
	a.changed(t, false)
	a.call(t, op, quickCall, func(ctx context.Context) error {
		return a.cfg.Runtime.Signal(ctx, id, sig, all)
	}, func(err error) bool { return err == nil })
}

func (a *Agent) remove(t *task) {
	id := t.id()
	a.call(t, plan.Remove, slowCall, func(ctx context.Context) error {
		return a.cfg.Runtime.Remove(ctx, id)
	}, func(err error) bool {
		if err != nil {
			t.retry = now().Add(retryAfter)
			return false
		}
		t.plan.Seen = plan.Absent
		return true
	})
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
