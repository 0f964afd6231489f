package kernel

import (
	"context"
	"net"

	"github.com/drupe-os/drupe/kernel/core"
	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/sdk"
)

// ListTasks implements gate.Tasks.
func (k *Kernel) ListTasks(f gate.TaskFilter) ([]sdk.TaskView, uint64) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var out []sdk.TaskView
	add := func(t sdk.TaskView) bool {
		if f.Match(&t.Task) {
			k.usages.show(&t)
			out = append(out, t)
		}
		return true
	}
	if f.Kind != "" && f.Name != "" {
		k.state.TasksOf(sdk.Ref{Kind: f.Kind, Name: f.Name}, add)
	} else {
		k.state.Tasks(add)
	}
	return out, k.state.Index()
}

// Task implements gate.Tasks.
func (k *Kernel) Task(id sdk.TaskID) (sdk.TaskView, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	t, err := k.state.Task(id)
	k.usages.show(&t)
	return t, err
}

// Kill implements gate.Tasks.
func (k *Kernel) Kill(ctx context.Context, by string, id sdk.TaskID, grace sdk.Duration) error {
	_, err := k.one(ctx, by, core.Command{Kill: &core.KillTask{Task: id, Grace: grace}})
	return err
}

// Logs implements gate.Tasks.
func (k *Kernel) Logs(ctx context.Context, r sdk.LogRequest) (<-chan sdk.LogChunk, error) {
	t, err := k.Task(r.Task)
	if err != nil {
		return nil, err
	}
	return k.cfg.Agents.Logs(ctx, t.Node, r)
}

// OpenSession implements gate.Sessions.
func (k *Kernel) OpenSession(ctx context.Context, id sdk.TaskID, request []byte) (net.Conn, error) {
	t, err := k.Task(id)
	switch {
	case err != nil:
		return nil, err
	case t.Status.State.Terminal():
		return nil, sdk.Errorf(sdk.Conflict, "task/"+string(id), "it has ended (%s)", t.Status.State).
			ToFix("choose a task that runs; what it printed is still shown by: drupe logs")
	case t.Status.State < sdk.Running:
		return nil, sdk.Errorf(sdk.Conflict, "task/"+string(id), "it does not run yet (%s)", t.Status.State).
			ToFix("try again when it runs")
	}
	return k.cfg.Agents.Open(ctx, t.Node, id, request)
}
