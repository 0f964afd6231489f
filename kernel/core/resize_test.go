package core

import (
	"strings"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

// sized is a node of 4 cores and 4 GiB with two tasks of half a core of role
// eng/web.
func sized(t *testing.T) *State {
	t.Helper()
	s := withService(t)
	c := connect(0, 4000, 4<<30, nil)
	c.Connect.Machine.Devices = twoDevices("a", "b")
	apply(t, s, install("spread", sdk.PointPolicy), Command{UsePolicy: &UsePolicy{Name: "spread"}}, declare("s1", "eng/web", "{}"), c)
	need := sdk.R(500, 1<<30)
	d := sdk.Demand{Name: "d", Ref: sdk.Ref{Kind: "service", Name: "s1"}, Role: "eng/web", Count: 2, Resources: need, Tag: "1",
		Template: &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "x"}}, Resources: need, Ports: []sdk.PortRequest{{Name: "a"}}}}
	if r := apply(t, s, Command{Framework: &FrameworkCommit{Plugin: "svc", Generation: 2, Actions: []sdk.Action{{Demand: &d}}}}); r[0].Fault != nil {
		t.Fatal(r[0].Fault)
	}
	placeAll(t, s)
	if len(s.tasks) != 2 {
		t.Fatalf("%d tasks", len(s.tasks))
	}
	s.TakeChanges()
	return s
}

func act(t *testing.T, s *State, a ...sdk.Action) *sdk.Fault {
	t.Helper()
	return apply(t, s, Command{Framework: &FrameworkCommit{Plugin: "svc", Generation: 2, Actions: a}})[0].Fault
}

func resizeTo(t *task, r sdk.Resources) sdk.Action {
	return sdk.Action{Resize: &sdk.ResizeTask{Task: t.id(), Resources: r, Limits: sdk.Limits{CPUs: 3000}, Tag: "2"}}
}

// A resized task holds what it was given, its node and its framework are told,
// the other tasks of its demand stay as they are, and a restart changes nothing.
func TestResize(t *testing.T) {
	s := sized(t)
	first, second := s.sortedTasks()[0], s.sortedTasks()[1]
	if f := act(t, s, resizeTo(first, sdk.R(2000, 512<<20))); f != nil {
		t.Fatal(f)
	}
	changes := s.TakeChanges()
	desired := s.Tell(&changes)
	if len(desired) != 1 || len(desired[0].Desired.Tasks) != 1 {
		t.Fatalf("the node is told %+v", desired)
	}
	if a := desired[0].Desired.Tasks[0]; a.Task != first.id() || a.Goal != sdk.GoalRun || a.Template.Resources.Get(sdk.CPUs) != 2000 ||
		a.Template.Limits.CPUs != 3000 || a.Template.Run.Container.Image != "x" || len(a.Ports) != 1 {
		t.Errorf("the node is told %+v", a)
	}
	v := first.view()
	if v.Tag != "2" || v.Resources.Get(sdk.Mem) != 512<<20 || v.Refused != nil {
		t.Errorf("%+v", v)
	}
	inbox := s.Inbox("svc", 100)
	if last := inbox[len(inbox)-1].Updated; last == nil || last.Tag != "2" {
		t.Errorf("the framework is told %+v", inbox[len(inbox)-1])
	}
	if v := second.view(); v.Tag != "1" || v.Resources.Get(sdk.CPUs) != 500 {
		t.Errorf("the other task became %+v", v)
	}
	if held := s.ledger.Resources(s.ledger.Held(0)); held.Get(sdk.CPUs) != 2500 || held.Get(sdk.Mem) != 3<<29 {
		t.Errorf("the node holds %v", held)
	}
	twin := again(t, s)
	// Alike, one resized before the restart and one after: still one state.
	for _, x := range []*State{s, twin} {
		if f := act(t, x, resizeTo(x.sortedTasks()[1], sdk.R(2000, 512<<20))); f != nil {
			t.Fatal(f)
		}
	}
	if s.Hash() != twin.Hash() {
		t.Error("the restarted server is another")
	}
	again(t, s)
}

