package account

import "slices"

// Regrant changes the amount of a grant for a task. What grows is taken as by
// Take: from reservations before what is free; the caller has seen with Split
// that the node has it. What shrinks is given back in the opposite order. When a
// limit of a role is in the way nothing has changed, and the role and the
// resource are returned with ok false.
func (l *Ledger) Regrant(g *Grant, amount Vector) (role RoleRow, dim int, ok bool) {
	n := len(l.dims)
	amount = amount.Clone(n)
	grow := make(Vector, n)
	for d := range grow {
		grow[d] = max(0, amount[d]-g.Amount.at(d))
	}
	more, _ := l.Split(g.Node, g.Role, grow)
	if role, dim, ok := l.Limited(g.Role, grow, more); !ok {
		return role, dim, false
	}
	l.book(g, -1)
	g.Amount, g.Parts = amount, l.trimmed(joined(g.Parts, more, n), amount)
	l.book(g, +1)
	return 0, 0, true
}

func (v Vector) at(d int) int64 {
	if d < len(v) {
		return v[d]
	}
	return 0
}

// joined adds what was taken of the same reservations together.
func joined(a, b []Part, n int) []Part {
	var out []Part
	for _, list := range [2][]Part{a, b} {
		for _, p := range list {
			i := slices.IndexFunc(out, func(o Part) bool { return o.Role == p.Role })
			if i < 0 {
				out = append(out, Part{Role: p.Role, Amount: p.Amount.Clone(n)})
				continue
			}
			for d, x := range p.Amount {
				out[i].Amount[d] += x
			}
		}
	}
	return out
}

// trimmed lowers parts to what an amount still needs of them, the farthest
// reservation first.
func (l *Ledger) trimmed(parts []Part, amount Vector) []Part {
	slices.SortStableFunc(parts, func(a, b Part) int { // nearest first, as in Split
		return len(l.roles[b.Role].path) - len(l.roles[a.Role].path)
	})
	for d, left := range amount {
		for i := range parts {
			parts[i].Amount[d] = min(parts[i].Amount[d], left)
			left -= parts[i].Amount[d]
		}
	}
	return slices.DeleteFunc(parts, func(p Part) bool { return p.Amount.Zero() })
}
