package fair

import (
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// tasks places the demands that carry a template, one run at a time, each for
// whoever is next in line.
func (f *fair) tasks() {
	t := &f.tree
	f.front = resize(f.front, len(f.batch.Clients.Role))
	for c := range f.front {
		f.front[c] = f.first[c]
		f.refresh(t.clients + int32(c))
	}
	for {
		client := t.next()
		if client < 0 {
			return
		}
		c := client - t.clients
		if !f.place(client, f.byClient[f.front[c]]) {
			f.front[c]++ // done with it in this stage
		}
		f.refresh(client)
	}
}

// refresh moves a client on to its next open demand of a template, and takes it
// out of line when there is none.
func (f *fair) refresh(client int32) {
	t := &f.tree
	c := client - t.clients
	for ; f.front[c] < f.first[c+1]; f.front[c]++ {
		d := f.byClient[f.front[c]]
		if f.left[d] == 0 || f.batch.Demands.Elastic[d] != 0 {
			continue
		}
		x := &t.nodes[client]
		priority := f.batch.Demands.Priority[d]
		if x.pos < 0 {
			x.priority = priority
			t.enter(client)
		} else if x.priority != priority {
			x.priority = priority
			t.settle(client)
		}
		return
	}
	if t.nodes[client].pos >= 0 {
		t.leave(client)
	}
}

// place takes what it may of a demand before somebody else is next. It returns
// false when the stage has no more for this demand.
func (f *fair) place(client int32, d uint32) bool {
	need := f.need(d)
	role := f.batch.Clients.Role[client-f.tree.clients]
	if f.stage == guarantees && !f.isDue(role, need) {
		return false
	}
	if f.reserves && f.own[role] && f.placeReserved(client, role, d, need) {
		return f.left[d] > 0
	}
	n, why := f.fits(role, need, int64(f.left[d]))
	if n == 0 {
		if f.stage == fairShare {
			f.why[d] = why
		}
		return false
	}
	n = f.tree.run(client, need, n)
	placed, _ := f.ix.Place(d, uint32(n), policy.Spread)
	if placed > 0 {
		f.left[d] -= placed
		f.owed.Spend(role, need, int64(placed))
		f.tree.charge(client, need, int64(placed))
	}
	if int64(placed) < n {
		f.left[d] = 0 // no node has room for another, so none will in this batch
	}
	return f.left[d] > 0
}

// fits returns how many instances of need, at most n, the guarantees and limits
// leave to role in this stage, and what speaks against more.
func (f *fair) fits(role int32, need []int64, n int64) (int64, sdk.Reason) {
	n, why := f.owed.Fits(role, need, n)
	if f.stage != guarantees {
		return n, why
	}
	due := int64(0) // instances until nothing is due to the role any more
	for r, v := range need {
		if v > 0 {
			due = max(due, (f.owed.Due(role, r)+v-1)/v)
		}
	}
	return min(n, due), why
}

// isDue reports whether role is owed some of need.
func (f *fair) isDue(role int32, need []int64) bool {
	for r, v := range need {
		if v > 0 && f.owed.Due(role, r) > 0 {
			return true
		}
	}
	return false
}

// placeReserved places one instance where something is reserved for the role.
// What comes from a reservation counts against neither guarantees nor limits.
func (f *fair) placeReserved(client, role int32, d uint32, need []int64) bool {
	for ; int(f.cursor[d]) < len(f.batch.Nodes.Usable) && f.budget > 0; f.cursor[d]++ {
		row := f.cursor[d]
		if f.batch.Nodes.Usable[row] == 0 {
			continue
		}
		f.budget--
		if f.ix.Allocatable(d, row, f.out, f.res) != sdk.ReasonNone || !f.useReserved(role, need) {
			continue
		}
		if placed, _ := f.ix.PlaceOn(d, row, 1); placed == 0 {
			continue
		}
		f.left[d]--
		f.owed.Spend(role, f.amount, 1)
		f.tree.charge(client, need, 1)
		return true
	}
	return false
}

// useReserved works out into amount what one instance would take beyond the
// reserved part of a node, and reports whether it may.
func (f *fair) useReserved(role int32, need []int64) bool {
	any := false
	for r, v := range need {
		use := min(v, f.res[r])
		any = any || use > 0
		f.amount[r] = v - use
		if f.out[r] < v {
			return false
		}
	}
	if !any {
		return false
	}
	n, _ := f.owed.Fits(role, f.amount, 1)
	return n > 0
}
