// Command job is the framework plugin that runs jobs to their end: once for
// each version of their document, or at the minutes of a cron line in a time
// zone.
//
// Every slot of a schedule either runs, exactly once, or is noted as missed
// with the reason. It keeps a book for that, stored in the same commit as what
// it asks of the kernel, and decides by the book and the tasks there are,
// whatever happened in between.
package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
)

// newJob returns the framework.
func newJob() framework.Framework { return framework.Level(decide) }

// decide says what should be of one job.
func decide(s *framework.Subject) {
	r := load(s)
	sp, err := specOf(s)
	if err != nil && !s.Doc.Stopped {
		st := s.Doc.Status
		st.Phase, st.Version, st.Next = sdk.PhaseFailed, s.Doc.Version, 0
		st.Message = "the document cannot be read: " + err.Error()
		s.Status(st)
		return
	}
	r.takeIn(s, sp)
	if s.Doc.Stopped {
		r.pause(s)
	} else {
		r.changeOver(s, sp)
		r.advance(s, sp)
	}
	r.act(s, sp)
	r.forget(s)
	s.Status(r.status(s, sp))
	s.Wake(r.due(s, sp))
	r.save(s)
}

// takeIn notes which tasks began and ended since.
func (r *record) takeIn(s *framework.Subject, sp *spec) {
	for _, t := range s.Tasks() {
		i := r.find(t.Tag)
		if !t.Status.State.Terminal() {
			if i < 0 && t.Goal == sdk.GoalRun {
				i = r.reopen(t)
			}
			if i >= 0 && t.Goal == sdk.GoalRun {
				r.Open[i].Begun = true
			}
			continue
		}
		if slices.Contains(r.Seen, t.ID) {
			continue
		}
		r.Seen = append(r.Seen, t.ID)
		if t.GoalReason == sdk.ReasonKilledByPlugin {
			continue // ended for an earlier stop of the job; a run now open begins after it
		}
		if i < 0 {
			if i = r.reopen(t); i < 0 {
				continue
			}
		}
		r.Open[i].Begun = true
		r.judge(s, sp, i, t)
	}
}

// judge decides what follows from the end of a task of the run at i.
func (r *record) judge(s *framework.Subject, sp *spec, i int, t *sdk.Task) {
	o := &r.Open[i]
	switch {
	case t.Status.State == sdk.Finished:
		r.end(s, i, finished, "")
		return
	case t.Goal == sdk.GoalStop:
		r.end(s, i, stopped, t.GoalReason.String())
		return
	case t.Status.State != sdk.Dropped: // a task that never started is no try
		o.Tries++
	}
	o.Last = describe(t)
	if sp == nil || o.Tries > sp.retries {
		r.end(s, i, failed, o.Last)
		return
	}
	o.NotBefore = s.Now.Add(sp.backoff.After(o.Failures))
	o.Failures++
}

// find returns the place of an open run, -1 when there is none of that name.
func (r *record) find(slot string) int {
	return slices.IndexFunc(r.Open, func(o run) bool { return o.Slot == slot })
}

// reopen takes back that a slot was missed: the kernel launched it in the very
// moment it was given up. It returns the run's place, or -1 when the task is of
// no such slot.
func (r *record) reopen(t *sdk.Task) int {
	i := slices.IndexFunc(r.Done, func(o outcome) bool { return o.Slot == t.Tag && o.Result == late })
	if i < 0 {
		return -1
	}
	r.Done = slices.Delete(r.Done, i, i+1)
	r.Missed--
	r.Open = append(r.Open, run{Slot: t.Tag, At: t.Created})
	return len(r.Open) - 1
}

// pause gives up what is under way. The one run of a version starts anew when
// the job is let go on; slots that pass meanwhile are none.
func (r *record) pause(s *framework.Subject) {
	if r.Paused == 0 {
		r.Paused = s.Now
	}
	for len(r.Open) > 0 {
		if once(r.Open[0].Slot) {
			r.Version = 0
		}
		r.end(s, 0, stopped, "the job was stopped")
	}
	r.Line, r.Next = "", 0
}

