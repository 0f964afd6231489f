package core

import (
	"cmp"
	"slices"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
)

// node is one machine and its tasks.
type node struct {
	sdk.Node
	row   account.NodeRow
	tasks map[uint64]*task // live ones, and ended ones the node has not forgotten
}

// connectNode registers a machine or begins a new session of a known one.
func (s *State) connectNode(c *ConnectNode) (*sdk.Node, *sdk.Fault) {
	n := s.nodeByID[c.Node]
	if other := s.nodeByName[c.Name]; other != nil && other != n {
		return nil, sdk.Errorf(sdk.Conflict, "node/"+c.Name, "another machine has this name").
			Because("it registered as %s", other.ID).ToFix("give this agent another --name")
	}
	if !sdk.ValidName(c.Name) {
		return nil, sdk.Errorf(sdk.Invalid, "node/"+c.Name, "is not a node name").
			ToFix("use 1 to 63 of a-z, 0-9 and inner hyphens")
	}
	if f := checkMachine(c.Name, &c.Machine); f != nil {
		return nil, f
	}
	kind := sdk.EventNodeChanged
	if n == nil {
		n = &node{Node: sdk.Node{ID: c.Node, Registered: s.now, Liveness: sdk.NodeUnreachable}, tasks: map[uint64]*task{}}
		n.row = s.book.AddNode(&n.Node)
		s.nodes = append(s.nodes, n)
		s.nodeByID[c.Node] = n
		kind = sdk.EventNodeRegistered
	}
	if n.Liveness == sdk.NodeGone {
		return nil, sdk.Errorf(sdk.Denied, "node/"+n.Name, "was declared gone").
			Because("its tasks were given up").ToFix("empty the agent's data folder so that it joins as a new node")
	}
	delete(s.nodeByName, n.Name)
	s.nodeByName[c.Name] = n
	s.reattribute(n, func() { n.Name, n.Machine = c.Name, counted(c.Machine) })
	s.setNodeCapacity(n)
	settings := s.settings[n.Name]
	s.reserve(n, settings.Reservations) // what does not fit now stays as it was
	s.adjust(n, &settings)
	s.goLive(n, sdk.NodeUp)
	s.lostTasks(n, c.Tasks)
	s.statuses(n, c.Tasks)
	s.loseDevices(n)
	s.tell(sdk.Event{Kind: kind, Node: s.copyNode(n)})
	s.changes.Room = true
	return s.copyNode(n), nil
}

// maxAmount bounds what one node may claim to have of a resource, so that sums
// over thousands of nodes cannot overflow.
const maxAmount = 1 << 50

// checkMachine proves that the books can hold a machine.
func checkMachine(name string, m *sdk.Machine) *sdk.Fault {
	if _, err := m.Capacity.Normal(); err != nil {
		return sdk.Errorf(sdk.Invalid, "node/"+name, "its capacity makes no sense: %v", err)
	}
	for _, q := range m.Capacity {
		if q.Value > maxAmount {
			return sdk.Errorf(sdk.Invalid, "node/"+name, "it claims to have %s of %s", sdk.FormatQuantity(q.Name, q.Value), q.Name)
		}
	}
	return checkDevices(name, m)
}

// lostTasks ends tasks that the node had begun and no longer knows: its disk
// was lost. To begin them again under the same identity would be a second run.
func (s *State) lostTasks(n *node, known []sdk.TaskStatus) {
	has := make(map[sdk.TaskID]bool, len(known))
	for i := range known {
		has[known[i].Task] = true
	}
	for _, t := range n.sorted() {
		if t.state == sdk.Staging || t.state.Terminal() || has[t.id()] {
			continue
		}
		s.observe(t, &sdk.TaskStatus{State: sdk.Failed, Reason: sdk.ReasonCheckpointLost,
			Message: "the node no longer knows it", ExitCode: -1, Ended: s.now})
	}
}

// sorted returns the node's tasks by age.
func (n *node) sorted() []*task {
	out := make([]*task, 0, len(n.tasks))
	for _, t := range n.tasks {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *task) int { return cmp.Compare(a.serial, b.serial) })
	return out
}

