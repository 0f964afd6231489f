package core

import (
	"slices"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
)

// Document returns a copy of a document.
func (s *State) Document(ref sdk.Ref) (sdk.Document, error) {
	if d := s.documents[ref]; d != nil {
		return *d, nil
	}
	return sdk.Document{}, notDeclared(ref)
}

// Documents yields copies of all documents, by kind and name.
func (s *State) Documents(yield func(sdk.Document) bool) {
	for _, d := range s.sortedDocuments() {
		if !yield(*d) {
			return
		}
	}
}

// Task returns one task with where it is reached.
func (s *State) Task(id sdk.TaskID) (sdk.TaskView, error) {
	if t := s.lookup(id); t != nil {
		return t.place(), nil
	}
	return sdk.TaskView{}, sdk.Errorf(sdk.NotFound, string(id), "no such task").ToFix("see `drupe ps` for those there are")
}

// place is the task's view with its node's name and address.
func (t *task) place() sdk.TaskView {
	return sdk.TaskView{Task: t.view(), NodeName: t.node.Name, Address: t.node.Machine.Address}
}

// Tasks yields all tasks, oldest first.
func (s *State) Tasks(yield func(sdk.TaskView) bool) {
	for _, t := range s.sortedTasks() {
		if !yield(t.place()) {
			return
		}
	}
}

// TasksOf yields the tasks of one document, oldest first.
func (s *State) TasksOf(ref sdk.Ref, yield func(sdk.TaskView) bool) {
	r := s.byRef[ref]
	if r == nil {
		return
	}
	for _, serial := range sortedKeys(r.tasks) {
		if !yield(r.tasks[serial].place()) {
			return
		}
	}
}

// Nodes yields all nodes with what is used of them, by row.
func (s *State) Nodes(yield func(sdk.NodeView) bool) {
	for _, n := range s.nodes {
		if !yield(s.nodeView(n)) {
			return
		}
	}
}

// Node finds a node by id or by name, ids first.
func (s *State) Node(idOrName string) (sdk.NodeView, error) {
	n := s.nodeByID[sdk.NodeID(idOrName)]
	if n == nil {
		n = s.nodeByName[idOrName]
	}
	if n == nil {
		return sdk.NodeView{}, sdk.Errorf(sdk.NotFound, "node/"+idOrName, "no such node").ToFix("see `drupe node ls`")
	}
	return s.nodeView(n), nil
}

func (s *State) nodeView(n *node) sdk.NodeView {
	l := s.ledger
	v := sdk.NodeView{Node: n.Node, Held: l.Resources(l.Held(n.row)), Offered: l.Resources(l.Offered(n.row)), Free: l.Resources(l.Free(n.row))}
	for _, t := range n.tasks {
		if !t.state.Terminal() {
			v.Tasks++
		}
	}
	return v
}

// Roles yields all roles declared or in use, parents first, the root too.
func (s *State) Roles(yield func(sdk.RoleView) bool) {
	for _, row := range s.ledger.RolesInOrder() {
		if !yield(s.roleView(row)) {
			return
		}
	}
}

// Role returns one role.
func (s *State) Role(path sdk.RolePath) (sdk.RoleView, error) {
	row, ok := s.ledger.LookupRole(path)
	if !ok {
		return sdk.RoleView{}, sdk.Errorf(sdk.NotFound, "role/"+string(path), "is neither declared nor in use")
	}
	return s.roleView(row), nil
}

func (s *State) roleView(row account.RoleRow) sdk.RoleView {
	l, a := s.ledger, s.ledger.RoleAccount(row)
	v := sdk.RoleView{Role: sdk.Role{Path: a.Path, Weight: a.Weight}}
	if r := s.roles[a.Path]; r != nil {
		v.Role = *r
		v.Weight = a.Weight
	}
	offered := make(account.Vector, len(l.Dims()))
	for _, o := range s.offers {
		if o.Role.Within(a.Path) {
			for d, x := range o.grant.Amount {
				offered[d] += x
			}
		}
	}
	held := a.Held.Clone(len(offered))
	for d, total := range l.Total() {
		if total > 0 && d != account.DimPorts {
			if share := held[d] * 1000 / max(total, 1); share > v.Share || v.Dominant == "" && held[d] > 0 {
				v.Share, v.Dominant = share, l.Dims()[d]
			}
		}
		held[d] -= offered[d]
	}
	v.Held, v.Offered = l.Resources(held), l.Resources(offered)
	var weights int64
	for _, other := range l.RolesInOrder() {
		if o := l.RoleAccount(other); other != 0 && o.Parent == a.Parent {
			weights += o.Weight
		}
	}
	v.FairShare = 1000
	if row != 0 && weights > 0 {
		v.FairShare = a.Weight * 1000 / weights
	}
	for _, r := range s.byRef {
		for _, t := range r.tasks {
			if !t.state.Terminal() && t.group.role.Within(a.Path) {
				v.Tasks++
			}
		}
	}
	for _, d := range s.demands {
		if d.group != nil && d.Role.Within(a.Path) {
			v.Waiting += d.Count
		}
	}
	return v
}

