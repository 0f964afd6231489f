package kernel

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/kernel/stream"
	"github.com/drupe-os/drupe/sdk"
)

// A document becomes tasks, the nodes say so, and who watches sees all of it in
// order.
func TestTheRouteOfAnApp(t *testing.T) {
	r := newRig(t, native())
	r.connect("n1", 1000)
	r.connect("n2", 1000)
	r.apply(service("hello", 3))
	r.until("three run", func() bool { return r.running("hello") == 3 })
	for _, n := range []sdk.NodeID{"id-n1", "id-n2"} {
		r.until("the nodes' reports are acknowledged", func() (ok bool) {
			r.nodes.look(n, func(n *fakeNode) { ok = n.acked == n.seq && n.full == 1 })
			return ok
		})
	}
	if _, err := r.Scale(context.Background(), "ann", sdk.Ref{Kind: "service", Name: "hello"}, 1); err != nil {
		t.Fatal(err)
	}
	r.until("two are gone", func() bool {
		tasks, _ := r.ListTasks(gate.TaskFilter{Name: "hello", Kind: "service"})
		return len(tasks) == 1
	})
	seen := map[sdk.EventKind]int{}
	var last sdk.Position
	var about []sdk.EventKind
	for _, e := range r.events.Recent(sdk.Position{}, stream.Filter{}, 10_000) {
		if p := sdk.PositionOf(&e); !last.Before(p) {
			t.Fatalf("event at %s after %s", p, last)
		} else {
			last = p
		}
		seen[e.Kind]++
		if e.Task != nil && !slices.Contains(about, e.Kind) {
			about = append(about, e.Kind)
		}
		if e.Kind == sdk.EventDocumentApplied && e.By != "ann" {
			t.Errorf("applied by %q", e.By)
		}
	}
	if seen[sdk.EventDocumentApplied] != 2 || seen[sdk.EventTaskLaunched] != 3 || seen[sdk.EventTaskForgotten] != 2 {
		t.Errorf("events: %v", seen)
	}
	if want := []sdk.EventKind{sdk.EventTaskLaunched, sdk.EventTaskUpdated, sdk.EventTaskForgotten}; !slices.Equal(about, want) {
		t.Errorf("order of what happened to tasks: %v", about)
	}
}

// A server that restarts is where it was, and tells each node all it should
// run.
func TestRestartKeepsEverything(t *testing.T) {
	r := newRig(t, native())
	r.connect("n1", 1000)
	r.apply(service("hello", 4))
	r.until("four run", func() bool { return r.running("hello") == 4 })
	r.quiet()
	before, index := r.Hash()
	r.close()
	r.open()
	if after, at := r.Hash(); after != before || at != index {
		t.Fatalf("index %d %s became index %d %s", index, before, at, after)
	}
	r.connect("n1", 1000)
	r.nodes.look("id-n1", func(n *fakeNode) {
		if n.full != 2 || len(n.known) != 4 {
			t.Errorf("sent everything %d times, now %d tasks", n.full, len(n.known))
		}
		for _, a := range n.known {
			if a.Template == nil || a.Goal != sdk.GoalRun {
				t.Errorf("assignment without its template: %+v", a)
			}
		}
	})
	r.apply(service("hello", 5))
	r.until("a fifth runs", func() bool { return r.running("hello") == 5 })
}

// What a node said before its session was replaced counts no more.
func TestReportOfAnOlderSession(t *testing.T) {
	r := newRig(t, native())
	old := r.connect("n1", 1000)
	r.nodes.look("id-n1", func(n *fakeNode) { n.silent = true })
	r.apply(service("hello", 1))
	var task sdk.TaskID
	r.until("it is launched", func() bool {
		tasks, _ := r.ListTasks(gate.TaskFilter{})
		if len(tasks) == 1 {
			task = tasks[0].ID
		}
		return len(tasks) == 1
	})
	session := r.connect("n1", 1000)
	r.AgentReport("id-n1", old, &sdk.Report{Seq: 7, Statuses: []sdk.TaskStatus{{Task: task, State: sdk.Finished}}})
	r.AgentMachine("id-n1", old, &sdk.MachineUpdate{Machine: sdk.Machine{Capacity: sdk.R(9, 9)}})
	r.AgentLost("id-n1", old)
	r.AgentReport("id-n1", session, &sdk.Report{Seq: 1, Statuses: []sdk.TaskStatus{{Task: task, State: sdk.Running}}})
	r.until("the newer report is acknowledged", func() (ok bool) {
		r.nodes.look("id-n1", func(n *fakeNode) { ok = n.acked == 1 })
		return ok
	})
	if v, err := r.Task(task); err != nil || v.Status.State != sdk.Running {
		t.Errorf("%+v, %v", v.Status, err)
	}
	if n, _ := r.Node("n1"); n.Machine.Capacity.Get(sdk.CPUs) != 1000 || n.Liveness != sdk.NodeUp {
		t.Errorf("node %+v", n.Node)
	}
}

