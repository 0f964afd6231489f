package main

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
)

const (
	keepEnded = 5                             // ended tasks kept to be looked at
	proven    = 10 * sdk.Duration(sdk.Second) // healthy for so long: the failures are over
	giveUp    = 5                             // failures without a healthy instance: say so
	// maxLost is how many lost instances of a service are followed, and so
	// replaced, at a time. When more are out of reach the network has failed
	// rather than the nodes, and starting everything anew at once would make it
	// worse.
	maxLost = 400
)

// record is what the plugin must remember of a service beyond what the kernel
// shows. It is stored in the same commit as the actions decided with it, so
// each failure counts once, whatever crashes when.
type record struct {
	// Tag marks the tasks that are as declared: the document's version in which
	// this shape first came.
	Tag string `json:"tag,omitempty"`
	// Shapes are the digests of all tags still in use, so that going back to an
	// older version finds its instances.
	Shapes []shape `json:"shapes,omitempty"`
	// Failures counted against Tag since an instance last proved itself.
	Failures  int        `json:"failures,omitempty"`
	Last      string     `json:"last,omitempty"`      // the last failure in words
	Hopeless  bool       `json:"hopeless,omitempty"`  // trying the same again cannot help
	FailedAt  sdk.Time   `json:"failed_at,omitempty"` // when it was counted
	NotBefore sdk.Time   `json:"not_before,omitempty"`
	Proof     *sighting  `json:"proof,omitempty"` // the instance proving itself
	Lost      []sighting `json:"lost,omitempty"`  // instances on unreachable nodes
	// Seen are ended tasks that are counted already.
	Seen []sdk.TaskID `json:"seen,omitempty"`
	// Ready is the document's version that was once running as declared.
	Ready uint64 `json:"ready,omitempty"`
}

type shape struct {
	Tag    string `json:"tag"`
	Digest string `json:"digest"`
	Frame  string `json:"frame,omitempty"`
}

// sighting is since when something is known of a task.
type sighting struct {
	Task  sdk.TaskID `json:"task"`
	Since sdk.Time   `json:"since"`
	// Replaced: it was given up, and may have come back since.
	Replaced bool `json:"replaced,omitempty"`
}

// load reads the service's record. One that cannot be read counts as none: the
// service then forgets failures, not instances.
func load(s *framework.Subject) record {
	var r record
	if b := s.Stored(); b != nil {
		if err := json.Unmarshal(b, &r); err != nil {
			s.Log(s.Ref.String() + ": stored record is damaged, starting a new one: " + err.Error())
			return record{}
		}
	}
	return r
}

func (r *record) save(s *framework.Subject) {
	b, err := json.Marshal(r)
	if err != nil {
		s.Log(s.Ref.String() + ": " + err.Error())
		return
	}
	s.Store(b)
}

// adopt makes the document's shape the one in force, under the tag of the
// version that first had it.
func (r *record) adopt(s *framework.Subject, sp *spec) {
	tag := fmt.Sprint(s.Doc.Version)
	if i := slices.IndexFunc(r.Shapes, func(k shape) bool { return k.Digest == sp.digest }); i >= 0 {
		tag = r.Shapes[i].Tag
		r.Shapes[i].Frame = sp.frame
	} else {
		r.Shapes = append(r.Shapes, shape{tag, sp.digest, sp.frame})
	}
	if r.Tag != tag {
		r.Tag = tag
		r.calm()
	}
}

// calm forgets the failures counted.
func (r *record) calm() {
	r.Failures, r.Last, r.Hopeless, r.FailedAt, r.NotBefore, r.Proof = 0, "", false, 0, 0, nil
}

// count takes note of the tasks that ended since, and holds replacements back.
// Failures while replacements are held back already are of one burst, such as
// all instances losing their database: they count as one.
func (r *record) count(s *framework.Subject, sp *spec) {
	for _, t := range s.Tasks() {
		if !t.Status.State.Terminal() || slices.Contains(r.Seen, t.ID) {
			continue
		}
		r.Seen = append(r.Seen, t.ID)
		if t.Tag != r.Tag || !failed(t) {
			continue
		}
		if s.Now >= r.NotBefore {
			r.NotBefore = s.Now.Add(sp.backoff.After(r.Failures))
			r.Failures++
		}
		r.Last, r.Hopeless, r.FailedAt, r.Proof = describe(t), hopeless(t), s.Now, nil
	}
}

