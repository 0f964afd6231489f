package account

import (
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// role is the account of one role: everything counts for its whole subtree.
type role struct {
	path        sdk.RolePath
	parent      RoleRow
	weight      int64
	guarantee   Vector // nil: none
	limit       Vector // nil: none; -1 where a resource has no limit
	held        Vector // tasks and offers, from reservations or not
	consumed    Vector // what counts against a limit: see Ledger.Take
	idle        Vector // reserved and taken by nobody
	allocations uint64 // ever made
}

func (r *role) widen(n int) {
	r.held, r.consumed, r.idle = r.held.Clone(n), r.consumed.Clone(n), r.idle.Clone(n)
	if r.guarantee != nil {
		r.guarantee = r.guarantee.Clone(n)
	}
	if r.limit != nil {
		r.limit = r.limit.Clone(n)
		r.limit[n-1] = -1
	}
}

// RoleAccount is a view of one role's books. Vectors are views, not copies.
type RoleAccount struct {
	Path        sdk.RolePath
	Parent      RoleRow // of the root: itself
	Weight      int64   // thousandths
	Guarantee   Vector  // nil: none
	Limit       Vector  // nil: none; -1 where a resource has no limit
	Held        Vector  // by the subtree, tasks and offers
	Consumed    Vector  // what counts against Limit
	Idle        Vector  // reserved for the subtree and taken by nobody
	Allocations uint64  // ever made to the subtree
}

// Role returns the row of a role, which it opens, with all above, if it is new.
func (l *Ledger) Role(path sdk.RolePath) RoleRow {
	if r, ok := l.byPath[path]; ok {
		return r
	}
	var parent RoleRow
	if path != "" {
		parent = l.Role(path.Parent())
	}
	n := len(l.dims)
	row := RoleRow(len(l.roles))
	l.roles = append(l.roles, role{path: path, parent: parent, weight: 1000,
		held: make(Vector, n), consumed: make(Vector, n), idle: make(Vector, n)})
	l.byPath[path] = row
	return row
}

// LookupRole returns the row of a role that has one.
func (l *Ledger) LookupRole(path sdk.RolePath) (RoleRow, bool) {
	r, ok := l.byPath[path]
	return r, ok
}

// RoleAccount returns the books of a role.
func (l *Ledger) RoleAccount(r RoleRow) RoleAccount {
	a := &l.roles[r]
	return RoleAccount{a.path, a.parent, a.weight, a.guarantee, a.limit, a.held, a.consumed, a.idle, a.allocations}
}

// RolesInOrder returns all rows, parents before children, siblings by name.
func (l *Ledger) RolesInOrder() []RoleRow {
	rows := make([]RoleRow, len(l.roles))
	for i := range rows {
		rows[i] = RoleRow(i)
	}
	slices.SortFunc(rows, func(a, b RoleRow) int {
		// "/" sorts before every character of a name, so a subtree stays together.
		return strings.Compare(strings.ReplaceAll(string(l.roles[a].path), "/", "\x00"),
			strings.ReplaceAll(string(l.roles[b].path), "/", "\x00"))
	})
	return rows
}

// SetRole declares a role's weight (thousandths), guarantee and limit. Errors,
// all of kind Invalid: a guarantee without one above it, or beyond it, or whose
// siblings together are beyond it; a limit above the parent's or below the
// guarantee; children's guarantees that no longer fit. Nothing has changed then.
//
// A guarantee at the top needs nothing above it: the root is the cluster.
func (l *Ledger) SetRole(s sdk.Role) error {
	for _, q := range s.Limit {
		l.Dim(q.Name) // so that both vectors have all resources
	}
	guarantee, limit := l.bound(s.Guarantee, 0), l.bound(s.Limit, -1)
	row := l.Role(s.Path)
	if err := l.checkRole(row, s.Path, guarantee, limit); err != nil {
		return err
	}
	a := &l.roles[row]
	a.weight, a.guarantee, a.limit = s.Weight, guarantee, limit
	if a.weight <= 0 {
		a.weight = 1000
	}
	return nil
}

// bound turns quantities into a vector in which what is absent has the value
// none. No quantities at all make no vector.
func (l *Ledger) bound(q sdk.Resources, none int64) Vector {
	if len(q) == 0 {
		return nil
	}
	for _, x := range q {
		l.Dim(x.Name)
	}
	v := make(Vector, len(l.dims))
	for d := range v {
		v[d] = none
	}
	for _, x := range q {
		v[l.Dim(x.Name)] = x.Value
	}
	return v
}

func (l *Ledger) checkRole(row RoleRow, path sdk.RolePath, guarantee, limit Vector) error {
	subject := "role/" + string(path)
	tooMuch := func(field string, d int, have, most int64, whose string) error {
		return sdk.Errorf(sdk.Invalid, subject, "%s of %s is %s, more than %s", l.dims[d], field,
			sdk.FormatQuantity(l.dims[d], have), whose).
			Because("that is %s", sdk.FormatQuantity(l.dims[d], most)).At(field + "." + l.dims[d])
	}
	for d, g := range guarantee {
		if limit != nil && limit[d] >= 0 && g > limit[d] {
			return tooMuch("guarantee", d, g, limit[d], "the role's own limit")
		}
	}
	if path != "" && path.Parent() != "" {
		up := &l.roles[l.roles[row].parent]
		for d, g := range guarantee {
			if g == 0 {
				continue
			}
			if up.guarantee == nil {
				return sdk.Errorf(sdk.Invalid, subject, "a guarantee needs one of the role above, %s", up.path).
					ToFix("declare a guarantee for %s first", up.path).At("guarantee")
			}
			sum := g + l.siblingGuarantees(row, d)
			if sum > up.guarantee[d] {
				return tooMuch("guarantee", d, sum, up.guarantee[d], "that of "+string(up.path)+" together with its other children")
			}
		}
	}
	for r := l.roles[row].parent; row != 0; r = l.roles[r].parent {
		for d := range limit {
			if up := l.roles[r].limit; limit[d] >= 0 && up != nil && up[d] >= 0 && limit[d] > up[d] {
				return tooMuch("limit", d, limit[d], up[d], "that of "+string(l.roles[r].path))
			}
		}
		if r == 0 {
			break
		}
	}
	return l.checkChildren(row, subject, path, guarantee, limit)
}

// checkChildren proves that what is declared below a role still lies within it.
func (l *Ledger) checkChildren(row RoleRow, subject string, path sdk.RolePath, guarantee, limit Vector) error {
	sum := make(Vector, len(l.dims))
	for i := range l.roles {
		c := &l.roles[i]
		if i == int(row) {
			continue
		}
		if path != "" && c.parent == row {
			for d := range c.guarantee {
				sum[d] += c.guarantee[d]
			}
		}
		if !c.path.Within(path) {
			continue
		}
		for d := range c.limit {
			if limit != nil && limit[d] >= 0 && c.limit[d] > limit[d] {
				return sdk.Errorf(sdk.Invalid, subject, "%s of limit is below that of its child %s", l.dims[d], c.path).
					ToFix("lower the child's limit first").At("limit." + l.dims[d])
			}
		}
	}
	for d, s := range sum {
		if s > 0 && (guarantee == nil || guarantee[d] < s) {
			return sdk.Errorf(sdk.Invalid, subject, "its children are guaranteed %s of %s, more than it has itself",
				sdk.FormatQuantity(l.dims[d], s), l.dims[d]).
				ToFix("lower or remove the children's guarantees first").At("guarantee." + l.dims[d])
		}
	}
	return nil
}

func (l *Ledger) siblingGuarantees(row RoleRow, d int) int64 {
	var sum int64
	for i := range l.roles {
		s := &l.roles[i]
		if RoleRow(i) != row && i != 0 && s.parent == l.roles[row].parent && s.guarantee != nil {
			sum += s.guarantee[d]
		}
	}
	return sum
}

// SetAllocations restores how many allocations a role was ever given.
func (l *Ledger) SetAllocations(r RoleRow, n uint64) { l.roles[r].allocations = n }
