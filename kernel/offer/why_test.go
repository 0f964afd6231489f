package offer

import (
	"strconv"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

const gib = 1 << 30

// machine is a node of 4 cores, 8 GiB, 100 GiB of disk, 1 GPU, 2 tapes and 3
// ports, in rack r1.
func machine(name string) sdk.Node {
	return sdk.Node{ID: sdk.NodeID("id-" + name), Name: name, Attributes: []sdk.Attribute{{Name: "rack", Value: "r1"}},
		Machine: sdk.Machine{Ports: []sdk.Range{{First: 8080, Last: 8082}}, Capacity: sdk.Resources{{Name: sdk.CPUs, Value: 4000},
			{Name: sdk.Disk, Value: 100 * gib}, {Name: sdk.GPUs, Value: 1000}, {Name: sdk.Mem, Value: 8 * gib}, {Name: "tapes", Value: 2000}}}}
}

// wanted is a demand of one core and one GiB, and more as a case says.
func wanted(more ...sdk.Quantity) sdk.Demand {
	r := sdk.R(1000, gib)
	for _, q := range more {
		r = r.With(q.Name, q.Value)
	}
	return sdk.Demand{Name: "d", Ref: sdk.Ref{Kind: "k", Name: "s"}, Role: "eng/web", Count: 1, Resources: r, Template: &sdk.Template{}}
}

func with(d sdk.Demand, c ...sdk.Constraint) sdk.Demand {
	d.Constraints = c
	return d
}

func ports(d sdk.Demand, hosts ...uint16) sdk.Demand {
	d.Template = &sdk.Template{}
	for i, h := range hosts {
		d.Template.Ports = append(d.Template.Ports, sdk.PortRequest{Name: "p" + strconv.Itoa(i), Host: h})
	}
	return d
}

// cause is one planted reason why a demand is not placed.
type cause struct {
	demand sdk.Demand
	plant  func(c *cluster)
	reason sdk.Reason
	short  int64  // of the resource, on the nearest node; 0: nothing is short
	says   string // in the message or the node's detail
	fix    string // its message; "" for causes that the demand's owner cannot mend
	apply  func(c *cluster, d *sdk.Demand, value string)
}

// less takes the amount a fix advises.
func less(name string) func(*cluster, *sdk.Demand, string) {
	return func(_ *cluster, d *sdk.Demand, value string) {
		d.Resources = d.Resources.With(name, parse(name, value))
	}
}

func drop(_ *cluster, d *sdk.Demand, _ string) { d.Constraints = nil }

// raise sets a role's limit of a resource as a fix advises.
func raise(role sdk.RolePath, name string) func(*cluster, *sdk.Demand, string) {
	return func(c *cluster, _ *sdk.Demand, value string) {
		if err := c.Ledger().SetRole(sdk.Role{Path: role, Limit: sdk.Resources{{Name: name, Value: parse(name, value)}}}); err != nil {
			panic(err)
		}
	}
}

// parse reads an amount as explanations write it.
func parse(name, s string) int64 {
	unit := int64(1000)
	if name == sdk.Mem || name == sdk.Disk {
		unit = 1
		for suffix, u := range map[string]int64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": gib} {
			if t, ok := strings.CutSuffix(s, suffix); ok {
				s, unit = t, u
			}
		}
	}
	whole, part, _ := strings.Cut(s, ".")
	v, err := strconv.ParseInt(whole+part, 10, 64)
	if err != nil {
		panic(s)
	}
	for range part {
		unit /= 10
	}
	return v * unit
}

// taken places an instance of another document on the first node.
func taken(d sdk.Demand) func(*cluster) {
	return func(c *cluster) {
		d.Ref.Name = "other"
		if why := c.place(0, c.shape(d)); why != sdk.ReasonNone {
			panic(why)
		}
	}
}

// same places an instance of the document itself on the first node.
func same(c *cluster) {
	if why := c.place(0, c.shape(wanted())); why != sdk.ReasonNone {
		panic(why)
	}
}

