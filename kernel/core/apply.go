package core

import (
	"fmt"

	"github.com/drupe-os/drupe/sdk"
)

// Result is the outcome of one command: a fault, with nothing changed, or what
// the command yields.
type Result struct {
	Fault *sdk.Fault
	// Documents tells of ApplyDocuments: one for each declared.
	Documents []sdk.Document
	Changed   []bool
	Node      *sdk.Node
	Plugin    *sdk.Plugin
	Policy    *sdk.PolicyChange
	// Refused counts decisions of a Placement that did not hold.
	Refused int
}

// Apply applies the entry of an index. An error means that the state's own
// books no longer balance: the replica must stop.
func (s *State) Apply(index uint64, e *Entry) ([]Result, error) {
	s.index, s.part = index, 0
	s.now = max(s.now, e.Time)
	s.advance()
	results := make([]Result, len(e.Commands))
	for i := range e.Commands {
		results[i] = s.command(e.By, &e.Commands[i])
	}
	return results, s.verify()
}

func (s *State) command(by string, c *Command) Result {
	var r Result
	switch {
	case c.Apply != nil:
		r.Documents, r.Changed, r.Fault = s.applyDocuments(by, c.Apply)
	case c.Remove != nil:
		r.Fault = s.removeDocument(by, c.Remove.Ref)
	case c.Stop != nil:
		r.Fault = s.stopDocument(by, c.Stop.Ref)
	case c.Kill != nil:
		r.Fault = s.killTask(c.Kill.Task, sdk.ReasonKilledByUser, c.Kill.Grace)
	case c.Connect != nil:
		r.Node, r.Fault = s.connectNode(c.Connect)
	case c.Liveness != nil:
		r.Fault = s.setLiveness(c.Liveness.Node, c.Liveness.Liveness)
	case c.Machine != nil:
		r.Fault = s.setMachine(c.Machine)
	case c.Report != nil:
		r.Fault = s.report(c.Report)
	case c.Install != nil:
		r.Plugin, r.Fault = s.install(by, c.Install)
	case c.Reject != nil:
		s.reject(c.Reject)
	case c.UsePolicy != nil:
		r.Policy, r.Fault = s.usePolicy(by, c.UsePolicy)
	case c.Framework != nil:
		r.Fault = s.commitFramework(c.Framework)
	case c.Place != nil:
		r.Refused, r.Fault = s.place(c.Place)
	}
	return r
}

// verify proves the books of every node this entry touched.
func (s *State) verify() error {
	for _, n := range s.touched {
		if err := s.ledger.CheckNode(n); err != nil {
			s.failed = fmt.Errorf("index %d: %w", s.index, err)
		}
	}
	s.touched = s.touched[:0]
	return s.failed
}
