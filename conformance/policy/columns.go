package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk"
	api "github.com/drupe-os/drupe/sdk/policy"
)

// order returns all roles, parents first, siblings by name.
func (c *Reference) order() []sdk.RolePath {
	var paths []sdk.RolePath
	for p := range c.roles {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, func(a, b sdk.RolePath) int {
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		return slices.Compare(strings.Split(string(a), "/"), strings.Split(string(b), "/"))
	})
	return paths
}

// batch lays the cluster out as columns, for the open demands.
func (c *Reference) batch(open []*Demand) *api.Batch {
	b := &api.Batch{Dims: len(Dims)}
	var total Amount
	for _, n := range c.nodes {
		total = plus(total, n.capacity)
		free, usable := n.free(), uint8(0)
		for r := range free {
			free[r] = max(0, free[r])
		}
		if n.usable {
			usable = 1
		}
		b.Nodes.Capacity = append(b.Nodes.Capacity, n.capacity[:]...)
		b.Nodes.Free = append(b.Nodes.Free, free[:]...)
		b.Nodes.Usable = append(b.Nodes.Usable, usable)
	}
	b.Total = total[:]
	rows := map[sdk.RolePath]int32{}
	for i, p := range c.order() {
		rows[p] = int32(i)
		parent := int32(-1)
		if i > 0 {
			parent = rows[p.Parent()]
		}
		role, held, idle := c.roles[p], c.held(p, nil), c.idle(p)
		b.Roles.Parent = append(b.Roles.Parent, parent)
		b.Roles.Weight = append(b.Roles.Weight, role.weight)
		b.Roles.Held = append(b.Roles.Held, held[:]...)
		b.Roles.Reserved = append(b.Roles.Reserved, idle[:]...)
		b.Roles.Guarantee = append(b.Roles.Guarantee, role.guarantee[:]...)
		b.Roles.Limit = append(b.Roles.Limit, role.limit[:]...)
		b.Roles.Allocations = append(b.Roles.Allocations, role.allocations)
	}
	clients := map[clientKey]uint32{}
	for _, d := range open {
		who := clientKey{d.Client, d.Role}
		row, known := clients[who]
		if !known {
			row = uint32(len(clients))
			clients[who] = row
			held := c.held("", &who)
			b.Clients.Role = append(b.Clients.Role, rows[d.Role])
			b.Clients.Held = append(b.Clients.Held, held[:]...)
			b.Clients.Allocations = append(b.Clients.Allocations, c.clients[who])
		}
		elastic := uint8(0)
		if d.Elastic {
			elastic = 1
		}
		b.Demands.Client = append(b.Demands.Client, row)
		b.Demands.Priority = append(b.Demands.Priority, d.Priority)
		b.Demands.Count = append(b.Demands.Count, d.Count)
		b.Demands.Need = append(b.Demands.Need, d.Need[:]...)
		b.Demands.Elastic = append(b.Demands.Elastic, elastic)
	}
	return b
}
