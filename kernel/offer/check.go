package offer

import (
	"strconv"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
)

// check says whether one instance of a shape may be placed on a node. Without
// lacks it stops at the first thing that speaks against it; with lacks it notes
// all. Quota is not the node's business: see Ledger.Limited.
func (b *Book) check(row account.NodeRow, s *Shape, lacks *[]sdk.WhyLack) sdk.Reason {
	e := b.nodes[row]
	first := sdk.ReasonNone
	no := func(l sdk.WhyLack) bool {
		if first == sdk.ReasonNone {
			first = l.Reason
		}
		if lacks != nil {
			*lacks = append(*lacks, l)
		}
		return lacks == nil
	}
	if !e.usable {
		reason := sdk.ReasonCordoned
		if e.node.Liveness != sdk.NodeUp {
			reason = sdk.ReasonUnreachable
		}
		if no(sdk.WhyLack{Reason: reason}) {
			return first
		}
	}
	if !s.class.has(row) {
		for i := range s.class.static {
			m := &s.class.static[i]
			if !m.admits(e.node) && no(sdk.WhyLack{Reason: sdk.ReasonConstraint, Detail: b.has(row, m)}) {
				return first
			}
		}
	}
	for i := range s.dynamic {
		m := &s.dynamic[i]
		if !b.keepsSpread(row, s, m) && no(sdk.WhyLack{Reason: sdk.ReasonConstraint, Detail: b.has(row, m)}) {
			return first
		}
	}
	if _, ok := b.ledger.Split(row, s.Role, s.Need); !ok && b.lacking(row, s, no) {
		return first
	}
	if e.devices != nil && b.lackingDevices(row, s, no) {
		return first
	}
	for _, p := range s.Ports {
		if p.Host == 0 || e.ports.free(p.Host) {
			continue
		}
		detail := "port " + strconv.Itoa(int(p.Host)) + " is taken"
		if !e.ports.has(p.Host) {
			detail = "port " + strconv.Itoa(int(p.Host)) + " is not in the node's pool"
		}
		if no(sdk.WhyLack{Reason: sdk.ReasonPorts, Detail: detail}) {
			return first
		}
	}
	return first
}

// keepsSpread evaluates a constraint that depends on where the document's tasks
// are.
func (b *Book) keepsSpread(row account.NodeRow, s *Shape, m *matcher) bool {
	v, ok := b.nodes[row].node.Attribute(m.Attribute)
	if !ok {
		return false
	}
	sp := b.spread(s.Key.Ref, m.Attribute)
	return sp == nil || sp.admits(m, v, s.Instances, len(b.values[m.Attribute]))
}

// has words a failed constraint: what is asked, and what the node has.
func (b *Book) has(row account.NodeRow, m *matcher) string {
	v, ok := b.nodes[row].node.Attribute(m.Attribute)
	if !ok {
		return m.words() + ": the node has no " + m.Attribute
	}
	return m.words() + ": the node has " + v
}

// lacking tells no of every resource of which a node has too little for a
// shape. It returns what no returns.
func (b *Book) lacking(row account.NodeRow, s *Shape, no func(sdk.WhyLack) bool) bool {
	all, _ := b.ledger.Available(row, s.Role)
	capacity, held := b.ledger.Capacity(row), b.ledger.Held(row)
	offered := b.ledger.Offered(row)
	for d, need := range s.Need {
		if need <= 0 || need <= all[d] {
			continue
		}
		name := b.ledger.Dims()[d]
		l := sdk.WhyLack{Reason: sdk.ResourceReason(name), Resource: name, Need: need, Free: max(all[d], 0), Short: need - max(all[d], 0)}
		ill := b.unwell(row, d, need, l.Free)
		switch {
		case d == account.DimPorts:
			l.Reason = sdk.ReasonPorts
		case ill != "":
			l.Reason, l.Detail = sdk.ReasonDevices, ill
		case need <= capacity[d]-held[d]-offered[d]:
			l.Reason = sdk.ReasonReserved
			l.Detail = "the rest is reserved for other roles"
		case need <= capacity[d]-held[d]:
			l.Reason = sdk.ReasonOffered
			l.Detail = "the rest is on offer at the moment"
		}
		if no(l) {
			return true
		}
	}
	return false
}
