package kernel

import (
	"context"

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
