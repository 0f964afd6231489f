package main

import (
	"slices"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
)

// resize gives running instances that differ from what is declared in size only
// the new size, where they are. As many are resized at a time as might be
// replaced at a time, and no more while the new size is failing: the others go
// on as they are.
func resize(s *framework.Subject, sp *spec, r *record) {
	if r.Failures > 0 {
		return
	}
	left := max(1, sp.instances-sp.atLeast())
	for _, t := range s.Tasks() {
		if left > 0 && t.Status.State == sdk.Running && !t.Unreachable && r.resizable(t, sp) {
			s.Resize(t, sp.template.Resources, sp.template.Limits, r.Tag)
			left--
		}
	}
}

// resizable reports whether a live instance of another version can become one
// of this by a change of size. One that was refused it is replaced.
func (r *record) resizable(t *sdk.Task, sp *spec) bool {
	if t.Tag == r.Tag || t.Goal == sdk.GoalStop || t.Status.State.Terminal() || t.Refused != nil && t.Refused.Tag == r.Tag {
		return false
	}
	return slices.ContainsFunc(r.Shapes, func(k shape) bool { return k.Tag == t.Tag && k.Frame == sp.frame })
}
