package agent

import (
	"context"

	"github.com/drupe-os/drupe/agent/logstore"
	"github.com/drupe-os/drupe/sdk"
)

// readLogs answers a server's request for a task's output.
func (a *Agent) readLogs(ctx context.Context, q sdk.LogRequest, send func([]sdk.LogLine) error) error {
	if !safeID(q.Task) {
		return sdk.Errorf(sdk.Invalid, "logs", "%q is no task", q.Task)
	}
	return logstore.Read(ctx, a.logDir(q.Task), logstore.Query{Stream: q.Stream, Tail: q.Tail, Follow: q.Follow,
		Since: q.Since, Until: q.Until, Match: q.Match, Sidecar: q.Sidecar,
		Ended: func() bool { _, live := a.live.Load(q.Task); return !live }}, send)
}
