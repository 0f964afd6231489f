package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
)

const (
	keepEnded = 5    // ended tasks kept to be looked at
	keepDone  = 20   // outcomes kept to be looked at
	maxOpen   = 64   // runs under way at a time
	maxSlots  = 5000 // slots decided in one call
)

// record is the job's book: which slots were decided, which runs are under way
// and how the last ones ended. It is stored in the same commit as the demands it
// speaks of, so each slot runs once or is noted as missed, whatever crashes.
type record struct {
	Version uint64   `json:"version,omitempty"` // of the document, acted upon
	Line    string   `json:"line,omitempty"`    // the schedule that Next belongs to
	Next    sdk.Time `json:"next,omitempty"`    // the first slot not decided yet
	Paused  sdk.Time `json:"paused,omitempty"`  // stopped since
	Open    []run    `json:"open,omitempty"`
	// Done are the last outcomes, oldest first, and Missed counts all slots ever
	// missed.
	Done   []outcome `json:"done,omitempty"`
	Missed int64     `json:"missed,omitempty"`
	// Seen are ended tasks that are taken in already.
	Seen []sdk.TaskID `json:"seen,omitempty"`
}

// run is one slot being worked on.
type run struct {
	// Slot names it, and tags its tasks: "2026-11-23T04:30Z", or "v3" for the
	// one run of version 3.
	Slot      string   `json:"slot"`
	At        sdk.Time `json:"at"`
	Begun     bool     `json:"begun,omitempty"` // a task was launched for it
	Failures  int      `json:"failures,omitempty"`
	Tries     int      `json:"tries,omitempty"` // failures that ran
	NotBefore sdk.Time `json:"not_before,omitempty"`
	Last      string   `json:"last,omitempty"` // the last failure in words
}

// result is how a slot ended.
type result string

const (
	finished result = "finished"
	failed   result = "failed"
	missed   result = "missed"  // not begun in time
	late     result = "late"    // missed, though it had been demanded
	stopped  result = "stopped" // by a person, or because the job changed
)

// outcome is the end of a slot, or of several that were missed in a row for the
// same reason.
type outcome struct {
	Slot   string   `json:"slot"`
	Until  string   `json:"until,omitempty"` // the last, when there are several
	Count  int64    `json:"count,omitempty"`
	Result result   `json:"result"`
	Why    string   `json:"why,omitempty"`
	At     sdk.Time `json:"at"`
}

// load reads the job's record. One that cannot be read counts as none: slots
// before now are then not run again.
func load(s *framework.Subject) record {
	var r record
	if b := s.Stored(); b != nil {
		if err := json.Unmarshal(b, &r); err != nil {
			s.Log(s.Ref.String() + ": stored record is damaged, starting a new one: " + err.Error())
			return record{Version: s.Doc.Version, Paused: s.Now}
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

// slotName names a scheduled slot.
func slotName(at sdk.Time) string {
	return time.UnixMilli(int64(at)).UTC().Format("2006-01-02T15:04Z")
}

// end closes the run at i.
func (r *record) end(s *framework.Subject, i int, how result, why string) {
	r.note(outcome{Slot: r.Open[i].Slot, Result: how, Why: why, At: s.Now})
	if how == late {
		r.Missed++
	}
	r.Open = slices.Delete(r.Open, i, i+1)
}

// miss notes a slot that will not run. Slots missed in a row for one reason
// share a line, so that a long outage does not push everything else out.
func (r *record) miss(s *framework.Subject, slot, why string) {
	r.Missed++
	if n := len(r.Done); n > 0 && r.Done[n-1].Result == missed && r.Done[n-1].Why == why {
		last := &r.Done[n-1]
		last.Until, last.Count, last.At = slot, max(last.Count, 1)+1, s.Now
		return
	}
	r.note(outcome{Slot: slot, Result: missed, Why: why, At: s.Now})
}

func (r *record) note(o outcome) {
	r.Done = append(r.Done, o)
	r.Done = r.Done[max(0, len(r.Done)-keepDone):]
}

// last returns the newest outcome, nil when there is none.
func (r *record) last() *outcome {
	if len(r.Done) == 0 {
		return nil
	}
	return &r.Done[len(r.Done)-1]
}

// String says how a slot ended in one line.
func (o *outcome) String() string {
	what := "the run of " + o.Slot
	if o.Slot[0] == 'v' {
		what = "the run of version " + o.Slot[1:]
	}
	how := string(o.Result)
	if o.Result == late {
		how = string(missed)
	}
	if o.Count > 1 {
		what = fmt.Sprintf("%d runs from %s to %s", o.Count, o.Slot, o.Until)
	}
	if o.Why != "" {
		return what + " " + how + ": " + o.Why
	}
	return what + " " + how
}

// forget lets go of all but the last few ended tasks.
func (r *record) forget(s *framework.Subject) {
	var ended []*sdk.Task
	for _, t := range s.Tasks() {
		if t.Status.State.Terminal() {
			ended = append(ended, t)
		}
	}
	slices.SortStableFunc(ended, func(a, b *sdk.Task) int { return int(a.Status.Ended - b.Status.Ended) })
	for _, t := range ended[:max(0, len(ended)-keepEnded)] {
		s.Forget(t)
	}
	r.Seen = slices.DeleteFunc(r.Seen, func(id sdk.TaskID) bool {
		return !slices.ContainsFunc(s.Tasks(), func(t *sdk.Task) bool { return t.ID == id })
	})
}
