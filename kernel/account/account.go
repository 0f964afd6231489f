// Package account is the ledger: who holds how much of which machine.
//
// Every transfer is booked twice, on the node it comes from and on the role it
// goes to, and the books must agree at every moment: on each node what is free,
// held, offered and idly reserved adds up to its capacity, and each role's books
// equal the sum of what its subtree holds. Check proves it; a ledger that does
// not balance must not be carried on with.
//
// The package is pure: no clock, no randomness, no I/O, integers only.
package account

import (
	"slices"

	"github.com/drupe-os/drupe/sdk"
)

// Positions of the resources every cluster has, in every Vector. Resources of
// the operator's own follow in the order they first appear.
const (
	DimCPUs = iota
	DimMem
	DimDisk
	DimGPUs
	DimPorts // number of host ports
	fixedDims
)

// Vector is an amount of each resource, in the order of the ledger's Dims. A
// shorter vector has none of what it lacks.
type Vector []int64

// Clone returns a copy of v of length n at least.
func (v Vector) Clone(n int) Vector {
	out := make(Vector, max(n, len(v)))
	copy(out, v)
	return out
}

// Zero reports whether every amount is 0.
func (v Vector) Zero() bool {
	for _, x := range v {
		if x != 0 {
			return false
		}
	}
	return true
}

// Ledger holds all accounts of one cluster. The zero value is not usable; see
// New.
type Ledger struct {
	dims []string

	// Nodes, as columns: row n of resource d is [n*len(dims)+d].
	capacity []int64
	free     []int64 // neither reserved nor taken; negative when a node has shrunk
	held     []int64 // by tasks
	offered  []int64
	pools    [][]pool // reservations, by node; most nodes have none
	total    []int64  // capacity of all nodes

	roles   []role
	byPath  map[sdk.RolePath]RoleRow
	clients map[ClientKey]*Client

	touched []func(node NodeRow) // told of every change to a node's free amounts
}

// NodeRow numbers a node in the ledger, densely from 0, never reused.
type NodeRow uint32

// RoleRow numbers a role in the ledger. Row 0 is the root.
type RoleRow uint32

// pool is what one node has set aside for one role.
type pool struct {
	role        RoleRow
	size, taken Vector
}

// New returns an empty ledger with the root role.
func New() *Ledger {
	l := &Ledger{
		dims:    []string{sdk.CPUs, sdk.Mem, sdk.Disk, sdk.GPUs, "ports"},
		byPath:  map[sdk.RolePath]RoleRow{},
		clients: map[ClientKey]*Client{},
	}
	l.total = make([]int64, fixedDims)
	l.Role("")
	return l
}

// Dims are the names of the resources, in the order of every Vector.
func (l *Ledger) Dims() []string { return l.dims }

// Nodes returns the number of node rows.
func (l *Ledger) Nodes() int { return len(l.pools) }

// OnChange has f, too, told of every node whose free amounts change.
func (l *Ledger) OnChange(f func(NodeRow)) { l.touched = append(l.touched, f) }

// Dim returns the position of a resource, which it adds if it is new.
func (l *Ledger) Dim(name string) int {
	if i := slices.Index(l.dims, name); i >= 0 {
		return i
	}
	l.widen(name)
	return len(l.dims) - 1
}

// widen adds a resource: all columns are laid out anew.
func (l *Ledger) widen(name string) {
	old, n := len(l.dims), len(l.dims)+1
	l.dims = append(l.dims, name)
	for _, col := range []*[]int64{&l.capacity, &l.free, &l.held, &l.offered} {
		wide := make([]int64, len(*col)/old*n)
		for i := range len(*col) / old {
			copy(wide[i*n:], (*col)[i*old:(i+1)*old])
		}
		*col = wide
	}
	l.total = append(l.total, 0)
	for i := range l.roles {
		l.roles[i].widen(n)
	}
	for _, c := range l.clients {
		c.Held = c.Held.Clone(n)
	}
	for _, ps := range l.pools {
		for i := range ps {
			ps[i].size, ps[i].taken = ps[i].size.Clone(n), ps[i].taken.Clone(n)
		}
	}
}

// Vector turns named quantities and a number of ports into a vector. Names that
// are new become resources.
func (l *Ledger) Vector(r sdk.Resources, ports int) Vector {
	for _, q := range r {
		l.Dim(q.Name)
	}
	v := make(Vector, len(l.dims))
	for _, q := range r {
		v[l.Dim(q.Name)] = q.Value
	}
	v[DimPorts] = int64(ports)
	return v
}

// Resources turns a vector back into named quantities; the fixed scalars cpus,
// mem and disk always appear, others when they are not 0. Ports are left out.
func (l *Ledger) Resources(v Vector) sdk.Resources {
	var out sdk.Resources
	for i, x := range v {
		if i == DimPorts || x == 0 && i > DimDisk {
			continue
		}
		out = append(out, sdk.Quantity{Name: l.dims[i], Value: x})
	}
	out, _ = sortResources(out)
	return out
}

