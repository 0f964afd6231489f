package core

import (
	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/kernel/offer"
	"github.com/drupe-os/drupe/sdk"
)

// Restore makes a state of a snapshot. Errors: Unsupported for a format this
// version does not know, Corrupt for one that contradicts itself.
func Restore(in *Snapshot) (*State, error) {
	if in.Format != snapshotFormat {
		return nil, sdk.Errorf(sdk.Unsupported, "snapshot", "format %d is not known to this version", in.Format)
	}
	s := New()
	s.index, s.now = in.Index, in.Now
	s.serials = serials{Task: in.Serials[0], Offer: in.Serials[1], Generation: in.Serials[2]}
	s.policy, s.previousPolicy = in.Policy.Active, in.Policy.Previous
	s.policySince, s.policyBy = in.Policy.Since, in.Policy.By
	for i := range in.Roles {
		r := in.Roles[i]
		if err := s.ledger.SetRole(r); err != nil {
			return nil, corrupt("role %s: %v", r.Path, err)
		}
		s.roles[r.Path] = &r
	}
	for i := range in.Settings {
		s.settings[in.Settings[i].Name] = in.Settings[i].Settings
	}
	for i := range in.Documents {
		d := in.Documents[i]
		s.documents[d.Ref] = &d
	}
	for i := range in.Plugins {
		p := in.Plugins[i]
		s.plugins[p.Manifest.Name] = &p
		for _, k := range p.Manifest.Kinds {
			s.kinds[k] = p.Manifest.Name
		}
	}
	for _, f := range in.Frameworks {
		fw := &framework{name: f.Name, seq: f.Seq, inbox: f.Inbox, store: map[string][]byte{}, timers: map[string]sdk.Time{},
			held: f.Held, parts: f.Parts}
		for _, kv := range f.Store {
			fw.store[kv.Key] = kv.Value
		}
		for _, t := range f.Timers {
			fw.timers[t.Name] = t.At
			s.wakeAt(t.At)
		}
		s.frameworks[f.Name] = fw
	}
	if err := s.restoreNodes(in); err != nil {
		return nil, err
	}
	groups, err := s.restoreTasks(in)
	if err != nil {
		return nil, err
	}
	if err := s.restoreDemands(in, groups); err != nil {
		return nil, err
	}
	s.restoreCounts(in)
	if err := s.Check(); err != nil {
		return nil, corrupt("%v", err)
	}
	s.TakeChanges()
	s.touched = s.touched[:0]
	return s, nil
}

func corrupt(format string, args ...any) error {
	return sdk.Errorf(sdk.Corrupt, "snapshot", format, args...)
}

func (s *State) restoreNodes(in *Snapshot) error {
	for i := range in.Nodes {
		n := &node{Node: in.Nodes[i].Node, tasks: map[uint64]*task{}}
		n.row = s.book.AddNode(&n.Node)
		s.nodes = append(s.nodes, n)
		s.nodeByID[n.ID] = n
		if n.Liveness != sdk.NodeGone {
			s.nodeByName[n.Name] = n
		}
		s.setNodeCapacity(n)
		reserves := make([]account.Reserve, len(n.Reservations))
		for j, r := range n.Reservations {
			reserves[j] = account.Reserve{Role: s.ledger.Role(r.Role), Amount: s.ledger.Vector(r.Resources, 0)}
		}
		if err := s.ledger.AdoptReservations(n.row, reserves); err != nil {
			return corrupt("node %s: %v", n.Name, err)
		}
		s.book.SetNextPort(n.row, in.Nodes[i].NextPort)
	}
	return nil
}

