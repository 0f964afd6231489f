package offer

import (
	"github.com/drupe-os/drupe/kernel/account"
)

// fill lays the books out as the columns a policy reads. Node columns are the
// ledger's own; the others are small.
func (r *Round) fill() {
	l := r.book.ledger
	n := len(l.Dims())
	b := &r.Batch
	b.Dims, b.Total = n, l.Total()
	rowOf := r.fillRoles()

	clients := map[*account.Client]uint32{}
	for i := range r.open {
		o := &r.open[i]
		c, ok := clients[o.Shape.Client]
		if !ok {
			c = uint32(len(b.Clients.Role))
			clients[o.Shape.Client] = c
			b.Clients.Role = append(b.Clients.Role, rowOf[o.Shape.Role])
			b.Clients.Held = append(b.Clients.Held, o.Shape.Client.Held.Clone(n)...)
			b.Clients.Allocations = append(b.Clients.Allocations, o.Shape.Client.Allocations)
		}
		d := &b.Demands
		d.Client = append(d.Client, c)
		d.Priority = append(d.Priority, o.Priority)
		d.Count = append(d.Count, o.Count)
		d.Need = append(d.Need, o.Shape.Need.Clone(n)...)
		elastic := uint8(0)
		if o.Shape.Elastic {
			elastic = 1
		}
		d.Elastic = append(d.Elastic, elastic)
	}

	b.Nodes.Capacity, b.Nodes.Free = l.Columns()
	b.Nodes.Usable = make([]uint8, len(r.book.nodes))
	for i, e := range r.book.nodes {
		if e.usable {
			b.Nodes.Usable[i] = 1
		}
	}
}

// fillRoles lays out the role tree, parents first, and returns each ledger
// row's place in it.
func (r *Round) fillRoles() map[account.RoleRow]int32 {
	l := r.book.ledger
	n := len(l.Dims())
	rows := l.RolesInOrder()
	rowOf := make(map[account.RoleRow]int32, len(rows))
	t := &r.Batch.Roles
	for i, row := range rows {
		rowOf[row] = int32(i)
		a := l.RoleAccount(row)
		parent := int32(-1)
		if i > 0 {
			parent = rowOf[a.Parent]
		}
		t.Parent = append(t.Parent, parent)
		t.Weight = append(t.Weight, a.Weight)
		t.Held = append(t.Held, a.Held.Clone(n)...)
		t.Reserved = append(t.Reserved, a.Idle.Clone(n)...)
		t.Guarantee = append(t.Guarantee, a.Guarantee.Clone(n)...)
		limit := a.Limit
		for d := range n {
			if limit == nil {
				t.Limit = append(t.Limit, -1)
			} else {
				t.Limit = append(t.Limit, limit[d])
			}
		}
		t.Allocations = append(t.Allocations, a.Allocations)
	}
	return rowOf
}