// prove ends the back-off once an instance launched after the last failure has
// been healthy long enough.
func (r *record) prove(s *framework.Subject) {
	if r.Failures == 0 {
		return
	}
	var candidate *sdk.Task
	for _, t := range s.Tasks() {
		if t.Tag == r.Tag && healthy(t) && t.Created >= r.FailedAt {
			if candidate == nil || r.Proof != nil && r.Proof.Task == t.ID {
				candidate = t
			}
		}
	}
	switch {
	case candidate == nil:
		r.Proof = nil
	case r.Proof == nil || r.Proof.Task != candidate.ID:
		r.Proof = &sighting{Task: candidate.ID, Since: s.Now}
	case s.Now >= r.Proof.Since.Add(proven):
		r.calm()
	}
}

// track notes since when instances are out of reach, and which have been for
// too long.
func (r *record) track(s *framework.Subject, sp *spec) {
	var lost []sighting
	for _, t := range s.Tasks() {
		if t.Status.State.Terminal() || t.Goal == sdk.GoalStop {
			continue
		}
		i := slices.IndexFunc(r.Lost, func(l sighting) bool { return l.Task == t.ID })
		switch {
		case i < 0 && t.Unreachable && len(r.Lost) < maxLost && len(lost) < maxLost:
			lost = append(lost, sighting{Task: t.ID, Since: s.Now})
		case i >= 0 && (t.Unreachable || r.Lost[i].Replaced):
			lost = append(lost, r.Lost[i])
		}
	}
	for i := range lost {
		if s.Now >= lost[i].Since.Add(sp.replaceAfter) {
			lost[i].Replaced = true
		}
	}
	r.Lost = lost
}

// settleLost forgets that instances were lost that are ending by now or are
// back: those that were too many have been ended, the others are as good as any.
func (r *record) settleLost(s *framework.Subject) {
	r.Lost = slices.DeleteFunc(r.Lost, func(l sighting) bool {
		return slices.ContainsFunc(s.Tasks(), func(t *sdk.Task) bool {
			return t.ID == l.Task && (!t.Unreachable || t.Goal == sdk.GoalStop)
		})
	})
}

// replaced reports whether a task was given up for lost.
func (r *record) replaced(t *sdk.Task) bool {
	return slices.ContainsFunc(r.Lost, func(l sighting) bool { return l.Task == t.ID && l.Replaced })
}

// next returns when something falls due by itself, 0 for never.
func (r *record) next(sp *spec) sdk.Time {
	var at sdk.Time
	soonest := func(t sdk.Time) {
		if at == 0 || t < at {
			at = t
		}
	}
	if r.Proof != nil {
		soonest(r.Proof.Since.Add(proven))
	}
	for _, l := range r.Lost {
		if !l.Replaced {
			soonest(l.Since.Add(sp.replaceAfter))
		}
	}
	return at
}

// forget lets go of all but the last few ended tasks, and of what was noted of
// those gone.
func (r *record) forget(s *framework.Subject, keep int) {
	var ended []*sdk.Task
	for _, t := range s.Tasks() {
		if t.Status.State.Terminal() {
			ended = append(ended, t)
		}
	}
	slices.SortStableFunc(ended, func(a, b *sdk.Task) int { return int(a.Status.Ended - b.Status.Ended) })
	for _, t := range ended[:max(0, len(ended)-keep)] {
		s.Forget(t)
	}
	r.Seen = slices.DeleteFunc(r.Seen, func(id sdk.TaskID) bool {
		return !slices.ContainsFunc(s.Tasks(), func(t *sdk.Task) bool { return t.ID == id })
	})
	r.Shapes = slices.DeleteFunc(r.Shapes, func(k shape) bool {
		return k.Tag != r.Tag && !slices.ContainsFunc(s.Tasks(), func(t *sdk.Task) bool { return t.Tag == k.Tag })
	})
}
