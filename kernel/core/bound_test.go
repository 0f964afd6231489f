package core

import (
	"testing"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// TestBoundOfARound proves that a round ends at its bound and says so, and that
// a demand that can never be met, however large, uses nothing of it up.
func TestBoundOfARound(t *testing.T) {
	s := New()
	apply := func(cmds ...Command) {
		t.Helper()
		results, err := s.Apply(s.Index()+1, &Entry{Time: 1000, Commands: cmds})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Fault != nil {
				t.Fatal(r.Fault)
			}
		}
	}
	demand := func(name string, count, cpus int64) sdk.Action {
		return sdk.Action{Demand: &sdk.Demand{Name: name, Ref: sdk.Ref{Kind: "service", Name: name}, Count: count, Resources: sdk.R(cpus, 0),
			Template: &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "x"}}, Resources: sdk.R(cpus, 0)}}}
	}
	apply(install("all", sdk.PointPolicy), install("svc", sdk.PointFramework, "service"), Command{UsePolicy: &UsePolicy{Name: "all"}},
		connect(1, 100_000, 1<<40, nil),
		Command{Framework: &FrameworkCommit{Plugin: "svc", Generation: 2, Actions: []sdk.Action{
			demand("giant", 1000, 1_000_000), demand("small", 30, 100)}}})

	placed, full := 0, true
	for range 4 {
		r, names := s.Round(10, nil)
		if r == nil {
			t.Fatal("nothing is open")
		}
		for d := range r.Batch.Demands.Count {
			r.Place(uint32(d), 1000, policy.Spread)
		}
		full = r.Full
		out := s.Outcome(r, names)
		r.Close()
		n := 0
		if out != nil {
			for _, run := range out.Runs {
				n += int(run.Count)
			}
			apply(Command{Place: out})
		}
		if n > 10 {
			t.Fatalf("a round of 10 placed %d", n)
		}
		placed += n
		if !full {
			break
		}
	}
	if placed != 30 || full {
		t.Errorf("%d of 30 were placed behind a demand that cannot be met; the last round was full: %v", placed, full)
	}
}
