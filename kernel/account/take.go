package account

import "github.com/drupe-os/drupe/sdk"

// ClientKey names one of those who share a role: a document served by a plugin.
type ClientKey struct {
	Role   sdk.RolePath
	Plugin sdk.PluginName
	Ref    sdk.Ref
}

// Client is the account of one client.
type Client struct {
	Held        Vector // tasks and offers
	Allocations uint64 // ever made
}

// Client returns the account of a client, which it opens if it is new.
func (l *Ledger) Client(k ClientKey) *Client {
	c := l.clients[k]
	if c == nil {
		c = &Client{Held: make(Vector, len(l.dims))}
		l.clients[k] = c
	}
	return c
}

// CloseClient forgets a client that holds nothing. One that holds something
// stays.
func (l *Ledger) CloseClient(k ClientKey) {
	if c := l.clients[k]; c != nil && c.Held.Zero() {
		delete(l.clients, k)
	}
}

// Clients returns all open clients; the caller orders them.
func (l *Ledger) Clients() map[ClientKey]*Client { return l.clients }

// Purpose is what taken resources are for.
type Purpose uint8

// The purposes.
const (
	ForTask Purpose = iota
	ForOffer
)

// Grant is one taking: what was taken, of whom, for whom. It is the receipt
// with which it is given back.
type Grant struct {
	Node    NodeRow
	Role    RoleRow
	Client  *Client
	Purpose Purpose
	Amount  Vector // shared, never written to
	Parts   []Part // of Amount, those from reservations
}

// Part is the part of a grant that came from a reservation.
type Part struct {
	Role   RoleRow // whose reservation
	Amount Vector
}

// Limited returns the first role on the way from r to the root that amount
// would bring over its limit, and the resource. ok is true when there is none.
// Reserved is the part of amount that would come from reservations; it may be
// nil.
func (l *Ledger) Limited(r RoleRow, amount Vector, parts []Part) (role RoleRow, dim int, ok bool) {
	for ; ; r = l.roles[r].parent {
		a := &l.roles[r]
		for d, most := range a.limit {
			if most < 0 || d >= len(amount) || amount[d] == 0 {
				continue
			}
			if a.consumed[d]+amount[d]-l.within(r, parts, d) > most {
				return r, d, false
			}
		}
		if r == 0 {
			return 0, 0, true
		}
	}
}

// within is how much of resource d the parts take from reservations of r's own
// subtree. That much counts against r's limit already.
func (l *Ledger) within(r RoleRow, parts []Part, d int) int64 {
	var sum int64
	for _, p := range parts {
		if l.roles[p.Role].path.Within(l.roles[r].path) {
			sum += p.Amount[d]
		}
	}
	return sum
}

// Split says how amount would be taken on node n by role r: from the
// reservations of r and those above it, nearest first, and then from what is
// free. ok is false when it does not fit.
func (l *Ledger) Split(n NodeRow, r RoleRow, amount Vector) (parts []Part, ok bool) {
	free := l.Free(n)
	if len(l.pools[n]) == 0 {
		for d, x := range amount {
			if x > 0 && x > free[d] {
				return nil, false
			}
		}
		return nil, true
	}
	left := amount.Clone(len(l.dims))
	for at := r; ; at = l.roles[at].parent {
		for i := range l.pools[n] {
			p := &l.pools[n][i]
			if p.role != at {
				continue
			}
			part := Part{Role: at, Amount: make(Vector, len(l.dims))}
			for d := range left {
				part.Amount[d] = min(left[d], p.size[d]-p.taken[d])
				left[d] -= part.Amount[d]
			}
			if !part.Amount.Zero() {
				parts = append(parts, part)
			}
		}
		if at == 0 {
			break
		}
	}
	for d, x := range left {
		if x > 0 && x > free[d] {
			return nil, false
		}
	}
	return parts, true
}

