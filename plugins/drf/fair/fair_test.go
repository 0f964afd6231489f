package fair

import (
	"math"
	"math/big"
	"math/rand"
	"testing"

	"github.com/drupe-os/drupe/sdk/policy"
)

// Shares compare as exact fractions do, also where floats cannot tell them
// apart.
func TestCompareIsExact(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	exact := func(s share) *big.Rat {
		return big.NewRat(0, 1).SetFrac(big.NewInt(s.held), new(big.Int).Mul(big.NewInt(s.total), big.NewInt(s.weight)))
	}
	make := func(held, total, weight int64) share {
		return share{held, total, weight, float64(held) / float64(total) / float64(weight)}
	}
	close := 0
	for range 20000 {
		total, weight := 1+rng.Int63n(math.MaxInt64-1), 1+rng.Int63n(1<<32)
		a := make(rng.Int63n(total), total, weight)
		b := make(rng.Int63n(total), total, weight)
		if rng.Intn(2) == 0 { // as near as it gets
			b = make(max(0, a.held+rng.Int63n(3)-1), total, weight)
			close++
		}
		if got, want := a.compare(&b), exact(a).Cmp(exact(b)); got != want {
			t.Fatalf("%+v and %+v: %d, want %d", a, b, got, want)
		}
		most := dominant([]int64{a.held, 0, 0, 0, math.MaxInt64, b.held}, []int64{total, 7, 0, 0, 1, total}, weight)
		if want := max(a.held, b.held); most.held != want && want > 0 {
			t.Fatalf("dominant of %d and %d is %d", a.held, b.held, most.held)
		}
	}
	if close < 1000 {
		t.Fatal("nothing was close")
	}
}

// randomBatch is a tree of roles with clients that hold something.
func randomBatch(rng *rand.Rand) *policy.Batch {
	const dims = 3
	b := &policy.Batch{Dims: dims, Total: []int64{1000, 5000, 300}}
	roles := 2 + rng.Intn(8)
	for i := range roles {
		b.Roles.Parent = append(b.Roles.Parent, int32(rng.Intn(max(1, i)))-int32(1-min(i, 1)))
		b.Roles.Weight = append(b.Roles.Weight, int64(500*(1+rng.Intn(4))))
		b.Roles.Allocations = append(b.Roles.Allocations, 0)
	}
	held := make([]int64, roles*dims)
	for range 1 + rng.Intn(10) {
		role := int32(rng.Intn(roles))
		allocations := uint64(rng.Intn(3))
		b.Clients.Role = append(b.Clients.Role, role)
		b.Clients.Allocations = append(b.Clients.Allocations, allocations)
		for r := range dims {
			v := int64(rng.Intn(40))
			b.Clients.Held = append(b.Clients.Held, v)
			for n := role; n >= 0; n = b.Roles.Parent[n] {
				held[int(n)*dims+r] += v
			}
		}
		for n := role; n >= 0; n = b.Roles.Parent[n] {
			b.Roles.Allocations[n] += allocations
		}
	}
	b.Roles.Held = held
	return b
}

// A run is what single picks would have given: nobody else would have been next
// before its last instance.
func TestRunsAreSinglePicks(t *testing.T) {
	rng := rand.New(rand.NewSource(2))
	long := 0
	for range 3000 {
		b := randomBatch(rng)
		var tree tree
		tree.build(b)
		for c := range b.Clients.Role {
			tree.enter(tree.clients + int32(c))
		}
		need := []int64{int64(rng.Intn(5)), int64(rng.Intn(30)), int64(rng.Intn(3))}
		for range 5 {
			client := tree.next()
			n := tree.run(client, need, 1000)
			if n > 1 {
				long++
			}
			for i := range min(n, 1000) {
				if got := tree.next(); got != client {
					t.Fatalf("pick %d of a run of %d is for %d, not %d", i, n, got, client)
				}
				tree.charge(client, need, 1)
			}
		}
	}
	if long < 500 {
		t.Fatalf("only %d runs were longer than 1", long)
	}
}

// The next in line is always the one whom a plain search finds.
func TestNextIsLeast(t *testing.T) {
	rng := rand.New(rand.NewSource(3))
	for range 500 {
		b := randomBatch(rng)
		var tree tree
		tree.build(b)
		in := map[int32]bool{}
		for step := range 60 {
			c := tree.clients + int32(rng.Intn(len(b.Clients.Role)))
			switch {
			case !in[c]:
				tree.enter(c)
				in[c] = true
			case step%3 == 0:
				tree.leave(c)
				delete(in, c)
			default:
				tree.charge(c, []int64{int64(rng.Intn(9)), 1, 2}, 1)
			}
			if got, want := tree.next(), search(&tree, 0, in); got != want {
				t.Fatalf("step %d: next is %d, want %d", step, got, want)
			}
		}
	}
}

// search finds the next in line below n without the heaps; -1 for nobody.
func search(t *tree, n int32, in map[int32]bool) int32 {
	if n >= t.clients {
		if in[n] {
			return n
		}
		return -1
	}
	best, found := int32(-1), int32(-1)
	for i := range t.nodes {
		kid := int32(i)
		if t.nodes[i].parent != n {
			continue
		}
		if f := search(t, kid, in); f >= 0 && (best < 0 || t.before(kid, best)) {
			best, found = kid, f
		}
	}
	return found
}
