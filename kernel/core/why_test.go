package core

import (
	"strings"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

// TestWhyWholeDemandsWait plants the causes that lie in no node: the
// explanation names each, and its end lets the demand go on.
func TestWhyWholeDemandsWait(t *testing.T) {
	ref := sdk.Ref{Kind: "service", Name: "s1"}
	for name, c := range map[string]struct {
		change func(*sdk.Demand)
		then   []sdk.Action
		reason sdk.Reason
		says   string
	}{
		"held back":  {change: func(d *sdk.Demand) { d.NotBefore = 1 << 40 }, reason: sdk.ReasonBackoff, says: "held back until"},
		"suppressed": {then: []sdk.Action{{Suppress: &sdk.SuppressDemand{Name: "d"}}}, reason: sdk.ReasonSuppressed, says: "asked for no offers"},
		"declined": {change: func(d *sdk.Demand) { d.Template = nil }, reason: sdk.ReasonDeclined, says: "declined what is there",
			then: []sdk.Action{{Decline: &sdk.DeclineOffer{Offer: 1, Filter: 1 << 40}}}},
		"never looked at": {reason: sdk.ReasonNotConsidered, says: "its turn has not come yet"},
	} {
		t.Run(name, func(t *testing.T) {
			s := withService(t)
			apply(t, s, install("spread", sdk.PointPolicy), Command{UsePolicy: &UsePolicy{Name: "spread"}}, connect(0, 1000, 1<<30, nil), declare("s1", "eng", "{}"))
			act := func(a ...sdk.Action) {
				t.Helper()
				if r := apply(t, s, Command{Framework: &FrameworkCommit{Plugin: "svc", Generation: 2, Actions: a}}); r[0].Fault != nil {
					t.Fatal(r[0].Fault)
				}
			}
			place := func() {
				r, names := s.Round(10, nil)
				if r == nil {
					return
				}
				out, reserved := make([]int64, r.Batch.Dims), make([]int64, r.Batch.Dims)
				if why := r.Allocatable(0, 0, out, reserved); why == sdk.ReasonNone {
					r.Offer(0, 0, out)
				} else {
					r.Explain(0, why)
				}
				p := s.Outcome(r, names)
				r.Close()
				apply(t, s, Command{Place: p})
			}
			d := sdk.Demand{Name: "d", Ref: ref, Role: "eng", Count: 1, Resources: sdk.R(100, 1),
				Template: &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "x"}}}}
			if c.change != nil {
				c.change(&d)
			}
			act(sdk.Action{Demand: &d})
			if d.Template == nil {
				place()
			}
			if c.then != nil {
				act(c.then...)
			}
			if d.Template == nil {
				place()
			}
			w, err := s.Why(ref)
			if err != nil || len(w.Demands) != 1 {
				t.Fatalf("%+v, %v", w, err)
			}
			if x := w.Demands[0]; x.Reason != c.reason || !strings.Contains(x.Message, c.says) {
				t.Errorf("%s: %q", x.Reason, x.Message)
			}
		})
	}
}
