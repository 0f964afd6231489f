package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// healthy reports whether a task counts as an instance that does its work.
func healthy(t *sdk.Task) bool {
	return t.Status.State == sdk.Running && t.Status.Health == sdk.Healthy && !t.Unreachable
}

// failed reports whether an ended task speaks against its version. What was
// asked to end, and what went down with its node, does not.
func failed(t *sdk.Task) bool {
	return t.Goal == sdk.GoalRun && t.Status.State != sdk.Gone && t.Status.Reason != sdk.ReasonNodeLost
}

// hopeless reports whether the same version will end like this every time.
func hopeless(t *sdk.Task) bool {
	switch t.Status.Reason {
	case sdk.ReasonImageNotFound, sdk.ReasonImageDigest, sdk.ReasonImageInvalid,
		sdk.ReasonCommandNotFound, sdk.ReasonCommandDenied, sdk.ReasonInvalidTemplate:
		return true
	}
	return t.Status.State == sdk.Error
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

// worth orders tasks by how little is lost with them: out of reach, on their
// way up, running but not healthy, given up for lost once, healthy.
func (r *record) worth(t *sdk.Task) int {
	switch {
	case t.Unreachable:
		return 0
	case t.Status.State == sdk.Staging:
		return 1
	case t.Status.State == sdk.Starting:
		return 2
	case !healthy(t):
		return 3
	case r.replaced(t):
		return 4
	}
	return 5
}

// byWorth sorts tasks into the order in which they are killed: the least worth
// first, and of equals the youngest.
func (r *record) byWorth(tasks []*sdk.Task) {
	slices.SortStableFunc(tasks, func(a, b *sdk.Task) int {
		return cmp.Or(cmp.Compare(r.worth(a), r.worth(b)),
			cmp.Compare(b.Created, a.Created), cmp.Compare(b.ID, a.ID))
	})
}
