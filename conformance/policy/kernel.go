package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/kernel/core"
	"github.com/drupe-os/drupe/kernel/offer"
	"github.com/drupe-os/drupe/sdk"
	api "github.com/drupe-os/drupe/sdk/policy"
)

// Kernel is a cluster on the kernel's own state: whatever a case asks for goes
// through the entries, books and rounds that a server would use. An offer taken
// stands until something else happens; then its framework accepts all of it.
type Kernel struct {
	state *core.State
	nodes map[string]*kernelNode
	ids   int
	err   error // the first thing that did not go as a case must
}

// kernelNode is a node as the case declared it.
type kernelNode struct {
	id       sdk.NodeID
	row      uint32
	capacity Amount
}

const (
	kernelPlugin sdk.PluginName = "case"
	kernelPolicy sdk.PluginName = "tried"
	kernelKind                  = "wish"
)

var _ Cluster = (*Kernel)(nil)

// NewKernel returns an empty cluster.
func NewKernel() *Kernel {
	c := &Kernel{state: core.New(), nodes: map[string]*kernelNode{}}
	all := []sdk.RolePath{""}
	c.apply(
		core.Command{Install: &core.InstallPlugin{Plugin: sdk.Plugin{Digest: "1", Manifest: sdk.Manifest{
			Name: kernelPlugin, Point: sdk.PointFramework, Kinds: []string{kernelKind}, Roles: all}}}},
		core.Command{Install: &core.InstallPlugin{Plugin: sdk.Plugin{Digest: "2", Manifest: sdk.Manifest{Name: kernelPolicy, Point: sdk.PointPolicy}}}},
		core.Command{UsePolicy: &core.UsePolicy{Name: kernelPolicy}})
	return c
}

// Err returns the first thing that the kernel refused, or books that did not
// balance. A case counts only when it is nil.
func (c *Kernel) Err() error { return c.err }

// apply applies one entry.
func (c *Kernel) apply(cmds ...core.Command) []core.Result {
	return c.at(c.state.Now(), cmds...)
}

func (c *Kernel) at(now sdk.Time, cmds ...core.Command) []core.Result {
	results, err := c.state.Apply(c.state.Index()+1, &core.Entry{Time: now, By: "case", Commands: cmds})
	if err == nil {
		err = c.state.Check()
	}
	for _, r := range results {
		if r.Fault != nil && err == nil {
			err = r.Fault
		}
		if r.Refused > 0 && err == nil {
			err = fmt.Errorf("%d decisions of a round were refused", r.Refused)
		}
	}
	if c.err == nil {
		c.err = err
	}
	return results
}

// act has the framework do something.
func (c *Kernel) act(actions ...sdk.Action) {
	p, _ := c.state.Plugin(kernelPlugin)
	c.apply(core.Command{Framework: &core.FrameworkCommit{Plugin: kernelPlugin, Generation: p.Generation,
		Consumed: c.state.NewestEvent(kernelPlugin), Actions: actions}})
}

// place applies decisions about one demand.
func (c *Kernel) place(demand string, p core.Placement) {
	p.Policy, p.Generation = c.state.Policy()
	p.Demands = []core.DemandName{{Plugin: kernelPlugin, Name: demand}}
	c.apply(core.Command{Place: &p})
}

// settle has every offer that stands accepted.
func (c *Kernel) settle() {
	for _, o := range c.state.Offers() {
		l := sdk.Launch{Ref: c.demand(o.Demand).Ref, Template: *template(o.Resources, int(o.Ports))}
		c.act(sdk.Action{Accept: &sdk.AcceptOffer{Offer: o.ID, Launches: []sdk.Launch{l}}})
	}
}

// demand is a demand as it stands.
func (c *Kernel) demand(name string) sdk.Demand {
	for _, d := range c.state.World(kernelPlugin).Demands {
		if d.Name == name {
			return d
		}
	}
	return sdk.Demand{}
}

func template(r sdk.Resources, ports int) *sdk.Template {
	t := &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "x"}}, Resources: r}
	for i := range ports {
		t.Ports = append(t.Ports, sdk.PortRequest{Name: fmt.Sprint("p", i)})
	}
	return t
}

// resources writes an amount as the kernel's quantities, without ports. What is
// absent from a bound is left out.
func resources(a Amount, bound bool) sdk.Resources {
	var out sdk.Resources
	for i, v := range a {
		if v > 0 && (Dims[i] != "ports" || bound) || bound && v == 0 {
			out = append(out, sdk.Quantity{Name: Dims[i], Value: v})
		}
	}
	out, _ = out.Normal()
	return out
}

