package fair

import "github.com/drupe-os/drupe/sdk/policy"

// tree holds who shares with whom. Its nodes are the roles, by row; then one
// leaf for each role that has clients of its own, which stands beside the role's
// children as "." with weight 1; then the clients, below their role's leaf.
//
// Each node keeps its children that want something in a heap, so that the next
// in line is found in O(depth) and moved in O(depth × log children).
type tree struct {
	dims    int
	total   []int64
	nodes   []node
	held    []int64 // [dims] per node
	heaps   []int32 // each node's children: active ones first, as a heap
	leaves  []int32 // by role: its leaf, or -1
	clients int32   // node of client row 0
}

// node is a role, a leaf or a client.
type node struct {
	share    share
	allocs   uint64
	parent   int32
	heap     int32 // where its children begin in heaps
	active   int32 // how many of them want something
	pos      int32 // its own place in its parent's heap, -1 when it wants nothing
	order    int32 // among its siblings: "." first, then by path
	priority int32 // of a client's next demand; 0 for all others
}

// wholeWeight is the weight 1, in the thousandths weights come in.
const wholeWeight = 1000

// build lays out the tree of a batch, with nobody active.
func (t *tree) build(b *policy.Batch) {
	roles, clients := len(b.Roles.Parent), len(b.Clients.Role)
	t.dims, t.total = b.Dims, b.Total
	t.leaves = resize(t.leaves, roles)
	for i := range t.leaves {
		t.leaves[i] = -1
	}
	n := int32(roles)
	for _, r := range b.Clients.Role {
		if t.leaves[r] < 0 {
			t.leaves[r] = n
			n++
		}
	}
	t.clients = n
	n += int32(clients)
	t.nodes = resize(t.nodes, int(n))
	t.held = resize(t.held, int(n)*t.dims)
	t.heaps = resize(t.heaps, int(n))

	for i := range roles {
		t.set(int32(i), b.Roles.Parent[i], int32(i), b.Roles.Weight[i], b.Roles.Allocations[i], b.Roles.Held[i*t.dims:][:t.dims])
	}
	t.setLeaves(b)
	for i := range clients {
		t.set(t.clients+int32(i), t.leaves[b.Clients.Role[i]], int32(i), wholeWeight,
			b.Clients.Allocations[i], b.Clients.Held[i*t.dims:][:t.dims])
	}
	// A node's share of heaps is as long as it has children.
	for i := range t.nodes {
		if p := t.nodes[i].parent; p >= 0 {
			t.nodes[p].active++
		}
	}
	at := int32(0)
	for i := range t.nodes {
		t.nodes[i].heap = at
		at += t.nodes[i].active
		t.nodes[i].active = 0
	}
}

// setLeaves gives each leaf what its role has beyond its children.
func (t *tree) setLeaves(b *policy.Batch) {
	for role, leaf := range t.leaves {
		if leaf >= 0 {
			t.set(leaf, int32(role), -1, wholeWeight, b.Roles.Allocations[role], b.Roles.Held[role*t.dims:][:t.dims])
		}
	}
	for role, parent := range b.Roles.Parent {
		if parent < 0 || t.leaves[parent] < 0 {
			continue
		}
		leaf := t.leaves[parent]
		held := t.held[int(leaf)*t.dims:][:t.dims]
		for r := range held {
			held[r] -= b.Roles.Held[role*t.dims+r]
		}
		l := &t.nodes[leaf]
		l.allocs -= min(l.allocs, b.Roles.Allocations[role])
		l.share = dominant(held, t.total, wholeWeight)
	}
}

func (t *tree) set(i, parent, order int32, weight int64, allocs uint64, held []int64) {
	if weight <= 0 {
		weight = wholeWeight
	}
	own := t.held[int(i)*t.dims:][:t.dims]
	copy(own, held)
	t.nodes[i] = node{parent: parent, order: order, pos: -1, allocs: allocs, share: dominant(own, t.total, weight)}
}

// before reports whether sibling a comes before b.
func (t *tree) before(a, b int32) bool {
	x, y := &t.nodes[a], &t.nodes[b]
	if x.priority != y.priority {
		return x.priority > y.priority
	}
	if c := x.share.compare(&y.share); c != 0 {
		return c < 0
	}
	if x.allocs != y.allocs {
		return x.allocs < y.allocs
	}
	return x.order < y.order
}

