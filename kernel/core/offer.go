package core

import (
	"cmp"
	"slices"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/kernel/offer"
	"github.com/drupe-os/drupe/sdk"
)

// offerTime is how long an offer stands.
const offerTime = 30 * sdk.Second

// offerRecord is an offer that stands.
type offerRecord struct {
	sdk.Offer
	grant  account.Grant
	demand *demand
}

// place applies the outcome of a round, decision by decision.
func (s *State) place(c *Placement) (refused int, fault *sdk.Fault) {
	if name, gen := s.Policy(); name != c.Policy || gen != c.Generation {
		return 0, sdk.Errorf(sdk.Conflict, "policy/"+string(c.Policy), "generation %d is not the policy at work", c.Generation)
	}
	demands := make([]*demand, len(c.Demands))
	for i, name := range c.Demands {
		if d := s.demandBy[demandKey{name.Plugin, name.Name}]; d != nil {
			demands[i] = d
			d.shape.Instances = s.live(d.Ref) + int(d.Count)
		}
	}
	at := func(row uint32) *demand {
		if int(row) < len(demands) {
			return demands[row]
		}
		return nil
	}
	// Those that want certain ports go first: any port does for the others.
	placed := 0
	for _, wanted := range [2]bool{true, false} {
		for _, r := range c.Runs {
			d := at(r.Demand)
			if (d != nil && d.shape.WantsPorts()) != wanted {
				continue
			}
			for range r.Count {
				if s.placeOne(d, r.Node) {
					placed++
				} else {
					refused++
				}
			}
		}
	}
	if refused > 0 && placed > 0 {
		// Decisions of one round stood in each other's way. Another round can
		// do better, and this cannot go on for ever: each places something.
		s.changes.Room = true
	}
	for i := range c.Offers {
		if !s.makeOffer(at(c.Offers[i].Demand), &c.Offers[i]) {
			refused++
		}
	}
	for _, w := range c.Waiting {
		if d := at(w.Demand); d != nil {
			d.waiting = w.Reason
		}
	}
	if c.Refused > 0 {
		s.reject(&RejectPlugin{Plugin: c.Policy, Generation: c.Generation, Reason: sdk.ReasonAnswerInvalid,
			Message: "asked for what it may not have"})
	}
	return refused, nil
}

// placeOne launches one instance, if everything still holds.
func (s *State) placeOne(d *demand, row uint32) bool {
	if d == nil || d.group == nil || !d.open(s.now) || int(row) >= len(s.nodes) {
		return false
	}
	p, why := s.book.Place(account.NodeRow(row), d.shape)
	if why != sdk.ReasonNone {
		d.waiting = why
		return false
	}
	d.Count--
	s.launch(d.group, s.nodes[row], p)
	return true
}

// makeOffer makes one offer, if everything still holds.
func (s *State) makeOffer(d *demand, m *MakeOffer) bool {
	if d == nil || d.group != nil || !d.open(s.now) || int(m.Node) >= len(s.nodes) {
		return false
	}
	grant, why := s.book.Offer(account.NodeRow(m.Node), d.shape, s.ledger.Vector(m.Amount, int(m.Ports)), s.now)
	if why != sdk.ReasonNone {
		return false
	}
	d.Count--
	s.serials.Offer++
	n := s.nodes[m.Node]
	o := &offerRecord{grant: grant, demand: d, Offer: sdk.Offer{
		ID: sdk.OfferID(s.serials.Offer), Plugin: d.plugin, Demand: d.Name, Role: d.Role, Node: n.ID, NodeName: n.Name,
		Resources: m.Amount, Ports: m.Ports, Made: s.now, Expires: s.now.Add(offerTime)}}
	s.offers[o.ID] = o
	s.wakeAt(o.Expires)
	v := o.Offer
	s.tell(sdk.Event{Kind: sdk.EventOfferMade, Offer: &v})
	s.informPlugin(d.plugin, sdk.FrameworkEvent{Offered: &v})
	return true
}

// checkAccept proves that an offer is the framework's and holds what it
// launches.
func (s *State) checkAccept(p *sdk.Plugin, a *sdk.AcceptOffer) *sdk.Fault {
	subject := string(p.Manifest.Name)
	o := s.offers[a.Offer]
	if o == nil {
		return nil // rescinded meanwhile: the news is on its way
	}
	if o.Plugin != p.Manifest.Name {
		return sdk.Errorf(sdk.Conflict, subject, "offer %d is not its own", a.Offer)
	}
	sum := make(account.Vector, len(s.ledger.Dims()))
	for i := range a.Launches {
		l := &a.Launches[i]
		if s.kinds[l.Ref.Kind] != p.Manifest.Name {
			return sdk.Errorf(sdk.Denied, subject, "documents of kind %q are not its own", l.Ref.Kind)
		}
		if f := checkTemplate(subject, &l.Template); f != nil {
			return f
		}
		if _, err := l.Template.Resources.Normal(); err != nil {
			return sdk.Errorf(sdk.Invalid, subject, "resources: %v", err)
		}
		for _, port := range l.Template.Ports {
			if port.Host != 0 {
				return sdk.Errorf(sdk.Invalid, subject, "port %d: a launch on an offer takes ports from the pool", port.Host)
			}
		}
		v := s.ledger.Vector(l.Template.Resources, len(l.Template.Ports))
		sum = sum.Clone(len(v))
		for d := range v {
			sum[d] += v[d]
		}
	}
	for d, x := range sum {
		if x > 0 && (d >= len(o.grant.Amount) || x > o.grant.Amount[d]) {
			return sdk.Errorf(sdk.Conflict, subject, "offer %d has too little %s for its launches", a.Offer, s.ledger.Dims()[d])
		}
	}
	return nil
}

