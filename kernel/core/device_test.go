package core

import (
	"strings"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

// withDevices is a cluster of two nodes with two devices each, and one task
// that holds one of the first node.
func withDevices(t *testing.T) (*State, *task) {
	t.Helper()
	s := withService(t)
	apply(t, s, install("spread", sdk.PointPolicy), Command{UsePolicy: &UsePolicy{Name: "spread"}}, declare("s1", "eng", "{}"))
	c := connect(0, 4000, 4<<30, nil)
	c.Connect.Machine.Devices = twoDevices("a", "b")
	apply(t, s, c)
	need := sdk.R(100, 1).With(sdk.GPUs, 1000)
	d := sdk.Demand{Name: "d", Ref: sdk.Ref{Kind: "service", Name: "s1"}, Role: "eng", Count: 1, Resources: need,
		Template: &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "x"}}, Resources: need}}
	if r := apply(t, s, Command{Framework: &FrameworkCommit{Plugin: "svc", Generation: 2, Actions: []sdk.Action{{Demand: &d}}}}); r[0].Fault != nil {
		t.Fatal(r[0].Fault)
	}
	placeAll(t, s)
	tasks := s.sortedTasks()
	if len(tasks) != 1 || len(tasks[0].placed.Devices) != 1 {
		t.Fatalf("placed %d tasks", len(tasks))
	}
	apply(t, s, Command{Report: &ReportStatuses{Node: "id-0", Statuses: []sdk.TaskStatus{{Task: tasks[0].id(), State: sdk.Running}}}})
	s.TakeChanges()
	return s, tasks[0]
}

func twoDevices(ids ...string) []sdk.Device {
	var out []sdk.Device
	for _, id := range ids {
		out = append(out, sdk.Device{ID: id, Kind: "gpu", Resource: sdk.GPUs, Healthy: true, NUMA: -1})
	}
	return out
}

func placeAll(t *testing.T, s *State) {
	t.Helper()
	r, names := s.Round(10, nil)
	if r == nil {
		return
	}
	spread{}.Allocate(&r.Batch, r)
	out := s.Outcome(r, names)
	r.Close()
	if out != nil {
		apply(t, s, Command{Place: out})
	}
}

func machineOf(s *State, change func(*sdk.Machine)) Command {
	m := s.nodes[0].Machine
	m.Devices = append([]sdk.Device(nil), m.Devices...)
	change(&m)
	return Command{Machine: &SetMachine{Node: "id-0", Machine: m}}
}

// A task whose device falls ill, goes, or becomes something else is ended with
// the reason, its framework and its node are told, capacity follows, and the
// device is to be had again once it is well and the task has ended.
func TestLostDevices(t *testing.T) {
	for name, k := range map[string]struct {
		change func(*sdk.Machine)
		says   string
		left   int64
	}{
		"ill":      {func(m *sdk.Machine) { m.Devices[0].Healthy, m.Devices[0].Detail = false, "XID 79" }, "a is not well: XID 79", 1000},
		"gone":     {func(m *sdk.Machine) { m.Devices = m.Devices[1:] }, "a is gone", 1000},
		"its kind": {func(m *sdk.Machine) { m.Devices[0].Resource = "gpus-shared" }, "a is no longer given out as gpus", 1000},
	} {
		t.Run(name, func(t *testing.T) {
			s, task := withDevices(t)
			if got := s.nodes[0].Machine.Capacity.Get(sdk.GPUs); got != 2000 {
				t.Fatalf("capacity of %d", got)
			}
			well := s.nodes[0].Machine
			apply(t, s, machineOf(s, k.change))
			if task.goal != sdk.GoalStop || task.goalReason != sdk.ReasonDeviceLost || task.goalMessage != k.says {
				t.Fatalf("%v %v %q", task.goal, task.goalReason, task.goalMessage)
			}
			if got := s.nodes[0].Machine.Capacity.Get(sdk.GPUs); got != k.left {
				t.Errorf("capacity of %d", got)
			}
			changes := s.TakeChanges()
			desired := s.Tell(&changes)
			if len(desired) != 1 || desired[0].Desired.Tasks[0].Goal != sdk.GoalStop || desired[0].Desired.Tasks[0].Reason != sdk.ReasonDeviceLost {
				t.Errorf("the node is told %+v", desired)
			}
			inbox := s.Inbox("svc", 100)
			if last := inbox[len(inbox)-1].Updated; last == nil || last.GoalMessage != k.says {
				t.Errorf("the framework is told %+v", inbox[len(inbox)-1])
			}
			again(t, s)
			// Well again, but the task has not ended.
			apply(t, s, Command{Machine: &SetMachine{Node: "id-0", Machine: well}})
			need := sdk.R(100, 1).With(sdk.GPUs, 2000)
			d := sdk.Demand{Name: "e", Ref: task.group.ref, Role: "eng", Count: 1, Resources: need,
				Template: &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "x"}}, Resources: need}}
			apply(t, s, Command{Framework: &FrameworkCommit{Plugin: "svc", Generation: 2, Actions: []sdk.Action{{Demand: &d}}}})
			placeAll(t, s)
			if len(s.tasks) != 1 {
				t.Fatal("a device was given to another before its task had ended")
			}
			apply(t, s, Command{Report: &ReportStatuses{Node: "id-0", Statuses: []sdk.TaskStatus{{Task: task.id(), State: sdk.Killed, Reason: sdk.ReasonDeviceLost}}}})
			placeAll(t, s)
			if len(s.tasks) != 2 {
				t.Error("the devices are not to be had again")
			}
			again(t, s)
		})
	}
}

