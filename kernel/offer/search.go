package offer

import (
	"math/bits"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// look is how many nodes of one cell of the index are compared for the best:
// enough to be exact in a small cluster, bounded in a large one.
const look = 16

// find returns the node for one more instance of a demand, or why there is
// none.
func (r *Round) find(demand uint32, s policy.Strategy) (account.NodeRow, sdk.Reason) {
	shape := r.open[demand].Shape
	if len(r.book.nodes) == 0 {
		return 0, sdk.ReasonNoNodes
	}
	limited := r.book.limited(shape)
	if limited && !r.book.anyReserved(shape) {
		return 0, sdk.ReasonQuotaLimit
	}
	found, ok := account.NodeRow(0), false
	r.book.front = s != policy.Spread
	r.book.search(shape, s, func(row account.NodeRow) bool {
		if limited && !r.book.spared(row, shape) {
			return true
		}
		found, ok = row, true
		return false
	})
	switch {
	case ok:
		return found, sdk.ReasonNone
	case limited:
		return 0, sdk.ReasonQuotaLimit
	}
	return 0, r.book.mostly(shape)
}

// limited reports whether a role is at its limit for one more instance that
// takes nothing from a reservation.
func (b *Book) limited(s *Shape) bool {
	_, _, ok := b.ledger.Limited(s.Role, s.Need, nil)
	return !ok
}

// spared reports whether an instance on a node would take so much from
// reservations, which count against the limits already, that no limit is in the
// way.
func (b *Book) spared(row account.NodeRow, s *Shape) bool {
	parts, ok := b.ledger.Split(row, s.Role, s.Need)
	if ok && parts != nil {
		_, _, ok = b.ledger.Limited(s.Role, s.Need, parts)
		return ok
	}
	return false
}

// anyReserved reports whether a reservation may serve the shape's role, so that
// a limit need not be in the way.
func (b *Book) anyReserved(s *Shape) bool {
	l := b.ledger
	for role := s.Role; ; role = l.RoleAccount(role).Parent {
		if !l.RoleAccount(role).Idle.Zero() {
			return true
		}
		if role == 0 {
			return false
		}
	}
}

// search yields nodes that can take one more instance, best first.
func (b *Book) search(s *Shape, how policy.Strategy, yield func(account.NodeRow) bool) {
	if how == policy.First || s.class.count*32 < len(b.nodes) {
		b.walkClass(s, how, yield)
		return
	}
	b.index.cells(s.Need, how == policy.Spread, func(first int32) bool {
		return b.searchCell(s, how, first, yield)
	})
}

// searchCell yields the nodes of one cell that fit. Of the first few that fit it
// yields the best first.
func (b *Book) searchCell(s *Shape, how policy.Strategy, first int32, yield func(account.NodeRow) bool) bool {
	best, bestScore, seen := int32(-1), int64(0), 0
	for at := first; at >= 0; at = b.index.nodes[at].next {
		row := account.NodeRow(at)
		if b.check(row, s, nil) != sdk.ReasonNone {
			continue
		}
		score := b.room(row)
		if how == policy.Spread {
			score = -score
		}
		if best < 0 || score < bestScore {
			best, bestScore = at, score
		}
		if seen++; seen == look {
			break
		}
	}
	if best < 0 {
		return true
	}
	if !yield(account.NodeRow(best)) {
		return false
	}
	for at := first; at >= 0; at = b.index.nodes[at].next {
		if at != best && b.check(account.NodeRow(at), s, nil) == sdk.ReasonNone && !yield(account.NodeRow(at)) {
			return false
		}
	}
	return true
}

// walkClass looks at the nodes of a class in the order of their rows: for the
// strategy First, and for classes so small that cells would be mostly misses.
func (b *Book) walkClass(s *Shape, how policy.Strategy, yield func(account.NodeRow) bool) {
	if how == policy.First {
		for row := range s.class.each {
			if b.check(row, s, nil) == sdk.ReasonNone && !yield(row) {
				return
			}
		}
		return
	}
	tried := map[account.NodeRow]bool{}
	for {
		best, bestScore, ok := account.NodeRow(0), int64(0), false
		for row := range s.class.each {
			if tried[row] || b.check(row, s, nil) != sdk.ReasonNone {
				continue
			}
			score := b.room(row)
			if how == policy.Spread {
				score = -score
			}
			if !ok || score < bestScore {
				best, bestScore, ok = row, score, true
			}
		}
		if !ok || !yield(best) {
			return
		}
		tried[best] = true
	}
}

// room is how empty a node is: the smaller of its free shares of cpus and mem,
// in millionths.
func (b *Book) room(row account.NodeRow) int64 {
	free, capacity := b.ledger.Free(row), b.ledger.Capacity(row)
	least := int64(1_000_000)
	for _, d := range [2]int{account.DimCPUs, account.DimMem} {
		if capacity[d] > 0 {
			hi, lo := bits.Mul64(uint64(max(free[d], 0)), 1_000_000)
			share, _ := bits.Div64(hi, lo, uint64(capacity[d])+1)
			least = min(least, int64(share))
		}
	}
	return least
}

// mostly names the reason that stands against the most nodes, when none takes
// the shape; bounded to a sample in large clusters.
func (b *Book) mostly(s *Shape) sdk.Reason {
	counts := map[sdk.Reason]int{}
	step := max(1, len(b.nodes)/256)
	for row := 0; row < len(b.nodes); row += step {
		if b.nodes[row].node.Liveness != sdk.NodeGone {
			counts[b.check(account.NodeRow(row), s, nil)]++
		}
	}
	most, n := sdk.ReasonNoNodes, 0
	for why, k := range counts {
		if k > n || k == n && why < most {
			most, n = why, k
		}
	}
	return most
}
