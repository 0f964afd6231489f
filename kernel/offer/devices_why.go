package offer

import (
	"fmt"
	"strings"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
)

// lackingDevices tells no of every resource of which a node has enough in sum,
// but not as devices. It returns what no returns.
func (b *Book) lackingDevices(row account.NodeRow, s *Shape, no func(sdk.WhyLack) bool) bool {
	set := b.nodes[row].devices
	for i := range set.pools {
		p := &set.pools[i]
		if p.dim >= len(s.Need) || s.Need[p.dim] <= 0 || set.fits(p, s.Need[p.dim]) {
			continue
		}
		need := s.Need[p.dim]
		all, _ := b.ledger.Available(row, s.Role)
		if need > all[p.dim] {
			continue // said already
		}
		l := sdk.WhyLack{Reason: sdk.ReasonDevices, Resource: p.resource, Need: need, Detail: set.words(p, need, all[p.dim])}
		if most := set.most(p, need); most > 0 {
			l.Free, l.Short = most, need-most
		}
		if no(l) {
			return true
		}
	}
	return false
}

// words says why an amount that is there in sum cannot be given out.
func (s *deviceSet) words(p *devicePool, need, free int64) string {
	amount := func(v int64) string { return sdk.FormatQuantity(p.resource, v) }
	switch {
	case need%whole == 0:
		return fmt.Sprintf("%s %s are free in sum, but only %d as whole devices", amount(free), p.resource, s.free(p))
	case need > whole:
		return fmt.Sprintf("%s %s are neither whole devices nor a part of one", amount(need), p.resource)
	case !s.shared(p):
		return fmt.Sprintf("part of a device can be had of shared ones only, and no device of its %s is shared", p.resource)
	}
	return fmt.Sprintf("%s %s are free in sum, but no more than %s on one device", amount(free), p.resource, amount(s.largest(p)))
}

// shared reports whether tasks may have parts of any device of a pool.
func (s *deviceSet) shared(p *devicePool) bool {
	for i := range p.devices {
		if p.devices[i].Shared {
			return true
		}
	}
	return false
}

// ill are the devices of a pool that nobody holds and that are not well.
func (s *deviceSet) ill(p *devicePool) (out []*device) {
	for i := range p.devices {
		if d := &p.devices[i]; !d.well && s.held[d.ID] == 0 {
			out = append(out, d)
		}
	}
	return out
}

// unwell words a lack that is one only because devices are ill; "" when that is
// not it.
func (b *Book) unwell(row account.NodeRow, dim int, need, free int64) string {
	set := b.nodes[row].devices
	p := set.pool(dim)
	if p == nil {
		return ""
	}
	ill := set.ill(p)
	if len(ill) == 0 || need > free+int64(len(ill))*whole {
		return ""
	}
	said := make([]string, len(ill))
	for i, d := range ill {
		said[i] = ailing(d.Device)
	}
	return fmt.Sprintf("%s %s are free but only %s are well (%s)", sdk.FormatQuantity(p.resource, free+int64(len(ill))*whole),
		p.resource, sdk.FormatQuantity(p.resource, free), strings.Join(said, "; "))
}

// deviceFixes are changes for demands that no node's devices can meet: whole
// devices or a shared resource instead of parts, and mending what is ill.
func (b *Book) deviceFixes(s *Shape) []sdk.WhyFix {
	var out []sdk.WhyFix
	for d, need := range s.Need {
		if need <= 0 || !b.identified(d) {
			continue
		}
		name := b.ledger.Dims()[d]
		try := *s
		if part := need % whole; part != 0 {
			up := need - part + whole
			try.Need = s.Need.Clone(len(s.Need))
			try.Need[d] = up
			if b.anyFits(&try) {
				value := sdk.FormatQuantity(name, up)
				out = append(out, sdk.WhyFix{Message: fmt.Sprintf("ask for %s %s: they are given out whole", value, name), Field: "resources." + name, Value: value})
			}
			shared := name + "-shared"
			if i := b.dimOf(shared); i >= 0 {
				try.Need = s.Need.Clone(i + 1)
				try.Need[d], try.Need[i] = 0, try.Need[i]+need
				if b.anyFits(&try) {
					value := sdk.FormatQuantity(shared, try.Need[i])
					out = append(out, sdk.WhyFix{Message: fmt.Sprintf("ask for %s %s instead of %s", value, shared, name), Field: "resources." + shared, Value: value})
				}
			}
		}
		out = append(out, b.mends(s, d)...)
	}
	return out
}

// mends are the devices whose recovery would be enough.
func (b *Book) mends(s *Shape, dim int) []sdk.WhyFix {
	var out []sdk.WhyFix
	for row, e := range b.nodes {
		var lacks []sdk.WhyLack
		if e.devices == nil || !e.usable || len(out) == nearestNodes {
			continue
		}
		b.check(account.NodeRow(row), s, &lacks)
		p := e.devices.pool(dim)
		if p == nil || len(lacks) != 1 || lacks[0].Resource != p.resource || b.unwell(account.NodeRow(row), dim, lacks[0].Need, lacks[0].Free) == "" {
			continue
		}
		for _, d := range e.devices.ill(p) {
			out = append(out, sdk.WhyFix{Message: fmt.Sprintf("mend %s of node %s: %s", d.Kind, e.node.Name, ailing(d.Device))})
		}
	}
	return out
}

// identified reports whether some node has identified devices of a resource.
func (b *Book) identified(dim int) bool {
	for _, e := range b.nodes {
		if e.devices.pool(dim) != nil {
			return true
		}
	}
	return false
}

// dimOf is the position of a resource that is known, -1 for others.
func (b *Book) dimOf(name string) int {
	for i, n := range b.ledger.Dims() {
		if n == name {
			return i
		}
	}
	return -1
}
