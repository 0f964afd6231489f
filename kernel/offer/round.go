package offer

import (
	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// Round is the kernel's side of one batch: it implements policy.Index. What the
// policy takes is taken from the books at once, so that everything it is told
// afterwards counts it, and given back by Close: the decisions themselves are
// applied from the log.
type Round struct {
	Batch policy.Batch
	// Decisions in the order they were made, runs on one node joined.
	Decisions []Decision
	// Offers to be made.
	Offers []Proposal
	// Why the policy or the index left a demand unplaced, by demand row.
	Why []sdk.Reason
	// Refused counts what the policy asked for and may not have.
	Refused int
	// Full: the round ended at its bound. What it did not come to is for the
	// next one.
	Full bool

	book   *Book
	now    sdk.Time
	open   []Open
	left   []uint32
	bound  uint32 // instances it may still place
	tries  []try
	grants []account.Grant
}

// Open is one demand of a batch.
type Open struct {
	Shape    *Shape
	Count    uint32 // instances or offers wanted
	Priority int32
}

// Decision places Count instances of a demand, by row in the batch, on a node.
type Decision struct {
	Demand uint32
	Node   account.NodeRow
	Count  uint32
}

// Proposal offers an amount of a node to an elastic demand.
type Proposal struct {
	Demand uint32
	Node   account.NodeRow
	Amount account.Vector
}

// WantsPorts reports whether a demand of the batch asks for certain host ports.
func (r *Round) WantsPorts(demand uint32) bool { return r.open[demand].Shape.WantsPorts() }

type try struct {
	ref    sdk.Ref
	placed Placed
}

// NewRound begins a batch of open demands, oldest first, in which at most bound
// instances are placed. Close must follow.
//
// The bound is on what is placed, not on what is asked for: a demand that cannot
// be met uses nothing up and holds up nobody.
func (b *Book) NewRound(open []Open, now sdk.Time, bound uint32) *Round {
	r := &Round{book: b, now: now, open: open, bound: bound, Why: make([]sdk.Reason, len(open)), left: make([]uint32, len(open))}
	for i := range open {
		r.left[i] = open[i].Count
		r.Why[i] = sdk.ReasonNotConsidered
	}
	r.fill()
	return r
}

// Close gives back all that the round took.
func (r *Round) Close() {
	r.book.front = true // what was emptiest before is filed first again
	for i := len(r.tries) - 1; i >= 0; i-- {
		r.book.Undo(r.tries[i].ref, &r.tries[i].placed)
	}
	for i := len(r.grants) - 1; i >= 0; i-- {
		r.book.ledger.Undo(&r.grants[i])
	}
	r.book.front = false
	r.tries, r.grants = nil, nil
}

var _ policy.Index = (*Round)(nil)

// Place implements policy.Index.
func (r *Round) Place(demand, n uint32, s policy.Strategy) (placed uint32, why sdk.Reason) {
	if why := r.admit(demand); why != sdk.ReasonNone {
		return 0, why
	}
	n = min(n, r.left[demand])
	for placed < n {
		if r.bound == 0 {
			r.Full = true
			return placed, sdk.ReasonNotConsidered
		}
		row, why := r.find(demand, s)
		if why != sdk.ReasonNone {
			r.Why[demand] = why
			return placed, why
		}
		// A packed node is filled while it lasts; a spread one takes one only.
		run := uint32(1)
		if s != policy.Spread {
			run = min(n-placed, r.bound)
		}
		k, why := r.on(demand, row, run)
		if k == 0 {
			r.Why[demand] = why
			return placed, why
		}
		placed += k
	}
	return placed, sdk.ReasonNone
}

// PlaceOn implements policy.Index.
func (r *Round) PlaceOn(demand, node, n uint32) (placed uint32, why sdk.Reason) {
	if why := r.admit(demand); why != sdk.ReasonNone {
		return 0, why
	}
	if int(node) >= len(r.book.nodes) {
		r.Refused++
		return 0, sdk.ReasonUnknownNode
	}
	n = min(n, r.left[demand])
	if n > r.bound {
		n, r.Full = r.bound, true
	}
	placed, why = r.on(demand, account.NodeRow(node), n)
	if why == sdk.ReasonNone && r.Full {
		why = sdk.ReasonNotConsidered
	} else if why != sdk.ReasonNone {
		r.Refused++
	}
	return placed, why
}

// admit refuses rows that are no open demand for tasks.
func (r *Round) admit(demand uint32) sdk.Reason {
	if int(demand) >= len(r.open) || r.open[demand].Shape.Elastic {
		r.Refused++
		return sdk.ReasonUnknownDemand
	}
	return sdk.ReasonNone
}

// on places up to n instances on one node.
func (r *Round) on(demand uint32, row account.NodeRow, n uint32) (placed uint32, why sdk.Reason) {
	s := r.open[demand].Shape
	for placed < n {
		p, why := r.book.try(row, s)
		if why != sdk.ReasonNone {
			r.note(demand, row, placed)
			return placed, why
		}
		r.tries = append(r.tries, try{s.Key.Ref, p})
		placed++
	}
	r.note(demand, row, placed)
	return placed, sdk.ReasonNone
}

func (r *Round) note(demand uint32, row account.NodeRow, n uint32) {
	if n == 0 {
		return
	}
	r.left[demand] -= n
	r.bound -= n
	if r.left[demand] == 0 {
		r.Why[demand] = sdk.ReasonNone
	}
	if k := len(r.Decisions) - 1; k >= 0 && r.Decisions[k].Demand == demand && r.Decisions[k].Node == row {
		r.Decisions[k].Count += n
		return
	}
	r.Decisions = append(r.Decisions, Decision{demand, row, n})
}

// Candidates implements policy.Index.
func (r *Round) Candidates(demand uint32, s policy.Strategy, out []uint32) int {
	if int(demand) >= len(r.open) || len(out) == 0 {
		return 0
	}
	n, shape := 0, r.open[demand].Shape
	limited := r.book.limited(shape)
	if limited && !r.book.anyReserved(shape) {
		return 0
	}
	r.book.search(shape, s, func(row account.NodeRow) bool {
		if limited && !r.book.spared(row, shape) {
			return true
		}
		out[n] = uint32(row)
		n++
		return n < len(out)
	})
	return n
}

// Allocatable implements policy.Index.
func (r *Round) Allocatable(demand, node uint32, out, reserved []int64) sdk.Reason {
	if int(demand) >= len(r.open) {
		return sdk.ReasonUnknownDemand
	}
	if int(node) >= len(r.book.nodes) {
		return sdk.ReasonUnknownNode
	}
	s, row := r.open[demand].Shape, account.NodeRow(node)
	if why := r.book.offerable(row, s); why != sdk.ReasonNone {
		return why
	}
	all, res := r.book.ledger.Available(row, s.Role)
	for d := range out {
		out[d], reserved[d] = 0, 0
		if d < len(all) {
			out[d], reserved[d] = max(all[d], 0), res[d]
		}
	}
	r.book.wholeDevices(row, out)
	for d := range out {
		reserved[d] = min(reserved[d], out[d])
	}
	if r.book.declined(s, row, out, r.now) {
		return sdk.ReasonDeclined
	}
	return sdk.ReasonNone
}

// Offer implements policy.Index.
func (r *Round) Offer(demand, node uint32, amount []int64) sdk.Reason {
	if int(demand) >= len(r.open) || !r.open[demand].Shape.Elastic {
		r.Refused++
		return sdk.ReasonUnknownDemand
	}
	if r.left[demand] == 0 {
		return sdk.ReasonNotOffered
	}
	v := account.Vector(amount).Clone(len(r.book.ledger.Dims()))
	g, why := r.book.Offer(account.NodeRow(node), r.open[demand].Shape, v, r.now)
	if why != sdk.ReasonNone {
		if why != sdk.ReasonDeclined {
			r.Refused++
		}
		return why
	}
	r.grants = append(r.grants, g)
	r.Offers = append(r.Offers, Proposal{demand, account.NodeRow(node), v})
	r.left[demand]--
	if r.left[demand] == 0 {
		r.Why[demand] = sdk.ReasonNone
	}
	return sdk.ReasonNone
}

// Explain implements policy.Index.
func (r *Round) Explain(demand uint32, why sdk.Reason) {
	if int(demand) < len(r.Why) && r.left[demand] > 0 {
		r.Why[demand] = why
	}
}
