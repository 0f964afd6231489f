package offer

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// cluster is a book and what was put into it.
type cluster struct {
	*Book
	placed []placed
}

type placed struct {
	shape *Shape
	Placed
}

func newCluster() *cluster { return &cluster{Book: New(account.New())} }

// add enters a node with everything a test may set.
func (c *cluster) add(n sdk.Node, reserved ...account.Reserve) account.NodeRow {
	row := c.AddNode(&n)
	c.Ledger().SetCapacity(row, c.Ledger().Vector(n.Machine.Capacity, c.PoolSize(row)))
	if err := c.Ledger().SetReservations(row, reserved); err != nil {
		panic(err)
	}
	return row
}

// shape compiles a demand and has its document counted.
func (c *cluster) shape(d sdk.Demand) *Shape {
	s, err := c.NewShape("p", &d)
	if err != nil {
		panic(err)
	}
	c.Track(s, func(yield func(account.NodeRow) bool) {
		for _, p := range c.placed {
			if p.shape.Key.Ref == s.Key.Ref && !yield(p.Grant.Node) {
				return
			}
		}
	})
	return s
}

// place places one instance.
func (c *cluster) place(row account.NodeRow, s *Shape) sdk.Reason {
	p, why := c.Place(row, s)
	if why == sdk.ReasonNone {
		c.placed = append(c.placed, placed{s, p})
	}
	return why
}

// fits says by definition whether a node takes one more instance.
func (c *cluster) fits(row account.NodeRow, s *Shape, d *sdk.Demand) bool {
	n := c.Node(row)
	if n.Liveness != sdk.NodeUp || n.Cordoned {
		return false
	}
	all, _ := c.Ledger().Available(row, s.Role)
	for i, need := range s.Need {
		if need > 0 && need > all[i] {
			return false
		}
	}
	if parts, ok := c.Ledger().Split(row, s.Role, s.Need); !ok {
		return false
	} else if _, _, ok := c.Ledger().Limited(s.Role, s.Need, parts); !ok {
		return false
	}
	for _, p := range s.Ports {
		if p.Host == 0 {
			continue
		}
		in := slices.ContainsFunc(n.Machine.Ports, func(r sdk.Range) bool { return p.Host >= r.First && p.Host <= r.Last })
		taken := slices.ContainsFunc(c.placed, func(q placed) bool {
			return q.Grant.Node == row && slices.ContainsFunc(q.Ports, func(b sdk.PortBinding) bool { return b.Port == p.Host })
		})
		if !in || taken {
			return false
		}
	}
	for _, k := range d.Constraints {
		if !c.meets(n, s, k) {
			return false
		}
	}
	return true
}

// meets is one constraint by definition: the rules are Marathon's.
func (c *cluster) meets(n *sdk.Node, s *Shape, k sdk.Constraint) bool {
	v, has := n.Attribute(k.Attribute)
	counts, total := map[string]int{}, 0
	for _, p := range c.placed {
		if p.shape.Key.Ref == s.Key.Ref {
			total++
			if x, ok := c.Node(p.Grant.Node).Attribute(k.Attribute); ok {
				counts[x]++
			}
		}
	}
	number, _ := strconv.Atoi(k.Value)
	if k.Operator == sdk.OpUnlike {
		return !has || !regexp.MustCompile("^(?:"+k.Value+")$").MatchString(v)
	}
	if !has {
		return false
	}
	switch k.Operator {
	case sdk.OpIs:
		return v == k.Value
	case sdk.OpLike:
		return regexp.MustCompile("^(?:" + k.Value + ")$").MatchString(v)
	case sdk.OpUnique:
		return counts[v] == 0
	case sdk.OpCluster:
		return k.Value != "" && v == k.Value || k.Value == "" && (len(counts) == 0 || counts[v] > 0)
	case sdk.OpMaxPer:
		return counts[v] < number
	case sdk.OpGroupBy:
		if number == 0 {
			known := map[string]bool{}
			for _, e := range c.nodes {
				if x, ok := e.node.Attribute(k.Attribute); ok && e.node.Liveness != sdk.NodeGone {
					known[x] = true
				}
			}
			number = len(known)
		}
		base, rest := s.Instances/number, s.Instances%number
		if counts[v] == 0 {
			return len(counts) < number
		}
		over := 0
		for _, n := range counts {
			if n > base {
				over++
			}
		}
		return counts[v] < base || counts[v] == base && over < rest
	}
	return false
}

