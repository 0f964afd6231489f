package policy

import (
	"maps"
	"slices"

	"github.com/drupe-os/drupe/sdk"
	api "github.com/drupe-os/drupe/sdk/policy"
)

// refRound is a round on the reference cluster. What it takes is taken at once;
// Abandon puts back what was before.
type refRound struct {
	c       *Reference
	now     sdk.Time
	open    []*Demand
	left    []uint32
	batch   *api.Batch
	taken   []Taken
	nodes   []*refNode
	clients map[clientKey]uint64
	allocs  map[sdk.RolePath]uint64
}

// Begin implements Cluster.
func (c *Reference) Begin(now sdk.Time) Round {
	r := &refRound{c: c, now: now, clients: maps.Clone(c.clients), allocs: map[sdk.RolePath]uint64{}}
	for _, d := range c.demands {
		if d.Count > 0 {
			r.open = append(r.open, d)
			r.left = append(r.left, d.Count)
		}
	}
	for _, n := range c.nodes {
		before := *n
		before.taken = slices.Clone(n.taken)
		r.nodes = append(r.nodes, &before)
	}
	for p, role := range c.roles {
		r.allocs[p] = role.allocations
	}
	r.batch = c.batch(r.open)
	return r
}

// Batch implements Round.
func (r *refRound) Batch() *api.Batch { return r.batch }

// Index implements Round.
func (r *refRound) Index() api.Index { return r }

// Demands implements Round.
func (r *refRound) Demands() []string {
	var names []string
	for _, d := range r.open {
		names = append(names, d.Name)
	}
	return names
}

// End implements Round.
func (r *refRound) End() []Taken {
	for i, d := range r.open {
		d.Count = r.left[i]
	}
	return r.taken
}

// Abandon implements Round.
func (r *refRound) Abandon() {
	r.c.nodes, r.c.clients = r.nodes, r.clients
	for p, n := range r.allocs {
		r.c.roles[p].allocations = n
	}
}

// check returns why amount of node cannot be had for a demand.
func (r *refRound) check(d *Demand, n *refNode, amount Amount) sdk.Reason {
	if !n.usable {
		return sdk.ReasonUnreachable
	}
	all, reserved := n.available(d.Role)
	for i := range amount {
		if amount[i] > all[i] {
			return sdk.ResourceReason(Dims[i])
		}
	}
	if r.c.limited(d.Role, amount, reserved) {
		return sdk.ReasonQuotaLimit
	}
	return sdk.ReasonNone
}

// best returns the node that strategy prefers for one more instance.
func (r *refRound) best(d *Demand, s api.Strategy) (*refNode, sdk.Reason) {
	rows := r.ranked(d, s)
	if len(rows) > 0 {
		return r.c.nodes[rows[0]], sdk.ReasonNone
	}
	why := sdk.ReasonNoNodes
	for _, n := range r.c.nodes {
		why = r.check(d, n, d.Need)
	}
	return nil, why
}

// ranked returns the rows of all nodes that fit, best first: by the free part of
// the scarcer of cpus and mem, in millionths of capacity.
func (r *refRound) ranked(d *Demand, s api.Strategy) []uint32 {
	var rows []uint32
	free := map[uint32]int64{}
	for i, n := range r.c.nodes {
		if r.check(d, n, d.Need) != sdk.ReasonNone {
			continue
		}
		rows = append(rows, uint32(i))
		least, f := int64(1e6), n.free()
		for dim := range 2 {
			if n.capacity[dim] > 0 {
				least = min(least, f[dim]*1000/max(1, n.capacity[dim]/1000))
			}
		}
		free[uint32(i)] = least
	}
	slices.SortStableFunc(rows, func(a, b uint32) int {
		switch s {
		case api.Pack:
			return int(free[a] - free[b])
		case api.Spread:
			return int(free[b] - free[a])
		}
		return 0
	})
	return rows
}

// Place implements policy.Index.
func (r *refRound) Place(demand, n uint32, s api.Strategy) (placed uint32, why sdk.Reason) {
	if int(demand) >= len(r.open) || r.open[demand].Elastic {
		return 0, sdk.ReasonUnknownDemand
	}
	d := r.open[demand]
	for ; placed < min(n, r.left[demand]); placed++ {
		node, why := r.best(d, s)
		if node == nil {
			r.left[demand] -= placed
			return placed, why
		}
		r.put(d, node, d.Need, false)
	}
	r.left[demand] -= placed
	return placed, sdk.ReasonNone
}

// PlaceOn implements policy.Index.
func (r *refRound) PlaceOn(demand, node, n uint32) (placed uint32, why sdk.Reason) {
	if int(demand) >= len(r.open) || r.open[demand].Elastic {
		return 0, sdk.ReasonUnknownDemand
	}
	if int(node) >= len(r.c.nodes) {
		return 0, sdk.ReasonUnknownNode
	}
	d := r.open[demand]
	for placed < min(n, r.left[demand]) && why == sdk.ReasonNone {
		if why = r.check(d, r.c.nodes[node], d.Need); why == sdk.ReasonNone {
			r.put(d, r.c.nodes[node], d.Need, false)
			placed++
		}
	}
	r.left[demand] -= placed
	return placed, why
}

// put takes amount and writes it down.
func (r *refRound) put(d *Demand, n *refNode, amount Amount, offer bool) {
	r.c.take(n, clientKey{d.Client, d.Role}, amount)
	r.taken = append(r.taken, Taken{d.Name, n.name, amount, 1, offer})
}

// Candidates implements policy.Index.
func (r *refRound) Candidates(demand uint32, s api.Strategy, out []uint32) int {
	if int(demand) >= len(r.open) {
		return 0
	}
	return copy(out, r.ranked(r.open[demand], s))
}

// Allocatable implements policy.Index.
func (r *refRound) Allocatable(demand, node uint32, out, reserved []int64) sdk.Reason {
	if int(demand) >= len(r.open) {
		return sdk.ReasonUnknownDemand
	}
	if int(node) >= len(r.c.nodes) {
		return sdk.ReasonUnknownNode
	}
	d, n := r.open[demand], r.c.nodes[node]
	if !n.usable {
		return sdk.ReasonUnreachable
	}
	all, res := n.available(d.Role)
	copy(out, all[:])
	copy(reserved, res[:])
	if r.c.declined(d.Name, n.name, all, r.now) {
		return sdk.ReasonDeclined
	}
	return sdk.ReasonNone
}

// Offer implements policy.Index.
func (r *refRound) Offer(demand, node uint32, amount []int64) sdk.Reason {
	if int(demand) >= len(r.open) || !r.open[demand].Elastic || r.left[demand] == 0 {
		return sdk.ReasonUnknownDemand
	}
	if int(node) >= len(r.c.nodes) {
		return sdk.ReasonUnknownNode
	}
	if len(amount) != len(Dims) {
		return sdk.ReasonAnswerInvalid
	}
	d, n := r.open[demand], r.c.nodes[node]
	a := Amount(amount)
	for _, v := range a {
		if v < 0 {
			return sdk.ReasonAnswerInvalid
		}
	}
	if why := r.check(d, n, a); why != sdk.ReasonNone {
		return why
	}
	if r.c.declined(d.Name, n.name, a, r.now) {
		return sdk.ReasonDeclined
	}
	r.put(d, n, a, true)
	r.left[demand]--
	return sdk.ReasonNone
}

// Explain implements policy.Index.
func (r *refRound) Explain(uint32, sdk.Reason) {}
