// Package policy is what the author of a scheduling policy writes against.
//
// The kernel owns the truth and the index, the policy owns the choice. It is
// called once for a batch of open demands, reads flat columns, and asks the
// kernel to place instances or to make offers. The kernel reserves each of its
// wishes at once, or refuses it with a reason: a policy can be unfair, it can
// never overbook a node, pass a limit, or leave a demand's constraints.
//
// The same source runs inside the sandbox and, for tests and comparison,
// natively.
package policy

import "github.com/drupe-os/drupe/sdk"

// Policy is implemented by a plugin's author. Calls never overlap. The same
// batch and the same answers of the index must lead to the same choices.
type Policy interface {
	Allocate(b *Batch, ix Index)
}

// Batch is what a policy decides on, as columns: row i of one noun is element i
// of each of its columns; vectors of resources lie row by row, Dims values each.
// Names and texts never come here; rows are numbers. Columns are read-only.
type Batch struct {
	// Dims is the number of resources: 0 cpus, 1 mem, 2 disk, 3 gpus, 4 ports
	// (count), then the operator's own.
	Dims int
	// Total is the capacity of all nodes known, [Dims].
	Total []int64

	Roles   Roles
	Clients Clients
	Demands Demands
	Nodes   Nodes
}

// Roles are the role tree: parents before children, siblings by name. Row 0 is
// the root.
type Roles struct {
	Parent      []int32  // row; the root's is -1
	Weight      []int64  // thousandths
	Held        []int64  // [Dims] by the subtree: tasks and offers, reserved or not
	Reserved    []int64  // [Dims] reserved for the subtree on nodes and held by nobody
	Guarantee   []int64  // [Dims] 0 where there is none
	Limit       []int64  // [Dims] -1 where there is none
	Allocations []uint64 // ever made to the subtree
}

// Clients are those who share a role: one for each document that wants or holds
// anything.
type Clients struct {
	Role        []int32
	Held        []int64 // [Dims] tasks and offers
	Allocations []uint64
}

// Demands are the open demands, oldest first.
type Demands struct {
	Client   []uint32
	Priority []int32
	Count    []uint32 // instances wanted; for elastic demands offers wanted
	Need     []int64  // [Dims] of one instance; of an elastic demand the least worth offering
	Elastic  []uint8  // 1: wants real offers, of whatever size
}

// Nodes are the machines. Columns are [Dims] rows like the others.
type Nodes struct {
	Capacity []int64
	Free     []int64 // unreserved, not held; as of the batch's start
	Usable   []uint8 // 0: unreachable or cordoned
	// Dirty lists the rows that may differ from the batch this same policy was
	// given before. nil: any may.
	Dirty []uint32
}

// Strategy is how the index chooses among the nodes that fit.
type Strategy uint32

// The strategies.
const (
	Pack   Strategy = 0 // fullest node that fits
	Spread Strategy = 1 // emptiest node
	First  Strategy = 2 // lowest node row
)

// Index is the kernel's side of a batch. All answers already count what this
// batch has taken.
type Index interface {
	// Place takes up to n instances of a demand, each where strategy says. It
	// returns how many, and why no more (ReasonNone when n were placed).
	Place(demand, n uint32, s Strategy) (placed uint32, why sdk.Reason)
	// PlaceOn takes up to n instances of a demand on one node.
	PlaceOn(demand, node, n uint32) (placed uint32, why sdk.Reason)
	// Candidates writes the best nodes that fit one more instance of a demand
	// to out, best first, and returns how many. It takes nothing.
	Candidates(demand uint32, s Strategy, out []uint32) int
	// Allocatable writes to out, [Dims], what a demand could get on a node:
	// unreserved, and reserved for its role or one above. It also writes the
	// reserved part alone to reserved, [Dims]. It returns ReasonNone, or why the
	// demand gets nothing there (constraint, declined, unreachable, ...); then
	// out and reserved mean nothing.
	Allocatable(demand, node uint32, out, reserved []int64) (why sdk.Reason)
	// Offer makes an offer of amount, [Dims], on a node to an elastic demand.
	// What is reserved for its role is used before what is not.
	Offer(demand, node uint32, amount []int64) (why sdk.Reason)
	// Explain says why the policy leaves a demand unplaced.
	Explain(demand uint32, why sdk.Reason)
}