// lower writes a role as the kernel wants names.
func lower(p sdk.RolePath) sdk.RolePath { return sdk.RolePath(strings.ToLower(string(p))) }

func amountOf(r sdk.Resources, ports int) (a Amount) {
	for i, name := range Dims {
		a[i] = r.Get(name)
	}
	a[len(a)-1] = int64(ports)
	return a
}

// SetRole implements Cluster.
func (c *Kernel) SetRole(path sdk.RolePath, weight int64, guarantee Amount, limit Bounds) {
	c.settle()
	path = lower(path)
	r := sdk.Role{Path: path, Weight: weight, Limit: resources(limit, true), Guarantee: resources(guarantee, false)}
	c.declare(core.Declared{Ref: sdk.Ref{Kind: sdk.KindRole, Name: string(path)}, IsRole: &r, Digest: sdk.Digest(fmt.Sprint(r))})
}

func (c *Kernel) declare(d core.Declared) {
	d.Body = sdk.RawJSON("{}")
	c.apply(core.Command{Apply: &core.ApplyDocuments{Documents: []core.Declared{d}}})
}

// SetNode implements Cluster.
func (c *Kernel) SetNode(name string, capacity Amount, reserved map[sdk.RolePath]Amount, usable bool) {
	c.settle()
	n := c.nodes[name]
	if n == nil {
		n = &kernelNode{id: sdk.NodeID(fmt.Sprint("id-", c.ids)), row: uint32(c.ids)}
		c.ids++
		c.nodes[name] = n
		c.apply(core.Command{Connect: &core.ConnectNode{Node: n.id, Name: name}})
	}
	n.capacity = capacity
	c.resize(n, capacity)
	s := core.NodeSettings{Cordoned: !usable}
	for role, a := range reserved {
		s.Reservations = append(s.Reservations, sdk.Reservation{Role: lower(role), Resources: resources(a, false)})
	}
	slices.SortFunc(s.Reservations, func(a, b sdk.Reservation) int { return len(a.Role) - len(b.Role) })
	c.declare(core.Declared{Ref: sdk.Ref{Kind: sdk.KindNode, Name: name}, IsNode: &s, Digest: sdk.Digest(fmt.Sprint(s))})
}

func (c *Kernel) resize(n *kernelNode, capacity Amount) {
	m := sdk.Machine{Capacity: resources(capacity, false)}
	if ports := capacity[len(capacity)-1]; ports > 0 {
		m.Ports = []sdk.Range{{First: 1, Last: uint16(ports)}}
	}
	c.apply(core.Command{Machine: &core.SetMachine{Node: n.id, Machine: m}})
}

// RemoveNode implements Cluster.
func (c *Kernel) RemoveNode(name string) {
	c.settle()
	c.apply(core.Command{Liveness: &core.SetLiveness{Node: c.nodes[name].id, Liveness: sdk.NodeGone}},
		core.Command{Remove: &core.RemoveDocument{Ref: sdk.Ref{Kind: sdk.KindNode, Name: name}}})
	delete(c.nodes, name)
}

// SetDemand implements Cluster.
func (c *Kernel) SetDemand(d Demand) {
	c.settle()
	want := sdk.Demand{Name: d.Name, Ref: sdk.Ref{Kind: kernelKind, Name: d.Client}, Role: lower(d.Role), Count: int64(d.Count),
		Resources: resources(d.Need, false), Priority: d.Priority}
	if !d.Elastic {
		want.Template = template(want.Resources, int(d.Need[len(d.Need)-1]))
	}
	c.act(sdk.Action{Demand: &want})
}

// DropDemand implements Cluster.
func (c *Kernel) DropDemand(name string) {
	c.settle()
	c.act(sdk.Action{Drop: &sdk.DropDemand{Name: name}})
}

// Take implements Cluster. The node is made larger for as long as it takes.
func (c *Kernel) Take(client string, role sdk.RolePath, node string, amount Amount) {
	c.settle()
	n := c.nodes[node]
	c.resize(n, plus(n.capacity, amount))
	const once = "take"
	c.SetDemand(Demand{Name: once, Client: client, Role: role, Count: 1, Need: amount})
	c.place(once, core.Placement{Runs: []core.Run{{Node: n.row, Count: 1}}})
	c.act(sdk.Action{Drop: &sdk.DropDemand{Name: once}})
	c.resize(n, n.capacity)
}

