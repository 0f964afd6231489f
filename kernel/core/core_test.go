package core

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// world drives a state by random but mostly sensible entries, as the shell
// would, and keeps the log.
type world struct {
	t   *rapid.T
	s   *State
	log [][]byte
	now sdk.Time
	// loose: a constraint looks at where other tasks are, so decisions of one
	// round may stand in each other's way.
	loose bool
}

func (w *world) apply(cmds ...Command) []Result {
	e := &Entry{Time: w.now, By: "test", Commands: cmds}
	b, err := e.MarshalMsg(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.log = append(w.log, b)
	var decoded Entry
	if _, err := decoded.UnmarshalMsg(b); err != nil {
		w.t.Fatal(err)
	}
	r, err := w.s.Apply(uint64(len(w.log)), &decoded)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.s.Check(); err != nil {
		w.t.Fatalf("after %v: %v", cmds, err)
	}
	return r
}

// spread is a policy that places whatever it can.
type spread struct{}

func (spread) Allocate(b *policy.Batch, ix policy.Index) {
	out, reserved := make([]int64, b.Dims), make([]int64, b.Dims)
	for d := range b.Demands.Client {
		if b.Demands.Elastic[d] == 0 {
			ix.Place(uint32(d), b.Demands.Count[d], policy.Spread)
			continue
		}
		for n := range b.Nodes.Usable {
			if ix.Allocatable(uint32(d), uint32(n), out, reserved) == sdk.ReasonNone {
				ix.Offer(uint32(d), uint32(n), out)
			}
		}
	}
}

func (w *world) round(pending ...FrameworkCommit) {
	before := w.s.Hash()
	r, names := w.s.Round(1000, pending)
	var cmds []Command
	for i := range pending {
		cmds = append(cmds, Command{Framework: &pending[i]})
	}
	if r != nil {
		spread{}.Allocate(&r.Batch, r)
		out := w.s.Outcome(r, names)
		r.Close()
		if out != nil {
			cmds = append(cmds, Command{Place: out})
		}
	}
	if after := w.s.Hash(); before != after {
		w.t.Fatal("a round left traces in the state")
	}
	results := w.apply(cmds...)
	for _, r := range results {
		if r.Refused > 0 && !w.loose {
			w.t.Fatalf("%d decisions of an undisturbed round were refused", r.Refused)
		}
	}
}

func install(name string, point sdk.ExtensionPoint, kinds ...string) Command {
	return Command{Install: &InstallPlugin{Plugin: sdk.Plugin{Digest: sdk.Digest("sha256:" + name),
		Manifest: sdk.Manifest{Name: sdk.PluginName(name), Point: point, Kinds: kinds, Roles: []sdk.RolePath{""}}}}}
}

func connect(i int, cpus, mem int64, tasks []sdk.TaskStatus) Command {
	return Command{Connect: &ConnectNode{Node: sdk.NodeID(fmt.Sprintf("id-%d", i)), Name: fmt.Sprintf("n%d", i), Tasks: tasks,
		Machine: sdk.Machine{Capacity: sdk.R(cpus, mem), Ports: []sdk.Range{{First: 1000, Last: 1005}},
			Attributes: []sdk.Attribute{{Name: "rack", Value: fmt.Sprintf("r%d", i%2)}}}}}
}

func declare(name string, role sdk.RolePath, body string) Command {
	return Command{Apply: &ApplyDocuments{Documents: []Declared{{Ref: sdk.Ref{Kind: "service", Name: name}, Role: role,
		Body: sdk.RawJSON(body), Digest: sdk.Digest(body)}}}}
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, s: New(), now: 1000}
	w.apply(install("spread", sdk.PointPolicy), install("svc", sdk.PointFramework, "service"),
		Command{UsePolicy: &UsePolicy{Name: "spread"}})
	return w
}

// TestSameLogSameState proves invariants 1, 3, 4 and 7 of the design over random
// histories: the books balance after every entry, the same log gives the same
// state, and a snapshot taken anywhere changes nothing that follows.
func TestSameLogSameState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		cut := rapid.IntRange(0, 60).Draw(t, "cut")
		var restored *State
		steps := rapid.IntRange(1, 60).Draw(t, "steps")
		from := 0
		for i := range steps {
			if i == cut {
				restored, from = restore(t, w.s), len(w.log)
			}
			w.step()
		}
		replay := New()
		for i, b := range w.log {
			applyRaw(t, replay, uint64(i+1), b)
		}
		if replay.Hash() != w.s.Hash() {
			t.Fatal("the same log led to another state")
		}
		if restored != nil {
			for i := from; i < len(w.log); i++ {
				applyRaw(t, restored, uint64(i+1), w.log[i])
			}
			if restored.Hash() != w.s.Hash() {
				t.Fatal("a restored state went another way")
			}
		}
	})
}

