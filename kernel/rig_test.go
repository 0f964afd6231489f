package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/kernel/host"
	"github.com/drupe-os/drupe/kernel/replica"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
	"github.com/drupe-os/drupe/sdk/policy"
)

// patience bounds every wait of these tests.
const patience = 60 * time.Second

// modules stands in for the store of modules: a module is a manifest as JSON,
// and its code is native.
type modules struct {
	policies   map[sdk.PluginName]func() Policy
	frameworks map[sdk.PluginName]func() Framework
	loaded     sync.Map // by name: those that Load made ready
}

func (m *modules) Load(_ context.Context, p *sdk.Plugin) error {
	m.loaded.Store(p.Manifest.Name, true)
	return nil
}

func (m *modules) Install(_ context.Context, module []byte) (p sdk.Plugin, err error) {
	sum := sha256.Sum256(module)
	p.Digest, p.Size = sdk.Digest("sha256:"+hex.EncodeToString(sum[:])), int64(len(module))
	return p, json.Unmarshal(module, &p.Manifest)
}

func (m *modules) Policy(_ context.Context, p *sdk.Plugin) (Policy, error) {
	return m.policies[p.Manifest.Name](), nil
}

func (m *modules) Framework(_ context.Context, p *sdk.Plugin) (Framework, error) {
	return m.frameworks[p.Manifest.Name](), nil
}

func (m *modules) Close(context.Context) error { return nil }

// native are the plugins most tests need.
func native() *modules {
	return &modules{
		policies: map[sdk.PluginName]func() Policy{
			"even":   func() Policy { return host.Native(greedy(policy.Spread)) },
			"packed": func() Policy { return host.Native(greedy(policy.Pack)) },
		},
		frameworks: map[sdk.PluginName]func() Framework{"svc": func() Framework { return host.NativeOf(keeper) }},
	}
}

// greedy is a policy that gives everybody all there is, oldest demand first.
type greedy policy.Strategy

func (g greedy) Allocate(b *policy.Batch, ix policy.Index) {
	out, reserved := make([]int64, b.Dims), make([]int64, b.Dims)
	for d := range b.Demands.Client {
		if b.Demands.Elastic[d] == 0 {
			ix.Place(uint32(d), b.Demands.Count[d], policy.Strategy(g))
			continue
		}
		for n := range b.Nodes.Usable {
			if ix.Allocatable(uint32(d), uint32(n), out, reserved) == sdk.ReasonNone {
				ix.Offer(uint32(d), uint32(n), out)
			}
		}
	}
}

// keeper keeps as many tasks of a document as its body says. A document that is
// "bad" has it ask for what the kernel refuses.
func keeper() framework.Framework {
	return framework.Level(func(s *framework.Subject) {
		var body struct {
			Instances int64
			Bad       bool
			Fill      int
		}
		if err := json.Unmarshal(s.Doc.Body, &body); err != nil {
			return
		}
		if body.Bad {
			body.Instances = -1
		}
		for _, t := range s.Tasks() {
			switch {
			case t.Status.State.Terminal():
				s.Forget(t)
			case t.Goal == sdk.GoalStop:
			case body.Instances > 0 && !s.Doc.Stopped:
				body.Instances--
			default:
				s.Kill(t, sdk.ReasonKilledByPlugin)
			}
		}
		if s.Doc.Stopped {
			body.Instances = 0
		}
		need := sdk.R(100, 1<<20)
		s.Demand(sdk.Demand{Name: s.Ref.Name, Role: s.Doc.Role, Count: body.Instances, Resources: need,
			Template: &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "x"}}, Resources: need,
				Env: []sdk.EnvVar{{Name: "FILL", Value: strings.Repeat("x", body.Fill)}}}})
	})
}

func manifest(name sdk.PluginName, point sdk.ExtensionPoint, kinds ...string) []byte {
	b, _ := json.Marshal(sdk.Manifest{Name: name, Version: "1.0.0", Point: point, ABI: 1, Kinds: kinds, Roles: []sdk.RolePath{""}})
	return b
}