// accept launches tasks on an offer.
func (s *State) accept(a *sdk.AcceptOffer) {
	o := s.offers[a.Offer]
	if o == nil {
		return
	}
	delete(s.offers, o.ID)
	s.ledger.Give(&o.grant)
	n := s.nodeByID[o.Node]
	launched := 0
	for i := range a.Launches {
		l := &a.Launches[i]
		shape, _ := s.book.NewShape(o.Plugin, &sdk.Demand{Name: o.Demand, Ref: l.Ref, Role: o.Role,
			Resources: l.Template.Resources, Template: &l.Template})
		p, why := s.book.Place(n.row, shape)
		if why != sdk.ReasonNone {
			continue
		}
		launched++
		s.launch(&group{ref: l.Ref, plugin: o.Plugin, demand: o.Demand, tag: l.Tag, role: o.Role,
			resources: l.Template.Resources, template: &l.Template}, n, p)
	}
	if launched == 0 && !o.demand.gone {
		o.demand.Count++ // nothing of it could be had as the launches wanted it: it still wants one
	}
	s.tell(sdk.Event{Kind: sdk.EventOfferEnded, Offer: &o.Offer, Message: "accepted"})
	s.changes.Room = true
}

// decline gives an offer back and remembers it.
func (s *State) decline(a *sdk.DeclineOffer) {
	o := s.offers[a.Offer]
	if o == nil {
		return
	}
	if a.Filter > 0 {
		s.book.Decline(o.demand.shape.Key, o.Demand, o.grant.Node, o.grant.Amount, s.now.Add(a.Filter))
		s.wakeAt(s.now.Add(a.Filter))
	}
	o.demand.Count++ // it still wants one
	s.endOffer(o)
}

// endOffer gives back what an offer held.
func (s *State) endOffer(o *offerRecord) {
	delete(s.offers, o.ID)
	s.ledger.Give(&o.grant)
	s.tell(sdk.Event{Kind: sdk.EventOfferEnded, Offer: &o.Offer})
	s.changes.Room = true
}

// rescind takes an offer back without the framework's doing.
func (s *State) rescind(o *offerRecord) {
	if !o.demand.gone {
		o.demand.Count++
	}
	s.endOffer(o)
	id := o.ID
	s.informPlugin(o.Plugin, sdk.FrameworkEvent{Rescinded: &id})
}

// rescindNode takes back all offers of a node.
func (s *State) rescindNode(n *node) {
	for _, o := range s.sortedOffers() {
		if o.Node == n.ID {
			s.rescind(o)
		}
	}
}

// expireOffers takes back offers that stood too long, and forgets declines
// that are over.
func (s *State) expireOffers() {
	for _, o := range s.sortedOffers() {
		if o.Expires <= s.now {
			s.rescind(o)
		}
	}
	if s.book.Expire(s.now) {
		s.changes.Room = true
	}
}

func (s *State) sortedOffers() []*offerRecord {
	if len(s.offers) == 0 {
		return nil
	}
	out := make([]*offerRecord, 0, len(s.offers))
	for _, o := range s.offers {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b *offerRecord) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Outcome turns a finished round into the command that applies it; nil when
// there is nothing new to apply.
func (s *State) Outcome(r *offer.Round, names []DemandName) *Placement {
	name, generation := s.Policy()
	p := &Placement{Policy: name, Generation: generation, Refused: uint32(r.Refused)}
	rows := map[uint32]uint32{}
	row := func(demand uint32) uint32 { // only demands that something is said of are named
		at, ok := rows[demand]
		if !ok {
			at = uint32(len(p.Demands))
			rows[demand] = at
			p.Demands = append(p.Demands, names[demand])
		}
		return at
	}
	for _, wanted := range [2]bool{true, false} { // in the order of place, however the list is cut
		for _, d := range r.Decisions {
			if r.WantsPorts(d.Demand) == wanted {
				p.Runs = append(p.Runs, Run{Demand: row(d.Demand), Node: uint32(d.Node), Count: d.Count})
			}
		}
	}
	for _, o := range r.Offers {
		p.Offers = append(p.Offers, MakeOffer{Demand: row(o.Demand), Node: uint32(o.Node), Amount: s.ledger.Resources(o.Amount),
			Ports: uint32(o.Amount[account.DimPorts])})
	}
	for i, why := range r.Why {
		d := s.demandBy[demandKey{names[i].Plugin, names[i].Name}]
		if why != sdk.ReasonNone && (d == nil || d.waiting != why) {
			p.Waiting = append(p.Waiting, WaitReason{Demand: row(uint32(i)), Reason: why})
		}
	}
	if len(p.Runs) == 0 && len(p.Offers) == 0 && len(p.Waiting) == 0 && p.Refused == 0 {
		return nil
	}
	return p
}
