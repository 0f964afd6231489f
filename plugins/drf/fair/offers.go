package fair

import (
	"slices"

	"github.com/drupe-os/drupe/sdk"
)

// offers shares the nodes among the demands that want real offers: node by node,
// on each in the order of the line. What a role may have of a node goes to one
// demand whole; guarantees and limits cut it to size.
func (f *fair) offers() {
	t := &f.tree
	wanted := 0
	for d, elastic := range f.batch.Demands.Elastic {
		if elastic != 0 && f.left[d] > 0 {
			client := int32(f.batch.Demands.Client[d]) + t.clients
			t.nodes[client].priority = 0
			t.enter(client)
			wanted++
		}
	}
	if wanted == 0 {
		return
	}
	for row, usable := range f.batch.Nodes.Usable {
		if usable != 0 && t.nodes[0].active > 0 && f.worthLooking(row) {
			f.walk(0, uint32(row))
		}
	}
	for c := range f.batch.Clients.Role {
		if client := t.clients + int32(c); t.nodes[client].pos >= 0 {
			t.leave(client)
		}
	}
}

// worthLooking leaves out nodes that are full, which saves most calls on a busy
// cluster. A reservation may lie idle on a full node, so with any all are seen.
func (f *fair) worthLooking(row int) bool {
	return f.reserves || slices.ContainsFunc(f.batch.Nodes.Free[row*f.batch.Dims:][:f.batch.Dims],
		func(v int64) bool { return v > 0 })
}

// walk visits the clients below n in order, and returns false when the node has
// nothing left. The order is that of the moment it began: heaps are copied,
// because offers made on the way move their takers.
func (f *fair) walk(n int32, row uint32) bool {
	t := &f.tree
	if n >= t.clients {
		return f.visit(n, row)
	}
	x := &t.nodes[n]
	if x.active == 1 {
		return f.walk(t.heaps[x.heap], row)
	}
	kids := slices.Clone(t.heaps[x.heap : x.heap+x.active])
	slices.SortFunc(kids, func(a, b int32) int {
		if t.before(a, b) {
			return -1
		}
		return 1
	})
	for _, kid := range kids {
		if !f.walk(kid, row) {
			return false
		}
	}
	return true
}

// visit offers a node to the demands of one client. It returns false when the
// node has nothing left.
func (f *fair) visit(client int32, row uint32) bool {
	c := client - f.tree.clients
	defer f.retire(client)
	for _, d := range f.byClient[f.first[c]:f.first[c+1]] {
		if f.batch.Demands.Elastic[d] == 0 || f.left[d] == 0 {
			continue
		}
		if f.budget--; f.budget < 0 {
			f.why[d] = sdk.ReasonNotConsidered
			return false
		}
		role := f.batch.Clients.Role[c]
		if f.ix.Allocatable(d, row, f.out, f.res) != sdk.ReasonNone ||
			!f.cut(role, d) || f.ix.Offer(d, row, f.amount) != sdk.ReasonNone {
			continue
		}
		f.left[d]--
		f.why[d] = sdk.ReasonNone
		f.tree.charge(client, f.amount, 1)
		rest := false
		for r, v := range f.amount {
			f.out[r] -= v
			rest = rest || f.out[r] > 0
			f.amount[r] = max(0, v-f.res[r]) // what was not reserved
		}
		f.owed.Spend(role, f.amount, 1)
		if !rest {
			return false
		}
	}
	return true
}

// retire takes a client out of line when none of its demands wants more.
func (f *fair) retire(client int32) {
	c := client - f.tree.clients
	for _, d := range f.byClient[f.first[c]:f.first[c+1]] {
		if f.batch.Demands.Elastic[d] != 0 && f.left[d] > 0 {
			return
		}
	}
	f.tree.leave(client)
}

// cut works out into amount what of out and res may be offered, and reports
// whether it is worth it: all that is reserved for the role, what is due to it
// in the first stage, and of the rest as much as limits and the claims of others
// leave. Ports are not cut.
func (f *fair) cut(role int32, d uint32) bool {
	o := &f.owed
	isDue, why := false, sdk.ReasonNone
	for r, all := range f.out {
		reserved := f.res[r]
		rest := all - reserved
		if r == dimPorts {
			f.amount[r] = all
			continue
		}
		bound := o.Bound(role, r)
		due := int64(0)
		if f.stage == guarantees {
			due = min(rest, o.Due(role, r), bound)
			isDue = isDue || due > 0
		}
		extra := min(rest-due, bound-due)
		if extra < rest-due {
			why = sdk.ReasonQuotaLimit
		}
		if o.Any() && o.Claim(r) > 0 && extra > o.Spare(r) {
			extra, why = o.Spare(r), sdk.ReasonGuarantee
		}
		f.amount[r] = reserved + due + max(0, extra)
	}
	if f.stage == guarantees && !isDue {
		return false
	}
	some := false
	for r, v := range f.need(d) {
		if f.amount[r] < v {
			f.why[d] = why
			return false
		}
		some = some || f.amount[r] > 0
	}
	if !some {
		f.why[d] = why
	}
	return some
}