// nodes stands in for the agents of all nodes: each runs what it is told at
// once, and says so.
type nodes struct {
	mu   sync.Mutex
	k    *Kernel
	by   map[sdk.NodeID]*fakeNode
	ends sync.WaitGroup
}

type fakeNode struct {
	session, seq, acked uint64
	silent              bool // does not report
	message             string
	full                int // times it was sent everything
	tasks               map[sdk.TaskID]sdk.TaskStatus
	known               map[sdk.TaskID]sdk.Assignment
}

func (n *nodes) Send(id sdk.NodeID, d *sdk.Desired) {
	n.mu.Lock()
	defer n.mu.Unlock()
	node := n.by[id]
	if node == nil {
		return
	}
	if d.Full {
		node.full++
		node.known = map[sdk.TaskID]sdk.Assignment{}
	}
	var said []sdk.TaskStatus
	for _, a := range d.Tasks {
		node.known[a.Task] = a
		st := sdk.TaskStatus{Task: a.Task, State: sdk.Running, Health: sdk.Healthy, Started: 1, PID: 1, Message: node.message}
		if a.Goal == sdk.GoalStop {
			st.State = sdk.Killed
		}
		node.tasks[a.Task] = st
		said = append(said, st)
	}
	for _, f := range d.Forget {
		delete(node.tasks, f)
		delete(node.known, f)
	}
	if node.silent || len(said) == 0 {
		return
	}
	node.seq++
	r, session, k := &sdk.Report{Seq: node.seq, Statuses: said}, node.session, n.k
	n.ends.Go(func() { k.AgentReport(id, session, r) }) // Send must not block
}

func (n *nodes) Ack(id sdk.NodeID, session, seq uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if node := n.by[id]; node != nil && node.session == session {
		node.acked = max(node.acked, seq)
	}
}

func (n *nodes) Logs(context.Context, sdk.NodeID, sdk.LogRequest) (<-chan sdk.LogChunk, error) {
	return nil, sdk.Errorf(sdk.Unsupported, "logs", "these nodes have none")
}

func (n *nodes) Open(context.Context, sdk.NodeID, sdk.TaskID, []byte) (net.Conn, error) {
	return nil, sdk.Errorf(sdk.Unsupported, "session", "these nodes have none")
}

// look calls f with a node while nothing reaches it.
func (n *nodes) look(id sdk.NodeID, f func(*fakeNode)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n.by[id])
}

// rig is a kernel with its surroundings.
type rig struct {
	*Kernel
	t     *testing.T
	cfg   Config
	nodes *nodes
}

// newRig starts a server with the plugins of m, all installed.
func newRig(t *testing.T, m *modules, change ...func(*Config)) *rig {
	r := &rig{t: t, nodes: &nodes{by: map[sdk.NodeID]*fakeNode{}}}
	r.cfg = Config{
		Replica: replica.Config{Dir: t.TempDir(), ID: "s1", Bootstrap: true, Election: 100 * time.Millisecond,
			Logger: slog.New(slog.NewTextHandler(io.Discard, nil))},
		Plugins: m, Agents: r.nodes, NodeGrace: time.Minute, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		DefaultPolicy: "even", Builtin: [][]byte{manifest("even", sdk.PointPolicy), manifest("packed", sdk.PointPolicy), manifest("svc", sdk.PointFramework, "service")},
	}
	for _, c := range change {
		c(&r.cfg)
	}
	r.open()
	t.Cleanup(func() {
		if r.Kernel != nil {
			r.close()
		}
	})
	return r
}

