package core

import (
	"fmt"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

func roleDoc(r sdk.Role) Declared {
	return Declared{Ref: sdk.Ref{Kind: "role", Name: string(r.Path)}, IsRole: &r, Body: sdk.RawJSON("{}"), Digest: sdk.Digest(fmt.Sprint(r))}
}

func nodeDoc(name string, c NodeSettings) Declared {
	return Declared{Ref: sdk.Ref{Kind: "node", Name: name}, IsNode: &c, Body: sdk.RawJSON("{}"), Digest: sdk.Digest(fmt.Sprint(c))}
}

func reserve(role sdk.RolePath, cpus, mem int64) []sdk.Reservation {
	return []sdk.Reservation{{Role: role, Resources: sdk.R(cpus, mem)}}
}

// Documents declared together come into force together: when one is refused,
// the others have left no trace.
func TestDeclaredTogether(t *testing.T) {
	s := New()
	apply(t, s, connect(0, 4000, 4<<30, nil), connect(1, 1000, 1<<30, nil))
	apply(t, s, Command{Apply: &ApplyDocuments{Documents: []Declared{nodeDoc("n0", NodeSettings{Reservations: reserve("eng", 1000, 1<<30)})}}})
	s.TakeChanges()
	before := *s.Snapshot()
	good := []Declared{
		roleDoc(sdk.Role{Path: "eng", Limit: sdk.R(2000, 2<<30)}),
		nodeDoc("n0", NodeSettings{Cordoned: true, Attributes: []sdk.Attribute{{Name: "rack", Value: "x"}}, Reservations: reserve("ops", 2000, 2<<30)}),
	}
	for name, bad := range map[string]Declared{
		"reservation too large": nodeDoc("n1", NodeSettings{Reservations: reserve("eng", 2000, 1<<30)}),
		"role without parent's": roleDoc(sdk.Role{Path: "eng/web", Guarantee: sdk.R(1000, 0)}),
	} {
		for _, docs := range [][]Declared{append(good[:len(good):len(good)], bad), {bad, good[0], good[1]}} {
			r := apply(t, s, Command{Apply: &ApplyDocuments{Documents: docs}})
			if r[0].Fault == nil {
				t.Fatalf("%s: accepted", name)
			}
			if c := s.TakeChanges(); len(c.Events) != 0 {
				t.Errorf("%s: told of %v", name, c.Events[0].Kind)
			}
			after := *s.Snapshot()
			after.Index, after.Now = before.Index, before.Now
			x, _ := before.MarshalMsg(nil)
			y, _ := after.MarshalMsg(nil)
			if string(x) != string(y) {
				t.Errorf("%s: it left a trace", name)
			}
			if a := s.ledger.RoleAccount(s.ledger.Role("eng")); a.Idle[0] != 1000 || a.Limit != nil {
				t.Errorf("%s: the books say idle %v, limit %v", name, a.Idle, a.Limit)
			}
		}
	}
	if r := apply(t, s, Command{Apply: &ApplyDocuments{Documents: good}}); r[0].Fault != nil {
		t.Error(r[0].Fault)
	}
}

// Reservations of resources of the operator's own survive a restart, in
// whatever order the server learned of the resources.
func TestReservationsOfOwnResources(t *testing.T) {
	s := withService(t)
	apply(t, s, install("spread", sdk.PointPolicy), Command{UsePolicy: &UsePolicy{Name: "spread"}})
	own := sdk.Resources{{Name: "cpus", Value: 4000}, {Name: "tapes", Value: 2000}}
	also := sdk.Resources{{Name: "arms", Value: 3000}, {Name: "cpus", Value: 4000}, {Name: "tapes", Value: 2000}}
	for i, c := range []sdk.Resources{own, also} {
		cmd := connect(i, 0, 0, nil)
		cmd.Connect.Machine.Capacity = c
		apply(t, s, cmd)
	}
	apply(t, s, Command{Apply: &ApplyDocuments{Documents: []Declared{
		roleDoc(sdk.Role{Path: "a", Limit: sdk.Resources{{Name: "arms", Value: 9000}, {Name: "tapes", Value: 9000}}}),
		nodeDoc("n1", NodeSettings{Reservations: []sdk.Reservation{{Role: "eng", Resources: also}}})}}}, declare("s1", "eng", "{}"))
	need := sdk.Resources{{Name: "arms", Value: 1000}, {Name: "tapes", Value: 2000}}
	d := sdk.Demand{Name: "d", Ref: sdk.Ref{Kind: "service", Name: "s1"}, Role: "eng", Count: 1, Resources: need,
		Template: &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "x"}}, Resources: need}}
	r := apply(t, s, Command{Framework: &FrameworkCommit{Plugin: "svc", Generation: 2, Actions: []sdk.Action{{Demand: &d}}}})
	if r[0].Fault != nil {
		t.Fatal(r[0].Fault)
	}
	round, names := s.Round(10, nil)
	spread{}.Allocate(&round.Batch, round)
	out := s.Outcome(round, names)
	round.Close()
	apply(t, s, Command{Place: out})
	if len(s.tasks) != 1 {
		t.Fatal("not placed")
	}
	twin := again(t, s)
	for i, x := range []*State{s, twin} {
		for _, task := range x.sortedTasks() {
			apply(t, x, Command{Report: &ReportStatuses{Node: "id-1", Statuses: []sdk.TaskStatus{{Task: task.id(), State: sdk.Finished}}}})
		}
		if idle := x.ledger.Resources(x.ledger.RoleAccount(x.ledger.Role("eng")).Idle); idle.Get("tapes") != 2000 || idle.Get("arms") != 3000 {
			t.Errorf("server %d: idle %v", i, idle)
		}
	}
}