func (s *State) restoreTasks(in *Snapshot) ([]*group, error) {
	groups := make([]*group, len(in.Groups))
	for i, g := range in.Groups {
		groups[i] = &group{g.Ref, g.Plugin, g.Demand, g.Tag, g.Role, g.Resources, g.Template}
	}
	for i := range in.Tasks {
		r := &in.Tasks[i]
		if int(r.Group) >= len(groups) || int(r.Node) >= len(s.nodes) {
			return nil, corrupt("task %d names what is not there", r.Serial)
		}
		g, st := groups[r.Group], &r.Status
		t := &task{group: g, serial: r.Serial, node: s.nodes[r.Node], created: r.Created, goal: r.Goal, goalReason: r.GoalReason,
			goalMessage: r.GoalMessage, refused: r.Refused, grace: r.Grace, state: st.State, health: st.Health, reason: st.Reason, unreachable: r.Unreachable,
			exitCode: st.ExitCode, pid: st.PID, started: st.Started, ended: st.Ended, message: st.Message}
		t.placed = offer.Placed{Ports: r.Ports, Devices: r.Devices, Grant: s.grant(t.node, g.role, account.ClientKey{Role: g.role, Plugin: g.plugin, Ref: g.ref},
			s.ledger.Vector(g.resources, len(r.Ports)), r.Parts, account.ForTask)}
		s.enter(t)
		if !t.state.Terminal() {
			s.book.Adopt(g.ref, &t.placed)
		}
	}
	return groups, nil
}

// grant makes the receipt of something already taken.
func (s *State) grant(n *node, role sdk.RolePath, k account.ClientKey, amount account.Vector, parts []PartRecord, for_ account.Purpose) account.Grant {
	g := account.Grant{Node: n.row, Role: s.ledger.Role(role), Client: s.ledger.Client(k), Purpose: for_, Amount: amount}
	for _, p := range parts {
		g.Parts = append(g.Parts, account.Part{Role: s.ledger.Role(p.Role), Amount: s.ledger.Vector(p.Amount, 0)})
	}
	return g
}

func (s *State) restoreDemands(in *Snapshot, groups []*group) error {
	for i := range in.Demands {
		r := &in.Demands[i]
		d := &demand{plugin: r.Plugin, suppressed: r.Suppressed}
		if f := s.shapeDemand(d, &r.Demand, 0); f != nil {
			return corrupt("demand %s: %v", r.Demand.Name, f)
		}
		d.waiting = r.Waiting
		if r.Group > 0 && int(r.Group) <= len(groups) {
			d.group = groups[r.Group-1]
		}
		s.demands = append(s.demands, d)
		s.demandBy[demandKey{d.plugin, d.Name}] = d
		s.wakeAt(d.NotBefore)
	}
	for i := range in.Offers {
		r := &in.Offers[i]
		n, d := s.nodeByID[r.Offer.Node], s.demandBy[demandKey{r.Offer.Plugin, r.Offer.Demand}]
		if n == nil || d == nil {
			return corrupt("offer %d names what is not there", r.Offer.ID)
		}
		o := &offerRecord{Offer: r.Offer, demand: d, grant: s.grant(n, r.Offer.Role, d.shape.Key,
			s.ledger.Vector(r.Offer.Resources, int(r.Offer.Ports)), r.Parts, account.ForOffer)}
		s.ledger.Adopt(&o.grant)
		s.offers[o.ID] = o
		s.wakeAt(o.Expires)
	}
	return nil
}

func (s *State) restoreCounts(in *Snapshot) {
	for _, c := range in.Counts {
		if c.Plugin == "" {
			s.ledger.SetAllocations(s.ledger.Role(c.Role), c.Count)
			continue
		}
		s.ledger.Client(account.ClientKey{Role: c.Role, Plugin: c.Plugin, Ref: c.Ref}).Allocations = c.Count
	}
	for _, f := range in.Declines {
		s.book.Decline(account.ClientKey{Role: f.Role, Plugin: f.Plugin, Ref: f.Ref}, f.Demand, account.NodeRow(f.Node),
			s.ledger.Vector(f.Amount, int(f.Ports)), f.Until)
		s.wakeAt(f.Until)
	}
}