// An agent that comes back with the same machine ends nothing; one that was
// away while a device went does.
func TestAgentReturnsWithDevices(t *testing.T) {
	s, task := withDevices(t)
	running := []sdk.TaskStatus{{Task: task.id(), State: sdk.Running}}
	hello := func(ids ...string) Command {
		c := connect(0, 4000, 4<<30, running)
		c.Connect.Machine.Devices = twoDevices(ids...)
		return c
	}
	apply(t, s, hello("b", "a"))
	if task.goal != sdk.GoalRun {
		t.Fatal(task.goalMessage)
	}
	apply(t, s, Command{Liveness: &SetLiveness{Node: "id-0", Liveness: sdk.NodeUnreachable}}, hello("b"))
	if task.goal != sdk.GoalStop || task.goalReason != sdk.ReasonDeviceLost {
		t.Error("it holds a device that is gone")
	}
}

// Machines whose devices cannot be told apart are refused.
func TestDevicesThatMakeNoSense(t *testing.T) {
	for says, devices := range map[string][]sdk.Device{
		"listed twice":           twoDevices("a", "a"),
		"unnamed":                twoDevices(""),
		"not counted by devices": {{ID: "a", Resource: sdk.CPUs}},
		"at most 1024":           make([]sdk.Device, 1025),
	} {
		s := New()
		c := connect(0, 1000, 1, nil)
		c.Connect.Machine.Devices = devices
		if r := apply(t, s, c); r[0].Fault == nil || !strings.Contains(r[0].Fault.Error(), says) {
			t.Errorf("%s: %v", says, r[0].Fault)
		}
	}
}

// A restart forgets nobody's device: the next task gets the other one.
func TestDevicesHeldOverARestart(t *testing.T) {
	s, first := withDevices(t)
	twin := again(t, s)
	need := sdk.R(100, 1).With(sdk.GPUs, 1000)
	d := sdk.Demand{Name: "e", Ref: first.group.ref, Role: "eng", Count: 2, Resources: need,
		Template: &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "x"}}, Resources: need}}
	for i, x := range []*State{s, twin} {
		apply(t, x, Command{Framework: &FrameworkCommit{Plugin: "svc", Generation: 2, Actions: []sdk.Action{{Demand: &d}}}})
		placeAll(t, x)
		tasks := x.sortedTasks()
		if len(tasks) != 2 || tasks[0].placed.Devices[0].ID != "a" || tasks[1].placed.Devices[0].ID != "b" {
			t.Errorf("server %d: %d tasks, %+v", i, len(tasks), tasks[len(tasks)-1].placed.Devices)
		}
	}
}