// A node that is away too long is unreachable, with its tasks; both are back
// with its next session.
func TestNodeLostAndBack(t *testing.T) {
	r := newRig(t, native(), func(c *Config) { c.NodeGrace = 20 * time.Millisecond })
	session := r.connect("n1", 1000)
	r.apply(service("hello", 2))
	r.until("two run", func() bool { return r.running("hello") == 2 })
	lost := func(want bool) func() bool {
		return func() bool {
			tasks, _ := r.ListTasks(gate.TaskFilter{})
			return !slices.ContainsFunc(tasks, func(t sdk.TaskView) bool { return t.Unreachable != want })
		}
	}
	r.AgentLost("id-n1", session)
	r.until("tasks are unreachable", lost(true))
	if n, _ := r.Node("n1"); n.Liveness != sdk.NodeUnreachable {
		t.Errorf("the node is %s", n.Liveness)
	}
	r.apply(service("late", 1))
	r.connect("n1", 1000)
	r.until("tasks are back", lost(false))
	r.until("what waited is placed", func() bool { return r.running("late") == 1 })
	if r.running("hello") != 2 {
		t.Error("a task was lost on the way")
	}
}

// Nothing is lost or done twice while policies take turns under load.
func TestSwapUnderLoad(t *testing.T) {
	const docs, instances = 40, 5
	r := newRig(t, native())
	for i := range 4 {
		r.connect(fmt.Sprint("n", i), 10_000)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	swaps := 0
	wg.Go(func() {
		for ; ctx.Err() == nil; swaps++ {
			name := []sdk.PluginName{"even", "packed"}[swaps%2]
			if _, err := r.UsePolicy(context.Background(), "op", name); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range docs {
		r.apply(service(fmt.Sprint("s", i), instances))
	}
	for i := range docs {
		r.until("all run", func() bool { return r.running(fmt.Sprint("s", i)) == instances })
	}
	cancel()
	wg.Wait()
	r.quiet()
	if v := r.Summary(); v.Tasks != docs*instances || v.Waiting != 0 {
		t.Errorf("%d tasks, %d waiting", v.Tasks, v.Waiting)
	}
	if swaps < 4 {
		t.Errorf("only %d swaps", swaps)
	}
}

// A framework that wakes to thousands of documents answers with more than one
// entry of the log holds, and so do the policy and the nodes after it.
func TestMoreThanOneEntryHolds(t *testing.T) {
	const docs = 2500
	m := native()
	open := m.frameworks["svc"]
	asleep := make(chan struct{})
	m.frameworks["svc"] = func() Framework { <-asleep; return open() }
	r := newRig(t, m)
	for i := 0; i < docs; i += 250 {
		var list []sdk.Document
		for j := range 250 {
			list = append(list, document("service", fmt.Sprint("s", i+j), `{"fill":300,"instances":1}`))
		}
		r.apply(list...)
	}
	r.stop()
	close(asleep)
	r.close()
	m.frameworks["svc"] = open
	r.open()
	r.until("all is wanted", func() bool { return r.Summary().Waiting == docs })
	r.connect("n1", docs*100)
	r.nodes.look("id-n1", func(n *fakeNode) {
		n.message = "a message of a hundred bytes, so that the reports are long; " + fmt.Sprintf("%40d", 1)
	})
	r.until("all is placed", func() bool { v := r.Summary(); return v.Tasks == docs && v.Waiting == 0 })
	r.until("all is reported", func() (ok bool) {
		r.nodes.look("id-n1", func(n *fakeNode) { ok = len(n.tasks) == docs && n.acked == n.seq })
		return ok
	})
	r.connect("n1", docs*100) // with a word on each task
	r.quiet()
	tasks, _ := r.ListTasks(gate.TaskFilter{State: "running"})
	if len(tasks) != docs {
		t.Errorf("%d of %d tasks run after the node came back", len(tasks), docs)
	}
	if p := r.plugin("svc"); p.Rejected != 0 {
		t.Errorf("%d answers were refused: %s", p.Rejected, p.Detail)
	}
}
