package core

import (
	"bytes"
	"slices"

	"github.com/drupe-os/drupe/sdk"
)

// resized is what a group became when a task of it was resized.
type resized struct {
	from, to *group
}

// checkResize proves that a task's new size means something.
func checkResize(subject string, a *sdk.ResizeTask) *sdk.Fault {
	if _, err := a.Resources.Normal(); err != nil {
		return sdk.Errorf(sdk.Invalid, subject, "task %s: resources: %v", a.Task, err)
	}
	if !slices.IsSortedFunc(a.Resources, func(x, y sdk.Quantity) int {
		if x.Name < y.Name {
			return -1
		}
		return 1
	}) {
		return sdk.Errorf(sdk.Invalid, subject, "task %s: resources are not sorted by name", a.Task)
	}
	if l := &a.Limits; l.CPUs < 0 || l.Mem < 0 || l.Swap < 0 || l.Pids < 0 || l.Disk < 0 {
		return sdk.Errorf(sdk.Invalid, subject, "task %s: a limit is negative", a.Task)
	}
	return nil
}

// resize changes what a live task is charged for and bounded by, where it is.
// What cannot be is noted on the task, for its framework to see. A task that
// has ended, or is asked to, is passed over.
func (s *State) resize(a *sdk.ResizeTask) {
	t := s.lookup(a.Task)
	if t == nil || t.state.Terminal() || t.goal == sdk.GoalStop {
		return
	}
	g := t.group
	if t.refused == nil && (a.Tag == "" || a.Tag == g.tag) && slices.Equal(a.Resources, g.resources) && same(&a.Limits, &g.template.Limits) {
		return
	}
	why, detail := s.book.Resize(&t.placed, s.ledger.Vector(a.Resources, len(t.placed.Ports)))
	if why != sdk.ReasonNone {
		t.refused = &sdk.RefusedResize{Tag: a.Tag, Reason: why, Message: detail}
		s.notice(t)
		return
	}
	t.group, t.refused = s.resizedGroup(g, a), nil
	s.assign(t)
	s.notice(t)
	s.changes.Room = true
}

// resizedGroup is a group with another size. Tasks resized alike in a row share
// one.
func (s *State) resizedGroup(g *group, a *sdk.ResizeTask) *group {
	tag := a.Tag
	if tag == "" {
		tag = g.tag
	}
	if r := &s.resized; r.from == g && r.to.tag == tag && slices.Equal(r.to.resources, a.Resources) && same(&r.to.template.Limits, &a.Limits) {
		return r.to
	}
	to, template := *g, *g.template
	template.Resources, template.Limits = a.Resources, a.Limits
	to.tag, to.resources, to.template = tag, a.Resources, &template
	s.resized = resized{from: g, to: &to}
	return &to
}

// same reports whether limits are the same as written down.
func same(a, b *sdk.Limits) bool {
	x, _ := a.MarshalMsg(nil) // cannot fail to encode
	y, _ := b.MarshalMsg(nil)
	return bytes.Equal(x, y)
}
