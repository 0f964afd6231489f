package core

import (
	"math"
	"slices"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/kernel/offer"
	"github.com/drupe-os/drupe/sdk"
)

// demandKey names a demand: its framework and its name.
type demandKey struct {
	plugin sdk.PluginName
	name   string
}

// demand is what a framework wants.
type demand struct {
	sdk.Demand
	plugin     sdk.PluginName
	shape      *offer.Shape
	group      *group
	suppressed bool
	gone       bool
	waiting    sdk.Reason // what the policy said last
}

// setDemand enters a demand, or changes it. Launches that the framework could
// not know of when it named the count are taken off.
func (s *State) setDemand(plugin sdk.PluginName, want *sdk.Demand, unseen int64) *sdk.Fault {
	k := demandKey{plugin, want.Name}
	d := s.demandBy[k]
	if d == nil {
		d = &demand{plugin: plugin}
		s.demandBy[k] = d
		s.demands = append(s.demands, d)
	}
	if f := s.shapeDemand(d, want, unseen); f != nil {
		return f
	}
	s.wakeAt(d.NotBefore)
	s.changes.Room = true
	return nil
}

// shapeDemand makes d what is wanted, less the launches not yet seen.
func (s *State) shapeDemand(d *demand, want *sdk.Demand, unseen int64) *sdk.Fault {
	shape, err := s.book.NewShape(d.plugin, want)
	if err != nil {
		return asFault(err)
	}
	d.Demand = *want
	d.Count = max(0, want.Count-unseen)
	d.shape, d.waiting, d.group = shape, sdk.ReasonNotConsidered, nil
	if want.Template != nil {
		d.group = &group{ref: want.Ref, plugin: d.plugin, demand: want.Name, tag: want.Tag, role: want.Role,
			resources: want.Resources, template: want.Template}
	}
	s.book.Track(shape, s.placedOf(want.Ref))
	return nil
}

// placedOf yields the node of each live task of a document.
func (s *State) placedOf(ref sdk.Ref) func(func(account.NodeRow) bool) {
	return func(yield func(account.NodeRow) bool) {
		r := s.byRef[ref]
		if r == nil {
			return
		}
		for _, t := range r.tasks {
			if !t.state.Terminal() && !yield(t.node.row) {
				return
			}
		}
	}
}

// checkDemand proves that a demand means something and may be made.
func (s *State) checkDemand(p *sdk.Plugin, d *sdk.Demand) *sdk.Fault {
	subject := string(p.Manifest.Name) + ": demand " + d.Name
	bad := func(format string, args ...any) *sdk.Fault {
		return sdk.Errorf(sdk.Invalid, subject, format, args...)
	}
	if d.Name == "" || len(d.Name) > 256 {
		return bad("the name must have 1 to 256 bytes")
	}
	if d.Count < 0 || d.Count > 1<<31 {
		return bad("count %d is out of range", d.Count)
	}
	if !d.Role.Valid() {
		return bad("role %q is not a path of names", d.Role)
	}
	if !s.mayUse(p, d.Role) {
		return sdk.Errorf(sdk.Denied, subject, "role %q was not granted", d.Role)
	}
	if s.kinds[d.Ref.Kind] != p.Manifest.Name {
		return sdk.Errorf(sdk.Denied, subject, "documents of kind %q are not its own", d.Ref.Kind)
	}
	if _, err := d.Resources.Normal(); err != nil {
		return bad("resources: %v", err)
	}
	for _, c := range d.Constraints {
		if err := offer.CheckConstraint(c); err != nil {
			return asFault(err)
		}
	}
	if d.Template != nil {
		return checkTemplate(subject, d.Template)
	}
	return nil
}

// checkTemplate proves that a template can run at all.
func checkTemplate(subject string, t *sdk.Template) *sdk.Fault {
	if n := count(t.Run.Container != nil, t.Run.Process != nil, t.Run.Wasm != nil); n != 1 {
		return sdk.Errorf(sdk.Invalid, subject, "the template runs %d things; it must be one container, process or module", n)
	}
	seen := map[string]bool{}
	for _, p := range t.Ports {
		if p.Name == "" || seen[p.Name] {
			return sdk.Errorf(sdk.Invalid, subject, "port %q is unnamed or named twice", p.Name)
		}
		seen[p.Name] = true
	}
	for i := range t.Checks {
		c := &t.Checks[i]
		if count(c.HTTP != nil, c.HTTPS != nil, c.TCP != nil, c.GRPC != nil, c.Command != nil) != 1 {
			return sdk.Errorf(sdk.Invalid, subject, "check %q must be exactly one of http, https, tcp, grpc and command", c.Name)
		}
		if c.Command != nil {
			continue
		}
		if port := checkedPort(c); !seen[port] {
			return sdk.Errorf(sdk.Invalid, subject, "check %q asks for port %q, which is not declared", c.Name, port)
		}
	}
	return nil
}

