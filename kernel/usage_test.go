package kernel

import (
	"bytes"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/sdk"
)

// What nodes say their tasks use is shown with tasks and summed up for nodes,
// rates included; it is dropped with the task, and nobody speaks for another's.
func TestUsage(t *testing.T) {
	r := newRig(t, native())
	session := r.connect("n1", 1000)
	other := r.connect("n2", 1)
	r.apply(service("hello", 2))
	r.until("two run", func() bool { return r.running("hello") == 2 })
	tasks, _ := r.ListTasks(gate.TaskFilter{})
	a, b := tasks[0].ID, tasks[1].ID
	if tasks[0].Usage != nil {
		t.Fatal("usage of nobody knows where")
	}
	say := func(node sdk.NodeID, session uint64, u ...sdk.Usage) {
		r.AgentUsage(node, session, &sdk.UsageReport{Usages: u})
	}
	say("id-n1", session, sdk.Usage{Task: a, At: 1000, CPU: 100, Mem: 10, Pids: 1, ReadBytes: 1000},
		sdk.Usage{Task: b, At: 1000, CPU: 50, Mem: 5, Pids: 2}, sdk.Usage{Task: "hello.zzz", At: 1000, Mem: 99})
	if v, err := r.Task(a); err != nil || v.Usage == nil || v.Usage.Mem != 10 || v.Usage.CPUs != 0 {
		t.Fatalf("one sample: %+v, %v", v.Usage, err)
	}
	say("id-n1", session, sdk.Usage{Task: a, At: 3000, CPU: 3100, Throttled: 500, Mem: 20, MemPeak: 30, Pids: 1, ReadBytes: 5000})
	say("id-n1", session, sdk.Usage{Task: a, At: 2000, CPU: 9999, Mem: 99}) // late
	say("id-n2", other, sdk.Usage{Task: a, At: 9000, Mem: 99})              // of another node
	say("id-n1", session-1, sdk.Usage{Task: a, At: 9000, Mem: 99})          // of an older session
	v, _ := r.Task(a)
	if want := (sdk.UsageView{At: 3000, CPUs: 1500, Throttled: 250, Mem: 20, MemPeak: 30, Pids: 1, Read: 2000}); v.Usage == nil || *v.Usage != want {
		t.Errorf("two samples: %+v", v.Usage)
	}
	n, _ := r.Node("n1")
	if want := (sdk.UsageView{At: 3000, CPUs: 1500, Throttled: 250, Mem: 25, Pids: 3, Read: 2000}); n.Usage == nil || *n.Usage != want {
		t.Errorf("the node: %+v", n.Usage)
	}
	if n, _ := r.Node("n2"); n.Usage != nil {
		t.Errorf("a node without tasks: %+v", n.Usage)
	}
	var out bytes.Buffer
	r.Metrics(&out)
	for _, line := range []string{`drupe_node_usage_cpus{node="n1"} 1.5`, `drupe_node_usage_memory_bytes{node="n1"} 25`} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
	r.apply(service("hello", 0))
	r.until("none runs", func() bool { return r.running("hello") == 0 })
	known := func() int {
		r.usages.mu.Lock()
		defer r.usages.mu.Unlock()
		return len(r.usages.nodes)
	}
	r.until("what was known of them is dropped", func() bool { return known() == 0 })
	say("id-n1", session, sdk.Usage{Task: a, At: 9000})
	if known() != 0 {
		t.Error("a sample of a task that is over is kept")
	}
}