// changeOver begins a new version or a changed schedule.
func (r *record) changeOver(s *framework.Subject, sp *spec) {
	for i := len(r.Open) - 1; i >= 0; i-- {
		if once(r.Open[i].Slot) != (sp.plan == nil) || once(r.Open[i].Slot) && r.Version != s.Doc.Version {
			r.end(s, i, stopped, fmt.Sprintf("version %d took its place", s.Doc.Version))
		}
	}
	if sp.plan == nil && r.Version != s.Doc.Version {
		r.Open = append(r.Open, run{Slot: fmt.Sprintf("v%d", s.Doc.Version), At: s.Doc.Changed})
	}
	if r.Line != sp.line {
		r.Line, r.Next = sp.line, 0
		if sp.plan != nil {
			from := s.Doc.Changed
			if r.Paused != 0 && from <= r.Paused {
				from = s.Now
			}
			r.Next = sp.plan.next(from)
		}
	}
	r.Version, r.Paused = s.Doc.Version, 0
}

// once reports whether a slot is the one run of a version.
func once(slot string) bool { return strings.HasPrefix(slot, "v") }

// advance decides all slots that have come, and gives up runs that did not
// begin in time.
func (r *record) advance(s *framework.Subject, sp *spec) {
	for i := len(r.Open) - 1; i >= 0; i-- {
		if o := r.Open[i]; !o.Begun && !once(o.Slot) && s.Now >= o.At.Add(sp.deadline) {
			r.end(s, i, late, fmt.Sprintf("no node took it within %s", sp.deadline))
		}
	}
	for n := 0; n < maxSlots && r.Next != 0 && r.Next <= s.Now; n++ {
		at := r.Next
		r.Next = sp.plan.next(at)
		slot := slotName(at)
		switch {
		case s.Now >= at.Add(sp.deadline):
			r.miss(s, slot, "the scheduler was away at its time")
		case sp.alone && len(r.Open) > 0:
			r.miss(s, slot, "the run of "+r.Open[0].Slot+" was still under way")
		case len(r.Open) >= maxOpen:
			r.miss(s, slot, fmt.Sprintf("%d runs were under way", maxOpen))
		default:
			r.Open = append(r.Open, run{Slot: slot, At: at})
		}
	}
}

// act makes demands and tasks what the book says.
func (r *record) act(s *framework.Subject, sp *spec) {
	busy := map[string]bool{}
	for _, t := range s.Tasks() {
		switch {
		case t.Status.State.Terminal():
		case r.find(t.Tag) < 0:
			s.Kill(t, sdk.ReasonKilledByPlugin)
		default:
			busy[t.Tag] = true
		}
	}
	for _, d := range s.Demands() {
		if r.find(d.Tag) < 0 || busy[d.Tag] && d.Count > 0 {
			s.Drop(d.Name)
		}
	}
	for _, o := range r.Open {
		if busy[o.Slot] {
			continue
		}
		s.Demand(sdk.Demand{
			Name:        s.Ref.Name + "/" + o.Slot,
			Role:        sp.role,
			Count:       1,
			Resources:   sp.template.Resources,
			Constraints: sp.constraints,
			Template:    &sp.template,
			Tag:         o.Slot,
			NotBefore:   o.NotBefore,
			Priority:    sp.priority,
		})
	}
}

// due returns when something is to be decided by itself, 0 for never.
func (r *record) due(s *framework.Subject, sp *spec) sdk.Time {
	if s.Doc.Stopped {
		return 0
	}
	at := r.Next
	for _, o := range r.Open {
		if end := o.At.Add(sp.deadline); !o.Begun && !once(o.Slot) && (at == 0 || end < at) {
			at = end
		}
	}
	if at != 0 && at < s.Now {
		at = s.Now // there were too many for one call
	}
	return at
}