// Plugins yields copies of all plugins, by name.
func (s *State) Plugins(yield func(sdk.Plugin) bool) {
	for _, name := range sortedKeys(s.plugins) {
		if !yield(*s.plugins[name]) {
			return
		}
	}
}

// Plugin returns a copy of one plugin.
func (s *State) Plugin(name sdk.PluginName) (sdk.Plugin, error) {
	if p := s.plugins[name]; p != nil {
		return *p, nil
	}
	return sdk.Plugin{}, sdk.Errorf(sdk.NotFound, "plugin/"+string(name), "is not installed").ToFix("see `drupe plugin ls`")
}

// PolicyState returns the policy at work, the one before, and those that could
// be.
func (s *State) PolicyState() sdk.PolicyView {
	v := sdk.PolicyView{Active: s.policy, Previous: s.previousPolicy, Since: s.policySince, By: s.policyBy}
	for _, name := range sortedKeys(s.plugins) {
		if p := s.plugins[name]; p.Manifest.Point == sdk.PointPolicy && !p.Quarantined {
			v.Available = append(v.Available, name)
		}
	}
	return v
}

// Offers returns the offers that stand, oldest first.
func (s *State) Offers() []sdk.Offer {
	var out []sdk.Offer
	for _, o := range s.sortedOffers() {
		out = append(out, o.Offer)
	}
	return out
}

// Summary sums the cluster up. What only the shell knows is left empty.
func (s *State) Summary() sdk.ClusterView {
	l := s.ledger
	v := sdk.ClusterView{Index: s.index, Documents: int64(len(s.documents)), Policy: s.policy}
	sums := [3]account.Vector{}
	for i := range sums {
		sums[i] = make(account.Vector, len(l.Dims()))
	}
	for _, n := range s.nodes {
		switch n.Liveness {
		case sdk.NodeUp:
			v.Nodes.Up++
		case sdk.NodeUnreachable:
			v.Nodes.Unreachable++
		case sdk.NodeGone:
			v.Nodes.Gone++
		}
		for i, col := range [3]account.Vector{l.Held(n.row), l.Offered(n.row), l.Free(n.row)} {
			for d, x := range col {
				sums[i][d] += x
			}
		}
	}
	for _, r := range s.byRef {
		v.Tasks += int64(r.live)
	}
	for _, d := range s.demands {
		if d.group != nil {
			v.Waiting += d.Count
		}
	}
	v.Capacity, v.Held, v.Offered, v.Free = l.Resources(l.Total()), l.Resources(sums[0]), l.Resources(sums[1]), l.Resources(sums[2])
	return v
}

// assignment is what a task's node must know of it.
func (t *task) assignment() sdk.Assignment {
	return sdk.Assignment{Task: t.id(), Ref: t.group.ref, Role: t.group.role, Goal: t.goal, Grace: t.grace,
		Reason: t.goalReason, Template: t.group.template, Ports: t.placed.Ports, Devices: t.placed.Devices}
}

// Desired returns everything a node should run.
func (s *State) Desired(id sdk.NodeID) *sdk.Desired {
	d := &sdk.Desired{Revision: s.index, Full: true}
	n := s.nodeByID[id]
	if n == nil {
		return d
	}
	for _, t := range n.sorted() {
		if !t.state.Terminal() {
			d.Tasks = append(d.Tasks, t.assignment())
		}
	}
	return d
}

// LiveNodes returns the ids of the nodes that are up, sorted.
func (s *State) LiveNodes() []sdk.NodeID {
	var out []sdk.NodeID
	for id, n := range s.nodeByID {
		if n.Liveness == sdk.NodeUp {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}
