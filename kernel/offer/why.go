package offer

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
)

// nearestNodes is how many nodes an explanation names.
const nearestNodes = 20

// Explain says why no (further) instance of a shape can be placed: for every
// node everything that speaks against it, counted, the nearest nodes in full,
// and the changes that would make one fit. Policy is the reason the policy or
// the kernel gave for the demand as a whole.
func (b *Book) Explain(s *Shape, waiting int64, policy sdk.Reason) sdk.WhyDemand {
	w := sdk.WhyDemand{Demand: s.Demand, Role: s.Key.Role, Waiting: waiting, Needs: present(b.ledger.Resources(s.Need)), Reason: policy}
	counts := map[sdk.Reason]int{}
	fits := 0
	for i, e := range b.nodes {
		if e.node.Liveness == sdk.NodeGone {
			continue
		}
		node := sdk.WhyNode{Node: e.node.ID, Name: e.node.Name}
		b.check(account.NodeRow(i), s, &node.Lacks)
		if len(node.Lacks) == 0 {
			fits++
			continue
		}
		seen := map[sdk.Reason]bool{}
		for _, l := range node.Lacks {
			if !seen[l.Reason] {
				seen[l.Reason] = true
				counts[l.Reason]++
			}
		}
		w.Nodes = append(w.Nodes, node)
	}
	for why, n := range counts {
		w.Counts = append(w.Counts, sdk.WhyCount{Reason: why, Nodes: n})
	}
	slices.SortFunc(w.Counts, func(x, y sdk.WhyCount) int {
		return cmp.Or(cmp.Compare(y.Nodes, x.Nodes), cmp.Compare(x.Reason, y.Reason))
	})
	slices.SortStableFunc(w.Nodes, func(x, y sdk.WhyNode) int { return cmp.Compare(distance(x.Lacks), distance(y.Lacks)) })
	total := fits + len(w.Nodes)
	w.Nodes = w.Nodes[:min(len(w.Nodes), nearestNodes)]
	w.Message, w.Reason = b.sumUp(s, &w, fits, total)
	w.Fixes = b.fixes(s, fits)
	return w
}

// present leaves out what is 0.
func present(r sdk.Resources) sdk.Resources {
	return slices.DeleteFunc(r, func(q sdk.Quantity) bool { return q.Value == 0 })
}

// sumUp is the explanation in one line, and its reason as a whole.
func (b *Book) sumUp(s *Shape, w *sdk.WhyDemand, fits, total int) (string, sdk.Reason) {
	if role, d, ok := b.ledger.Limited(s.Role, s.Need, nil); !ok && !b.anySpared(s) {
		a := b.ledger.RoleAccount(role)
		name := b.ledger.Dims()[d]
		return fmt.Sprintf("role %s is at its limit: %s of %s %s are in use, one more instance needs %s",
			a.Path, sdk.FormatQuantity(name, a.Consumed[d]), sdk.FormatQuantity(name, a.Limit[d]), name,
			sdk.FormatQuantity(name, s.Need[d])), sdk.ReasonQuotaLimit
	}
	switch {
	case total == 0:
		return "there is no node", sdk.ReasonNoNodes
	case fits > 0:
		return fmt.Sprintf("%d of %d nodes could take one: %s", fits, total, describe(w.Reason)), w.Reason
	case len(w.Counts) == 1:
		return fmt.Sprintf("none of %d nodes can take one: all lack %s", total, w.Counts[0].Reason), w.Counts[0].Reason
	}
	return fmt.Sprintf("none of %d nodes can take one: most lack %s (%d)", total, w.Counts[0].Reason, w.Counts[0].Nodes), w.Counts[0].Reason
}

// describe words a reason that concerns a demand as a whole.
func describe(why sdk.Reason) string {
	switch why {
	case sdk.ReasonGuarantee:
		return "what is free is owed to the guarantees of other roles"
	case sdk.ReasonFairShare:
		return "others are further below their fair share"
	case sdk.ReasonBackoff:
		return "it is held back after failures"
	case sdk.ReasonNoPolicy:
		return "no scheduling policy is running"
	case sdk.ReasonSuppressed:
		return "its framework asked for no offers"
	case sdk.ReasonDeclined:
		return "its framework declined what is there"
	case sdk.ReasonNone, sdk.ReasonNotConsidered:
		return "its turn has not come yet"
	}
	return why.String()
}

// distance orders nodes by how far they are from taking a shape: fewest things
// first, and those that an amount would cure before those it would not; then by
// the worst relative shortage, in thousandths.
func distance(lacks []sdk.WhyLack) int64 {
	var worst, hard int64
	for _, l := range lacks {
		if l.Short > 0 && l.Need > 0 {
			worst = max(worst, l.Short/max(l.Need/1000, 1))
		} else {
			hard++
		}
	}
	return hard*1_000_000 + int64(len(lacks))*10_000 + min(worst, 9_999)
}

