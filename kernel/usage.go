package kernel

import (
	"fmt"
	"io"
	"sync"

	"github.com/drupe-os/drupe/sdk"
)

// usages are the latest samples of what tasks use, in memory only: they are
// about now, and a server that starts knows none until the nodes say more. Only
// tasks that the state knows as live are kept, so there are no more samples than
// tasks.
type usages struct {
	mu    sync.Mutex
	nodes map[sdk.NodeID]map[sdk.TaskID]*samples
}

// samples are a task's latest sample and the one before it, for rates.
type samples struct{ last, before sdk.Usage }

func (u *usages) clear() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.nodes = map[sdk.NodeID]map[sdk.TaskID]*samples{}
}

// AgentUsage keeps what a node says its tasks use. What it says of tasks that
// are not its own, or over, is passed over.
func (k *Kernel) AgentUsage(node sdk.NodeID, session uint64, r *sdk.UsageReport) {
	if !k.sessions.is(node, session) {
		return
	}
	k.mu.RLock() // a task cannot end, and so be dropped, in between
	defer k.mu.RUnlock()
	for i := range r.Usages {
		if t, err := k.state.Task(r.Usages[i].Task); err == nil && t.Node == node && !t.Status.State.Terminal() {
			k.usages.note(node, r.Usages[i])
		}
	}
}

func (u *usages) note(node sdk.NodeID, s sdk.Usage) {
	u.mu.Lock()
	defer u.mu.Unlock()
	tasks := u.nodes[node]
	if tasks == nil {
		tasks = map[sdk.TaskID]*samples{}
		u.nodes[node] = tasks
	}
	switch k := tasks[s.Task]; {
	case k == nil:
		tasks[s.Task] = &samples{last: s}
	case s.At > k.last.At:
		k.before, k.last = k.last, s
	}
}

// follow drops the samples of tasks that ended.
func (u *usages) follow(events []sdk.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range events {
		if t := events[i].Task; t != nil && (t.Status.State.Terminal() || events[i].Kind == sdk.EventTaskForgotten) {
			tasks := u.nodes[t.Node]
			if delete(tasks, t.ID); len(tasks) == 0 {
				delete(u.nodes, t.Node)
			}
		}
	}
}

// show adds what a task uses to its view. Of one that is out of reach nothing
// is known.
func (u *usages) show(t *sdk.TaskView) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if s := u.nodes[t.Node][t.ID]; s != nil && !t.Unreachable {
		t.Usage = s.view()
	}
}

// node sums up what a node's tasks use; nil when nothing is known.
func (u *usages) node(n *sdk.NodeView) *sdk.UsageView {
	u.mu.Lock()
	defer u.mu.Unlock()
	tasks := u.nodes[n.ID]
	if len(tasks) == 0 || n.Liveness != sdk.NodeUp {
		return nil
	}
	sum := &sdk.UsageView{}
	for _, s := range tasks {
		v := s.view()
		sum.At = max(sum.At, v.At)
		sum.CPUs += v.CPUs
		sum.Throttled += v.Throttled
		sum.Mem += v.Mem
		sum.Swap += v.Swap
		sum.Pids += v.Pids
		sum.Disk += v.Disk
		sum.Read += v.Read
		sum.Write += v.Write
	}
	return sum
}

// view turns two samples into amounts and rates.
func (s *samples) view() *sdk.UsageView {
	now, was := &s.last, &s.before
	v := &sdk.UsageView{At: now.At, Mem: now.Mem, MemPeak: now.MemPeak, Swap: now.Swap, Pids: now.Pids, Disk: now.Disk}
	span := int64(now.At.Sub(was.At))
	if was.At == 0 || span <= 0 {
		return v
	}
	per := func(now, was, unit int64) int64 { return max(0, now-was) * unit / span }
	v.CPUs = sdk.Milli(per(int64(now.CPU), int64(was.CPU), 1000))
	v.Throttled = sdk.Milli(per(int64(now.Throttled), int64(was.Throttled), 1000))
	v.Read = per(now.ReadBytes, was.ReadBytes, int64(sdk.Second))
	v.Write = per(now.WriteBytes, was.WriteBytes, int64(sdk.Second))
	return v
}

// usageMetrics writes the sums of all nodes of which something is known.
func usageMetrics(w io.Writer, nodes []sdk.NodeView) {
	for _, m := range []struct {
		name, help string
		value      func(*sdk.UsageView) string
	}{
		{"drupe_node_usage_cpus", "Cores in use by a node's tasks.", func(v *sdk.UsageView) string { return sdk.FormatQuantity(sdk.CPUs, int64(v.CPUs)) }},
		{"drupe_node_usage_memory_bytes", "Memory in use by a node's tasks.", func(v *sdk.UsageView) string { return fmt.Sprint(v.Mem) }},
		{"drupe_node_usage_swap_bytes", "Swap in use by a node's tasks.", func(v *sdk.UsageView) string { return fmt.Sprint(v.Swap) }},
		{"drupe_node_usage_pids", "Processes and threads of a node's tasks.", func(v *sdk.UsageView) string { return fmt.Sprint(v.Pids) }},
		{"drupe_node_usage_disk_bytes", "Bytes written by a node's tasks to their own files.", func(v *sdk.UsageView) string { return fmt.Sprint(v.Disk) }},
	} {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s gauge\n", m.name, m.help, m.name)
		for i := range nodes {
			if v := nodes[i].Usage; v != nil {
				fmt.Fprintf(w, "%s{node=%q} %s\n", m.name, nodes[i].Name, m.value(v))
			}
		}
	}
}
