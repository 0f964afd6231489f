// Package offer is the offer book: what may run where, what is on offer, which
// offers were declined, and why something is not placed.
//
// Feasibility is worked out once per class of constraints and kept up to date
// node by node. The code that refuses a node is the code that explains the
// refusal: check is the only place that says no.
//
// The package is pure: no clock, no randomness, no I/O.
package offer

import (
	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
)

// Book is the offer book over one ledger.
type Book struct {
	ledger  *account.Ledger
	nodes   []*nodeEntry
	classes map[string]*class
	spreads map[sdk.Ref][]*spread
	values  map[string]map[string]int // attribute → value → nodes, for attributes that constraints spread over
	filters map[filterKey]filter
	index   *index
	front   bool // where touched nodes are filed; see index.put
	dirty   []uint32
	isDirty []bool
}

type nodeEntry struct {
	node    *sdk.Node
	ports   portSet
	devices *deviceSet // nil: the node has none
	usable  bool
}

// filterKey names what a declined offer was about.
type filterKey struct {
	client account.ClientKey
	demand string
	node   account.NodeRow
}

// filter is a declined offer: nothing within amount is offered again before
// until.
type filter struct {
	amount account.Vector
	until  sdk.Time
}

// New returns an empty book over an empty ledger.
func New(l *account.Ledger) *Book {
	b := &Book{
		ledger:  l,
		classes: map[string]*class{},
		spreads: map[sdk.Ref][]*spread{},
		values:  map[string]map[string]int{},
		filters: map[filterKey]filter{},
		index:   newIndex(),
	}
	l.OnChange(b.touch)
	return b
}

// Ledger returns the accounts under the book.
func (b *Book) Ledger() *account.Ledger { return b.ledger }

// AddNode enters a node and returns its row, which is the ledger's. The book
// keeps the pointer; call NodeChanged when the node's content changes.
func (b *Book) AddNode(n *sdk.Node) account.NodeRow {
	row := b.ledger.AddNode()
	b.nodes = append(b.nodes, &nodeEntry{node: n})
	b.index.grow()
	b.isDirty = append(b.isDirty, false)
	b.NodeChanged(row)
	return row
}

// NodeChanged brings everything that depends on a node's attributes, ports,
// devices and liveness up to date. Capacity and reservations are the ledger's.
func (b *Book) NodeChanged(row account.NodeRow) {
	e := b.nodes[row]
	e.usable = e.node.Liveness == sdk.NodeUp && !e.node.Cordoned
	e.ports.pool = poolOf(e.node.Machine.Ports)
	e.devices = devicesOf(b.ledger, e.node.Machine.Devices, e.devices)
	for _, c := range b.classes {
		c.set(row, c.admits(e.node))
	}
	for attribute := range b.values {
		b.countValues(attribute)
	}
	b.touch(row)
}

// PoolSize returns the number of ports in a node's pool.
func (b *Book) PoolSize(row account.NodeRow) int { return b.nodes[row].ports.size() }

// Node returns the node of a row.
func (b *Book) Node(row account.NodeRow) *sdk.Node { return b.nodes[row].node }

// touch refiles a node after its free amounts changed.
func (b *Book) touch(row account.NodeRow) {
	if int(row) >= len(b.nodes) {
		return // the ledger opened the row; AddNode enters it next
	}
	if !b.isDirty[row] {
		b.isDirty[row] = true
		b.dirty = append(b.dirty, uint32(row))
	}
	if !b.nodes[row].usable {
		b.index.drop(row)
		return
	}
	free := b.ledger.Free(row)
	if b.ledger.Reserved(row) {
		// Filed under the most that any role could take there.
		most := account.Vector(free).Clone(len(free))
		b.ledger.EachPool(row, func(idle account.Vector) {
			for d := range idle {
				most[d] = max(most[d], 0) + idle[d]
			}
		})
		free = most
	}
	b.index.put(row, free, b.front)
}

// countValues counts the nodes by value of an attribute.
func (b *Book) countValues(attribute string) {
	counts := map[string]int{}
	for _, e := range b.nodes {
		if v, ok := e.node.Attribute(attribute); ok && e.node.Liveness != sdk.NodeGone {
			counts[v]++
		}
	}
	b.values[attribute] = counts
}

// spread returns a document's counters over an attribute; nil when they are not
// kept.
func (b *Book) spread(ref sdk.Ref, attribute string) *spread {
	for _, s := range b.spreads[ref] {
		if s.attribute == attribute {
			return s
		}
	}
	return nil
}

// Track sees to it that a document's tasks are counted for all constraints of
// a shape. Placed yields the nodes of its live tasks, once for each.
func (b *Book) Track(s *Shape, placed func(yield func(account.NodeRow) bool)) {
	for i := range s.dynamic {
		attribute := s.dynamic[i].Attribute
		if b.spread(s.Key.Ref, attribute) != nil {
			continue
		}
		if b.values[attribute] == nil {
			b.countValues(attribute)
		}
		sp := &spread{attribute: attribute, counts: map[string]int{}}
		for n := range placed {
			if v, ok := b.nodes[n].node.Attribute(attribute); ok {
				sp.add(v, 1)
			}
		}
		b.spreads[s.Key.Ref] = append(b.spreads[s.Key.Ref], sp)
	}
}

// Untrack forgets a document's counters.
func (b *Book) Untrack(ref sdk.Ref) { delete(b.spreads, ref) }

// Count tells all counters of a document that a task came or went.
func (b *Book) Count(ref sdk.Ref, row account.NodeRow, n int) {
	for _, s := range b.spreads[ref] {
		if v, ok := b.nodes[row].node.Attribute(s.attribute); ok {
			s.add(v, n)
		}
	}
}

// Decline remembers a declined offer.
func (b *Book) Decline(client account.ClientKey, demand string, row account.NodeRow, amount account.Vector, until sdk.Time) {
	b.filters[filterKey{client, demand, row}] = filter{amount, until}
}

// Revive forgets what a demand declined.
func (b *Book) Revive(client account.ClientKey, demand string) {
	for k := range b.filters {
		if k.client == client && k.demand == demand {
			delete(b.filters, k)
		}
	}
}

// declined reports whether an offer of amount was declined and still is.
func (b *Book) declined(s *Shape, row account.NodeRow, amount account.Vector, now sdk.Time) bool {
	f, ok := b.filters[filterKey{s.Key, s.Demand, row}]
	if !ok || f.until <= now {
		return false
	}
	for d, x := range amount {
		if d >= len(f.amount) && x > 0 || d < len(f.amount) && x > f.amount[d] {
			return false // more than was declined
		}
	}
	return true
}

// Expire forgets declines that are over and reports whether there were any.
func (b *Book) Expire(now sdk.Time) (any bool) {
	for k, f := range b.filters {
		if f.until <= now {
			delete(b.filters, k)
			any = true
		}
	}
	return any
}

// NextExpiry returns when the next remembered decline is over, 0 for none.
func (b *Book) NextExpiry() (next sdk.Time) {
	for _, f := range b.filters {
		if next == 0 || f.until < next {
			next = f.until
		}
	}
	return next
}

// Filter is one remembered decline, for snapshots.
type Filter struct {
	Client account.ClientKey
	Demand string
	Node   account.NodeRow
	Amount account.Vector
	Until  sdk.Time
}

// Filters yields all remembered declines in no order.
func (b *Book) Filters(yield func(Filter) bool) {
	for k, f := range b.filters {
		if !yield(Filter{k.client, k.demand, k.node, f.amount, f.until}) {
			return
		}
	}
}
