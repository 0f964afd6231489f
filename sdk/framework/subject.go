package framework

import (
	"bytes"
	"maps"
	"reflect"
	"slices"

	"github.com/drupe-os/drupe/sdk"
)

// Subject is one document with all that was made of it, as a function given to
// Level sees it. What its methods are told is compared with what stands, and
// only differences become actions.
type Subject struct {
	Ref sdk.Ref
	// Doc is the document. It must not be changed.
	Doc *sdk.Document
	// Now is the time of the call.
	Now sdk.Time
	// Memo is the function's own, for what it worked out from Doc. It is lost
	// with the instance.
	Memo any

	level   *level
	call    *Call
	tasks   []*sdk.Task
	demands map[string]sdk.Demand
	stored  []byte
	timer   sdk.Time
	refused *refusal
	dirty   bool
}

// refusal is why the kernel would not take what was decided.
type refusal struct {
	act   sdk.RefusedAct
	until sdk.Time
	told  bool // even saying so was refused
}

// Tasks returns the document's tasks, oldest first: live ones, and ended ones
// not forgotten. They must not be changed.
func (s *Subject) Tasks() []*sdk.Task { return s.tasks }

// Demands returns the document's demands as they stand, sorted by name.
func (s *Subject) Demands() []sdk.Demand {
	out := make([]sdk.Demand, 0, len(s.demands))
	for _, name := range slices.Sorted(maps.Keys(s.demands)) {
		out = append(out, s.demands[name])
	}
	return out
}

// Demand sets a demand of the document by name; Ref is filled in.
func (s *Subject) Demand(d sdk.Demand) {
	d.Ref = s.Ref
	old, stood := s.demands[d.Name]
	if stood && reflect.DeepEqual(old, d) {
		return
	}
	s.call.Demand(d)
	s.demands[d.Name] = d
	s.backOut(func() {
		if delete(s.demands, d.Name); stood {
			s.demands[d.Name] = old
		}
	})
}

// Drop withdraws a demand, if it stands.
func (s *Subject) Drop(name string) {
	old, stood := s.demands[name]
	if !stood {
		return
	}
	s.call.Drop(name)
	delete(s.demands, name)
	s.backOut(func() { s.demands[name] = old })
}

// Kill asks for the end of one of the document's tasks, unless it has ended or
// was asked before.
func (s *Subject) Kill(t *sdk.Task, why sdk.Reason) {
	if t.Goal == sdk.GoalStop || t.Status.State.Terminal() {
		return
	}
	s.call.Kill(t.ID, why)
	t.Goal, t.GoalReason = sdk.GoalStop, why
	s.backOut(func() { t.Goal, t.GoalReason = sdk.GoalRun, sdk.ReasonNone })
}

// Resize changes what a live task is charged for and bounded by, and marks it.
// The task counts as changed at once. Should the kernel refuse, it comes back
// as it was, with Refused.
func (s *Subject) Resize(t *sdk.Task, r sdk.Resources, l sdk.Limits, tag string) {
	if t.Goal == sdk.GoalStop || t.Status.State.Terminal() {
		return
	}
	old := *t
	s.call.Resize(t.ID, r, l, tag)
	t.Resources, t.Refused = r, nil
	if tag != "" {
		t.Tag = tag
	}
	s.backOut(func() { t.Resources, t.Refused, t.Tag = old.Resources, old.Refused, old.Tag })
}

// Forget drops the record of an ended task.
func (s *Subject) Forget(t *sdk.Task) {
	if !t.Status.State.Terminal() || s.level.tasks[t.ID] != t {
		return
	}
	s.call.Forget(t.ID)
	delete(s.level.tasks, t.ID)
	s.tasks = slices.DeleteFunc(slices.Clone(s.tasks), func(o *sdk.Task) bool { return o == t })
	s.backOut(func() { s.level.learn(t) })
}

// Wake has the function called again at that time at the latest. There is one
// such time per document; 0 means none.
func (s *Subject) Wake(at sdk.Time) {
	if at == s.timer {
		return
	}
	old := s.timer
	s.call.Wake(s.Ref.String(), at)
	s.timer = at
	s.backOut(func() { s.timer = old })
}

// Stored returns the document's record in the plugin's store, nil when there is
// none.
func (s *Subject) Stored() []byte { return s.stored }

// Store replaces the document's record; nil removes it.
func (s *Subject) Store(value []byte) {
	if bytes.Equal(s.stored, value) {
		return
	}
	old := s.stored
	s.call.Put(s.Ref.String(), value)
	s.stored = value
	s.backOut(func() { s.stored = old })
}

// Status reports on the document.
func (s *Subject) Status(st sdk.DocumentStatus) {
	if s.Doc.Status == st {
		return
	}
	doc, old := s.Doc, s.Doc.Status
	s.call.Status(s.Ref, st)
	doc.Status = st
	s.backOut(func() { doc.Status = old })
}

// Log writes a line to the server's log.
func (s *Subject) Log(line string) { s.call.Log(line) }

func (s *Subject) backOut(f func()) { s.level.undo = append(s.level.undo, f) }

// clear ends all that a removed document left.
func (s *Subject) clear() {
	for name := range slices.Values(slices.Sorted(maps.Keys(s.demands))) {
		s.Drop(name)
	}
	for _, t := range s.tasks {
		s.Kill(t, sdk.ReasonKilledByPlugin)
		s.Forget(t)
	}
	s.Wake(0)
	s.Store(nil)
}

// reportRefusal says why nothing moves, and tries again later.
func (s *Subject) reportRefusal() {
	if s.refused.told {
		return
	}
	s.Wake(s.refused.until)
	if s.Doc == nil {
		return
	}
	st := s.Doc.Status
	st.Phase, st.Version = sdk.PhaseFailed, s.Doc.Version
	st.Message = "the kernel refused what was to be done: " + s.refused.act.Message
	s.Status(st)
}

func (s *Subject) empty() bool {
	return s.Doc == nil && len(s.tasks) == 0 && len(s.demands) == 0 && s.stored == nil && s.timer == 0
}