var constraints = [][]sdk.Constraint{nil, nil, nil,
	{{Attribute: "rack", Operator: sdk.OpIs, Value: "r1"}},
	{{Attribute: "rack", Operator: sdk.OpLike, Value: "r[01]"}},
	{{Attribute: "rack", Operator: sdk.OpUnlike, Value: "r1"}, {Attribute: "node", Operator: sdk.OpUnique}},
	{{Attribute: "rack", Operator: sdk.OpCluster}},
	{{Attribute: "rack", Operator: sdk.OpCluster, Value: "r2"}},
	{{Attribute: "rack", Operator: sdk.OpGroupBy}},
	{{Attribute: "rack", Operator: sdk.OpGroupBy, Value: "2"}},
	{{Attribute: "node", Operator: sdk.OpMaxPer, Value: "2"}},
}

// random fills a cluster.
func random(t *rapid.T) *cluster {
	c := newCluster()
	pick := func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(t, what) }
	if pick(2, "limit") == 0 {
		for _, path := range []sdk.RolePath{"eng", "eng/web"} {
			r := sdk.Role{Path: path, Limit: sdk.R(int64(pick(8, "limit cpus"))*500, int64(4+pick(8, "limit mem"))<<30)}
			_ = c.Ledger().SetRole(r) // one that does not lie within its parent's is left
		}
	}
	for i := range rapid.IntRange(0, 70).Draw(t, "nodes") {
		n := sdk.Node{ID: sdk.NodeID(fmt.Sprint(i)), Name: fmt.Sprint("n", i), Cordoned: pick(9, "cordoned") == 0}
		if pick(9, "liveness") == 0 {
			n.Liveness = sdk.Liveness(1 + pick(2, "lost"))
		}
		n.Machine.Capacity = sdk.R(int64(pick(9, "cpus"))*500, int64(pick(9, "mem"))<<29)
		n.Machine.Ports = []sdk.Range{{First: 1000, Last: uint16(1000 + pick(4, "ports"))}}
		if r := pick(4, "rack"); r < 3 {
			n.Attributes = []sdk.Attribute{{Name: "rack", Value: fmt.Sprint("r", r)}}
		}
		var reserved []account.Reserve
		if pick(4, "reserved") == 0 {
			part := c.Ledger().Vector(sdk.R(n.Machine.Capacity.Get(sdk.CPUs)/2, n.Machine.Capacity.Get(sdk.Mem)/2), 0)
			reserved = append(reserved, account.Reserve{Role: c.Ledger().Role([]sdk.RolePath{"eng", "ops"}[pick(2, "for")]), Amount: part})
		}
		c.add(n, reserved...)
	}
	return c
}

func wish(t *rapid.T) sdk.Demand {
	pick := func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(t, what) }
	d := sdk.Demand{Name: "d", Ref: sdk.Ref{Kind: "k", Name: fmt.Sprint(pick(2, "doc"))}, Role: []sdk.RolePath{"eng", "eng/web", "ops"}[pick(3, "role")],
		Resources: sdk.R(int64(pick(7, "c"))*300, int64(pick(7, "m"))<<28), Constraints: constraints[pick(len(constraints), "constraint")],
		Template: &sdk.Template{}}
	if p := pick(4, "port"); p > 0 {
		d.Template.Ports = []sdk.PortRequest{{Name: "a", Host: uint16(998 + p*p/2)}}
	}
	return d
}

