package pack_test

import (
	"testing"

	"github.com/drupe-os/drupe/plugins/binpack/pack"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// shelf is an index with room for so many instances that writes down what it is
// told.
type shelf struct {
	room   uint32
	places []uint32 // demands, one for each instance
	ways   []policy.Strategy
	why    map[uint32]sdk.Reason
}

func (s *shelf) Place(d, n uint32, how policy.Strategy) (uint32, sdk.Reason) {
	placed := min(n, s.room)
	s.room -= placed
	for range placed {
		s.places = append(s.places, d)
	}
	s.ways = append(s.ways, how)
	if placed < n {
		return placed, sdk.ReasonCPUs
	}
	return placed, sdk.ReasonNone
}
func (s *shelf) PlaceOn(d, _, n uint32) (uint32, sdk.Reason)                   { return 0, sdk.ReasonCPUs }
func (s *shelf) Candidates(uint32, policy.Strategy, []uint32) int              { return 0 }
func (s *shelf) Allocatable(uint32, uint32, []int64, []int64) (why sdk.Reason) { return sdk.ReasonCPUs }
func (s *shelf) Offer(uint32, uint32, []int64) sdk.Reason                      { return sdk.ReasonCPUs }
func (s *shelf) Explain(d uint32, why sdk.Reason)                              { s.why[d] = why }

// Two roles share 10 units; role 2 has a guarantee of 4 and nothing running.
// Demands of role 1 go by priority, and leave the 4 alone.
func TestPriorityAndGuarantee(t *testing.T) {
	b := &policy.Batch{Dims: 1, Total: []int64{10},
		Roles: policy.Roles{Parent: []int32{-1, 0, 0}, Weight: []int64{1000, 1000, 1000}, Held: make([]int64, 3),
			Reserved: make([]int64, 3), Guarantee: []int64{0, 0, 4}, Limit: []int64{-1, -1, -1}, Allocations: make([]uint64, 3)},
		Clients: policy.Clients{Role: []int32{1}, Held: []int64{0}, Allocations: []uint64{0}},
		Demands: policy.Demands{Client: []uint32{0, 0}, Priority: []int32{0, 5}, Count: []uint32{5, 4},
			Need: []int64{1, 1}, Elastic: []uint8{0, 0}},
		Nodes: policy.Nodes{Capacity: []int64{10}, Free: []int64{10}, Usable: []uint8{1}},
	}
	s := &shelf{room: 10, why: map[uint32]sdk.Reason{}}
	pack.New().Allocate(b, s)
	want := []uint32{1, 1, 1, 1, 0, 0}
	if len(s.places) != len(want) {
		t.Fatalf("placed %v, want %v", s.places, want)
	}
	for i := range want {
		if s.places[i] != want[i] || s.ways[0] != policy.Pack {
			t.Fatalf("placed %v, want %v", s.places, want)
		}
	}
	if s.why[0] != sdk.ReasonGuarantee {
		t.Fatalf("explained %v", s.why)
	}
}
