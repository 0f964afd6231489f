package agent

import (
	"context"
	"reflect"
	"strings"

	"github.com/drupe-os/drupe/agent/plan"
	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// resizeMost is the longest wait before limits that could not be set are tried
// again; it doubles from retryAfter.
const resizeMost = 60 * sdk.Second

// wanted returns the limits that a running task is to have: what cannot be
// changed while it runs is as it is.
func (t *task) wanted() isolation.Limits {
	l := limitsOf(t.rec.Assignment.Template)
	l.Disk, l.Rlimits = t.force.Disk, t.force.Rlimits
	return l
}

// measure compares the limits in force with those wanted, and says what is
// less than was asked for.
func (a *Agent) measure(t *task) {
	t.plan.Resize = t.force != nil && t.rec.Assignment.Template != nil && !equal(t.wanted(), *t.force)
	if !t.plan.Resize {
		t.unsized = ""
	}
	if st := &t.rec.Status; t.plan.State == sdk.Running && st.Message != t.remarks() {
		st.Message = t.remarks()
		a.changed(t, true)
	}
}

// remarks is what there is to say of a task that runs.
func (t *task) remarks() string {
	list := t.notes
	if t.unsized != "" {
		list = append([]string{t.unsized}, list...)
	}
	return strings.Join(list, "; ")
}

// resize gives the running container the limits that are wanted. It runs on
// with those of before where they cannot be set.
func (a *Agent) resize(t *task) {
	id, l := t.id(), t.wanted()
	a.call(t, plan.Resize, quickCall, func(ctx context.Context) error {
		return a.cfg.Runtime.Update(ctx, id, &l)
	}, func(err error) bool {
		if err != nil {
			t.unsized = "its new limits are not in force: " + err.Error()
			t.plan.ResizeAt = now().Add(min(retryAfter<<min(t.refusals, 10), resizeMost))
			t.refusals++
		} else {
			t.force, t.refusals, t.plan.ResizeAt = &l, 0, 0
		}
		a.measure(t)
		return true
	})
}

// equal reports whether two limits come to the same.
func equal(a, b isolation.Limits) bool {
	for _, l := range []*isolation.Limits{&a, &b} {
		if l.IO != nil && *l.IO == (sdk.IOLimits{}) {
			l.IO = nil
		}
		if len(l.Hugepages) == 0 {
			l.Hugepages = nil
		}
		if len(l.Rlimits) == 0 {
			l.Rlimits = nil
		}
	}
	return reflect.DeepEqual(a, b)
}
