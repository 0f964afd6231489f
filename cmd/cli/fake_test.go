package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/sdk"
)

// fake is a cluster in memory, so that the command line can be tried through the
// real gate without machines. What a document becomes is told by its name: "big"
// cannot be placed, "broken" fails, "slow" never gets on; all others get ready as
// soon as somebody looks or watches.
type fake struct {
	mu      sync.Mutex
	index   uint64
	docs    map[sdk.Ref]*sdk.Document
	tasks   []sdk.TaskView
	events  []sdk.Event
	watch   map[chan sdk.Event]context.Context
	unready []sdk.Ref
	policy  sdk.PolicyView
	minted  int
}

func newFake() *fake {
	return &fake{docs: map[sdk.Ref]*sdk.Document{}, watch: map[chan sdk.Event]context.Context{},
		policy: sdk.PolicyView{Active: "drf", Available: []sdk.PluginName{"binpack", "drf"}}}
}

// commit makes events known; mu is held.
func (f *fake) commit(events ...sdk.Event) {
	f.index++
	for i, e := range events {
		e.Index, e.Part, e.Time = f.index, uint32(i), sdk.Time(time.Now().UnixMilli())
		f.events = append(f.events, e)
		for ch, ctx := range f.watch {
			select {
			case ch <- e:
			case <-ctx.Done():
			}
		}
	}
}

func change(d *sdk.Document) *sdk.DocumentChange {
	return &sdk.DocumentChange{Ref: d.Ref, Role: d.Role, Revision: d.Revision, Version: d.Version, Stopped: d.Stopped, Status: d.Status}
}

func missing(ref sdk.Ref) error {
	return sdk.Errorf(sdk.NotFound, ref.String(), "there is no such document").ToFix("see what there is: drupe ps")
}

func (f *fake) Apply(_ context.Context, by string, docs []sdk.Document, o gate.ApplyOptions) ([]sdk.Applied, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []sdk.Applied
	for _, d := range docs {
		old := f.docs[d.Ref]
		a := sdk.Applied{Ref: d.Ref, Revision: f.index + 1, Version: 1, Changed: true}
		d.Created = sdk.Time(time.Now().UnixMilli())
		if old != nil {
			a.Version, a.Changed, d.Created, d.Status = old.Version, old.Digest != d.Digest || old.Stopped, old.Created, old.Status
			if a.Changed {
				a.Version++
			}
		}
		out = append(out, a)
		if o.DryRun || !a.Changed {
			continue
		}
		d.Revision, d.Version, d.By, d.Changed = a.Revision, a.Version, by, sdk.Time(time.Now().UnixMilli())
		f.docs[d.Ref] = &d
		f.unready = append(f.unready, d.Ref)
		f.commit(sdk.Event{Kind: sdk.EventDocumentApplied, By: by, Document: change(&d)})
	}
	return out, nil
}

// settle lets the cluster get on with what was applied; mu is held.
func (f *fake) settle() {
	for _, ref := range f.unready {
		d := f.docs[ref]
		if d == nil || ref.Kind == "role" || ref.Kind == "node" {
			continue
		}
		var body struct{ Instances *int64 }
		json.Unmarshal(d.Body, &body)
		n := int64(1)
		if body.Instances != nil {
			n = *body.Instances
		}
		d.Status = sdk.DocumentStatus{Version: d.Version, Wanted: n, Phase: sdk.PhaseReady}
		if ref.Kind == "job" {
			d.Status.Phase = sdk.PhaseDone
		}
		switch ref.Name {
		case "big":
			d.Status.Phase, n = sdk.PhasePending, 0
		case "slow":
			d.Status.Phase, n = sdk.PhaseDeploying, 0
		case "broken":
			d.Status.Phase, d.Status.Message, n = sdk.PhaseFailed, "3 instances in a row failed: command-not-found", 0
		}
		if d.Stopped {
			d.Status.Phase, n = sdk.PhaseStopped, 0
		}
		f.run(d, n)
		f.commit(sdk.Event{Kind: sdk.EventDocumentStatus, Document: change(d)})
	}
	f.unready = nil
}

