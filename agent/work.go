package agent

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"

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
	if set := t.rec.Assignment.Template.CPUSet; set != nil && (set.Exclusive || set.NUMA == "single") {
		t.plan.Fault, t.words = sdk.ReasonUnsupported, "this node does not give tasks cores or a NUMA node of their own: leave cpuset out"
		return
	}
	if err := a.cfg.Grants.Check(t.rec.Assignment.Template); err != nil {
		t.fail(err)
		return
	}
	if a.pressure.full != "" {
		t.plan.Fault, t.words = sdk.ReasonDiskFull, a.pressure.full
		return
	}
	ctx, cancel := context.WithCancel(a.ctx)
	t.cancel = cancel
	t.plan.InFlight = plan.Fetch
	watched := image.WithProgress(ctx, func(p image.Progress) { a.post(func() { a.fetching(t, p) }) })
	template := t.rec.Assignment.Template
	a.fetches.do(func() {
		var got *fetched
		err := ctx.Err()
		if err == nil {
			got, err = a.resolve(watched, template)
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
				t.images, t.plan.ImageReady, t.tries = got, true, 0
				t.rec.Sidecars = nil
				for _, img := range got.sidecars {
					t.rec.Sidecars = append(t.rec.Sidecars, img.Digest)
				}
				t.rec.Image, t.rec.StopSignal = got.own.Digest, signalOf(got.own.Config.StopSignal)
				a.changed(t, false)
			}
			a.step(t)
		})
	})
}

// fetching has the task's status say how far its image is.
func (a *Agent) fetching(t *task, p image.Progress) {
	if t.plan.InFlight == plan.Fetch && !t.plan.State.Terminal() {
		t.rec.Status.Message = p.String()
		a.changed(t, true)
	}
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
	spec, err := specOf(&t.rec.Assignment, t.images, a.cfg.Machine.Address, a.name, a.logDir(t.id()))
	if err != nil {
		t.plan.Fault, t.words = sdk.ReasonInvalidTemplate, err.Error()
		return
	}
	if err := a.grant(&t.rec.Assignment, spec); err != nil {
		t.plan.Fault, t.words = sdk.ReasonDeviceLost, err.Error()
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
	if t.rec.Assignment.Template.Network == sdk.NetworkPrivate {
		ports = nil // the keeper holds them already
	}
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
