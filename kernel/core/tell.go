package core

import "github.com/drupe-os/drupe/sdk"

// NodeDesired is what one node must hear of.
type NodeDesired struct {
	Node    sdk.NodeID
	Desired *sdk.Desired
}

// Tell turns changes into one message for each node they concern, in the order
// in which the nodes were first concerned. Call it before the next Apply.
func (s *State) Tell(c *Changes) []NodeDesired {
	var out []NodeDesired
	rows := map[sdk.NodeID]int{}
	to := func(n sdk.NodeID) *sdk.Desired {
		row, ok := rows[n]
		if !ok {
			row = len(out)
			rows[n] = row
			out = append(out, NodeDesired{n, &sdk.Desired{Revision: s.index}})
		}
		return out[row].Desired
	}
	for _, a := range c.Assign {
		if t := s.lookup(a.Task); t != nil {
			d := to(a.Node)
			d.Tasks = append(d.Tasks, t.assignment())
		}
	}
	for _, f := range c.Forget {
		d := to(f.Node)
		d.Forget = append(d.Forget, f.Task)
	}
	return out
}