// run brings a document to n live tasks.
func (f *fake) run(d *sdk.Document, n int64) {
	live := int64(0)
	for i := range f.tasks {
		t := &f.tasks[i]
		if t.Ref != d.Ref || t.Status.State.Terminal() {
			continue
		}
		if live++; live > n {
			t.Status.State, t.Status.Reason = sdk.Killed, sdk.ReasonKilledByPlugin
			f.commit(sdk.Event{Kind: sdk.EventTaskUpdated, Task: &t.Task})
		}
	}
	for ; live < n; live++ {
		f.minted++
		node := fmt.Sprintf("n%d", f.minted%3+1)
		t := sdk.Task{ID: sdk.TaskID(fmt.Sprintf("%s.%x", d.Ref.Name, f.minted)), Ref: d.Ref, Plugin: "service", Role: d.Role,
			Node: sdk.NodeID("id-" + node), Resources: sdk.R(100, 64<<20), Created: sdk.Time(time.Now().UnixMilli()),
			Ports:  []sdk.PortBinding{{Name: "http", Port: uint16(31000 + f.minted)}},
			Status: sdk.TaskStatus{State: sdk.Running, Health: sdk.Healthy, Started: sdk.Time(time.Now().UnixMilli())}}
		if d.Ref.Kind == "job" {
			t.Status.State, t.Status.Reason = sdk.Finished, sdk.ReasonExited
		}
		f.tasks = append(f.tasks, sdk.TaskView{Task: t, NodeName: node, Address: "127.0.0.1",
			Usage: &sdk.UsageView{CPUs: sdk.Milli(f.minted * 50), Mem: int64(f.minted) << 20, Pids: 3, Read: 2048}})
		f.commit(sdk.Event{Kind: sdk.EventTaskUpdated, Task: &t})
	}
	d.Status.Running, d.Status.Healthy = n, n
}

func (f *fake) Remove(_ context.Context, by string, ref sdk.Ref) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.docs[ref]
	if d == nil {
		return missing(ref)
	}
	delete(f.docs, ref)
	f.commit(sdk.Event{Kind: sdk.EventDocumentRemoved, By: by, Document: change(d)})
	f.run(d, 0)
	return nil
}

func (f *fake) Stop(_ context.Context, by string, ref sdk.Ref) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.docs[ref]
	if d == nil {
		return missing(ref)
	}
	d.Stopped = true
	f.unready = append(f.unready, ref)
	f.commit(sdk.Event{Kind: sdk.EventDocumentApplied, By: by, Document: change(d)})
	return nil
}

func (f *fake) Scale(ctx context.Context, by string, ref sdk.Ref, n int64) (sdk.Applied, error) {
	f.mu.Lock()
	d := f.docs[ref]
	f.mu.Unlock()
	if d == nil {
		return sdk.Applied{}, missing(ref)
	}
	var body map[string]any
	json.Unmarshal(d.Body, &body)
	body["instances"] = n
	b, _ := json.Marshal(body)
	next := sdk.Document{Ref: ref, Role: d.Role, Body: b, Digest: sdk.Digest(b)}
	out, err := f.Apply(ctx, by, []sdk.Document{next}, gate.ApplyOptions{})
	return out[0], err
}

func (f *fake) ListDocuments(q gate.DocumentFilter) ([]sdk.Document, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []sdk.Document
	for _, d := range f.docs {
		if q.Match(d) {
			out = append(out, *d)
		}
	}
	return out, f.index
}

func (f *fake) Document(ref sdk.Ref) (sdk.Document, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.docs[ref]; d != nil {
		return *d, nil
	}
	return sdk.Document{}, missing(ref)
}

func (f *fake) Why(_ context.Context, ref sdk.Ref) (sdk.Why, error) {
	if _, err := f.Document(ref); err != nil {
		return sdk.Why{}, err
	}
	if ref.Name != "big" {
		return sdk.Why{Ref: ref, Message: "everything is placed"}, nil
	}
	return sdk.Why{Ref: ref, Message: "1 of 1 instances wait: no node has 64Gi of free mem", Demands: []sdk.WhyDemand{{
		Demand: "big", Role: "eng", Waiting: 1, Needs: sdk.R(100, 64<<30), Message: "no node has 64Gi of free mem",
		Counts: []sdk.WhyCount{{Reason: sdk.ReasonMem, Nodes: 3}, {Reason: sdk.ReasonConstraint, Nodes: 1}},
		Nodes: []sdk.WhyNode{
			{Node: "id-n1", Name: "n1", Lacks: []sdk.WhyLack{{Reason: sdk.ReasonMem, Resource: sdk.Mem, Need: 64 << 30, Free: 3 << 30, Short: 61 << 30}},
				Holders: []sdk.WhyHolds{{Ref: sdk.Ref{Kind: "service", Name: "hello"}, Resource: sdk.Mem, Amount: 192 << 20}}},
			{Node: "id-n2", Name: "n2", Lacks: []sdk.WhyLack{{Reason: sdk.ReasonConstraint, Detail: "rack is r2, not r1"}}},
		},
		Fixes: []sdk.WhyFix{{Message: "ask for less memory", Field: "resources.mem", Value: "3Gi"}, {Message: "run none", Field: "instances", Value: "0"}},
	}}}, nil
}