// What cannot be is refused with its reason, noted on the task, and changes
// nothing else; becoming smaller is always possible.
func TestResizeRefused(t *testing.T) {
	for name, k := range map[string]struct {
		plant func(s *State)
		to    sdk.Resources
		want  sdk.Reason
		says  string
	}{
		"node too small":   {to: sdk.R(4000, 1<<30), want: sdk.ReasonCPUs, says: "node n0 has 3 cpus for it, and 3.5 more are asked for"},
		"two things short": {to: sdk.R(9000, 9<<30), want: sdk.ReasonCPUs, says: "node n0 has 3 cpus"},
		"reserved for others": {to: sdk.R(2000, 1<<30), want: sdk.ReasonReserved, says: "0.5 cpus for it, and 1.5 more", plant: func(s *State) {
			apply(t, s, Command{Apply: &ApplyDocuments{Documents: []Declared{nodeDoc("n0", NodeSettings{Reservations: reserve("ops", 2500, 1)})}}})
		}},
		"reserved for its role": {to: sdk.R(2000, 1<<30), plant: func(s *State) {
			apply(t, s, Command{Apply: &ApplyDocuments{Documents: []Declared{nodeDoc("n0", NodeSettings{Reservations: reserve("eng", 2500, 1)})}}})
		}},
		"limit of its role": {to: sdk.R(2000, 1<<30), want: sdk.ReasonQuotaLimit, says: "role eng/web is at its limit of 2 cpus", plant: func(s *State) {
			apply(t, s, Command{Apply: &ApplyDocuments{Documents: []Declared{roleDoc(sdk.Role{Path: "eng/web", Limit: sdk.R(2000, 8<<30)})}}})
		}},
		"limit of the role above": {to: sdk.R(500, 2<<30), want: sdk.ReasonQuotaLimit, says: "role eng is at its limit of 2Gi mem", plant: func(s *State) {
			apply(t, s, Command{Apply: &ApplyDocuments{Documents: []Declared{roleDoc(sdk.Role{Path: "eng", Limit: sdk.R(8000, 2<<30)})}}})
		}},
		"smaller, on a node that shrank, above the limit": {to: sdk.R(400, 1<<30), plant: func(s *State) {
			apply(t, s, connect(0, 100, 1, statusesOf(s)), Command{Apply: &ApplyDocuments{Documents: []Declared{roleDoc(sdk.Role{Path: "eng", Limit: sdk.R(100, 1)})}}})
		}},
		"devices": {to: sdk.R(500, 1<<30).With(sdk.GPUs, 1000), want: sdk.ReasonDevices, says: "how many gpus a running task has cannot be changed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := sized(t)
			first := s.sortedTasks()[0]
			if k.plant != nil {
				k.plant(s)
			}
			s.TakeChanges()
			held := s.ledger.Resources(s.ledger.Held(0))
			if f := act(t, s, resizeTo(first, k.to), sdk.Action{Put: &sdk.KeyValue{Key: "k", Value: []byte("v")}}); f != nil {
				t.Fatal(f)
			}
			if len(s.frameworks["svc"].store) != 1 {
				t.Error("the other actions of the call were not done")
			}
			v, changes := first.view(), s.TakeChanges()
			if k.want == sdk.ReasonNone {
				if v.Refused != nil || v.Tag != "2" {
					t.Errorf("refused: %+v", v.Refused)
				}
				return
			}
			if v.Refused == nil || v.Refused.Reason != k.want || !strings.Contains(v.Refused.Message, k.says) || v.Refused.Tag != "2" {
				t.Fatalf("%+v", v.Refused)
			}
			if v.Tag != "1" || s.ledger.Resources(s.ledger.Held(0)).String() != held.String() || len(changes.Assign) != 0 {
				t.Error("it changed something")
			}
			inbox := s.Inbox("svc", 100)
			if last := inbox[len(inbox)-1].Updated; last == nil || last.Refused == nil {
				t.Errorf("the framework is told %+v", inbox[len(inbox)-1])
			}
			again(t, s)
			if f := act(t, s, resizeTo(first, sdk.R(100, 1))); f != nil || first.view().Refused != nil {
				t.Error("a refusal stays")
			}
		})
	}
	s := sized(t)
	if f := act(t, s, resizeTo(s.sortedTasks()[0], sdk.Resources{{Name: sdk.CPUs, Value: -1}})); f == nil {
		t.Error("less than nothing was accepted")
	}
	if f := act(t, s, sdk.Action{Resize: &sdk.ResizeTask{Task: "other.1"}}); f == nil || f.Kind != sdk.Denied {
		t.Errorf("a task that is not its own: %v", f)
	}
}

func statusesOf(s *State) (out []sdk.TaskStatus) {
	for _, t := range s.sortedTasks() {
		out = append(out, t.status())
	}
	return out
}
