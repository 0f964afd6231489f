package policy

import (
	"slices"

	"github.com/drupe-os/drupe/sdk"
)

// Reference is the cluster by definition: every figure is worked out anew from
// the list of what is taken, and every search looks at every node.
type Reference struct {
	roles   map[sdk.RolePath]*refRole
	nodes   []*refNode
	demands []*Demand
	clients map[clientKey]uint64 // allocations ever made
	filters []refFilter
}

type refRole struct {
	weight      int64
	guarantee   Amount
	limit       Bounds
	allocations uint64 // ever made to the subtree
}

type refNode struct {
	name     string
	capacity Amount
	reserved map[sdk.RolePath]Amount
	usable   bool
	taken    []holding
}

// holding is an amount taken on a node: of one reservation, or of none.
type holding struct {
	clientKey
	from   sdk.RolePath // whose reservation
	whole  bool         // not from a reservation
	amount Amount
}

type clientKey struct {
	name string
	role sdk.RolePath
}

type refFilter struct {
	demand, node string
	amount       Amount
	until        sdk.Time
}

var _ Cluster = (*Reference)(nil)

// NewReference returns an empty cluster.
func NewReference() *Reference {
	c := &Reference{roles: map[sdk.RolePath]*refRole{}, clients: map[clientKey]uint64{}}
	c.role("")
	return c
}

// role returns a role, which it makes, with all above it, when it is new.
func (c *Reference) role(p sdk.RolePath) *refRole {
	r := c.roles[p]
	if r == nil {
		if p != "" {
			c.role(p.Parent())
		}
		r = &refRole{weight: 1000, limit: Bounds{-1, -1, -1, -1, -1}}
		c.roles[p] = r
	}
	return r
}

