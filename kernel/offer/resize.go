package offer

import (
	"fmt"
	"slices"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
)

// Resize changes what a placed instance holds of its node, or says why it
// cannot be and changes nothing. Only what grows needs room: an instance may
// always become smaller. Devices and ports stay as they are.
func (b *Book) Resize(p *Placed, amount account.Vector) (sdk.Reason, string) {
	row, dims := p.Grant.Node, b.ledger.Dims()
	for d := range max(len(amount), len(p.Grant.Amount)) {
		if at(amount, d) == at(p.Grant.Amount, d) {
			continue
		}
		bound := slices.ContainsFunc(p.Devices, func(h sdk.DeviceBinding) bool { return h.Resource == dims[d] })
		if bound || d == account.DimPorts || b.nodes[row].devices.pool(d) != nil {
			return sdk.ReasonDevices, fmt.Sprintf("how many %s a running task has cannot be changed", dims[d])
		}
	}
	grow := amount.Clone(len(amount))
	for d := range grow {
		grow[d] = max(0, grow[d]-at(p.Grant.Amount, d))
	}
	s := &Shape{Role: p.Grant.Role, Need: grow}
	if _, ok := b.ledger.Split(row, s.Role, grow); !ok {
		var lack sdk.WhyLack
		b.lacking(row, s, func(l sdk.WhyLack) bool { lack = l; return true })
		return lack.Reason, fmt.Sprintf("node %s has %s %s for it, and %s more are asked for", b.nodes[row].node.Name,
			sdk.FormatQuantity(lack.Resource, lack.Free), lack.Resource, sdk.FormatQuantity(lack.Resource, lack.Need))
	}
	if role, d, ok := b.ledger.Regrant(&p.Grant, amount); !ok {
		return sdk.ReasonQuotaLimit, fmt.Sprintf("role %s is at its limit of %s %s", b.ledger.RoleAccount(role).Path,
			sdk.FormatQuantity(dims[d], b.ledger.RoleAccount(role).Limit[d]), dims[d])
	}
	return sdk.ReasonNone, ""
}

// at is one amount of a vector, which has none of what lies beyond its end.
func at(v account.Vector, d int) int64 {
	if d < len(v) {
		return v[d]
	}
	return 0
}
