package account

import "fmt"

// CheckNode proves node n's books: free + held + offered + idly reserved =
// capacity, for every resource. It is cheap enough for every apply.
func (l *Ledger) CheckNode(n NodeRow) error {
	capacity, free, held, offered := l.Capacity(n), l.Free(n), l.Held(n), l.Offered(n)
	for d := range capacity {
		var idle int64
		for _, p := range l.pools[n] {
			if p.taken[d] < 0 || p.taken[d] > p.size[d] {
				return fmt.Errorf("node row %d: reservation of %s: %d of %d taken", n, l.dims[d], p.taken[d], p.size[d])
			}
			idle += p.size[d] - p.taken[d]
		}
		if held[d] < 0 || offered[d] < 0 {
			return fmt.Errorf("node row %d: %s: held %d, offered %d", n, l.dims[d], held[d], offered[d])
		}
		if free[d]+held[d]+offered[d]+idle != capacity[d] {
			return fmt.Errorf("node row %d: %s: free %d + held %d + offered %d + reserved %d is not capacity %d",
				n, l.dims[d], free[d], held[d], offered[d], idle, capacity[d])
		}
	}
	return nil
}

// Check proves all books against the grants that are open: every node balances,
// every role and client holds exactly the sum of its grants, and every role's
// reservations and what counts against its limit are what they should be.
func (l *Ledger) Check(grants func(yield func(*Grant) bool)) error {
	n := len(l.dims)
	held := make([]int64, len(l.held))
	offered := make([]int64, len(l.offered))
	roles := make([]Vector, len(l.roles))
	consumed := make([]Vector, len(l.roles))
	idle := make([]Vector, len(l.roles))
	for i := range roles {
		roles[i], consumed[i], idle[i] = make(Vector, n), make(Vector, n), make(Vector, n)
	}
	for _, pools := range l.pools {
		for _, p := range pools {
			for r := p.role; ; r = l.roles[r].parent {
				for d := range p.size {
					consumed[r][d] += p.size[d]
					idle[r][d] += p.size[d] - p.taken[d]
				}
				if r == 0 {
					break
				}
			}
		}
	}
	clients := map[*Client]Vector{}
	for g := range grants {
		col := held
		if g.Purpose == ForOffer {
			col = offered
		}
		if clients[g.Client] == nil {
			clients[g.Client] = make(Vector, n)
		}
		for d, x := range g.Amount {
			col[int(g.Node)*n+d] += x
			clients[g.Client][d] += x
			for r := g.Role; ; r = l.roles[r].parent {
				roles[r][d] += x
				consumed[r][d] += x - l.within(r, g.Parts, d)
				if r == 0 {
					break
				}
			}
		}
	}
	for i := range held {
		if held[i] != l.held[i] || offered[i] != l.offered[i] {
			return fmt.Errorf("node row %d: %s: books say held %d, offered %d; grants say %d, %d",
				i/n, l.dims[i%n], l.held[i], l.offered[i], held[i], offered[i])
		}
	}
	for i := range l.roles {
		for d := range roles[i] {
			if roles[i][d] != l.roles[i].held[d] {
				return fmt.Errorf("role %q: %s: books say %d, grants say %d", l.roles[i].path, l.dims[d], l.roles[i].held[d], roles[i][d])
			}
			if c, f := l.roles[i].consumed[d], l.roles[i].idle[d]; c != consumed[i][d] || f != idle[i][d] {
				return fmt.Errorf("role %q: %s: books say consumed %d, idle %d; grants and reservations say %d, %d",
					l.roles[i].path, l.dims[d], c, f, consumed[i][d], idle[i][d])
			}
		}
	}
	for k, c := range l.clients {
		for d, x := range c.Held {
			var sum int64
			if v := clients[c]; v != nil {
				sum = v[d]
			}
			if x != sum {
				return fmt.Errorf("client %s of %q: %s: books say %d, grants say %d", k.Ref, k.Role, l.dims[d], x, sum)
			}
		}
	}
	for i := range l.pools {
		if err := l.CheckNode(NodeRow(i)); err != nil {
			return err
		}
	}
	return nil
}
