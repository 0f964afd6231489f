package core

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

// pieces cuts a command and sees to it that every piece is small enough.
func pieces(t *testing.T, c Command, most int) []Command {
	t.Helper()
	out := c.Split(most)
	if len(out) < 2 {
		t.Fatalf("%d pieces", len(out))
	}
	for i := range out {
		b, err := out[i].MarshalMsg(nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > most {
			t.Errorf("piece %d has %d bytes, more than %d", i, len(b), most)
		}
	}
	return out
}

func TestSplitPlacement(t *testing.T) {
	var p Placement
	p.Policy, p.Generation, p.Refused = "drf", 7, 3
	for i := range 500 {
		p.Demands = append(p.Demands, DemandName{"service", fmt.Sprintf("demand-%d", i)})
		p.Runs = append(p.Runs, Run{Demand: uint32(i), Node: uint32(i % 7), Count: 2}, Run{Demand: uint32(i / 2), Node: 9, Count: 1})
		p.Offers = append(p.Offers, MakeOffer{Demand: uint32(i), Node: 1, Amount: sdk.R(int64(i), 5)})
		p.Waiting = append(p.Waiting, WaitReason{Demand: uint32(499 - i), Reason: sdk.ReasonMem})
	}
	say := func(list []Command) (lines []string, refused uint32) {
		for _, c := range list {
			name := func(row uint32) string { return c.Place.Demands[row].Name }
			for _, r := range c.Place.Runs {
				lines = append(lines, fmt.Sprint("run ", name(r.Demand), r.Node, r.Count))
			}
			for _, o := range c.Place.Offers {
				lines = append(lines, fmt.Sprint("offer ", name(o.Demand), o.Node, o.Amount))
			}
			for _, w := range c.Place.Waiting {
				lines = append(lines, fmt.Sprint("wait ", name(w.Demand), w.Reason))
			}
			refused += c.Place.Refused
			if c.Place.Policy != "drf" || c.Place.Generation != 7 {
				t.Error("a piece does not say whose it is")
			}
		}
		return lines, refused
	}
	want, _ := say([]Command{{Place: &p}})
	got, refused := say(pieces(t, Command{Place: &p}, 4096))
	if !slices.Equal(got, want) || refused != 3 {
		t.Errorf("%d decisions became %d, in another order or otherwise", len(want), len(got))
	}
}

func TestSplitReport(t *testing.T) {
	var all []sdk.TaskStatus
	for i := range 300 {
		all = append(all, sdk.TaskStatus{Task: sdk.TaskID(fmt.Sprint("t.", i)), Message: fmt.Sprint(i)})
	}
	var got []sdk.TaskStatus
	for _, c := range pieces(t, Command{Report: &ReportStatuses{Node: "n", Statuses: all}}, 2048) {
		if c.Report.Node != "n" {
			t.Error("a piece does not say of which node")
		}
		got = append(got, c.Report.Statuses...)
	}
	if !slices.Equal(got, all) {
		t.Error("not the same statuses")
	}
}

// large is an answer of n values in the store.
func large(n int) *FrameworkCommit {
	c := &FrameworkCommit{Plugin: "svc", Generation: 2}
	for i := range n {
		c.Actions = append(c.Actions, sdk.Action{Put: &sdk.KeyValue{Key: fmt.Sprintf("k%03d", i), Value: bytes.Repeat([]byte{1}, 100)}})
	}
	return c
}

func withService(t *testing.T) *State {
	t.Helper()
	s := New()
	apply(t, s, install("svc", sdk.PointFramework, "service"), install("other", sdk.PointFramework, "x"))
	s.plugins["svc"].Generation = 2
	return s
}

func apply(t *testing.T, s *State, cmds ...Command) []Result {
	t.Helper()
	r, err := s.Apply(s.index+1, &Entry{Time: s.now + 1, By: "test", Commands: cmds})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	return r
}

// An answer in parts is done with its last part, whatever happens in between.
func TestAnswerInParts(t *testing.T) {
	s := withService(t)
	parts := pieces(t, Command{Framework: large(100)}, 2048)
	for i, c := range parts {
		if n := len(s.frameworks["svc"].store); n != 0 {
			t.Fatalf("%d values are there before part %d", n, i)
		}
		if r := apply(t, s, c); r[0].Fault != nil {
			t.Fatal(r[0].Fault)
		}
		s = again(t, s) // a server that restarts between the parts knows the first ones
	}
	if n := len(s.frameworks["svc"].store); n != 100 {
		t.Errorf("%d values, want all", n)
	}

	// What an earlier leader began is void when the next one begins.
	s = withService(t)
	apply(t, s, parts[0], parts[1])
	few := large(3)
	apply(t, s, Command{Framework: few})
	if n := len(s.frameworks["svc"].store); n != 3 {
		t.Errorf("%d values, want those of the second leader", n)
	}
	// A part without those before it is refused and does nothing.
	if r := apply(t, s, parts[len(parts)-1]); r[0].Fault == nil || len(s.frameworks["svc"].store) != 3 {
		t.Error("the end of an answer counted without its beginning")
	}
	// A bad action in the first part refuses all.
	s = withService(t)
	bad := large(100)
	bad.Actions[0].Put.Key = ""
	for _, c := range pieces(t, Command{Framework: bad}, 2048) {
		apply(t, s, c)
	}
	if n := len(s.frameworks["svc"].store); n != 0 {
		t.Errorf("%d values of a refused answer", n)
	}
}

// again is the state after a restart from a snapshot.
func again(t *testing.T, s *State) *State {
	t.Helper()
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
		t.Fatal("a restart changed the state")
	}
	return out
}

// A refused answer has consumed its events, and the framework hears of it.
func TestRefusedAnswerIsToldOnce(t *testing.T) {
	s := withService(t)
	apply(t, s, declare("a", "eng", `{}`))
	bad := &FrameworkCommit{Plugin: "svc", Generation: 2, Consumed: s.NewestEvent("svc"),
		Actions: []sdk.Action{{Kill: &sdk.KillTask{Task: "a.1"}}}}
	if r := apply(t, s, Command{Framework: bad}); r[0].Fault == nil {
		t.Fatal("killed what is not there")
	}
	in := s.Inbox("svc", 10)
	if len(in) != 1 || in[0].Refused == nil || in[0].Refused.Reason != sdk.ReasonNotGranted {
		t.Errorf("inbox %+v", in)
	}
	if p, _ := s.Plugin("svc"); p.Rejected != 1 {
		t.Errorf("rejected %d", p.Rejected)
	}
}