// fixes are changes that let one more instance run, each tried with the same
// check that refused. Limits are the exception that may need more than one:
// all that are in the way are named, the topmost first.
func (b *Book) fixes(s *Shape, fits int) []sdk.WhyFix {
	if b.limited(s) && !b.anySpared(s) {
		return b.raises(s)
	}
	var out []sdk.WhyFix
	if fits > 0 {
		return nil
	}
	for d, need := range s.Need {
		if d == account.DimPorts || need == 0 {
			continue
		}
		if most := b.mostFree(s, d); most > 0 && most < need {
			name := b.ledger.Dims()[d]
			value := round(name, most, false)
			out = append(out, sdk.WhyFix{Message: fmt.Sprintf("ask for at most %s %s", value, name), Field: "resources." + name, Value: value})
		}
	}
	for i := range s.class.static {
		try := *s
		try.class = &class{static: slices.Delete(slices.Clone(s.class.static), i, i+1)}
		for row, e := range b.nodes {
			try.class.set(account.NodeRow(row), try.class.admits(e.node))
		}
		if b.anyFits(&try) {
			out = append(out, sdk.WhyFix{Message: "drop the constraint " + s.class.static[i].words(), Field: "constraints"})
		}
	}
	for i := range s.dynamic {
		try := *s
		try.dynamic = slices.Delete(slices.Clone(s.dynamic), i, i+1)
		if b.anyFits(&try) {
			out = append(out, sdk.WhyFix{Message: "drop the constraint " + s.dynamic[i].words(), Field: "constraints"})
		}
	}
	for i, p := range s.Ports {
		try := *s
		try.Ports = slices.Clone(s.Ports)
		try.Ports[i].Host = 0
		if p.Host != 0 && b.anyFits(&try) {
			out = append(out, sdk.WhyFix{Message: fmt.Sprintf("let port %s be any port instead of %d", p.Name, p.Host), Field: "ports." + p.Name + ".host"})
		}
	}
	out = append(out, b.deviceFixes(s)...)
	return append(out, b.nodeFixes(s)...)
}

// raises are the limits that one more instance would break, and what they would
// have to be.
func (b *Book) raises(s *Shape) []sdk.WhyFix {
	var out []sdk.WhyFix
	for role := s.Role; ; {
		a := b.ledger.RoleAccount(role)
		for d, limit := range a.Limit {
			if limit < 0 || d >= len(s.Need) || s.Need[d] == 0 || a.Consumed[d]+s.Need[d] <= limit {
				continue
			}
			name := b.ledger.Dims()[d]
			value := round(name, a.Consumed[d]+s.Need[d], true)
			out = append(out, sdk.WhyFix{Message: fmt.Sprintf("raise the limit of role %s to %s %s", a.Path, value, name),
				Field: "limit." + name, Value: value})
		}
		if role == 0 {
			slices.Reverse(out)
			return out
		}
		role = a.Parent
	}
}

// nodeFixes are for nodes of which all that speaks against them is that they
// are not in use.
func (b *Book) nodeFixes(s *Shape) []sdk.WhyFix {
	var out []sdk.WhyFix
	for row, e := range b.nodes {
		if e.usable || e.node.Liveness == sdk.NodeGone {
			continue
		}
		var lacks []sdk.WhyLack
		b.check(account.NodeRow(row), s, &lacks)
		switch {
		case len(lacks) != 1 || len(out) == nearestNodes:
		case lacks[0].Reason == sdk.ReasonCordoned:
			out = append(out, sdk.WhyFix{Message: "let node " + e.node.Name + " take tasks again", Field: "cordoned", Value: "false"})
		case !e.node.Cordoned:
			out = append(out, sdk.WhyFix{Message: "bring node " + e.node.Name + " back: its agent has no contact with the servers"})
		}
	}
	return out
}

// round writes an amount for people to copy: bytes are rounded to whole MiB, up
// or down, and written exactly.
func round(name string, v int64, up bool) string {
	if name != sdk.Mem && name != sdk.Disk {
		return sdk.FormatQuantity(name, v)
	}
	const mib = 1 << 20
	if up {
		v += mib - 1
	}
	if v < mib {
		return strconv.FormatInt(v, 10)
	}
	if v -= v % mib; v%(1<<30) != 0 {
		return strconv.FormatInt(v/mib, 10) + "Mi"
	}
	return sdk.FormatQuantity(name, v)
}

// mostFree is the largest amount of one resource with which some node takes the
// shape, all else equal.
func (b *Book) mostFree(s *Shape, d int) int64 {
	try := *s
	try.Need = s.Need.Clone(len(s.Need))
	var most int64
	for row := range b.nodes {
		all, _ := b.ledger.Available(account.NodeRow(row), s.Role)
		able := all[d]
		if set := b.nodes[row].devices; set.pool(d) != nil {
			able = set.most(set.pool(d), min(able, s.Need[d]))
		}
		if able <= most {
			continue
		}
		try.Need[d] = able
		if b.check(account.NodeRow(row), &try, nil) == sdk.ReasonNone {
			most = able
		}
	}
	return most
}

// anySpared reports whether a reservation lets an instance past the limits.
func (b *Book) anySpared(s *Shape) bool {
	for row := range b.nodes {
		if b.check(account.NodeRow(row), s, nil) == sdk.ReasonNone && b.spared(account.NodeRow(row), s) {
			return true
		}
	}
	return false
}

func (b *Book) anyFits(s *Shape) bool {
	for row := range b.nodes {
		if b.check(account.NodeRow(row), s, nil) == sdk.ReasonNone {
			return true
		}
	}
	return false
}
