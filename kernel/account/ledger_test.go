package account

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/drupe-os/drupe/sdk"
)

// amount is cpus, mem and one resource of the operator's own, which the ledger
// learns of late.
type amount [3]int64

// vector is a as the ledger has it now.
func (a amount) vector(l *Ledger) Vector {
	return l.Vector(sdk.Resources{{Name: sdk.CPUs, Value: a[0]}, {Name: sdk.Mem, Value: a[1]}, {Name: "tapes", Value: a[2]}}, 0)
}

func amountOf(l *Ledger, v Vector) (a amount) {
	for i, name := range [3]string{sdk.CPUs, sdk.Mem, "tapes"} {
		if d := slices.Index(l.Dims(), name); d >= 0 && d < len(v) {
			a[i] = v[d]
		}
	}
	return a
}

// naive is the ledger by definition: lists, and every figure a sum over them.
type naive struct {
	capacity []amount
	reserved []map[sdk.RolePath]amount
	limits   map[sdk.RolePath]amount // -1: none
	grants   []*taken
}

type taken struct {
	grant   Grant
	node    int
	role    sdk.RolePath
	client  ClientKey
	purpose Purpose
	parts   map[sdk.RolePath]amount
	amount  amount
}

// rest is what no reservation gave.
func (t *taken) rest() amount {
	a := t.amount
	for _, p := range t.parts {
		for d := range a {
			a[d] -= p[d]
		}
	}
	return a
}

// idle is what of a reservation nobody has taken.
func (m *naive) idle(node int, role sdk.RolePath) amount {
	a := m.reserved[node][role]
	for _, g := range m.grants {
		if g.node == node {
			for d := range a {
				a[d] -= g.parts[role][d]
			}
		}
	}
	return a
}

func (m *naive) free(node int) amount {
	a := m.capacity[node]
	for d := range a {
		for _, r := range m.reserved[node] {
			a[d] -= r[d]
		}
		for _, g := range m.grants {
			if g.node == node {
				a[d] -= g.rest()[d]
			}
		}
	}
	return a
}

// consumed is what counts against a role's limit: what is reserved for its
// subtree, taken or not, and what the subtree took from elsewhere.
func (m *naive) consumed(role sdk.RolePath) (a amount) {
	for _, rs := range m.reserved {
		for r, x := range rs {
			if r.Within(role) {
				for d := range a {
					a[d] += x[d]
				}
			}
		}
	}
	for _, g := range m.grants {
		if !g.role.Within(role) {
			continue
		}
		for d := range a {
			a[d] += g.amount[d]
		}
		for r, p := range g.parts {
			if r.Within(role) {
				for d := range a {
					a[d] -= p[d]
				}
			}
		}
	}
	return a
}

// take says how amount would be taken, and whether it may.
func (m *naive) take(node int, role sdk.RolePath, want amount) (parts map[sdk.RolePath]amount, ok bool) {
	parts = map[sdk.RolePath]amount{}
	left := want
	for r := role; ; r = r.Parent() {
		idle, part := m.idle(node, r), amount{}
		for d := range left {
			part[d] = min(left[d], idle[d])
			left[d] -= part[d]
		}
		if part != (amount{}) {
			parts[r] = part
		}
		if r == "" {
			break
		}
	}
	free := m.free(node)
	for d := range left {
		if left[d] > 0 && left[d] > free[d] {
			return nil, false
		}
	}
	m.grants = append(m.grants, &taken{role: role, node: node, amount: want, parts: parts})
	defer func() { m.grants = m.grants[:len(m.grants)-1] }()
	for r := role; ; r = r.Parent() {
		if limit, has := m.limits[r]; has {
			after := m.consumed(r)
			for d := range limit {
				if limit[d] >= 0 && want[d] > 0 && after[d] > limit[d] {
					return nil, false
				}
			}
		}
		if r == "" {
			return parts, true
		}
	}
}