// next returns the client that is next in line, or -1.
func (t *tree) next() int32 {
	n := int32(0)
	if t.nodes[0].active == 0 {
		return -1
	}
	for n < t.clients {
		n = t.heaps[t.nodes[n].heap]
	}
	return n
}

// charge books amount × k and k allocations to a client and all above it, and
// puts them in their new places.
func (t *tree) charge(client int32, amount []int64, k int64) {
	for n := client; n >= 0; n = t.nodes[n].parent {
		held := t.held[int(n)*t.dims:][:t.dims]
		for r, v := range amount {
			held[r] += v * k
		}
		x := &t.nodes[n]
		x.allocs += uint64(k)
		x.share = dominant(held, t.total, x.share.weight)
		t.settle(n)
	}
}

// enter makes a node, and all above it, active.
func (t *tree) enter(n int32) {
	for t.nodes[n].parent >= 0 && t.nodes[n].pos < 0 {
		p := &t.nodes[t.nodes[n].parent]
		t.heaps[p.heap+p.active] = n
		t.nodes[n].pos = p.active
		p.active++
		t.settle(n)
		n = t.nodes[n].parent
	}
}

// leave makes a node inactive, and those above it that have nobody else.
func (t *tree) leave(n int32) {
	for t.nodes[n].parent >= 0 {
		x := &t.nodes[n]
		p := &t.nodes[x.parent]
		p.active--
		last := t.heaps[p.heap+p.active]
		at := x.pos
		x.pos = -1
		if last != n {
			t.heaps[p.heap+at] = last
			t.nodes[last].pos = at
			t.settle(last)
		}
		if p.active > 0 {
			return
		}
		n = x.parent
	}
}

// settle restores the heap around a node whose key changed.
func (t *tree) settle(n int32) {
	x := &t.nodes[n]
	if x.pos < 0 || x.parent < 0 {
		return
	}
	p := &t.nodes[x.parent]
	heap := t.heaps[p.heap : p.heap+p.active]
	i := x.pos
	for i > 0 && t.before(n, heap[(i-1)/2]) {
		up := (i - 1) / 2
		heap[i] = heap[up]
		t.nodes[heap[i]].pos = i
		i = up
	}
	for {
		kid := 2*i + 1
		if kid >= int32(len(heap)) {
			break
		}
		if kid+1 < int32(len(heap)) && t.before(heap[kid+1], heap[kid]) {
			kid++
		}
		if !t.before(heap[kid], n) {
			break
		}
		heap[i] = heap[kid]
		t.nodes[heap[i]].pos = i
		i = kid
	}
	heap[i] = n
	x.pos = i
}

// run returns how many instances of need the next client may take in a row
// before anybody else would come first: 1 or more, at most n. It is exact or too
// small, never too large, so runs change nothing but the number of calls.
func (t *tree) run(client int32, need []int64, n int64) int64 {
	for x := client; n > 1 && t.nodes[x].parent >= 0; x = t.nodes[x].parent {
		p := &t.nodes[t.nodes[x].parent]
		for i := int32(1); i <= 2 && i < p.active; i++ {
			rival := &t.nodes[t.heaps[p.heap+i]]
			if t.nodes[x].priority == rival.priority {
				n = min(n, t.lead(x, rival, need))
			}
		}
	}
	return n
}

// lead returns how many instances x may take while its share stays strictly
// below the rival's until the last one.
func (t *tree) lead(x int32, rival *node, need []int64) int64 {
	if t.nodes[x].share.compare(&rival.share) >= 0 {
		return 1 // equal: whose turn it is goes by allocations, which each instance changes
	}
	held := t.held[int(x)*t.dims:][:t.dims]
	weight := t.nodes[x].share.weight
	n := int64(1) << 40
	for r, total := range t.total {
		if total <= 0 || r == dimPorts || need[r] <= 0 {
			continue
		}
		// The estimate may be off by rounding; it is checked exactly.
		most := (rival.share.approx*float64(weight)*float64(total) - float64(held[r])) / float64(need[r])
		k := int64(0)
		if most > 1e12 {
			k = 1 << 40
		} else if most > 1 {
			k = int64(most) - 1
		}
		if k > 0 {
			then := share{held: held[r] + min(k, n)*need[r], total: total, weight: weight}
			then.approx = float64(then.held) / float64(total) / float64(weight)
			if then.compare(&rival.share) >= 0 {
				k = 0
			}
		}
		n = min(n, k+1)
	}
	return n
}

// resize returns s with n elements, all zero, in its old room if that is enough.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	s = s[:n]
	clear(s)
	return s
}
