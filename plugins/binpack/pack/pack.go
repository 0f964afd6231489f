// Package pack fills nodes one after the other: demands by priority, then by
// age, each on the fullest node that fits. Whole nodes stay free for what is
// large. It knows no fair shares, but it keeps limits and leaves free what is
// guaranteed to others.
package pack

import (
	"slices"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// New returns the policy. It keeps nothing from one batch to the next but room.
func New() policy.Policy { return &pack{} }

type pack struct {
	claims           policy.Claims
	order            []uint32
	nodes            [64]uint32
	out, res, amount []int64
}

// Allocate implements policy.Policy.
func (p *pack) Allocate(b *policy.Batch, ix policy.Index) {
	p.claims.Reset(b)
	p.order = p.order[:0]
	for d := range b.Demands.Client {
		p.order = append(p.order, uint32(d))
	}
	slices.SortStableFunc(p.order, func(x, y uint32) int {
		return int(b.Demands.Priority[y]) - int(b.Demands.Priority[x])
	})
	if len(p.out) != b.Dims {
		p.out, p.res, p.amount = make([]int64, b.Dims), make([]int64, b.Dims), make([]int64, b.Dims)
	}
	for _, d := range p.order {
		if b.Demands.Elastic[d] != 0 {
			p.offer(b, ix, d)
		} else {
			p.place(b, ix, d)
		}
	}
}

// place places as many instances of a demand as limits and guarantees leave.
func (p *pack) place(b *policy.Batch, ix policy.Index, d uint32) {
	role := b.Clients.Role[b.Demands.Client[d]]
	need := b.Demands.Need[int(d)*b.Dims:][:b.Dims]
	n, why := p.claims.Fits(role, need, int64(b.Demands.Count[d]))
	if n > 0 {
		placed, _ := ix.Place(d, uint32(n), policy.Pack)
		p.claims.Spend(role, need, int64(placed))
		if int64(placed) < n {
			return // the index has said why
		}
	}
	if why != sdk.ReasonNone {
		ix.Explain(d, why)
	}
}

// offer offers the fullest nodes that are worth it, whole where nothing speaks
// against it. When the best ones were all declined it tries every node.
func (p *pack) offer(b *policy.Batch, ix policy.Index, d uint32) {
	left := b.Demands.Count[d]
	for left > 0 {
		found := ix.Candidates(d, policy.Pack, p.nodes[:min(left, uint32(len(p.nodes)))])
		made := uint32(0)
		for _, node := range p.nodes[:found] {
			made += p.offerOn(b, ix, d, node)
		}
		if left -= made; made == 0 {
			break
		}
	}
	for node := 0; left > 0 && node < len(b.Nodes.Usable); node++ {
		if b.Nodes.Usable[node] != 0 {
			left -= p.offerOn(b, ix, d, uint32(node))
		}
	}
}

// offerOn offers what it may of one node and returns how many offers it made.
func (p *pack) offerOn(b *policy.Batch, ix policy.Index, d, node uint32) uint32 {
	role := b.Clients.Role[b.Demands.Client[d]]
	need := b.Demands.Need[int(d)*b.Dims:][:b.Dims]
	if ix.Allocatable(d, node, p.out, p.res) != sdk.ReasonNone || !p.cut(role, need) ||
		ix.Offer(d, node, p.amount) != sdk.ReasonNone {
		return 0
	}
	for r := range p.amount {
		p.amount[r] = max(0, p.amount[r]-p.res[r])
	}
	p.claims.Spend(role, p.amount, 1)
	return 1
}

// cut works out into amount what of out and res may be offered, and reports
// whether that covers need and is anything at all.
func (p *pack) cut(role int32, need []int64) bool {
	some := false
	for r, all := range p.out {
		rest := min(all-p.res[r], p.claims.Bound(role, r))
		if p.claims.Claim(r) > 0 {
			rest = min(rest, p.claims.Due(role, r)+p.claims.Spare(r))
		}
		p.amount[r] = p.res[r] + rest
		if p.amount[r] < need[r] {
			return false
		}
		some = some || p.amount[r] > 0
	}
	return some
}