// TestLedgerAgreesWithSums drives the ledger by random takings, returns,
// reservations, resizings and limits, and compares every figure with its
// definition after each.
func TestLedgerAgreesWithSums(t *testing.T) {
	roles := []sdk.RolePath{"", "eng", "eng/web", "eng/db", "ops"}
	rapid.Check(t, func(t *rapid.T) {
		l := New()
		m := &naive{limits: map[sdk.RolePath]amount{}}
		pick := func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(t, what) }
		some := func(most int64) (a amount) {
			for d := range a {
				a[d] = rapid.Int64Range(0, most).Draw(t, "amount")
			}
			if pick(3, "tapes") > 0 {
				a[2] = 0
			}
			return a
		}
		for range rapid.IntRange(1, 3).Draw(t, "nodes") {
			n := l.AddNode()
			c := some(12)
			l.SetCapacity(n, c.vector(l))
			m.capacity, m.reserved = append(m.capacity, c), append(m.reserved, map[sdk.RolePath]amount{})
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			node, role := pick(len(m.capacity), "node"), roles[pick(len(roles), "role")]
			switch pick(9, "what") {
			case 8:
				if len(m.grants) > 0 {
					m.regrant(t, l, m.grants[pick(len(m.grants), "grant")], some(5))
				}
			case 0, 1, 2:
				want := some(5)
				key := ClientKey{Role: role, Plugin: "p", Ref: sdk.Ref{Name: fmt.Sprint(pick(2, "client"))}}
				purpose := Purpose(pick(2, "purpose"))
				parts, ok := m.take(node, role, want)
				g, err := l.Take(NodeRow(node), l.Role(role), l.Client(key), want.vector(l), purpose)
				if (err == nil) != ok {
					t.Fatalf("take %v on %d for %q: ledger says %v, definition %v", want, node, role, err, ok)
				}
				if ok {
					m.grants = append(m.grants, &taken{g, node, role, key, purpose, parts, want})
				}
			case 3:
				if len(m.grants) > 0 {
					i := pick(len(m.grants), "grant")
					l.Give(&m.grants[i].grant)
					m.grants = slices.Delete(m.grants, i, i+1)
				}
			case 4:
				if len(m.grants) > 0 {
					i := pick(len(m.grants), "grant")
					before := l.RoleAccount(0).Allocations
					l.Undo(&m.grants[i].grant)
					if after := l.RoleAccount(0).Allocations; after != before-1 {
						t.Fatalf("undone, and still %d allocations", after)
					}
					m.grants = slices.Delete(m.grants, i, i+1)
				}
			case 5:
				c := some(12)
				l.SetCapacity(NodeRow(node), c.vector(l))
				m.capacity[node] = c
			case 6:
				m.setReservations(t, l, node, role, some(4), roles[pick(len(roles), "role")], some(4))
			case 7:
				limit := some(8)
				for d := range limit {
					if pick(2, "no limit") == 0 {
						limit[d] = -1
					}
				}
				m.setLimit(l, role, limit)
			}
			m.compare(t, l, roles)
		}
	})
}

// regrant changes an amount: what grows is a taking of its own, what shrinks goes
// back to what is free before it goes back to reservations, the nearest last.
func (m *naive) regrant(t *rapid.T, l *Ledger, g *taken, want amount) {
	var grow amount
	for d := range want {
		grow[d] = max(0, want[d]-g.amount[d])
	}
	more, ok := m.take(g.node, g.role, grow)
	_, did := l.Split(NodeRow(g.node), l.Role(g.role), grow.vector(l))
	if did {
		_, _, did = l.Regrant(&g.grant, want.vector(l))
	}
	if did != ok {
		t.Fatalf("from %v to %v on %d for %q: ledger says %v, definition %v", g.amount, want, g.node, g.role, did, ok)
	}
	if !ok {
		return
	}
	left := want
	parts := map[sdk.RolePath]amount{}
	for r := g.role; ; r = r.Parent() {
		part := g.parts[r]
		for d := range part {
			part[d] = min(part[d]+more[r][d], left[d])
			left[d] -= part[d]
		}
		if part != (amount{}) {
			parts[r] = part
		}
		if r == "" {
			break
		}
	}
	g.amount, g.parts = want, parts
}

