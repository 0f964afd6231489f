package sim

import (
	"fmt"
	"slices"

	"github.com/drupe-os/drupe/agent/plan"
	"github.com/drupe-os/drupe/sdk"
)

// auditor judges by what machines do and what was promised, not by the books.
type auditor struct {
	*Sim
	started map[sdk.TaskID]bool
	last    map[sdk.TaskID]sdk.TaskState // as told to watchers
	index   sdk.Position
	wanted  map[sdk.Ref]int64 // acknowledged: document → instances, -1 for stopped or removed
}

func (u *auditor) init(s *Sim) {
	u.Sim = s
	u.started, u.last, u.wanted = map[sdk.TaskID]bool{}, map[sdk.TaskID]sdk.TaskState{}, map[sdk.Ref]int64{}
}

// starts is told that a machine executes a container.
func (u *auditor) starts(a *agent, t *simTask) {
	id := t.status.Task
	if u.started[id] {
		u.fail("task %s is started a second time, on %s", id, a.name)
	}
	u.started[id] = true
	used := map[string]int64{}
	ports := map[uint16]sdk.TaskID{}
	for _, other := range a.sorted() {
		o := a.tasks[other]
		if o.Seen != plan.Running || o.assignment.Template == nil {
			continue
		}
		for _, q := range o.assignment.Template.Resources {
			used[q.Name] += q.Value
		}
		for _, p := range o.assignment.Ports {
			if owner, taken := ports[p.Port]; taken {
				u.fail("port %d of %s is used by %s and by %s", p.Port, a.name, owner, other)
			}
			ports[p.Port] = other
		}
	}
	u.devices(a, t)
	for _, q := range a.machine.Capacity {
		if used[q.Name] > q.Value {
			u.fail("%s runs tasks of %s %s on %s %s", a.name, sdk.FormatQuantity(q.Name, used[q.Name]), q.Name, sdk.FormatQuantity(q.Name, q.Value), q.Name)
		}
	}
}

// devices judges what a machine's tasks were told to use of its devices: each
// goes to one task, or in parts to several if it may be shared, and a task has
// what it asks for.
func (u *auditor) devices(a *agent, started *simTask) {
	held := map[string]sdk.Milli{}
	for _, id := range a.sorted() {
		o := a.tasks[id]
		if o.Seen != plan.Running || o.assignment.Template == nil {
			continue
		}
		sums := map[string]int64{}
		for _, d := range o.assignment.Devices {
			if held[d.ID] += d.Share; held[d.ID] > 1000 || d.Share < 1000 && !a.shared[d.ID] {
				u.fail("device %s of %s is used by %s and others, %d thousandths in all", d.ID, a.name, id, held[d.ID])
			}
			sums[d.Resource] += int64(d.Share)
		}
		for _, q := range o.assignment.Template.Resources {
			if a.equipped(q.Name) && sums[q.Name] != q.Value {
				u.fail("task %s on %s asks for %d thousandths of %s and was given %d", id, a.name, q.Value, q.Name, sums[q.Name])
			}
		}
	}
}

// stops is told that a container ended.
func (u *auditor) stops(*agent, *simTask) {}

// committed watches the stream as any watcher would.
func (u *auditor) committed(events []sdk.Event) {
	for i := range events {
		e := &events[i]
		if p := sdk.PositionOf(e); !u.index.Before(p) {
			u.fail("event %s comes after %s", p, u.index)
		} else {
			u.index = p
		}
		if e.Task == nil || e.Kind == sdk.EventTaskForgotten {
			continue
		}
		st := e.Task.Status.State
		if was, seen := u.last[e.Task.ID]; seen && (st < was || was.Terminal() && st != was) {
			u.fail("task %s goes from %s back to %s", e.Task.ID, was, st)
		}
		u.last[e.Task.ID] = st
	}
}

// settled says whether the cluster is as declared: every acknowledged document
// there and running as often as it says, no container that nobody wants, no
// record without a container.
func (u *auditor) settled() error {
	live := map[sdk.TaskID]bool{}
	size := map[sdk.TaskID]string{}
	running := map[sdk.Ref]int64{}
	var err error
	u.server.state.Tasks(func(t sdk.TaskView) bool {
		if t.Status.State.Terminal() {
			return true
		}
		live[t.ID], size[t.ID] = true, t.Resources.String()
		if t.Goal == sdk.GoalStop {
			err = fmt.Errorf("task %s should have ended and is %s on %s", t.ID, t.Status.State, t.NodeName)
		}
		if t.Unreachable {
			err = fmt.Errorf("task %s is on %s, which is still unreachable", t.ID, t.NodeName)
		}
		if t.Status.State == sdk.Running {
			running[t.Ref]++
		}
		for _, d := range t.Devices {
			if n, found := u.server.state.Node(string(t.Node)); found == nil && !slices.ContainsFunc(n.Machine.Devices, func(m sdk.Device) bool { return m.ID == d.ID && m.Healthy }) {
				err = fmt.Errorf("task %s goes on with %s, which is gone or ill", t.ID, d.ID)
			}
		}
		return true
	})
	for ref, want := range u.wanted {
		d, missing := u.server.state.Document(ref)
		switch {
		case want == -2 && missing == nil:
			return fmt.Errorf("%s was removed, acknowledged, and is there", ref)
		case want == -2:
		case missing != nil:
			return fmt.Errorf("%s was acknowledged and is not there", ref)
		case want == -1 && !d.Stopped:
			return fmt.Errorf("%s was stopped, acknowledged, and is not", ref)
		}
		if n := running[ref]; n != max(want, 0) {
			why, _ := u.server.state.Why(ref)
			if n < want && why != nil && len(why.Demands) > 0 && why.Demands[0].Reason == sdk.ReasonQuotaLimit {
				continue // its role is at its limit, and says so
			}
			return fmt.Errorf("%s runs %d of %d: %+v", ref, n, max(want, 0), why)
		}
	}
	if err != nil {
		return err
	}
	for _, a := range u.agents {
		for _, id := range a.sorted() {
			if t := a.tasks[id]; t.Seen == plan.Running && !live[id] {
				return fmt.Errorf("%s runs on %s and nobody wants it", id, a.name)
			}
			if t, v := a.tasks[id], size[id]; live[id] && t.assignment.Template != nil && t.assignment.Template.Resources.String() != v {
				return fmt.Errorf("%s was told that %s has %s, and it has %s", a.name, id, t.assignment.Template.Resources, v)
			}
			if t := a.tasks[id]; !live[id] {
				return fmt.Errorf("%s still keeps %s, which is %s and committed", a.name, id, t.State)
			}
		}
	}
	return u.server.state.Check()
}