// Available returns what role r may take on node n, and the part of it that is
// reserved for r or a role above.
func (l *Ledger) Available(n NodeRow, r RoleRow) (all, reserved Vector) {
	all = Vector(l.Free(n)).Clone(len(l.dims))
	reserved = make(Vector, len(l.dims))
	for _, p := range l.pools[n] {
		if !l.roles[r].path.Within(l.roles[p.role].path) {
			continue
		}
		for d := range p.size {
			idle := p.size[d] - p.taken[d]
			reserved[d] += idle
			all[d] = max(all[d], 0) + idle
		}
	}
	return all, reserved
}

// Reserved reports whether node n has reservations.
func (l *Ledger) Reserved(n NodeRow) bool { return len(l.pools[n]) > 0 }

// Take books amount from node n to a client of role r. Errors: Exhausted when
// the node has too little for that role, or a role is at its limit.
func (l *Ledger) Take(n NodeRow, r RoleRow, c *Client, amount Vector, for_ Purpose) (Grant, error) {
	parts, ok := l.Split(n, r, amount)
	if !ok {
		return Grant{}, sdk.Errorf(sdk.Exhausted, "node", "too little is free")
	}
	if at, d, ok := l.Limited(r, amount, parts); !ok {
		return Grant{}, sdk.Errorf(sdk.Exhausted, "role/"+string(l.roles[at].path), "its limit of %s is reached", l.dims[d])
	}
	g := Grant{Node: n, Role: r, Client: c, Purpose: for_, Amount: amount, Parts: parts}
	l.book(&g, +1)
	l.count(&g, +1)
	return g, nil
}

// Give books a grant back.
func (l *Ledger) Give(g *Grant) { l.book(g, -1) }

// Undo books a grant back as if it had never been: also its count as an
// allocation.
func (l *Ledger) Undo(g *Grant) {
	l.book(g, -1)
	l.count(g, -1)
}

// Adopt books a grant that is already a fact, whatever the books say: a task
// that runs and was accounted for before a restart.
func (l *Ledger) Adopt(g *Grant) { l.book(g, +1) }

func (l *Ledger) count(g *Grant, n int64) {
	g.Client.Allocations += uint64(n)
	for r := g.Role; ; r = l.roles[r].parent {
		l.roles[r].allocations += uint64(n)
		if r == 0 {
			return
		}
	}
}

// book enters a grant on both sides.
func (l *Ledger) book(g *Grant, sign int64) {
	free, side := l.Free(g.Node), l.Held(g.Node)
	if g.Purpose == ForOffer {
		side = l.Offered(g.Node)
	}
	for d, x := range g.Amount {
		free[d] -= sign * x
		side[d] += sign * x
		g.Client.Held[d] += sign * x
	}
	for _, part := range g.Parts {
		for i := range l.pools[g.Node] {
			if p := &l.pools[g.Node][i]; p.role == part.Role {
				for d, x := range part.Amount {
					p.taken[d] += sign * x
					free[d] += sign * x
				}
			}
		}
		for r := part.Role; ; r = l.roles[r].parent {
			for d, x := range part.Amount {
				l.roles[r].idle[d] -= sign * x
			}
			if r == 0 {
				break
			}
		}
	}
	for r := g.Role; ; r = l.roles[r].parent {
		a := &l.roles[r]
		for d, x := range g.Amount {
			a.held[d] += sign * x
			a.consumed[d] += sign * x
			if g.Parts != nil {
				a.consumed[d] -= sign * l.within(r, g.Parts, d)
			}
		}
		if r == 0 {
			break
		}
	}
	l.changed(g.Node)
}

// EachPool calls f with what is idle in each reservation on node n.
func (l *Ledger) EachPool(n NodeRow, f func(idle Vector)) {
	for _, p := range l.pools[n] {
		idle := make(Vector, len(p.size))
		for d := range idle {
			idle[d] = p.size[d] - p.taken[d]
		}
		f(idle)
	}
}