// setMachine replaces what is known of a machine during a session.
func (s *State) setMachine(c *SetMachine) *sdk.Fault {
	n := s.nodeByID[c.Node]
	if n == nil {
		return sdk.Errorf(sdk.NotFound, "node/"+string(c.Node), "is not registered")
	}
	if f := checkMachine(n.Name, &c.Machine); f != nil {
		return f
	}
	s.reattribute(n, func() { n.Machine = counted(c.Machine) })
	s.setNodeCapacity(n)
	s.loseDevices(n)
	s.tell(sdk.Event{Kind: sdk.EventNodeChanged, Node: s.copyNode(n)})
	s.changes.Room = true
	return nil
}

func (s *State) setNodeCapacity(n *node) {
	s.ledger.SetCapacity(n.row, s.ledger.Vector(n.Machine.Capacity, s.book.PoolSize(n.row)))
}

// settle brings what operators declared about a node into force, or nothing of
// it when its reservations do not fit.
func (s *State) settle(n *node, c NodeSettings) *sdk.Fault {
	if f := s.reserve(n, c.Reservations); f != nil {
		return f
	}
	s.adjust(n, &c)
	return nil
}

// reserve replaces what a node sets aside.
func (s *State) reserve(n *node, want []sdk.Reservation) *sdk.Fault {
	if err := s.ledger.SetReservations(n.row, s.reserves(want)); err != nil {
		return asFault(err)
	}
	n.Reservations = want
	return nil
}

// reserves are reservations as the ledger knows them.
func (s *State) reserves(want []sdk.Reservation) []account.Reserve {
	out := make([]account.Reserve, len(want))
	for i, r := range want {
		out[i] = account.Reserve{Role: s.ledger.Role(r.Role), Amount: s.ledger.Vector(r.Resources, 0)}
	}
	return out
}

// adjust brings what else operators declared about a node into force.
func (s *State) adjust(n *node, c *NodeSettings) {
	s.reattribute(n, func() { n.Attributes, n.Cordoned = c.Attributes, c.Cordoned })
	if n.Cordoned {
		s.rescindNode(n)
	}
	s.changes.Room = true
}

// reattribute changes what a node is, with its tasks counted under its old
// attributes before and under its new ones after.
func (s *State) reattribute(n *node, change func()) {
	for _, t := range n.tasks {
		if !t.state.Terminal() {
			s.book.Count(t.group.ref, n.row, -1)
		}
	}
	change()
	for _, t := range n.tasks {
		if !t.state.Terminal() {
			s.book.Count(t.group.ref, n.row, 1)
		}
	}
	s.book.NodeChanged(n.row)
}

// setLiveness commits that contact with a node was lost, found, or given up.
func (s *State) setLiveness(id sdk.NodeID, l sdk.Liveness) *sdk.Fault {
	n := s.nodeByID[id]
	if n == nil {
		return sdk.Errorf(sdk.NotFound, "node/"+string(id), "is not registered")
	}
	if n.Liveness == l || n.Liveness == sdk.NodeGone {
		return nil
	}
	s.goLive(n, l)
	s.tell(sdk.Event{Kind: sdk.EventNodeChanged, Node: s.copyNode(n)})
	return nil
}

// goLive moves a node to another state of liveness, and its tasks with it.
func (s *State) goLive(n *node, l sdk.Liveness) {
	if n.Liveness == l {
		return
	}
	n.Liveness, n.Since = l, s.now
	s.book.NodeChanged(n.row)
	if l != sdk.NodeUp {
		s.rescindNode(n)
	}
	for _, t := range n.sorted() {
		if t.state.Terminal() {
			continue
		}
		if l == sdk.NodeGone {
			s.observe(t, &sdk.TaskStatus{State: sdk.Gone, Reason: sdk.ReasonNodeLost, Message: "its node was declared gone", ExitCode: -1, Ended: s.now})
			continue
		}
		t.unreachable = l == sdk.NodeUnreachable
		s.notice(t)
	}
	if l == sdk.NodeGone {
		delete(s.nodeByName, n.Name)
		n.Machine.Capacity = nil
		n.Machine.Ports, n.Machine.Devices = nil, nil
		s.book.NodeChanged(n.row)
		s.ledger.SetReservations(n.row, nil)
		s.setNodeCapacity(n)
	}
	s.changes.Room = true
}

// copyNode returns a node as it is now.
func (s *State) copyNode(n *node) *sdk.Node {
	c := n.Node
	return &c
}

// asFault turns an error of the books into a fault.
func asFault(err error) *sdk.Fault {
	if err == nil {
		return nil
	}
	if f, ok := err.(*sdk.Fault); ok {
		return f
	}
	return sdk.Errorf(sdk.Internal, "", "%v", err)
}
