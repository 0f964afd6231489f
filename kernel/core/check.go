package core

import (
	"fmt"
	"slices"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
)

// Check proves what must always hold, over the whole state. Apply proves the
// cheap part of it for what it touched; the simulator calls this after every
// entry. An error is a defect.
func (s *State) Check() error {
	grants := func(yield func(*account.Grant) bool) {
		for _, t := range s.tasks {
			if !t.state.Terminal() && !yield(&t.placed.Grant) {
				return
			}
		}
		for _, o := range s.offers {
			if !yield(&o.grant) {
				return
			}
		}
	}
	if err := s.ledger.Check(grants); err != nil {
		return err
	}
	if err := s.checkPorts(); err != nil {
		return err
	}
	if err := s.checkDevices(); err != nil {
		return err
	}
	return s.checkTables()
}

// checkPorts proves that no host port of a node has two owners.
func (s *State) checkPorts() error {
	for _, n := range s.nodes {
		owner := map[uint16]*task{}
		for _, t := range n.tasks {
			if t.state.Terminal() {
				continue
			}
			for _, p := range t.placed.Ports {
				if other := owner[p.Port]; other != nil {
					return fmt.Errorf("node %s: port %d belongs to %s and to %s", n.Name, p.Port, other.id(), t.id())
				}
				owner[p.Port] = t
			}
		}
	}
	return nil
}

// checkTables proves that the tables agree with each other.
func (s *State) checkTables() error {
	for serial, t := range s.tasks {
		if t.serial != serial || serial > s.serials.Task {
			return fmt.Errorf("task %s: serial %d is filed under %d", t.id(), t.serial, serial)
		}
		if t.node.tasks[serial] != t || s.byRef[t.group.ref] == nil || s.byRef[t.group.ref].tasks[serial] != t {
			return fmt.Errorf("task %s is missing from a table", t.id())
		}
	}
	for _, t := range s.tasks {
		want, have := s.ledger.Vector(t.group.resources, len(t.placed.Ports)), t.placed.Grant.Amount
		if n := len(s.ledger.Dims()); !slices.Equal(want.Clone(n), have.Clone(n)) {
			return fmt.Errorf("task %s is charged %v and has %v", t.id(), have, want)
		}
	}
	for ref, r := range s.byRef {
		live := 0
		for _, t := range r.tasks {
			if !t.state.Terminal() {
				live++
			}
		}
		if live != r.live {
			return fmt.Errorf("%s: %d live tasks, counted %d", ref, live, r.live)
		}
	}
	for _, f := range s.frameworks {
		for i := range f.inbox {
			if want := f.seq - uint64(len(f.inbox)-1-i); f.inbox[i].Seq != want {
				return fmt.Errorf("framework %s: event %d where %d belongs", f.name, f.inbox[i].Seq, want)
			}
		}
	}
	for _, d := range s.demands {
		if d.gone || s.demandBy[demandKey{d.plugin, d.Name}] != d || d.Count < 0 {
			return fmt.Errorf("demand %s of %s: tables disagree, or count %d", d.Name, d.plugin, d.Count)
		}
	}
	return nil
}

// CheckLimits proves that no role holds more than its limit, for states in
// which no limit was ever lowered below what was held.
func (s *State) CheckLimits() error {
	for _, row := range s.ledger.RolesInOrder() {
		a := s.ledger.RoleAccount(row)
		for d, most := range a.Limit {
			if most >= 0 && a.Consumed[d] > most {
				return fmt.Errorf("role %s holds %s of %s, more than its limit %s", a.Path,
					sdk.FormatQuantity(s.ledger.Dims()[d], a.Consumed[d]), s.ledger.Dims()[d], sdk.FormatQuantity(s.ledger.Dims()[d], most))
			}
		}
	}
	return nil
}