func (m *naive) setReservations(t *rapid.T, l *Ledger, node int, a sdk.RolePath, x amount, b sdk.RolePath, y amount) {
	want := map[sdk.RolePath]amount{a: x}
	want[b] = y
	var list []Reserve
	for _, r := range slices.Sorted(maps.Keys(want)) {
		list = append(list, Reserve{l.Role(r), want[r].vector(l)})
	}
	old, before := m.reserved[node], m.free(node)
	m.reserved[node] = want
	ok := true
	for r := range old {
		if used := m.idle(node, r); min(used[0], used[1], used[2]) < 0 {
			ok = false // more of it is in use than it would have, or it would go while in use
		}
	}
	for d, x := range m.free(node) {
		ok = ok && !(x < 0 && x < before[d])
	}
	if err := l.SetReservations(NodeRow(node), list); (err == nil) != ok {
		t.Fatalf("reserve %v after %v: ledger says %v, definition %v", want, old, err, ok)
	}
	if !ok {
		m.reserved[node] = old
	}
}

func (m *naive) setLimit(l *Ledger, role sdk.RolePath, limit amount) {
	var q sdk.Resources
	for d, name := range [3]string{sdk.CPUs, sdk.Mem, "tapes"} {
		if limit[d] >= 0 {
			q = append(q, sdk.Quantity{Name: name, Value: limit[d]})
		}
	}
	if l.SetRole(sdk.Role{Path: role, Weight: 1000, Limit: q}) == nil {
		m.limits[role] = limit
	}
}

// compare holds every figure of the ledger against its definition.
func (m *naive) compare(t *rapid.T, l *Ledger, roles []sdk.RolePath) {
	equal := func(what string, got Vector, want amount) {
		if amountOf(l, got) != want {
			t.Fatalf("%s: ledger %v, definition %v", what, amountOf(l, got), want)
		}
	}
	for n := range m.capacity {
		var held, offered amount
		for _, g := range m.grants {
			for d := range held {
				if g.node == n && g.purpose == ForTask {
					held[d] += g.amount[d]
				}
				if g.node == n && g.purpose == ForOffer {
					offered[d] += g.amount[d]
				}
			}
		}
		equal("free", l.Free(NodeRow(n)), m.free(n))
		equal("held", l.Held(NodeRow(n)), held)
		equal("offered", l.Offered(NodeRow(n)), offered)
	}
	for _, path := range roles {
		var held, idle amount
		for _, g := range m.grants {
			for d := range held {
				if g.role.Within(path) {
					held[d] += g.amount[d]
				}
			}
		}
		for n := range m.capacity {
			for r := range m.reserved[n] {
				for d, x := range m.idle(n, r) {
					if r.Within(path) {
						idle[d] += x
					}
				}
			}
		}
		a := l.RoleAccount(l.Role(path))
		equal("role "+string(path)+" held", a.Held, held)
		equal("role "+string(path)+" consumed", a.Consumed, m.consumed(path))
		equal("role "+string(path)+" idle", a.Idle, idle)
	}
	if err := l.Check(func(yield func(*Grant) bool) {
		for _, g := range m.grants {
			if !yield(&g.grant) {
				return
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestCheckFindsWhatIsWrong spoils one figure after the other.
func TestCheckFindsWhatIsWrong(t *testing.T) {
	for name, spoil := range map[string]func(*Ledger){
		"free":     func(l *Ledger) { l.free[0]++ },
		"held":     func(l *Ledger) { l.held[1]--; l.free[1]++ },
		"offered":  func(l *Ledger) { l.offered[0]++; l.free[0]-- },
		"role":     func(l *Ledger) { l.roles[1].held[0]++ },
		"consumed": func(l *Ledger) { l.roles[0].consumed[0]++ },
		"idle":     func(l *Ledger) { l.roles[0].idle[0]++ },
		"client": func(l *Ledger) {
			for _, c := range l.clients {
				c.Held[0]++
			}
		},
		"pool": func(l *Ledger) { l.pools[0][0].taken[0]++ },
	} {
		t.Run(name, func(t *testing.T) {
			l := New()
			n := l.AddNode()
			l.SetCapacity(n, Vector{10, 10})
			if err := l.SetReservations(n, []Reserve{{l.Role("eng"), Vector{4, 4}}}); err != nil {
				t.Fatal(err)
			}
			g, err := l.Take(n, l.Role("eng"), l.Client(ClientKey{Role: "eng"}), Vector{5, 1}, ForTask)
			if err != nil {
				t.Fatal(err)
			}
			grants := func(yield func(*Grant) bool) { yield(&g) }
			if err := l.Check(grants); err != nil {
				t.Fatal(err)
			}
			spoil(l)
			if l.Check(grants) == nil {
				t.Error("not noticed")
			}
		})
	}
}
