package agent

import (
	"context"
	"encoding/json"
	"io"

	"github.com/drupe-os/drupe/sdk"
	frames "github.com/drupe-os/drupe/sdk/session"
)

// openSession opens a session that a server asks for. Errors: Invalid for what
// is no request, and the runtime's.
func (a *Agent) openSession(ctx context.Context, q sdk.SessionRequest) (io.ReadWriteCloser, error) {
	if !safeID(q.Task) {
		return nil, sdk.Errorf(sdk.Invalid, "session", "%q is no task", q.Task)
	}
	r := &frames.Request{}
	if err := json.Unmarshal(q.Open, r); err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "task/"+string(q.Task), "the request for a session is not understood: %v", err)
	}
	return a.cfg.Runtime.Open(ctx, q.Task, r)
}