// checkedPort names the port that a check over the network asks.
func checkedPort(c *sdk.Check) string {
	switch {
	case c.HTTP != nil:
		return c.HTTP.Port
	case c.HTTPS != nil:
		return c.HTTPS.Port
	case c.TCP != nil:
		return c.TCP.Port
	case c.GRPC != nil:
		return c.GRPC.Port
	}
	return ""
}

// count is how many hold.
func count(facts ...bool) (n int) {
	for _, f := range facts {
		if f {
			n++
		}
	}
	return n
}

// dropDemand withdraws a demand.
func (s *State) dropDemand(plugin sdk.PluginName, name string) {
	k := demandKey{plugin, name}
	d := s.demandBy[k]
	if d == nil {
		return
	}
	for _, o := range s.sortedOffers() {
		if o.demand == d {
			s.endOffer(o)
		}
	}
	d.gone = true
	delete(s.demandBy, k)
	s.demands = slices.DeleteFunc(s.demands, func(x *demand) bool { return x == d })
	s.book.Revive(d.shape.Key, name)
	s.sweepClient(d.shape.Key)
}

// releaseBackoff notices demands whose hold ends with the state's clock.
func (s *State) releaseBackoff() {
	for _, d := range s.demands {
		if d.NotBefore != 0 && d.NotBefore <= s.now && d.Count > 0 {
			d.NotBefore = 0
			s.changes.Room = true
		}
	}
}

// Round begins a round of placement over all open demands, oldest first, at
// most limit instances. Pending are commits of frameworks that will be applied
// together with the round's outcome: it already reckons with their demands. It
// returns nil when nothing is open; names are those of the batch's rows.
func (s *State) Round(limit uint32, pending []FrameworkCommit) (*offer.Round, []DemandName) {
	demands := s.demandsAfter(pending)
	var open []offer.Open
	var names []DemandName
	for _, d := range demands {
		if !d.open(s.now) {
			continue
		}
		n := uint32(min(d.Count, math.MaxInt32))
		d.shape.Instances = s.live(d.Ref) + int(d.Count)
		open = append(open, offer.Open{Shape: d.shape, Count: n, Priority: d.Priority})
		names = append(names, DemandName{d.plugin, d.Name})
	}
	if len(open) == 0 {
		return nil, nil
	}
	return s.book.NewRound(open, s.now, limit), names
}

// demandsAfter are the demands as they will stand when pending is applied.
func (s *State) demandsAfter(pending []FrameworkCommit) []*demand {
	changed := map[demandKey]*demand{}
	var added []demandKey
	for i := range pending {
		c := &pending[i]
		for j := range c.Actions {
			switch a := &c.Actions[j]; {
			case a.Demand != nil:
				k := demandKey{c.Plugin, a.Demand.Name}
				d := &demand{plugin: c.Plugin, suppressed: s.demandBy[k] != nil && s.demandBy[k].suppressed}
				if f := s.shapeDemand(d, a.Demand, s.unseen(c.Plugin, a.Demand.Name, max(c.Seen, c.Consumed))); f != nil {
					continue
				}
				if _, known := changed[k]; !known && s.demandBy[k] == nil {
					added = append(added, k)
				}
				changed[k] = d
			case a.Drop != nil:
				changed[demandKey{c.Plugin, a.Drop.Name}] = nil
			}
		}
	}
	if len(changed) == 0 {
		return s.demands
	}
	out := make([]*demand, 0, len(s.demands)+len(added))
	for _, d := range s.demands {
		if c, ok := changed[demandKey{d.plugin, d.Name}]; !ok {
			out = append(out, d)
		} else if c != nil {
			out = append(out, c)
		}
	}
	for _, k := range added {
		if changed[k] != nil {
			out = append(out, changed[k])
		}
	}
	return out
}

// open reports whether anything may be placed for a demand now.
func (d *demand) open(now sdk.Time) bool {
	return d.Count > 0 && !d.suppressed && d.NotBefore <= now
}

// waitingFor is why a demand as a whole waits.
func (s *State) waitingFor(d *demand) sdk.Reason {
	policy, _ := s.Policy()
	switch {
	case d.suppressed:
		return sdk.ReasonSuppressed
	case d.NotBefore > s.now:
		return sdk.ReasonBackoff
	case policy == "":
		return sdk.ReasonNoPolicy
	}
	return d.waiting
}

// openDemands returns the open demands of a document by age.
func (s *State) openDemands(ref sdk.Ref) []*demand {
	var out []*demand
	for _, d := range s.demands {
		if d.Ref == ref && d.Count > 0 {
			out = append(out, d)
		}
	}
	return out
}
