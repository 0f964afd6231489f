// Command service is the framework plugin that keeps services running: so many
// instances of one shape, replaced when they fail, moved on by rolling in a new
// version a few at a time.
//
// It decides by state alone. For each document it looks at the tasks there are
// and says which demand should stand and which tasks should end; nothing
// depends on the way there.
package main

import (
	"fmt"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
)

// newService returns the framework.
func newService() framework.Framework { return framework.Level(decide) }

// decide says what should be of one service.
func decide(s *framework.Subject) {
	r := load(s)
	if s.Doc.Stopped {
		stop(s, &r)
		return
	}
	sp, err := specOf(s)
	if err != nil {
		st := s.Doc.Status
		st.Phase, st.Version = sdk.PhaseFailed, s.Doc.Version
		st.Message = "the document cannot be read: " + err.Error()
		s.Status(st)
		return
	}
	r.adopt(s, sp)
	r.count(s, sp)
	r.prove(s)
	r.track(s, sp)
	resize(s, sp, &r)
	wanted := balance(s, sp, &r)
	r.settleLost(s)
	demand(s, sp, &r, wanted)
	r.forget(s, keepEnded)
	s.Status(status(s, sp, &r, wanted))
	s.Wake(r.next(sp))
	r.save(s)
}

// memo keeps what was read of one revision.
type memo struct {
	digest sdk.Digest
	spec   *spec
	err    error
}

// specOf reads the document, once per change.
func specOf(s *framework.Subject) (*spec, error) {
	m, ok := s.Memo.(*memo)
	if !ok || m.digest != s.Doc.Digest || m.digest == "" {
		m = &memo{digest: s.Doc.Digest}
		m.spec, m.err = read(s.Doc)
		s.Memo = m
	}
	return m.spec, m.err
}

// stop ends all instances and keeps only what prevents counting a failure
// twice later.
func stop(s *framework.Subject, r *record) {
	for _, d := range s.Demands() {
		s.Drop(d.Name)
	}
	var live, running int64
	seen := record{}
	for _, t := range s.Tasks() {
		if t.Status.State.Terminal() {
			seen.Seen = append(seen.Seen, t.ID)
			continue
		}
		s.Kill(t, sdk.ReasonKilledByPlugin)
		live++
		if t.Status.State == sdk.Running && !t.Unreachable {
			running++
		}
	}
	seen.forget(s, keepEnded)
	st := sdk.DocumentStatus{Phase: sdk.PhaseStopped, Version: s.Doc.Version, Running: running}
	if live > 0 {
		st.Phase, st.Message = sdk.PhaseDeploying, fmt.Sprintf("stopping: %d to end", live)
	}
	s.Status(st)
	s.Wake(0)
	if live == 0 && len(seen.Seen) == 0 {
		s.Store(nil)
		return
	}
	seen.save(s)
}

// balance kills what is too much and returns how many instances are still to be
// launched.
func balance(s *framework.Subject, sp *spec, r *record) int64 {
	var current, old, given []*sdk.Task
	var ending, alive int64 // reachable ones: asked to end, healthy
	for _, t := range s.Tasks() {
		switch {
		case t.Status.State.Terminal():
		case t.Goal == sdk.GoalStop:
			if !t.Unreachable {
				ending++
			}
		case t.Tag != r.Tag && !r.resizable(t, sp):
			old = append(old, t)
		case t.Unreachable && r.replaced(t):
			given = append(given, t)
		default:
			current = append(current, t)
		}
	}

	if over := int64(len(current)) - sp.instances; over > 0 {
		r.byWorth(current)
		for _, t := range current[:over] {
			s.Kill(t, sdk.ReasonKilledByPlugin)
		}
		ending += reachable(current[:over])
		current = current[over:]
	}
	for _, t := range current {
		if healthy(t) {
			alive++
		}
	}
	// One that was given up ends once another does its work.
	away := int64(len(current)) - reachable(current) + int64(len(given))
	for _, t := range given[:min(int64(len(given)), max(0, alive+away-sp.instances))] {
		s.Kill(t, sdk.ReasonKilledByPlugin)
	}
	wanted := sp.instances - int64(len(current))
	if len(old) == 0 && !rolling(s, r) {
		return wanted
	}
	return min(wanted, roll(s, sp, r, old, int64(len(current))+ending, alive))
}

// roll ends instances of older versions as far as enough healthy ones stay, and
// returns how many new ones there is room for. others counts all instances that
// take up room but the old ones, alive the healthy new ones.
func roll(s *framework.Subject, sp *spec, r *record, old []*sdk.Task, others, alive int64) int64 {
	for _, t := range old {
		if healthy(t) {
			alive++
		}
	}
	room := sp.atMost(alive) - others - reachable(old)
	spare := max(0, alive-sp.atLeast())
	r.byWorth(old)
	for _, t := range old {
		// What serves nobody can go at once. A running task whose health is not
		// known may be serving, so it goes only as a healthy one would.
		idle := t.Unreachable || t.Status.State < sdk.Running || t.Status.Health == sdk.Unhealthy
		if !idle {
			if spare == 0 {
				continue
			}
			spare--
		}
		s.Kill(t, sdk.ReasonKilledByPlugin)
	}
	return max(0, room)
}

// rolling reports whether instances of older versions are still there, be it on
// their way out.
func rolling(s *framework.Subject, r *record) bool {
	for _, t := range s.Tasks() {
		if !t.Status.State.Terminal() && t.Tag != r.Tag && !t.Unreachable {
			return true
		}
	}
	return false
}

// reachable counts tasks that take up room we can speak of.
func reachable(tasks []*sdk.Task) (n int64) {
	for _, t := range tasks {
		if !t.Unreachable {
			n++
		}
	}
	return n
}

// demand makes the one demand of the version in force stand, and no other.
func demand(s *framework.Subject, sp *spec, r *record, wanted int64) {
	name := s.Ref.Name + "/" + r.Tag
	for _, d := range s.Demands() {
		// A demand that is used up is left alone: it asks for nothing.
		if d.Name != name || wanted == 0 && d.Count > 0 {
			s.Drop(d.Name)
		}
	}
	if wanted == 0 {
		return
	}
	s.Demand(sdk.Demand{
		Name:        name,
		Role:        sp.role,
		Count:       wanted,
		Resources:   sp.template.Resources,
		Constraints: sp.constraints,
		Template:    &sp.template,
		Tag:         r.Tag,
		NotBefore:   r.NotBefore,
		Priority:    sp.priority,
	})
}
