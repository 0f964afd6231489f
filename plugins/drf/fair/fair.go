// Package fair is hierarchical weighted dominant resource fairness, as Mesos's
// allocator does it, for demands as well as for offers.
//
// Who holds the least of its dominant resource, by weight, is next; roles by
// their tree, then documents within a role, then a document's demands by
// priority and age. Stage 1 gives roles what their guarantees lack; stage 2
// shares the rest, but leaves free what guarantees still lack and keeps within
// limits. Ties go to whom fewer allocations were made, then by name.
//
// Demands of templates come before offers within a stage: they are exact wants,
// an offer takes a whole node on the chance that somebody likes it.
package fair

import (
	"slices"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// dimPorts is the resource that has no share (see policy.Batch).
const dimPorts = 4

// The stages of a cycle.
const (
	guarantees = 1
	fairShare  = 2
)

// New returns the policy. It keeps nothing from one batch to the next but room.
func New() policy.Policy { return &fair{} }

type fair struct {
	batch *policy.Batch
	ix    policy.Index
	tree  tree
	owed  policy.Claims
	stage int

	left     []uint32 // instances or offers still wanted, by demand
	why      []sdk.Reason
	byClient []uint32 // demands grouped by client: priority, then age
	first    []uint32 // by client: where its group begins; one more at the end
	front    []uint32 // by client: its next demand's place in byClient
	cursor   []uint32 // by demand: the next node to look for reservations on
	own      []bool   // by role: something is reserved for it or a role above
	reserves bool     // anything is reserved at all
	out, res []int64
	amount   []int64
	budget   int // calls of Allocatable left
}

// maxLooks bounds the calls of Allocatable in one batch. Demands that could not
// be looked at on every node are first again in the next batch.
const maxLooks = 400_000

// Allocate implements policy.Policy.
func (f *fair) Allocate(b *policy.Batch, ix policy.Index) {
	f.batch, f.ix = b, ix
	f.tree.build(b)
	f.owed.Reset(b)
	f.sort()
	f.findReserved()
	f.out, f.res, f.amount = resize(f.out, b.Dims), resize(f.res, b.Dims), resize(f.amount, b.Dims)
	f.budget = maxLooks
	if f.owed.Any() {
		f.stage = guarantees
		f.tasks()
		f.offers()
	}
	f.stage = fairShare
	f.tasks()
	f.offers()
	for d, why := range f.why {
		if why != sdk.ReasonNone && f.left[d] > 0 {
			ix.Explain(uint32(d), why)
		}
	}
	f.batch, f.ix = nil, nil
}

// sort groups the open demands by client.
func (f *fair) sort() {
	d := &f.batch.Demands
	n, clients := len(d.Client), len(f.batch.Clients.Role)
	f.left = append(f.left[:0], d.Count...)
	f.why = resize(f.why, n)
	f.cursor = resize(f.cursor, n)
	f.byClient = resize(f.byClient, n)
	f.first = resize(f.first, clients+1)
	for _, c := range d.Client {
		f.first[c+1]++
	}
	for i := range clients {
		f.first[i+1] += f.first[i]
	}
	for i := n - 1; i >= 0; i-- { // from the back, so that groups end up oldest first
		c := d.Client[i]
		f.first[c+1]--
		f.byClient[f.first[c+1]] = uint32(i)
	}
	// Every group's begin now stands one place too high.
	copy(f.first, f.first[1:])
	f.first[clients] = uint32(n)
	for c := range clients {
		group := f.byClient[f.first[c]:f.first[c+1]]
		slices.SortStableFunc(group, func(a, b uint32) int { return int(d.Priority[b]) - int(d.Priority[a]) })
	}
}

// findReserved marks the roles that may use what is reserved for them or above.
func (f *fair) findReserved() {
	roles := &f.batch.Roles
	f.own = resize(f.own, len(roles.Parent))
	f.reserves = slices.ContainsFunc(roles.Reserved[:f.batch.Dims], func(v int64) bool { return v > 0 })
	if !f.reserves {
		return
	}
	// A role's own reservation is its subtree's less its children's.
	rest := slices.Clone(roles.Reserved)
	for role, p := range roles.Parent {
		for r := range f.batch.Dims {
			if p >= 0 {
				rest[int(p)*f.batch.Dims+r] -= roles.Reserved[role*f.batch.Dims+r]
			}
		}
	}
	for role, p := range roles.Parent {
		own := slices.ContainsFunc(rest[role*f.batch.Dims:][:f.batch.Dims], func(v int64) bool { return v > 0 })
		f.own[role] = own || p >= 0 && f.own[p]
	}
}

// need returns one row of the demands' needs.
func (f *fair) need(d uint32) []int64 {
	return f.batch.Demands.Need[int(d)*f.batch.Dims:][:f.batch.Dims]
}