// TestEveryNodeThatFitsIsFound compares the index with looking at every node,
// while instances come and go, and proves that rounds leave no trace.
func TestEveryNodeThatFitsIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := random(t)
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			d := wish(t)
			s := c.shape(d)
			s.Instances = 4
			var want []uint32
			for row := range c.nodes {
				if c.fits(account.NodeRow(row), s, &d) {
					want = append(want, uint32(row))
				}
			}
			how := policy.Strategy(rapid.IntRange(0, 2).Draw(t, "strategy"))
			before := c.trace()
			r := c.NewRound([]Open{{Shape: s, Count: 3}}, 0, 1000)
			out := make([]uint32, len(c.nodes)+1)
			out = out[:r.Candidates(0, how, out)]
			slices.Sort(out)
			if !slices.Equal(out, want) {
				t.Fatalf("strategy %d: candidates %v, nodes that fit %v", how, out, want)
			}
			n, why := r.Place(0, 1, how)
			switch {
			case n == 1 && !slices.Contains(want, uint32(r.Decisions[0].Node)):
				t.Fatalf("placed on %d, which does not fit", r.Decisions[0].Node)
			case n == 0 && (len(want) > 0 || why == sdk.ReasonNone):
				t.Fatalf("not placed (%v), although %v fit", why, want)
			}
			r.Place(0, 2, how)
			decided := r.Decisions
			r.Close()
			if after := c.trace(); !reflect.DeepEqual(before, after) {
				t.Fatalf("the round left a trace:\n%v\n%v", before, after)
			}
			for _, x := range decided {
				for range x.Count {
					c.place(x.Node, s)
				}
			}
			if len(c.placed) > 0 && rapid.IntRange(0, 2).Draw(t, "end one") == 0 {
				i := rapid.IntRange(0, len(c.placed)-1).Draw(t, "which")
				c.Release(c.placed[i].shape.Key.Ref, &c.placed[i].Placed)
				c.placed = slices.Delete(c.placed, i, i+1)
			}
			c.prove(t)
		}
	})
}

// trace is all that a round might have left behind.
func (c *cluster) trace() []string {
	var out []string
	capacity, free := c.Ledger().Columns()
	out = append(out, fmt.Sprint(capacity, free))
	for row, e := range c.nodes {
		n := account.NodeRow(row)
		out = append(out, fmt.Sprint(c.Ledger().Held(n), c.Ledger().Offered(n), e.ports.taken, e.ports.next, e.usable))
		c.Ledger().EachPool(n, func(idle account.Vector) { out = append(out, fmt.Sprint(idle)) })
	}
	for _, row := range c.Ledger().RolesInOrder() {
		out = append(out, fmt.Sprint(c.Ledger().RoleAccount(row)))
	}
	for _, ref := range []string{"0", "1"} {
		k := sdk.Ref{Kind: "k", Name: ref}
		for _, s := range c.spreads[k] {
			out = append(out, fmt.Sprint(ref, s.attribute, s.counts, s.total))
		}
		for _, role := range []sdk.RolePath{"eng", "eng/web", "ops"} {
			out = append(out, fmt.Sprint(*c.Ledger().Client(account.ClientKey{Role: role, Plugin: "p", Ref: k})))
		}
	}
	return out
}