func limited(role sdk.RolePath, r sdk.Resources) func(*cluster) {
	return func(c *cluster) {
		if err := c.Ledger().SetRole(sdk.Role{Path: role, Limit: r}); err != nil {
			panic(err)
		}
	}
}

func node(change func(*sdk.Node)) func(*cluster) {
	return func(c *cluster) { change(c.Node(0)); c.NodeChanged(0) }
}

func q(name string, v int64) sdk.Quantity { return sdk.Quantity{Name: name, Value: v} }

var causes = map[string]cause{
	"cpus": {demand: wanted(q(sdk.CPUs, 3000)), plant: taken(wanted(q(sdk.CPUs, 1500))), reason: sdk.ReasonCPUs, short: 500,
		fix: "ask for at most 2.5 cpus", apply: less(sdk.CPUs)},
	"mem": {demand: wanted(q(sdk.Mem, 9*gib)), reason: sdk.ReasonMem, short: gib, fix: "ask for at most 8Gi mem", apply: less(sdk.Mem)},
	"mem, not a whole GiB": {demand: wanted(q(sdk.Mem, 7*gib)), plant: taken(wanted(q(sdk.Mem, 1536<<20))), reason: sdk.ReasonMem, short: gib / 2,
		fix: "ask for at most 6656Mi mem", apply: less(sdk.Mem)},
	"disk":         {demand: wanted(q(sdk.Disk, 150*gib)), reason: sdk.ReasonDisk, short: 50 * gib, fix: "ask for at most 100Gi disk", apply: less(sdk.Disk)},
	"gpus":         {demand: wanted(q(sdk.GPUs, 2000)), reason: sdk.ReasonGPUs, short: 1000, fix: "ask for at most 1 gpus", apply: less(sdk.GPUs)},
	"own resource": {demand: wanted(q("tapes", 3000)), reason: sdk.ReasonCustom, short: 1000, fix: "ask for at most 2 tapes", apply: less("tapes")},
	"ports":        {demand: ports(wanted(), 0, 0, 0, 0), reason: sdk.ReasonPorts, short: 1},
	"wanted port taken": {demand: ports(wanted(), 8081), plant: taken(ports(wanted(), 8081)), reason: sdk.ReasonPorts, says: "port 8081 is taken",
		fix: "let port p0 be any port instead of 8081", apply: func(_ *cluster, d *sdk.Demand, _ string) { *d = ports(*d, 0) }},
	"wanted port not in the pool": {demand: ports(wanted(), 0, 80), reason: sdk.ReasonPorts, says: "port 80 is not in the node's pool",
		fix: "let port p1 be any port instead of 80", apply: func(_ *cluster, d *sdk.Demand, _ string) { *d = ports(*d, 0, 0) }},
	"is": {demand: with(wanted(), sdk.Constraint{Attribute: "rack", Operator: sdk.OpIs, Value: "r2"}), reason: sdk.ReasonConstraint,
		says: "rack is r2: the node has r1", fix: "drop the constraint rack is r2", apply: drop},
	"is, attribute absent": {demand: with(wanted(), sdk.Constraint{Attribute: "zone", Operator: sdk.OpIs, Value: "z"}), reason: sdk.ReasonConstraint,
		says: "zone is z: the node has no zone", fix: "drop the constraint zone is z", apply: drop},
	"like": {demand: with(wanted(), sdk.Constraint{Attribute: "rack", Operator: sdk.OpLike, Value: "x.*"}), reason: sdk.ReasonConstraint,
		says: "rack like x.*", fix: "drop the constraint rack like x.*", apply: drop},
	"unlike": {demand: with(wanted(), sdk.Constraint{Attribute: "rack", Operator: sdk.OpUnlike, Value: "r.*"}), reason: sdk.ReasonConstraint,
		says: "rack unlike r.*", fix: "drop the constraint rack unlike r.*", apply: drop},
	"unique": {demand: with(wanted(), sdk.Constraint{Attribute: "rack", Operator: sdk.OpUnique}), plant: same, reason: sdk.ReasonConstraint,
		says: "rack unique: the node has r1", fix: "drop the constraint rack unique", apply: drop},
	"max_per": {demand: with(wanted(), sdk.Constraint{Attribute: "rack", Operator: sdk.OpMaxPer, Value: "1"}), plant: same, reason: sdk.ReasonConstraint,
		says: "rack max_per 1", fix: "drop the constraint rack max_per 1", apply: drop},
	"cluster": {demand: with(wanted(), sdk.Constraint{Attribute: "rack", Operator: sdk.OpCluster, Value: "r7"}), reason: sdk.ReasonConstraint,
		says: "rack cluster r7", fix: "drop the constraint rack cluster r7", apply: drop},
	"group_by": {demand: with(wanted(), sdk.Constraint{Attribute: "rack", Operator: sdk.OpGroupBy, Value: "2"}), plant: same, reason: sdk.ReasonConstraint,
		says: "rack group_by 2", fix: "drop the constraint rack group_by 2", apply: drop},
	"cordoned": {demand: wanted(), plant: node(func(n *sdk.Node) { n.Cordoned = true }), reason: sdk.ReasonCordoned,
		fix:   "let node n0 take tasks again",
		apply: func(c *cluster, _ *sdk.Demand, _ string) { node(func(n *sdk.Node) { n.Cordoned = false })(c) }},
	"unreachable": {demand: wanted(), plant: node(func(n *sdk.Node) { n.Liveness = sdk.NodeUnreachable }), reason: sdk.ReasonUnreachable,
		fix:   "bring node n0 back: its agent has no contact with the servers",
		apply: func(c *cluster, _ *sdk.Demand, _ string) { node(func(n *sdk.Node) { n.Liveness = sdk.NodeUp })(c) }},
	"no nodes": {demand: wanted(), plant: node(func(n *sdk.Node) { n.Liveness = sdk.NodeGone }), reason: sdk.ReasonNoNodes, says: "there is no node"},
	"quota of its role": {demand: wanted(), plant: limited("eng/web", sdk.Resources{q(sdk.CPUs, 500)}), reason: sdk.ReasonQuotaLimit,
		says: "role eng/web is at its limit", fix: "raise the limit of role eng/web to 1 cpus", apply: raise("eng/web", sdk.CPUs)},
	"quota of a role above": {demand: wanted(q(sdk.Mem, 1536<<20)), plant: limited("eng", sdk.Resources{q(sdk.Mem, gib)}), reason: sdk.ReasonQuotaLimit,
		says: "role eng is at its limit", fix: "raise the limit of role eng to 1536Mi mem", apply: raise("eng", sdk.Mem)},
	"reserved for others": {demand: wanted(q(sdk.CPUs, 2000)), plant: func(c *cluster) {
		if err := c.Ledger().SetReservations(0, []account.Reserve{{Role: c.Ledger().Role("ops"), Amount: c.Ledger().Vector(sdk.R(3000, 0), 0)}}); err != nil {
			panic(err)
		}
	}, reason: sdk.ReasonReserved, short: 1000, says: "reserved for other roles", fix: "ask for at most 1 cpus", apply: less(sdk.CPUs)},
	"on offer": {demand: wanted(q(sdk.CPUs, 2000)), plant: func(c *cluster) {
		d := wanted()
		d.Template, d.Ref.Name = nil, "other"
		if _, why := c.Offer(0, c.shape(d), c.Ledger().Vector(sdk.R(3000, gib), 0), 0); why != sdk.ReasonNone {
			panic(why)
		}
	}, reason: sdk.ReasonOffered, short: 1000, says: "on offer", fix: "ask for at most 1 cpus", apply: less(sdk.CPUs)},
}

