package framework

import (
	"cmp"
	"slices"

	"github.com/drupe-os/drupe/sdk"
)

// Level makes a Framework of one function that looks at one document and says
// what should be. It is called for a document whenever something about it has
// changed; what it says twice is sent once. The function sees the whole present
// and no events, so it cannot miss one, and a fresh instance decides as the old
// one would have.
//
// Of a document that was removed Level clears away everything itself.
//
// When the kernel refuses a call's actions, Level takes them back and tries
// each document by itself, so that one bad document holds up no other. A
// document refused alone is reported as failed and tried again every minute.
func Level(decide func(s *Subject)) Framework {
	return &level{decide: decide, subjects: map[sdk.Ref]*Subject{}, tasks: map[sdk.TaskID]*sdk.Task{}}
}

// retryRefused is how long a document refused by the kernel is left alone.
const retryRefused = sdk.Duration(sdk.Minute)

// apartTimer wakes Level to try the next of several suspects.
const apartTimer = "one-by-one"

type level struct {
	decide   func(s *Subject)
	subjects map[sdk.Ref]*Subject
	tasks    map[sdk.TaskID]*sdk.Task
	shown    uint64    // events up to here are taken in
	undo     []func()  // of what the last call sent, in the order sent
	sent     []sdk.Ref // the documents the last call spoke of
	apart    []sdk.Ref // to be tried one by one
	woken    bool      // apartTimer is set
}

// Start takes over the world and decides every document.
func (l *level) Start(w *sdk.World, c *Call) {
	l.shown = w.Seq
	for i := range w.Documents {
		l.subject(w.Documents[i].Ref).Doc = &w.Documents[i]
	}
	for i := range w.Tasks {
		l.learn(&w.Tasks[i])
	}
	for _, d := range w.Demands {
		l.subject(d.Ref).demands[d.Name] = d
	}
	for _, e := range w.Store {
		l.subject(sdk.ParseRef(e.Key)).stored = e.Value
	}
	for _, t := range w.Timers {
		if t.Name == apartTimer {
			l.woken = true
			continue
		}
		l.subject(sdk.ParseRef(t.Name)).timer = t.At
	}
	for _, s := range l.subjects {
		s.dirty = true
	}
	l.settle(c)
}

// Handle takes in what happened and decides the documents it happened to.
func (l *level) Handle(events []sdk.FrameworkEvent, c *Call) {
	for i := range events {
		if e := &events[i]; e.Seq > l.shown {
			l.take(e, c)
			l.shown = e.Seq
		}
	}
	l.settle(c)
}

func (l *level) take(e *sdk.FrameworkEvent, c *Call) {
	switch {
	case e.Applied != nil:
		s := l.subject(e.Applied.Ref)
		if s.Doc == nil || s.Doc.Revision <= e.Applied.Revision {
			status := e.Applied.Status
			if s.Doc != nil {
				status = s.Doc.Status // ours; the event's is older
			}
			s.Doc = e.Applied
			s.Doc.Status = status
			s.refused = nil
		}
		s.dirty = true
	case e.Removed != nil:
		s := l.subject(*e.Removed)
		s.Doc, s.refused, s.dirty = nil, nil, true
	case e.Launched != nil:
		// The world may have shown the task already. Its launch is taken off all
		// the same: a count that is thought too low is merely sent again.
		s := l.subject(e.Launched.Ref)
		if d, ok := s.demands[e.Launched.Demand]; ok {
			d.Count = max(0, d.Count-1)
			s.demands[d.Name] = d
		}
		if l.tasks[e.Launched.ID] == nil {
			l.learn(e.Launched)
		}
		s.dirty = true
	case e.Updated != nil:
		l.update(e.Updated)
	case e.Fired != nil && e.Fired.Name == apartTimer:
		l.woken = false
	case e.Fired != nil:
		s := l.subject(sdk.ParseRef(e.Fired.Name))
		if s.timer <= e.Fired.At {
			s.timer = 0
		}
		if s.refused != nil && s.refused.until <= c.Now {
			s.refused = nil
		}
		s.dirty = true
	case e.Refused != nil:
		l.refuse(e.Refused, c)
	}
}

// update takes in a task's status. States only move forward, so an older one is
// old news. A task that was forgotten is not learned anew.
func (l *level) update(t *sdk.Task) {
	known := l.tasks[t.ID]
	if known == nil {
		if t.Status.State.Terminal() {
			return
		}
		l.learn(t)
		l.subject(t.Ref).dirty = true
		return
	}
	if t.Status.State < known.Status.State {
		return
	}
	if known.Goal > t.Goal {
		t.Goal, t.GoalReason = known.Goal, known.GoalReason
	}
	*known = *t
	l.subject(t.Ref).dirty = true
}

// refuse takes back what the last call sent and sets its documents apart.
func (l *level) refuse(r *sdk.RefusedAct, c *Call) {
	for _, back := range slices.Backward(l.undo) {
		back()
	}
	l.undo = nil
	c.Log("refused: " + r.Reason.String() + ": " + r.Message)
	switch sent := l.sent; {
	case len(sent) == 1:
		s := l.subject(sent[0])
		s.refused, s.dirty = &refusal{act: *r, until: c.Now.Add(retryRefused), told: s.refused != nil}, true
	default:
		l.apart = append(l.apart, sent...)
	}
	l.sent = nil
}

// settle decides all dirty documents, or the next one of those set apart.
func (l *level) settle(c *Call) {
	l.undo, l.sent = nil, nil
	if len(l.apart) > 0 {
		ref := l.apart[0]
		l.apart = l.apart[1:]
		l.run(l.subject(ref), c)
		if !l.woken {
			l.woken = true
			l.undo = append(l.undo, func() { l.woken = false })
			c.Wake(apartTimer, c.Now)
		}
		return
	}
	var dirty []*Subject
	for _, s := range l.subjects {
		if s.dirty {
			dirty = append(dirty, s)
		}
	}
	slices.SortFunc(dirty, func(a, b *Subject) int {
		return cmp.Or(cmp.Compare(a.Ref.Kind, b.Ref.Kind), cmp.Compare(a.Ref.Name, b.Ref.Name))
	})
	for _, s := range dirty {
		l.run(s, c)
	}
}

func (l *level) run(s *Subject, c *Call) {
	before := len(c.Actions)
	s.Now, s.call, s.dirty = c.Now, c, false
	switch {
	case s.refused != nil:
		s.reportRefusal()
	case s.Doc == nil:
		s.clear()
	default:
		l.decide(s)
	}
	if len(c.Actions) > before {
		l.sent = append(l.sent, s.Ref)
	}
	if s.empty() {
		delete(l.subjects, s.Ref)
		l.undo = append(l.undo, func() { l.subjects[s.Ref] = s })
	}
}

func (l *level) subject(ref sdk.Ref) *Subject {
	s := l.subjects[ref]
	if s == nil {
		s = &Subject{Ref: ref, demands: map[string]sdk.Demand{}, level: l}
		l.subjects[ref] = s
	}
	return s
}

// learn adds a task that is not known yet.
func (l *level) learn(t *sdk.Task) {
	l.tasks[t.ID] = t
	s := l.subject(t.Ref)
	i, _ := slices.BinarySearchFunc(s.tasks, t, older)
	s.tasks = slices.Insert(s.tasks, i, t)
}

// older orders tasks by age, the oldest first.
func older(a, b *sdk.Task) int {
	return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID))
}