// A machine that the books could not hold is refused, and ports stated twice
// count once.
func TestMachinesThatMakeNoSense(t *testing.T) {
	for name, c := range map[string]sdk.Resources{
		"negative": {{Name: "cpus", Value: -1}},
		"twice":    {{Name: "cpus", Value: 1}, {Name: "cpus", Value: 2}},
		"too much": {{Name: "mem", Value: 1 << 62}},
	} {
		s := New()
		cmd := connect(0, 0, 0, nil)
		cmd.Connect.Machine.Capacity = c
		if r := apply(t, s, cmd); r[0].Fault == nil || len(s.nodes) != 0 {
			t.Errorf("%s: registered", name)
		}
		apply(t, s, connect(0, 1000, 1000, nil))
		if r := apply(t, s, Command{Machine: &SetMachine{Node: "id-0", Machine: sdk.Machine{Capacity: c}}}); r[0].Fault == nil {
			t.Errorf("%s: taken over", name)
		}
	}
	s := New()
	cmd := connect(0, 1000, 1000, nil)
	cmd.Connect.Machine.Ports = []sdk.Range{{First: 1003, Last: 1008}, {First: 0, Last: 0}, {First: 1000, Last: 1005}, {First: 9, Last: 8}}
	apply(t, s, cmd)
	if n := s.ledger.Capacity(0)[4]; n != 9 {
		t.Errorf("%d ports, want 9", n)
	}
}

// A policy that is quarantined is at work no more; when there is none to fall
// back to, explanations say that none is.
func TestQuarantinedPolicyDecidesNothing(t *testing.T) {
	s := withService(t)
	apply(t, s, install("spread", sdk.PointPolicy), Command{UsePolicy: &UsePolicy{Name: "spread"}}, connect(0, 1000, 1<<30, nil), declare("s1", "eng", "{}"))
	d := sdk.Demand{Name: "d", Ref: sdk.Ref{Kind: "service", Name: "s1"}, Role: "eng", Count: 1, Resources: sdk.R(1, 1),
		Template: &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "x"}}}}
	apply(t, s, Command{Framework: &FrameworkCommit{Plugin: "svc", Generation: 2, Actions: []sdk.Action{{Demand: &d}}}})
	name, generation := s.Policy()
	apply(t, s, Command{Reject: &RejectPlugin{Plugin: "spread", Generation: generation, Reason: sdk.ReasonTrap, Quarantine: true}})
	r := apply(t, s, Command{Place: &Placement{Policy: name, Generation: generation, Demands: []DemandName{{"svc", "d"}}, Runs: []Run{{0, 0, 1}}}})
	if r[0].Fault == nil || len(s.tasks) != 0 {
		t.Error("a quarantined policy placed a task")
	}
	if w, err := s.Why(d.Ref); err != nil || w.Demands[0].Reason != sdk.ReasonNoPolicy {
		t.Errorf("why: %+v, %v", w, err)
	}
}
