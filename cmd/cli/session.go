package cli

import (
	"context"
	"fmt"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
	"github.com/drupe-os/drupe/sdk/session"
)

// place is a running task that sessions are held with.
type place struct {
	*app
	c    tasks
	task sdk.TaskID
}

// tasks is what a client knows of tasks.
type tasks interface {
	// Task returns one.
	Task(ctx context.Context, id sdk.TaskID) (sdk.TaskView, error)
	// Session opens a session; ctx ends only the opening.
	Session(ctx context.Context, task sdk.TaskID, q *session.Request) (session.Transport, error)
}

// place finds the task that an argument means: a task, or a document's running
// task that is best off. Errors: NotFound, Conflict when none runs.
func (a *app) place(ctx context.Context, arg string) (*place, error) {
	cl, err := a.connect()
	if err != nil {
		return nil, err
	}
	p := &place{app: a, c: cl}
	if ref := sdk.ParseRef(arg); ref.Kind == "task" || isTask(arg) {
		p.task = sdk.TaskID(ref.Name)
		return p, nil
	}
	ref, err := a.ref(ctx, cl, arg)
	if err != nil {
		return nil, err
	}
	tasks, _, err := cl.Tasks(ctx, client.Query{Ref: ref, State: "live"})
	if err != nil {
		return nil, err
	}
	best, n := choose(tasks)
	if best == nil {
		return nil, sdk.Errorf(sdk.Conflict, ref.String(), "none of its tasks runs").ToFix("see how it goes: drupe show %s", ref)
	}
	if p.task = best.ID; n > 1 {
		a.progress("%s, one of %d that run", best.ID, n)
	}
	return p, nil
}

// choose returns the running task that is best off, the oldest of equals, and
// how many run.
func choose(tasks []sdk.TaskView) (best *sdk.TaskView, running int) {
	worth := func(t *sdk.TaskView) int {
		switch {
		case t.Unreachable:
			return 0
		case t.Status.Health == sdk.Healthy:
			return 2
		}
		return 1
	}
	for i := range tasks {
		t := &tasks[i]
		if t.Status.State != sdk.Running {
			continue
		}
		running++
		if best == nil || worth(t) > worth(best) ||
			worth(t) == worth(best) && (t.Created < best.Created || t.Created == best.Created && t.ID < best.ID) {
			best = t
		}
	}
	return best, running
}

// open begins a session with the task.
func (p *place) open(ctx context.Context, q *session.Request) (*session.Conn, error) {
	t, err := p.c.Session(ctx, p.task, q)
	if err != nil {
		return nil, err
	}
	return session.New(t, nil), nil
}

// ended makes of how a program's session ended what the command ends with: its
// exit code, and what there is to say when it could not be run.
func ended(r session.Result, err error) error {
	switch {
	case err != nil:
		return err
	case r.Error != nil && r.Code != 0:
		return &exitError{error: r.Error, code: int(r.Code)}
	case r.Error != nil:
		return r.Error
	case r.Code != 0:
		return &exitError{error: fmt.Errorf("exit code %d", r.Code), code: int(r.Code), shown: true}
	}
	return nil
}
