package main

import (
	"fmt"
	"strings"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
)

// status says how far the job is.
func (r *record) status(s *framework.Subject, sp *spec) sdk.DocumentStatus {
	st := sdk.DocumentStatus{Version: s.Doc.Version, Wanted: int64(len(r.Open)), Next: r.Next}
	live := 0
	for _, t := range s.Tasks() {
		if t.Status.State.Terminal() {
			continue
		}
		live++
		if t.Status.State == sdk.Running && !t.Unreachable {
			st.Running++
			if t.Status.Health == sdk.Healthy {
				st.Healthy++
			}
		}
	}
	last := r.last()
	if last != nil {
		st.Message = last.String()
	}
	switch {
	case s.Doc.Stopped && live > 0:
		st.Phase, st.Message = sdk.PhaseDeploying, fmt.Sprintf("stopping: %d to end", live)
	case s.Doc.Stopped:
		st.Phase = sdk.PhaseStopped
	case sp.plan != nil && last != nil && last.Result != finished && last.Result != stopped:
		st.Phase = sdk.PhaseDegraded
	case sp.plan != nil:
		st.Phase = sdk.PhaseReady
	case len(r.Open) > 0:
		st.Phase, st.Message = sdk.PhasePending, r.Open[0].Last
		if r.Open[0].Begun {
			st.Phase = sdk.PhaseDeploying
		}
	case last != nil && last.Result == finished:
		st.Phase = sdk.PhaseDone
	default:
		st.Phase = sdk.PhaseFailed
	}
	return st
}

// describe says in one line how a task ended.
func describe(t *sdk.Task) string {
	st := &t.Status
	why := st.Message
	switch {
	case why != "":
	case st.Reason == sdk.ReasonExited || st.Reason == sdk.ReasonNone:
		why = fmt.Sprintf("exit code %d", st.ExitCode)
	default:
		why = st.Reason.String()
	}
	const most = 300 // bytes; the record and the status hold it
	if len(why) > most {
		why = strings.ToValidUTF8(why[:most], "") + "…"
	}
	return fmt.Sprintf("%s %s: %s", t.ID, st.State, why)
}