func (r *rig) open() {
	r.t.Helper()
	r.cfg.Plugins.(*modules).loaded.Clear()
	k, err := Open(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Kernel = k
	r.nodes.mu.Lock()
	r.nodes.k = k
	r.nodes.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := k.AwaitReady(ctx); err != nil {
		r.t.Fatal(err)
	}
	plugins, _ := k.ListPlugins()
	for _, p := range plugins { // or the first turn would wait for a compiler
		if _, ready := r.cfg.Plugins.(*modules).loaded.Load(p.Manifest.Name); !ready {
			r.t.Errorf("the server leads before %s is loaded", p.Manifest.Name)
		}
	}
}

// close stops the server, after proving its books.
func (r *rig) close() {
	r.t.Helper()
	if err := r.look(func() error { return r.state.Check() }); err != nil {
		r.t.Error(err)
	}
	if r.fatal != nil {
		r.t.Error(r.fatal)
	}
	if err := r.Kernel.Close(); err != nil {
		r.t.Error(err)
	}
	r.nodes.ends.Wait()
	r.Kernel = nil
}

func (r *rig) look(f func() error) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return f()
}

// connect begins a node's session.
func (r *rig) connect(name string, cpus int64) uint64 {
	r.t.Helper()
	id := sdk.NodeID("id-" + name)
	r.nodes.mu.Lock()
	n := r.nodes.by[id]
	if n == nil {
		n = &fakeNode{tasks: map[sdk.TaskID]sdk.TaskStatus{}, known: map[sdk.TaskID]sdk.Assignment{}}
		r.nodes.by[id] = n
	}
	n.session++
	n.seq, n.acked = 0, 0
	session := n.session
	h := &sdk.Hello{Protocol: sdk.AgentProtocol, Name: name, Machine: sdk.Machine{Capacity: sdk.R(cpus, 1<<40)}}
	for _, st := range n.tasks {
		h.Tasks = append(h.Tasks, st)
	}
	r.nodes.mu.Unlock()
	if err := r.AgentConnected(id, session, h); err != nil {
		r.t.Fatal(err)
	}
	return session
}

func document(kind, name, body string) sdk.Document {
	return sdk.Document{Ref: sdk.Ref{Kind: kind, Name: name}, Role: "eng", Body: sdk.RawJSON(body), Digest: sdk.Digest(body)}
}

func (r *rig) apply(docs ...sdk.Document) {
	r.t.Helper()
	if _, err := r.Apply(context.Background(), "ann", docs, gate.ApplyOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func service(name string, instances int) sdk.Document {
	return document("service", name, `{"instances":`+strconv.Itoa(instances)+`}`)
}

// until waits for something to hold.
func (r *rig) until(what string, holds func() bool) {
	r.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); !holds(); {
		select {
		case <-tick.C:
		case <-end:
			r.t.Fatalf("not in time: %s\n%s", what, r.situation())
		}
	}
}

// situation is what a failed test shows.
func (r *rig) situation() string {
	var b strings.Builder
	tasks, index := r.ListTasks(gate.TaskFilter{})
	fmt.Fprintf(&b, "index %d, %d tasks, %d waiting\n", index, len(tasks), r.Summary().Waiting)
	plugins, _ := r.ListPlugins()
	for _, p := range plugins {
		fmt.Fprintf(&b, "%s: %d calls, %d rejected, quarantined %v: %s\n", p.Manifest.Name, p.Calls, p.Rejected, p.Quarantined, p.Detail)
	}
	return b.String()
}

// running counts the tasks of a document that run and are to go on.
func (r *rig) running(name string) (n int) {
	tasks, _ := r.ListTasks(gate.TaskFilter{Kind: "service", Name: name})
	for _, t := range tasks {
		if t.Status.State == sdk.Running && t.Goal == sdk.GoalRun {
			n++
		}
	}
	return n
}

// quiet waits until nothing is left to be done.
func (r *rig) quiet() {
	r.t.Helper()
	r.until("everybody has heard everything", func() bool {
		return r.look(func() error {
			for _, f := range r.state.Frameworks() {
				if len(r.state.Inbox(f, 1)) > 0 {
					return io.EOF
				}
			}
			return nil
		}) == nil
	})
}

func (r *rig) plugin(name sdk.PluginName) sdk.PluginView {
	r.t.Helper()
	p, err := r.Plugin(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}