// prove proves the books, and that no port has two owners.
func (c *cluster) prove(t *rapid.T) {
	if err := c.Ledger().Check(func(yield func(*account.Grant) bool) {
		for i := range c.placed {
			if !yield(&c.placed[i].Grant) {
				return
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	owner := map[[2]int]bool{}
	for _, p := range c.placed {
		for _, b := range p.Ports {
			at := [2]int{int(p.Grant.Node), int(b.Port)}
			if owner[at] || b.Port == 0 {
				t.Fatalf("port %d of node %d has two owners", b.Port, p.Grant.Node)
			}
			owner[at] = true
		}
	}
}

// Ports are given out in turn, so that each rests as long as the pool allows;
// one that is taken is never given out.
func TestPortsTakeTurns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ranges []sdk.Range
		for range rapid.IntRange(0, 3).Draw(t, "ranges") {
			first := rapid.IntRange(0, 30).Draw(t, "first")
			ranges = append(ranges, sdk.Range{First: uint16(first), Last: uint16(first + rapid.IntRange(0, 6).Draw(t, "size"))})
		}
		in := map[uint16]bool{}
		for _, r := range ranges {
			for p := int(r.First); p <= int(r.Last); p++ {
				in[uint16(p)] = p != 0
			}
		}
		delete(in, 0)
		set := portSet{pool: poolOf(ranges)}
		if set.size() != len(in) {
			t.Fatalf("%v has %d ports, not %d", ranges, len(in), set.size())
		}
		taken := map[uint16]bool{}
		given := map[uint16]int{} // when a port was given out last
		for i := 1; i < 60; i++ {
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				for p := range taken {
					set.give(p)
					delete(taken, p)
					break
				}
			default:
				p := set.any()
				if p == 0 {
					if len(taken) < len(in) {
						t.Fatalf("none of %v given out, %v are taken", in, taken)
					}
					continue
				}
				if !in[p] || taken[p] {
					t.Fatalf("port %d: in the pool %v, taken %v", p, in[p], taken[p])
				}
				for q := range in {
					if !taken[q] && given[q] == 0 && given[p] > 0 && len(taken) == 0 {
						t.Fatalf("port %d again before port %d for the first time", p, q)
					}
				}
				taken[p], given[p] = true, i
			}
		}
	})
}

// TestOperators holds the constraints against Marathon's rules, one case a line:
// operator, value, instances, groups, what is placed by value, and the values
// that admit one more.
func TestOperators(t *testing.T) {
	for _, line := range strings.Split(strings.TrimSpace(`
unique   - 9 4 -             a b c d
unique   - 9 4 a:1           b c d
cluster  - 9 4 -             a b c d
cluster  - 9 4 a:1           a
max_per  2 9 4 a:1,b:2       a c d
group_by 2 4 4 -             a b c d
group_by 2 4 4 a:1           a b c d
group_by 2 4 4 a:2           b c d
group_by 2 4 4 a:1,b:1       a b
group_by 2 4 4 a:2,b:1       b
group_by 2 5 4 a:2,b:2       a b
group_by 2 5 4 a:3,b:1       b
group_by 2 5 4 a:3,b:2       -
group_by 3 4 4 a:2,b:1       c d
group_by 3 5 4 a:2,b:1,c:1   b c
group_by 3 5 4 a:2,b:2,c:1   -
group_by - 4 2 a:2           b c d
group_by - 4 2 a:1,b:1       a b
group_by 5 3 5 a:1,b:1       c d`), "\n") {
		f := strings.Fields(line)
		value := strings.TrimPrefix(f[1], "-")
		m, err := compile(sdk.Constraint{Attribute: "x", Operator: sdk.Operator(f[0]), Value: value})
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		instances, _ := strconv.Atoi(f[2])
		groups, _ := strconv.Atoi(f[3])
		s := &spread{counts: map[string]int{}}
		for _, p := range strings.Split(strings.TrimPrefix(f[4], "-"), ",") {
			if v, n, ok := strings.Cut(p, ":"); ok {
				k, _ := strconv.Atoi(n)
				s.add(v, k)
			}
		}
		var got, want []string
		for _, v := range []string{"a", "b", "c", "d"} {
			if s.admits(&m, v, instances, groups) {
				got = append(got, v)
			}
		}
		if f[5] != "-" {
			want = f[5:]
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: admits %v", line, got)
		}
	}
	for _, bad := range []sdk.Constraint{{Operator: sdk.OpIs, Value: "x"}, {Attribute: "a", Operator: sdk.OpIs}, {Attribute: "a", Operator: "near"},
		{Attribute: "a", Operator: sdk.OpLike, Value: "("}, {Attribute: "a", Operator: sdk.OpLike, Value: strings.Repeat("x", 2000)},
		{Attribute: "a", Operator: sdk.OpMaxPer, Value: "0"}, {Attribute: "a", Operator: sdk.OpMaxPer}, {Attribute: "a", Operator: sdk.OpGroupBy, Value: "-1"}} {
		if err := CheckConstraint(bad); sdk.KindOf(err) != sdk.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
