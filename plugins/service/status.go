package main

import (
	"fmt"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
)

// status says how far the service is; wanted instances are still to be
// launched.
func status(s *framework.Subject, sp *spec, r *record, wanted int64) sdk.DocumentStatus {
	st := sdk.DocumentStatus{Version: s.Doc.Version, Wanted: sp.instances}
	var live, current int64
	for _, t := range s.Tasks() {
		if t.Status.State.Terminal() {
			continue
		}
		live++
		if t.Status.State == sdk.Running && !t.Unreachable {
			st.Running++
		}
		if healthy(t) {
			st.Healthy++
			if t.Tag == r.Tag && t.Goal == sdk.GoalRun {
				current++
			}
		}
	}
	stuck := r.Failures > 0 && (r.Hopeless || r.Failures >= giveUp)
	switch {
	case current >= sp.instances && !rolling(s, r) && (sp.instances > 0 || live == 0):
		st.Phase = sdk.PhaseReady
		r.Ready = s.Doc.Version
	case stuck && current == 0:
		st.Phase = sdk.PhaseFailed
	case stuck || r.Ready == s.Doc.Version:
		st.Phase = sdk.PhaseDegraded
	case live > 0:
		st.Phase = sdk.PhaseDeploying
	default:
		st.Phase = sdk.PhasePending
	}
	switch {
	case r.Failures > 0:
		st.Message = r.Last
		if r.Failures > 1 {
			st.Message += fmt.Sprintf(" (failure %d in a row)", r.Failures)
		}
		if wanted > 0 {
			st.Message += fmt.Sprintf("; the next start is not before %s", r.NotBefore)
		}
	case wanted > 0 && st.Phase != sdk.PhaseReady:
		st.Message = fmt.Sprintf("%d of %d not placed yet", wanted, sp.instances)
	}
	return st
}
