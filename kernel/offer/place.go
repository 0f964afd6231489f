package offer

import (
	"slices"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
)

// Placed is one instance with a place: what it was charged, its ports, and which
// devices it holds.
type Placed struct {
	Grant   account.Grant
	Ports   []sdk.PortBinding
	Devices []sdk.DeviceBinding
}

// Place binds one instance of a shape to a node, after checking everything
// again: this is the check of record, for decisions of whatever origin. On
// refusal nothing has changed.
func (b *Book) Place(row account.NodeRow, s *Shape) (Placed, sdk.Reason) {
	if int(row) >= len(b.nodes) {
		return Placed{}, sdk.ReasonUnknownNode
	}
	if why := b.check(row, s, nil); why != sdk.ReasonNone {
		return Placed{}, why
	}
	g, err := b.ledger.Take(row, s.Role, s.Client, s.Need, account.ForTask)
	if err != nil {
		return Placed{}, sdk.ReasonQuotaLimit // check has seen to the node
	}
	p := Placed{Grant: g, Ports: b.bindPorts(row, s.Ports), Devices: b.nodes[row].devices.bind(s.Need)}
	b.Count(s.Key.Ref, row, 1)
	return p, sdk.ReasonNone
}

// try is Place for the time of a round: of the ports only wanted ones are taken,
// because which free ones a task gets is decided when the decision is applied,
// the same on every replica. So are its devices, but here some must be taken to
// know what is left.
func (b *Book) try(row account.NodeRow, s *Shape) (Placed, sdk.Reason) {
	if why := b.check(row, s, nil); why != sdk.ReasonNone {
		return Placed{}, why
	}
	g, err := b.ledger.Take(row, s.Role, s.Client, s.Need, account.ForTask)
	if err != nil {
		return Placed{}, sdk.ReasonQuotaLimit
	}
	p := Placed{Grant: g, Devices: b.nodes[row].devices.bind(s.Need)}
	for _, want := range s.Ports {
		if want.Host != 0 {
			b.nodes[row].ports.take(want.Host)
			p.Ports = append(p.Ports, sdk.PortBinding{Name: want.Name, Port: want.Host})
		}
	}
	b.Count(s.Key.Ref, row, 1)
	return p, sdk.ReasonNone
}

// bindPorts takes the ports of one instance; check has seen that they are to be
// had.
func (b *Book) bindPorts(row account.NodeRow, want []sdk.PortRequest) []sdk.PortBinding {
	if len(want) == 0 {
		return nil
	}
	e := b.nodes[row]
	out := make([]sdk.PortBinding, len(want))
	for i, p := range want { // wanted ports first, so that no free choice takes them
		out[i].Name = p.Name
		if p.Host != 0 {
			e.ports.take(p.Host)
			out[i].Port = p.Host
		}
	}
	for i := range out {
		if out[i].Port == 0 {
			out[i].Port = e.ports.any()
		}
	}
	return out
}

// Release gives back what a placed instance had.
func (b *Book) Release(ref sdk.Ref, p *Placed) {
	b.ledger.Give(&p.Grant)
	b.giveBack(ref, p)
}

// Undo takes a placement back as if it had never been.
func (b *Book) Undo(ref sdk.Ref, p *Placed) {
	b.ledger.Undo(&p.Grant)
	b.giveBack(ref, p)
}

func (b *Book) giveBack(ref sdk.Ref, p *Placed) {
	for _, port := range p.Ports {
		b.nodes[p.Grant.Node].ports.give(port.Port)
	}
	b.nodes[p.Grant.Node].give(p.Devices)
	b.Count(ref, p.Grant.Node, -1)
}

// Adopt enters an instance that is already a fact, as after a restart.
func (b *Book) Adopt(ref sdk.Ref, p *Placed) {
	b.ledger.Adopt(&p.Grant)
	for _, port := range p.Ports {
		b.nodes[p.Grant.Node].ports.take(port.Port)
	}
	b.nodes[p.Grant.Node].take(p.Devices)
	b.Count(ref, p.Grant.Node, 1)
}

// Offer sets amount of a node aside for a demand's framework, after checking
// everything again.
func (b *Book) Offer(row account.NodeRow, s *Shape, amount account.Vector, now sdk.Time) (account.Grant, sdk.Reason) {
	if int(row) >= len(b.nodes) {
		return account.Grant{}, sdk.ReasonUnknownNode
	}
	if why := b.offerable(row, s); why != sdk.ReasonNone {
		return account.Grant{}, why
	}
	for d, need := range s.Need {
		if need > 0 && (d >= len(amount) || amount[d] < need) {
			return account.Grant{}, sdk.ResourceReason(b.ledger.Dims()[d])
		}
	}
	for _, x := range amount {
		if x < 0 {
			return account.Grant{}, sdk.ReasonAnswerInvalid
		}
	}
	if b.declined(s, row, amount, now) {
		return account.Grant{}, sdk.ReasonDeclined
	}
	if !b.offersDevices(row, amount) {
		return account.Grant{}, sdk.ReasonDevices
	}
	if _, ok := b.ledger.Split(row, s.Role, amount); !ok {
		return account.Grant{}, sdk.ReasonOverCapacity
	}
	g, err := b.ledger.Take(row, s.Role, s.Client, amount, account.ForOffer)
	if err != nil {
		return account.Grant{}, sdk.ReasonQuotaLimit
	}
	return g, sdk.ReasonNone
}

// offerable is check without the amounts, which are the policy's choice.
func (b *Book) offerable(row account.NodeRow, s *Shape) sdk.Reason {
	e := b.nodes[row]
	switch {
	case e.node.Liveness != sdk.NodeUp:
		return sdk.ReasonUnreachable
	case e.node.Cordoned:
		return sdk.ReasonCordoned
	case !s.class.has(row):
		return sdk.ReasonConstraint
	}
	for i := range s.dynamic {
		if !b.keepsSpread(row, s, &s.dynamic[i]) {
			return sdk.ReasonConstraint
		}
	}
	return sdk.ReasonNone
}

// wholeDevices lowers an amount to what of it could be given out as devices.
func (b *Book) wholeDevices(row account.NodeRow, amount []int64) {
	set := b.nodes[row].devices
	if set == nil {
		return
	}
	for i := range set.pools {
		if p := &set.pools[i]; p.dim < len(amount) {
			amount[p.dim] = min(amount[p.dim], set.most(p, amount[p.dim]))
		}
	}
}

// offersDevices reports whether what an amount has of devices could be given
// out as such.
func (b *Book) offersDevices(row account.NodeRow, amount account.Vector) bool {
	able := amount.Clone(len(amount))
	b.wholeDevices(row, able)
	return slices.Equal(able, amount)
}

// NextPort returns where a node's search for a free port begins, for snapshots.
func (b *Book) NextPort(row account.NodeRow) uint16 { return b.nodes[row].ports.next }

// SetNextPort restores it.
func (b *Book) SetNextPort(row account.NodeRow, port uint16) { b.nodes[row].ports.next = port }