func applyRaw(t *rapid.T, s *State, index uint64, b []byte) {
	var e Entry
	if _, err := e.UnmarshalMsg(b); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(index, &e); err != nil {
		t.Fatal(err)
	}
}

func restore(t *rapid.T, s *State) *State {
	b, err := s.Snapshot().MarshalMsg(nil)
	if err != nil {
		t.Fatal(err)
	}
	var snap Snapshot
	if _, err := snap.UnmarshalMsg(b); err != nil {
		t.Fatal(err)
	}
	out, err := Restore(&snap)
	if err != nil {
		t.Fatal(err)
	}
	if out.Hash() != s.Hash() {
		t.Fatal("a state read back is not the state written")
	}
	return out
}

var constraintsOf = [][]sdk.Constraint{
	nil, {{Attribute: "rack", Operator: sdk.OpIs, Value: "r1"}}, {{Attribute: "node", Operator: sdk.OpUnique}},
	{{Attribute: "rack", Operator: sdk.OpGroupBy, Value: "2"}}, {{Attribute: "node", Operator: sdk.OpMaxPer, Value: "2"}},
}

// devices are those of a machine that loses one now and then.
func (w *world) devices() []sdk.Device {
	var out []sdk.Device
	for i := range 4 {
		d := sdk.Device{ID: fmt.Sprintf("dev-%d", i), Kind: "gpu", Resource: sdk.GPUs, Group: fmt.Sprintf("g%d", i/2), Healthy: true, NUMA: -1}
		if i == 3 {
			d.Shared, d.Resource = true, "gpus-shared"
		}
		switch rapid.IntRange(0, 9).Draw(w.t, "fate") {
		case 0:
			d.Healthy, d.Detail = false, "XID 79"
		case 1:
			continue
		}
		out = append(out, d)
	}
	return out
}