// TestExplanations plants one cause at a time. The explanation must name it,
// with the amount short, and when it knows a remedy, the remedy must work.
func TestExplanations(t *testing.T) {
	for name, k := range causes {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			c.add(machine("n0"))
			if k.plant != nil {
				k.plant(c)
			}
			s := c.shape(k.demand)
			s.Instances = 2
			w := c.Explain(s, 1, sdk.ReasonNotConsidered)
			if w.Reason != k.reason {
				t.Errorf("it is %s, not %s", k.reason, w.Reason)
			}
			text := w.Message
			if len(w.Nodes) > 0 {
				l := w.Nodes[0].Lacks
				text += "; " + l[0].Detail
				if len(l) != 1 || l[0].Reason != k.reason || l[0].Short != k.short {
					t.Errorf("lacks %+v, want %s short by %d", l, k.reason, k.short)
				}
				if l[0].Short > 0 && l[0].Need-l[0].Free != l[0].Short {
					t.Errorf("figures do not add up: %+v", l[0])
				}
			}
			if !strings.Contains(text, k.says) {
				t.Errorf("says %q, not %q", text, k.says)
			}
			if k.fix == "" {
				if len(w.Fixes) != 0 {
					t.Errorf("fixes %+v", w.Fixes)
				}
				return
			}
			if len(w.Fixes) != 1 || w.Fixes[0].Message != k.fix {
				t.Fatalf("fixes %+v, want %q", w.Fixes, k.fix)
			}
			if why := c.place(0, s); why == sdk.ReasonNone {
				t.Fatal("it can be placed: there was nothing to explain")
			}
			d := k.demand
			k.apply(c, &d, w.Fixes[0].Value)
			s = c.shape(d)
			s.Instances = 2
			if why := c.place(0, s); why != sdk.ReasonNone {
				t.Errorf("the remedy does not help: %s", why)
			}
		})
	}
}