func (f *fake) ListTasks(q gate.TaskFilter) ([]sdk.TaskView, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settle()
	var out []sdk.TaskView
	for i := range f.tasks {
		if q.Match(&f.tasks[i].Task) {
			out = append(out, f.tasks[i])
		}
	}
	return out, f.index
}

func (f *fake) Task(id sdk.TaskID) (sdk.TaskView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.tasks {
		if t.ID == id {
			return t, nil
		}
	}
	return sdk.TaskView{}, sdk.Errorf(sdk.NotFound, "task/"+string(id), "there is no such task")
}

func (f *fake) Kill(_ context.Context, by string, id sdk.TaskID, grace sdk.Duration) error {
	if _, err := f.Task(id); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.tasks {
		if t := &f.tasks[i]; t.ID == id {
			t.Status.State, t.Status.Reason = sdk.Killed, sdk.ReasonKilledByUser
			f.unready = append(f.unready, t.Ref)
			f.commit(sdk.Event{Kind: sdk.EventTaskUpdated, By: by, Task: &t.Task})
		}
	}
	return nil
}

// Logs gives every task two lines; those of even tasks come between those of odd
// ones.
func (f *fake) Logs(_ context.Context, r sdk.LogRequest) (<-chan sdk.LogChunk, error) {
	t, err := f.Task(r.Task)
	if err != nil {
		return nil, err
	}
	out := make(chan sdk.LogChunk, 1)
	at := sdk.Time(t.Ports[0].Port)
	out <- sdk.LogChunk{EOF: true, Lines: []sdk.LogLine{
		{Time: at, Stream: "stdout", Text: []byte("begin")}, {Time: at + 100, Stream: "stderr", Text: []byte("end")}}}
	return out, nil
}

func (f *fake) Policy() sdk.PolicyView {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.policy
}

func (f *fake) UsePolicy(_ context.Context, by string, name sdk.PluginName) (sdk.PolicyChange, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.policy.Available, name) {
		return sdk.PolicyChange{}, sdk.Errorf(sdk.NotFound, "plugin/"+string(name), "there is no such policy").ToFix("drupe plugin ls")
	}
	f.policy.Previous, f.policy.Active, f.policy.By = f.policy.Active, name, by
	c := sdk.PolicyChange{Active: f.policy.Active, Previous: f.policy.Previous}
	f.commit(sdk.Event{Kind: sdk.EventPolicyChanged, By: by, Policy: &c})
	return c, nil
}

func (f *fake) UndoPolicy(ctx context.Context, by string) (sdk.PolicyChange, error) {
	p := f.Policy()
	if p.Previous == "" {
		return sdk.PolicyChange{}, sdk.Errorf(sdk.Conflict, "policy", "there is none to go back to")
	}
	return f.UsePolicy(ctx, by, p.Previous)
}

func (f *fake) Index() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.index
}

func (f *fake) Recent(after sdk.Position, limit int) []sdk.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.recent(after)
}

func (f *fake) recent(after sdk.Position) []sdk.Event {
	var out []sdk.Event
	for i := range f.events {
		if after.Before(sdk.PositionOf(&f.events[i])) {
			out = append(out, f.events[i])
		}
	}
	return out
}

func (f *fake) Subscribe(ctx context.Context, after sdk.Position) (<-chan sdk.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := make(chan sdk.Event, 1000)
	for _, e := range f.recent(after) {
		ch <- e
	}
	f.watch[ch] = ctx
	f.settle()
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watch, ch)
	})
	return ch, nil
}

func (f *fake) Join(context.Context, []byte, string) (sdk.JoinAnswer, error) {
	return sdk.JoinAnswer{}, nil
}

func (f *fake) Identify(token string) (string, bool) {
	who, ok := strings.CutPrefix(token, "token-of-")
	return who, ok
}

func (f *fake) Allow(who, verb, object string) error {
	if who == "guest" && verb != "read" {
		return sdk.Errorf(sdk.Denied, object, "guest may not %s it", verb).Because("guest may only read").ToFix("ask an operator")
	}
	return nil
}

func (f *fake) Check(_ context.Context, kind, name string, body []byte) error {
	if name == "refused" {
		return sdk.Errorf(sdk.Invalid, "", "the server knows better").At("instances")
	}
	return nil
}

func (f *fake) Evaluate(context.Context, []byte) ([]sdk.Document, error) { return nil, nil }
