package policy

import (
	"math"

	"github.com/drupe-os/drupe/sdk"
)

// Claims keeps the guarantees and limits of the role tree while a batch goes on,
// so that a policy can leave to each role what it is owed. The kernel enforces
// limits in any case; guarantees are the policy's to keep.
//
// A role has consumed what its subtree holds and what is reserved for it, held
// or not. What it lacks to its guarantee must stay free for it: its claim. A
// child's guarantee lies inside its parent's, so a role claims what it lacks
// itself or what its children claim together, whichever is more; the difference
// is its slack, the part it may use at its own place. All is counted in
// resources that are free and not reserved.
//
// The zero value is ready for Reset.
type Claims struct {
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

// Reset takes the roles of a batch.
func (c *Claims) Reset(b *Batch) {
	n := len(b.Roles.Parent)
	c.dims, c.parent, c.guar, c.limit = b.Dims, b.Roles.Parent, b.Roles.Guarantee, b.Roles.Limit
	c.consumed = zeroed(c.consumed, n*c.dims)
	c.below = zeroed(c.below, n*c.dims)
	c.slack = zeroed(c.slack, n*c.dims)
	c.free = zeroed(c.free, c.dims)
	c.claimed = false
	for i := range c.consumed {
		c.consumed[i] = b.Roles.Held[i] + b.Roles.Reserved[i]
		c.claimed = c.claimed || c.guar[i] > 0
	}
	for r := range c.free {
		c.free[r] = b.Total[r] - c.consumed[r]
	}
	if !c.claimed {
		return
	}
	for role := n - 1; role >= 0; role-- { // children before parents
		for r := range c.dims {
			i := role*c.dims + r
			lack := max(0, c.guar[i]-c.consumed[i])
			c.slack[i] = max(0, lack-c.below[i])
			if p := c.parent[role]; p >= 0 {
				c.below[int(p)*c.dims+r] += max(lack, c.below[i])
			}
		}
	}
}

// Spend books amount × k, taken from what is neither held nor reserved, to role
// and all above it.
func (c *Claims) Spend(role int32, amount []int64, k int64) {
	for r, v := range amount {
		v *= k
		c.free[r] -= v
		fell := int64(0) // by how much the claim of the role below fell
		for n := role; n >= 0; n = c.parent[n] {
			i := int(n)*c.dims + r
			if !c.claimed {
				c.consumed[i] += v
				continue
			}
			before := max(c.guar[i]-c.consumed[i], c.below[i], 0)
			c.consumed[i] += v
			c.below[i] -= fell
			lack := max(0, c.guar[i]-c.consumed[i])
			c.slack[i] = max(0, lack-c.below[i])
			fell = before - max(lack, c.below[i])
		}
	}
}

// Any reports whether any role has a guarantee. Without one Due and Claim are 0.
func (c *Claims) Any() bool { return c.claimed }

// Claim returns how much of resource r all roles together are still owed.
func (c *Claims) Claim(r int) int64 { return max(c.guar[r]-c.consumed[r], c.below[r], 0) }

// Spare returns how much of resource r is free beyond all claims.
func (c *Claims) Spare(r int) int64 { return max(0, c.free[r]-c.Claim(r)) }

// Due returns how much of resource r role is owed at its own place.
func (c *Claims) Due(role int32, r int) int64 {
	if !c.claimed {
		return 0
	}
	sum := int64(0)
	for ; role >= 0; role = c.parent[role] {
		sum += c.slack[int(role)*c.dims+r]
	}
	return sum
}

// Bound returns how much more of resource r the limits above role allow.
func (c *Claims) Bound(role int32, r int) int64 {
	least := int64(math.MaxInt64)
	for ; role >= 0; role = c.parent[role] {
		i := int(role)*c.dims + r
		if c.limit[i] >= 0 {
			least = min(least, max(0, c.limit[i]-c.consumed[i]))
		}
	}
	return least
}

// Fits returns how many instances of need, at most n, limits and the claims of
// others leave to role, and what speaks against more: ReasonQuotaLimit or
// ReasonGuarantee, ReasonNone when all n fit.
func (c *Claims) Fits(role int32, need []int64, n int64) (int64, sdk.Reason) {
	why := sdk.ReasonNone
	for r, v := range need {
		if v <= 0 {
			continue
		}
		if k := c.Bound(role, r) / v; k < n {
			n, why = k, sdk.ReasonQuotaLimit
		}
		if !c.claimed || c.Claim(r) == 0 {
			continue
		}
		if k := (c.Due(role, r) + c.Spare(r)) / v; k < n {
			n, why = k, sdk.ReasonGuarantee
		}
	}
	return n, why
}

// zeroed returns s with n elements, all zero, in its old room if that is enough.
func zeroed[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	s = s[:n]
	clear(s)
	return s
}