// Two limits in the way are both named, the upper one first, because a role's
// limit lies within its parent's.
func TestTwoLimits(t *testing.T) {
	c := newCluster()
	c.add(machine("n0"))
	limited("eng", sdk.R(500, 8*gib))(c)
	limited("eng/web", sdk.R(200, 8*gib))(c)
	w := c.Explain(c.shape(wanted()), 1, sdk.ReasonQuotaLimit)
	if len(w.Fixes) != 2 {
		t.Fatalf("fixes %+v", w.Fixes)
	}
	for i, role := range []sdk.RolePath{"eng", "eng/web"} {
		if !strings.Contains(w.Fixes[i].Message, "role "+string(role)+" to 1 cpus") {
			t.Errorf("fix %d: %s", i, w.Fixes[i].Message)
		}
		raise(role, sdk.CPUs)(c, nil, w.Fixes[i].Value)
	}
	if why := c.place(0, c.shape(wanted())); why != sdk.ReasonNone {
		t.Error(why)
	}
}

// What a role's own reservation holds counts against its limit already, so an
// instance that fits there is placed there although the limit is reached.
func TestLimitAndReservation(t *testing.T) {
	c := newCluster()
	c.add(machine("n0"))
	c.add(machine("n1"), account.Reserve{Role: c.Ledger().Role("eng"), Amount: c.Ledger().Vector(sdk.R(1000, gib), 0)})
	limited("eng", sdk.R(1000, gib))(c)
	s := c.shape(wanted())
	for how := range [3]int{} {
		r := c.NewRound([]Open{{Shape: s, Count: 2}}, 0, 1000)
		n, why := r.Place(0, 2, policy.Strategy(how))
		if n != 1 || why != sdk.ReasonQuotaLimit || r.Decisions[0].Node != 1 {
			t.Errorf("strategy %d: %d placed, %v, %s", how, n, r.Decisions, why)
		}
		r.Close()
	}
	if w := c.Explain(s, 1, sdk.ReasonNotConsidered); w.Reason == sdk.ReasonQuotaLimit {
		t.Errorf("%+v", w)
	}
}