func (c *Reference) node(name string) *refNode {
	for _, n := range c.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

func (c *Reference) demand(name string) *Demand {
	for _, d := range c.demands {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// SetRole implements Cluster.
func (c *Reference) SetRole(path sdk.RolePath, weight int64, guarantee Amount, limit Bounds) {
	r := c.role(path)
	r.weight, r.guarantee, r.limit = weight, guarantee, limit
}

// SetNode implements Cluster.
func (c *Reference) SetNode(name string, capacity Amount, reserved map[sdk.RolePath]Amount, usable bool) {
	n := c.node(name)
	if n == nil {
		n = &refNode{name: name}
		c.nodes = append(c.nodes, n)
	}
	n.capacity, n.reserved, n.usable = capacity, reserved, usable
	for role := range reserved {
		c.role(role)
	}
}

// RemoveNode implements Cluster.
func (c *Reference) RemoveNode(name string) {
	c.nodes = slices.DeleteFunc(c.nodes, func(n *refNode) bool { return n.name == name })
}

// SetDemand implements Cluster.
func (c *Reference) SetDemand(d Demand) {
	c.role(d.Role)
	if old := c.demand(d.Name); old != nil {
		*old = d
		return
	}
	c.demands = append(c.demands, &d)
}

// DropDemand implements Cluster.
func (c *Reference) DropDemand(name string) {
	c.demands = slices.DeleteFunc(c.demands, func(d *Demand) bool { return d.Name == name })
}

// Take implements Cluster.
func (c *Reference) Take(client string, role sdk.RolePath, node string, amount Amount) {
	c.role(role)
	c.take(c.node(node), clientKey{client, role}, amount)
}

// take books amount, from the nearest reservation first, and counts it as one
// allocation.
func (c *Reference) take(n *refNode, who clientKey, amount Amount) {
	c.clients[who]++
	for p := who.role; ; p = p.Parent() {
		c.roles[p].allocations++
		part := Amount{}
		idle := n.idle(p)
		for r := range amount {
			part[r] = min(amount[r], max(0, idle[r]))
			amount[r] -= part[r]
		}
		if part != (Amount{}) {
			n.taken = append(n.taken, holding{clientKey: who, from: p, amount: part})
		}
		if p == "" {
			break
		}
	}
	if amount != (Amount{}) {
		n.taken = append(n.taken, holding{clientKey: who, whole: true, amount: amount})
	}
}

// Free implements Cluster. What was not reserved is given back first.
func (c *Reference) Free(client string, role sdk.RolePath, node string, amount Amount) {
	n := c.node(node)
	for _, whole := range [2]bool{true, false} {
		for i := range n.taken {
			h := &n.taken[i]
			if h.name != client || h.role != role || h.whole != whole {
				continue
			}
			for r := range amount {
				back := min(amount[r], h.amount[r])
				h.amount[r] -= back
				amount[r] -= back
			}
		}
	}
	n.taken = slices.DeleteFunc(n.taken, func(h holding) bool { return h.amount == Amount{} })
}

// Decline implements Cluster.
func (c *Reference) Decline(demand, node string, amount Amount, until sdk.Time) {
	d := c.demand(demand)
	c.Free(d.Client, d.Role, node, amount)
	c.filters = append(c.filters, refFilter{demand, node, amount, until})
}

// Revive implements Cluster.
func (c *Reference) Revive(demand string) {
	c.filters = slices.DeleteFunc(c.filters, func(f refFilter) bool { return f.demand == demand })
}

// declined reports whether amount, or more, was declined.
func (c *Reference) declined(demand, node string, amount Amount, now sdk.Time) bool {
	return slices.ContainsFunc(c.filters, func(f refFilter) bool {
		return f.demand == demand && f.node == node && f.until > now && within(amount, f.amount)
	})
}

// idle is what is reserved for exactly role on the node and not taken.
func (n *refNode) idle(role sdk.RolePath) Amount {
	a := n.reserved[role]
	for _, h := range n.taken {
		if !h.whole && h.from == role {
			a = minus(a, h.amount)
		}
	}
	return a
}

// free is what is neither taken nor reserved. It may be negative after a node
// shrank.
func (n *refNode) free() Amount {
	a := n.capacity
	for _, r := range n.reserved {
		a = minus(a, r)
	}
	for _, h := range n.taken {
		if h.whole {
			a = minus(a, h.amount)
		}
	}
	return a
}

// available is what role could have on the node, and the reserved part of it.
func (n *refNode) available(role sdk.RolePath) (all, reserved Amount) {
	for p := role; ; p = p.Parent() {
		reserved = plus(reserved, n.idle(p))
		if p == "" {
			break
		}
	}
	free := n.free()
	for r := range free {
		all[r] = reserved[r] + max(0, free[r])
	}
	return all, reserved
}

// held is what a role's subtree holds; with who, what one client holds.
func (c *Reference) held(role sdk.RolePath, who *clientKey) (sum Amount) {
	for _, n := range c.nodes {
		for _, h := range n.taken {
			if h.role.Within(role) && (who == nil || h.clientKey == *who) {
				sum = plus(sum, h.amount)
			}
		}
	}
	return sum
}

// idle is what is reserved for a role's subtree and held by nobody.
func (c *Reference) idle(role sdk.RolePath) (sum Amount) {
	for _, n := range c.nodes {
		for r := range n.reserved {
			if r.Within(role) {
				sum = plus(sum, n.idle(r))
			}
		}
	}
	return sum
}

// limited reports whether amount, of which reserved comes from reservations,
// would bring a role above role over its limit.
func (c *Reference) limited(role sdk.RolePath, amount, reserved Amount) bool {
	for p := role; ; p = p.Parent() {
		l := c.roles[p].limit
		used := plus(c.held(p, nil), c.idle(p))
		for r := range amount {
			if more := amount[r] - min(amount[r], reserved[r]); l[r] >= 0 && more > 0 && used[r]+more > l[r] {
				return true
			}
		}
		if p == "" {
			return false
		}
	}
}

func plus(a, b Amount) Amount {
	for r := range a {
		a[r] += b[r]
	}
	return a
}

func minus(a, b Amount) Amount {
	for r := range a {
		a[r] -= b[r]
	}
	return a
}

// within reports whether a is nowhere more than b.
func within(a, b Amount) bool {
	for r := range a {
		if a[r] > b[r] {
			return false
		}
	}
	return true
}