func sortResources(r sdk.Resources) (sdk.Resources, error) {
	slices.SortFunc(r, func(a, b sdk.Quantity) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return r, nil
}

// row returns the amounts of node n in a column.
func (l *Ledger) row(col []int64, n NodeRow) Vector {
	d := len(l.dims)
	return Vector(col[int(n)*d : int(n)*d+d : int(n)*d+d])
}

// Capacity returns what node n has. The result is a view, not a copy, as are
// those of Free, Held and Offered.
func (l *Ledger) Capacity(n NodeRow) Vector { return l.row(l.capacity, n) }

// Free returns what of node n is neither reserved nor taken.
func (l *Ledger) Free(n NodeRow) Vector { return l.row(l.free, n) }

// Held returns what tasks hold of node n.
func (l *Ledger) Held(n NodeRow) Vector { return l.row(l.held, n) }

// Offered returns what of node n is on offer.
func (l *Ledger) Offered(n NodeRow) Vector { return l.row(l.offered, n) }

// Total returns the capacity of all nodes.
func (l *Ledger) Total() Vector { return Vector(l.total) }

// Columns returns the capacity and free columns of all nodes, for policies.
func (l *Ledger) Columns() (capacity, free []int64) { return l.capacity, l.free }

// AddNode opens accounts for a node without capacity and returns its row.
func (l *Ledger) AddNode() NodeRow {
	n := NodeRow(len(l.pools))
	blank := make([]int64, len(l.dims))
	l.capacity = append(l.capacity, blank...)
	l.free = append(l.free, blank...)
	l.held = append(l.held, blank...)
	l.offered = append(l.offered, blank...)
	l.pools = append(l.pools, nil)
	return n
}

// SetCapacity changes what node n has. What is taken stays taken, so free
// amounts may become negative: then nothing more is given there until enough
// has come back.
func (l *Ledger) SetCapacity(n NodeRow, c Vector) {
	c = c.Clone(len(l.dims))
	have, free := l.Capacity(n), l.Free(n)
	for d := range have {
		diff := c[d] - have[d]
		have[d] += diff
		free[d] += diff
		l.total[d] += diff
	}
	l.changed(n)
}

// SetReservations replaces what node n sets aside. Errors: Conflict when less
// is free or reserved there now than the new reservations need; nothing has
// changed then.
func (l *Ledger) SetReservations(n NodeRow, want []Reserve) error {
	return l.reserve(n, want, false)
}

// AdoptReservations is SetReservations for what was in force before a restart:
// also on a node that has shrunk since.
func (l *Ledger) AdoptReservations(n NodeRow, want []Reserve) error {
	return l.reserve(n, want, true)
}

func (l *Ledger) reserve(n NodeRow, want []Reserve, adopt bool) error {
	next := make([]pool, 0, len(want))
	for _, w := range want {
		next = append(next, pool{role: w.Role, size: w.Amount.Clone(len(l.dims)), taken: make(Vector, len(l.dims))})
	}
	slices.SortFunc(next, func(a, b pool) int { return int(a.role) - int(b.role) })
	free := l.Free(n)
	after := Vector(free).Clone(len(l.dims))
	for _, old := range l.pools[n] {
		for d := range old.size {
			after[d] += old.size[d] - old.taken[d]
		}
		// What tasks took from a reservation stays in it.
		if i := slices.IndexFunc(next, func(p pool) bool { return p.role == old.role }); i >= 0 {
			copy(next[i].taken, old.taken)
		} else if !old.taken.Zero() {
			return sdk.Errorf(sdk.Conflict, string(l.roles[old.role].path), "its reservation is in use").
				ToFix("stop the tasks that use it first")
		}
	}
	for _, p := range next {
		for d := range p.size {
			if p.size[d] < p.taken[d] {
				return sdk.Errorf(sdk.Conflict, string(l.roles[p.role].path), "more of its reservation of %s is in use than the new one has", l.dims[d])
			}
			after[d] -= p.size[d] - p.taken[d]
		}
	}
	for d, x := range after {
		if x < 0 && x < free[d] && !adopt {
			return sdk.Errorf(sdk.Conflict, "reservations", "%s: the node has too little unreserved and free", l.dims[d]).
				Because("short by %s", sdk.FormatQuantity(l.dims[d], -x)).
				ToFix("reserve less, or wait until tasks there end")
		}
	}
	for _, p := range l.pools[n] {
		l.bookReserved(p, -1)
	}
	for _, p := range next {
		l.bookReserved(p, +1)
	}
	copy(free, after)
	l.pools[n] = next
	l.changed(n)
	return nil
}

// Reserve is one reservation, by row.
type Reserve struct {
	Role   RoleRow
	Amount Vector
}

// bookReserved books a pool on its role and all above.
func (l *Ledger) bookReserved(p pool, sign int64) {
	for r := p.role; ; r = l.roles[r].parent {
		a := &l.roles[r]
		for d := range p.size {
			a.consumed[d] += sign * p.size[d]
			a.idle[d] += sign * (p.size[d] - p.taken[d])
		}
		if r == 0 {
			return
		}
	}
}

func (l *Ledger) changed(n NodeRow) {
	for _, f := range l.touched {
		f(n)
	}
}