// step does one random thing.
func (w *world) step() {
	t := w.t
	w.now += sdk.Time(rapid.IntRange(0, 20_000).Draw(t, "time"))
	pick := func(n int, label string) int { return rapid.IntRange(0, n-1).Draw(t, label) }
	roles := []sdk.RolePath{"", "eng", "eng/web", "ops"}
	gen := uint64(2)
	consumed := w.s.NewestEvent("svc")
	commit := func(actions ...sdk.Action) FrameworkCommit {
		return FrameworkCommit{Plugin: "svc", Generation: gen, Consumed: consumed, Actions: actions}
	}
	switch pick(13, "what") {
	case 0:
		i := pick(4, "node")
		var tasks []sdk.TaskStatus
		for v := range w.s.Tasks {
			if v.Node == sdk.NodeID(fmt.Sprintf("id-%d", i)) {
				tasks = append(tasks, v.Status)
			}
		}
		c := connect(i, int64(pick(4, "cpus"))*1000, int64(pick(4, "mem"))<<30, tasks)
		if i > 1 {
			c.Connect.Machine.Devices = w.devices()
		}
		w.apply(c)
	case 1:
		w.apply(declare(fmt.Sprintf("s%d", pick(3, "doc")), roles[pick(4, "role")], fmt.Sprintf(`{"v":%d}`, pick(3, "v"))))
	case 2, 3:
		d := sdk.Demand{Name: fmt.Sprintf("d%d", pick(4, "demand")), Ref: sdk.Ref{Kind: "service", Name: fmt.Sprintf("s%d", pick(3, "doc"))},
			Role: roles[pick(4, "role")], Count: int64(pick(4, "count")), Resources: sdk.R(int64(pick(20, "c"))*100, int64(pick(8, "m"))<<28),
			Constraints: constraintsOf[pick(len(constraintsOf), "constraint")]}
		w.loose = w.loose || len(d.Constraints) > 0 && d.Constraints[0].Operator != sdk.OpIs
		switch pick(8, "devices") {
		case 0:
			d.Resources = d.Resources.With(sdk.GPUs, int64(pick(3, "gpus"))*1000)
		case 1:
			d.Resources = d.Resources.With("gpus-shared", int64(pick(4, "shared"))*250)
			w.loose = true // pieces that fit in one order do not in another
		}
		if pick(3, "elastic") > 0 {
			d.Template = &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "x"}}, Resources: d.Resources,
				Ports: []sdk.PortRequest{{Name: "a", Host: uint16(1000 * pick(2, "port"))}}}
		}
		w.round(commit(sdk.Action{Demand: &d}))
	case 4:
		w.round(commit())
	case 5:
		if tasks := w.s.sortedTasks(); len(tasks) > 0 {
			v := tasks[pick(len(tasks), "task")]
			w.apply(Command{Report: &ReportStatuses{Node: v.node.ID, Statuses: []sdk.TaskStatus{{Task: v.id(),
				State: sdk.TaskState(pick(8, "state")), Health: sdk.Health(pick(3, "health"))}}}})
		}
	case 6:
		w.apply(Command{Liveness: &SetLiveness{Node: sdk.NodeID(fmt.Sprintf("id-%d", pick(4, "node"))), Liveness: sdk.Liveness(pick(2, "live"))}})
	case 7:
		r := sdk.Role{Path: roles[1+pick(3, "role")], Weight: 2000, Limit: sdk.R(int64(pick(6, "lim"))*1000, 8<<30)}
		w.apply(Command{Apply: &ApplyDocuments{Documents: []Declared{{Ref: sdk.Ref{Kind: "role", Name: string(r.Path)}, IsRole: &r,
			Body: sdk.RawJSON("{}"), Digest: sdk.Digest(r.Limit.String())}}}})
	case 8:
		if offers := w.s.sortedOffers(); len(offers) > 0 {
			o := offers[pick(len(offers), "offer")]
			if pick(2, "accept") == 0 {
				w.round(commit(sdk.Action{Decline: &sdk.DeclineOffer{Offer: o.ID, Filter: 5000}}))
			} else {
				w.round(commit(sdk.Action{Accept: &sdk.AcceptOffer{Offer: o.ID, Launches: []sdk.Launch{{Ref: sdk.Ref{Kind: "service", Name: "s1"},
					Template: sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "x"}}, Resources: o.Resources}}}}}))
			}
		}
	case 9:
		i := pick(4, "node")
		c := NodeSettings{Cordoned: pick(3, "cordon") == 0, Attributes: []sdk.Attribute{{Name: "rack", Value: fmt.Sprintf("r%d", pick(3, "rack"))}}}
		if pick(2, "reserve") == 0 {
			c.Reservations = []sdk.Reservation{{Role: "eng", Resources: sdk.R(1000, 1<<30)}}
		}
		w.apply(Command{Apply: &ApplyDocuments{Documents: []Declared{{Ref: sdk.Ref{Kind: "node", Name: fmt.Sprintf("n%d", i)}, IsNode: &c,
			Body: sdk.RawJSON("{}"), Digest: sdk.Digest(fmt.Sprint(c))}}}})
	case 12:
		if tasks := w.s.sortedTasks(); len(tasks) > 0 {
			// All of one demand alike, as a framework would.
			first := tasks[pick(len(tasks), "task")]
			r := sdk.Resources{}
			for _, q := range first.group.resources {
				r = append(r, sdk.Quantity{Name: q.Name, Value: q.Value})
			}
			r = r.With(sdk.CPUs, int64(pick(30, "c"))*100).With(sdk.Mem, int64(pick(10, "m"))<<28)
			if pick(6, "devices too") == 0 {
				r = r.With(sdk.GPUs, 2000)
			}
			var all []sdk.Action
			for _, x := range tasks {
				if x.group == first.group {
					all = append(all, sdk.Action{Resize: &sdk.ResizeTask{Task: x.id(), Resources: r, Limits: sdk.Limits{CPUs: sdk.Milli(pick(3, "limit") * 1000)},
						Tag: []string{"", "a"}[pick(2, "tag")]}})
				}
			}
			w.round(commit(all...))
		}
	case 11:
		if n := w.s.nodeByID[sdk.NodeID(fmt.Sprintf("id-%d", 2+pick(2, "node")))]; n != nil && n.Liveness == sdk.NodeUp {
			m := n.Machine
			m.Devices = w.devices()
			w.apply(Command{Machine: &SetMachine{Node: n.ID, Machine: m}})
		}
	case 10:
		for _, t := range w.s.sortedTasks() {
			if t.state.Terminal() {
				w.round(commit(sdk.Action{Forget: &sdk.ForgetTask{Task: t.id()}}))
				break
			}
		}
	}
}