// Free implements Cluster: the client's tasks there end, and what they held
// beyond amount is taken again.
func (c *Kernel) Free(client string, role sdk.RolePath, node string, amount Amount) {
	c.settle()
	var left Amount
	n := c.nodes[node]
	for _, t := range c.state.World(kernelPlugin).Tasks {
		if t.Ref.Name != client || t.Role != lower(role) || t.Node != n.id || t.Status.State.Terminal() {
			continue
		}
		left = plus(left, amountOf(t.Resources, len(t.Ports)))
		c.apply(core.Command{Report: &core.ReportStatuses{Node: n.id, Statuses: []sdk.TaskStatus{{Task: t.ID, State: sdk.Finished}}}})
		c.act(sdk.Action{Forget: &sdk.ForgetTask{Task: t.ID}})
	}
	if left = minus(left, amount); left != (Amount{}) {
		c.Take(client, role, node, left)
	}
}

// Decline implements Cluster: of the offer that stands, or of one made of what
// was accepted meanwhile.
func (c *Kernel) Decline(demand, node string, amount Amount, until sdk.Time) {
	n, d := c.nodes[node], c.demand(demand)
	mine := func(o sdk.Offer) bool { return o.Demand == demand && o.Node == n.id }
	find := func() int { return slices.IndexFunc(c.state.Offers(), mine) }
	if i := find(); i < 0 || amountOf(c.state.Offers()[i].Resources, int(c.state.Offers()[i].Ports)) != amount {
		c.Free(d.Ref.Name, d.Role, node, amount)
		c.place(demand, core.Placement{Offers: []core.MakeOffer{{Node: n.row, Amount: resources(amount, false), Ports: uint32(amount[len(amount)-1])}}})
	}
	if i := find(); i >= 0 {
		o := c.state.Offers()[i]
		c.act(sdk.Action{Decline: &sdk.DeclineOffer{Offer: o.ID, Filter: until.Sub(c.state.Now())}})
	} else if c.err == nil {
		c.err = fmt.Errorf("%s holds no offer of %s", demand, node)
	}
}

// Revive implements Cluster.
func (c *Kernel) Revive(demand string) { c.act(sdk.Action{Revive: &sdk.ReviveDemand{Name: demand}}) }

// kernelRound is a round on the kernel's state.
type kernelRound struct {
	*offer.Round
	c     *Kernel
	names []core.DemandName
}

// Begin implements Cluster.
func (c *Kernel) Begin(now sdk.Time) Round {
	c.settle()
	c.at(now)
	r, names := c.state.Round(1<<31, nil)
	if r == nil { // nobody wants anything: the kernel would not call the policy
		return noRound{}
	}
	return &kernelRound{r, c, names}
}

// Batch implements Round.
func (r *kernelRound) Batch() *api.Batch { return &r.Round.Batch }

// Index implements Round.
func (r *kernelRound) Index() api.Index { return r.Round }

// Demands implements Round.
func (r *kernelRound) Demands() []string {
	var out []string
	for _, n := range r.names {
		out = append(out, n.Name)
	}
	return out
}

// End implements Round: the decisions are applied from an entry.
func (r *kernelRound) End() []Taken {
	need := map[string]sdk.Demand{}
	for _, n := range r.names {
		need[n.Name] = r.c.demand(n.Name)
	}
	name := func(row uint32) string {
		for name, n := range r.c.nodes {
			if n.row == row {
				return name
			}
		}
		return ""
	}
	out := r.c.state.Outcome(r.Round, r.names)
	r.Round.Close()
	if out == nil {
		return nil
	}
	r.c.apply(core.Command{Place: out})
	var taken []Taken
	for _, run := range out.Runs {
		d := need[out.Demands[run.Demand].Name]
		taken = append(taken, Taken{d.Name, name(run.Node), amountOf(d.Resources, len(d.Template.Ports)), run.Count, false})
	}
	for _, o := range out.Offers {
		taken = append(taken, Taken{out.Demands[o.Demand].Name, name(o.Node), amountOf(o.Amount, int(o.Ports)), 1, true})
	}
	return taken
}

// Abandon implements Round.
func (r *kernelRound) Abandon() { r.Round.Close() }

// noRound is a round without demands.
type noRound struct{}

func (noRound) Batch() *api.Batch {
	n := len(Dims)
	none := make([]int64, n)
	limit := slices.Repeat([]int64{-1}, n)
	return &api.Batch{Dims: n, Total: none, Roles: api.Roles{Parent: []int32{-1}, Weight: []int64{1000}, Held: none,
		Reserved: none, Guarantee: none, Limit: limit, Allocations: []uint64{0}}}
}
func (noRound) Index() api.Index  { return nil }
func (noRound) Demands() []string { return nil }
func (noRound) End() []Taken      { return nil }
func (noRound) Abandon()          {}
