// Plugin badpolicy is a policy that does what policies must not: what, is set
// when it is linked.
package main

import "github.com/drupe-os/drupe/sdk/policy"

// does is "trap", "loop", "eat" or "garbage".
var does string

func init() { policy.Register(func() policy.Policy { return bad{} }) }

func main() {}

type bad struct{}

var kept [][]byte

// Allocate is called with what is to be placed.
func (bad) Allocate(b *policy.Batch, ix policy.Index) {
	switch does {
	case "trap":
		panic("as told")
	case "loop":
		for {
		}
	case "eat":
		for {
			kept = append(kept, make([]byte, 1<<20))
		}
	}
	for d := range b.Demands.Count {
		// Nodes and demands that do not exist, and an offer of all there is and
		// more to somebody who wants none.
		ix.PlaceOn(uint32(d), 1<<30, 1)
		ix.PlaceOn(1<<30, 0, 1)
		ix.Offer(uint32(d), 0, []int64{1 << 60, 1 << 60, 1 << 60, 1 << 60, 1 << 60})
	}
}
