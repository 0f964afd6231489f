package fair

import (
	"math"

	"github.com/drupe-os/drupe/sdk/policy"
)

// owed keeps the guarantees and limits of the role tree while a batch goes on.
//
// A role has consumed what its subtree holds and what is reserved for it, held
// or not. What it lacks to its guarantee must stay free for it: its claim. A
// child's guarantee lies inside its parent's, so a role claims what it lacks
// itself or what its children claim together, whichever is more; the difference
// is its slack, the part it may use at its own place. All is counted in
// resources that are free and not reserved.
type owed struct {
	dims     int
	parent   []int32
	guar     []int64
	limit    []int64
	consumed []int64
	below    []int64 // claims of the children together
	slack    []int64
	free     []int64 // [dims] of the cluster: neither held nor reserved
	claimed  bool    // somebody has a guarantee
}

// build takes the roles of a batch.
func (o *owed) build(b *policy.Batch) {
	n := len(b.Roles.Parent)
	o.dims, o.parent, o.guar, o.limit = b.Dims, b.Roles.Parent, b.Roles.Guarantee, b.Roles.Limit
	o.consumed = resize(o.consumed, n*o.dims)
	o.below = resize(o.below, n*o.dims)
	o.slack = resize(o.slack, n*o.dims)
	o.free = resize(o.free, o.dims)
	o.claimed = false
	for i := range o.consumed {
		o.consumed[i] = b.Roles.Held[i] + b.Roles.Reserved[i]
		o.claimed = o.claimed || o.guar[i] > 0
	}
	for r := range o.free {
		o.free[r] = b.Total[r] - o.consumed[r]
	}
	if !o.claimed {
		return
	}
	for role := n - 1; role >= 0; role-- { // children before parents
		for r := range o.dims {
			i := role*o.dims + r
			lack := max(0, o.guar[i]-o.consumed[i])
			o.slack[i] = max(0, lack-o.below[i])
			if p := o.parent[role]; p >= 0 {
				o.below[int(p)*o.dims+r] += max(lack, o.below[i])
			}
		}
	}
}

// spend books amount × k, taken from what is neither held nor reserved, to role
// and all above it.
func (o *owed) spend(role int32, amount []int64, k int64) {
	for r, v := range amount {
		v *= k
		o.free[r] -= v
		fell := int64(0) // by how much the claim of the role below fell
		for n := role; n >= 0; n = o.parent[n] {
			i := int(n)*o.dims + r
			if !o.claimed {
				o.consumed[i] += v
				continue
			}
			before := max(o.guar[i]-o.consumed[i], o.below[i], 0)
			o.consumed[i] += v
			o.below[i] -= fell
			lack := max(0, o.guar[i]-o.consumed[i])
			o.slack[i] = max(0, lack-o.below[i])
			fell = before - max(lack, o.below[i])
		}
	}
}

// claim returns how much of resource r all roles together are still owed.
func (o *owed) claim(r int) int64 { return max(o.guar[r]-o.consumed[r], o.below[r], 0) }

// spare returns how much of resource r is free beyond all claims.
func (o *owed) spare(r int) int64 { return max(0, o.free[r]-o.claim(r)) }

// due returns how much of resource r role is owed at its own place.
func (o *owed) due(role int32, r int) int64 {
	if !o.claimed {
		return 0
	}
	sum := int64(0)
	for ; role >= 0; role = o.parent[role] {
		sum += o.slack[int(role)*o.dims+r]
	}
	return sum
}

// bound returns how much more of resource r the limits above role allow.
func (o *owed) bound(role int32, r int) int64 {
	least := int64(math.MaxInt64)
	for ; role >= 0; role = o.parent[role] {
		i := int(role)*o.dims + r
		if o.limit[i] >= 0 {
			least = min(least, max(0, o.limit[i]-o.consumed[i]))
		}
	}
	return least
}
