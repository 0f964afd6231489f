package core

import (
	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/kernel/offer"
	"github.com/drupe-os/drupe/sdk"
)

// group is what tasks of one demand share.
type group struct {
	ref       sdk.Ref
	plugin    sdk.PluginName
	demand    string
	tag       string
	role      sdk.RolePath
	resources sdk.Resources
	template  *sdk.Template
}

// task is one run. Goal and goalReason are the servers' word, the rest of the
// fields the node's.
type task struct {
	group   *group
	serial  uint64
	node    *node
	placed  offer.Placed
	created sdk.Time

	goal        sdk.Goal
	goalReason  sdk.Reason
	goalMessage string
	grace       sdk.Duration
	refused     *sdk.RefusedResize

	state       sdk.TaskState
	health      sdk.Health
	reason      sdk.Reason
	unreachable bool
	exitCode    int32
	pid         int32
	started     sdk.Time
	ended       sdk.Time
	message     string
}

func (t *task) id() sdk.TaskID { return taskID(t.group.ref, t.serial) }

// refTasks are the tasks of one document.
type refTasks struct {
	tasks map[uint64]*task
	live  int
}

// view returns the task as the noun everybody else knows.
func (t *task) view() sdk.Task {
	g := t.group
	return sdk.Task{
		ID: t.id(), Ref: g.ref, Plugin: g.plugin, Demand: g.demand, Tag: g.tag, Role: g.role,
		Node: t.node.ID, Resources: g.resources, Ports: t.placed.Ports,
		Devices: t.placed.Devices, Created: t.created,
		Goal: t.goal, GoalReason: t.goalReason, GoalMessage: t.goalMessage, Refused: t.refused, Unreachable: t.unreachable,
		Status: t.status(),
	}
}

func (t *task) status() sdk.TaskStatus {
	return sdk.TaskStatus{Task: t.id(), State: t.state, Reason: t.reason, Message: t.message,
		ExitCode: t.exitCode, Health: t.health, Started: t.started, Ended: t.ended, PID: t.pid}
}

// launch makes a task of a placement.
func (s *State) launch(g *group, n *node, p offer.Placed) *task {
	s.serials.Task++
	t := &task{group: g, serial: s.serials.Task, node: n, placed: p, created: s.now}
	s.enter(t)
	v := t.view()
	s.tell(sdk.Event{Kind: sdk.EventTaskLaunched, Task: &v})
	s.informPlugin(g.plugin, sdk.FrameworkEvent{Launched: &v})
	s.assign(t)
	return t
}

// enter puts a task into all tables.
func (s *State) enter(t *task) {
	s.tasks[t.serial] = t
	t.node.tasks[t.serial] = t
	r := s.byRef[t.group.ref]
	if r == nil {
		r = &refTasks{tasks: map[uint64]*task{}}
		s.byRef[t.group.ref] = r
	}
	r.tasks[t.serial] = t
	if !t.state.Terminal() {
		r.live++
	}
}

func (s *State) assign(t *task) {
	s.changes.Assign = append(s.changes.Assign, Assigned{t.node.ID, t.id()})
}

// killTask sets a task's goal to stop.
func (s *State) killTask(id sdk.TaskID, why sdk.Reason, grace sdk.Duration) *sdk.Fault {
	t := s.lookup(id)
	if t == nil {
		return sdk.Errorf(sdk.NotFound, string(id), "no such task").ToFix("see `drupe ps` for those there are")
	}
	s.stop(t, why, grace, "")
	return nil
}

// stop sets a task's goal to stop, unless it is already; message says more of
// the reason.
func (s *State) stop(t *task, why sdk.Reason, grace sdk.Duration, message string) {
	if t.state.Terminal() || t.goal == sdk.GoalStop {
		return
	}
	t.goal, t.goalReason, t.goalMessage, t.grace = sdk.GoalStop, why, message, grace
	s.assign(t)
	s.notice(t)
}

// report takes in what a node says about its tasks. Statuses of tasks that are
// not its own are ignored: a node speaks for nobody else.
func (s *State) report(c *ReportStatuses) *sdk.Fault {
	n := s.nodeByID[c.Node]
	if n == nil {
		return sdk.Errorf(sdk.NotFound, "node/"+string(c.Node), "is not registered")
	}
	s.statuses(n, c.Statuses)
	return nil
}

func (s *State) statuses(n *node, list []sdk.TaskStatus) {
	for i := range list {
		st := &list[i]
		t := s.lookup(st.Task)
		switch {
		case t == nil:
			// Forgotten here already: the node may forget an ended one too. A
			// live one nobody knows is left alone.
			if st.State.Terminal() {
				s.changes.Forget = append(s.changes.Forget, Assigned{n.ID, st.Task})
			}
		case t.node != n:
		case t.state.Terminal():
			s.changes.Forget = append(s.changes.Forget, Assigned{n.ID, st.Task})
		default:
			s.observe(t, st)
		}
	}
}

// observe moves a task to an observed status, forward only.
func (s *State) observe(t *task, st *sdk.TaskStatus) {
	if t.state.Terminal() || st.State < t.state {
		return
	}
	if st.State == t.state && st.Health == t.health && st.PID == t.pid && st.Message == t.message && st.Reason == t.reason {
		return
	}
	t.state, t.reason, t.message, t.exitCode = st.State, st.Reason, st.Message, st.ExitCode
	t.health, t.pid, t.ended = st.Health, st.PID, st.Ended
	if st.Started != 0 {
		t.started = st.Started
	}
	if t.state.Terminal() {
		s.end(t)
	}
	s.notice(t)
}

// end gives back what an ended task held.
func (s *State) end(t *task) {
	s.book.Release(t.group.ref, &t.placed)
	if t.ended == 0 {
		t.ended = s.now
	}
	t.pid, t.health, t.unreachable = 0, sdk.HealthUnknown, false
	s.byRef[t.group.ref].live--
	s.changes.Forget = append(s.changes.Forget, Assigned{t.node.ID, t.id()})
	s.changes.Room = true
}

// notice tells everybody concerned how a task is now.
func (s *State) notice(t *task) {
	v := t.view()
	s.tell(sdk.Event{Kind: sdk.EventTaskUpdated, Task: &v})
	s.informPlugin(t.group.plugin, sdk.FrameworkEvent{Updated: &v})
}

// forget drops the record of an ended task.
func (s *State) forget(t *task) {
	delete(s.tasks, t.serial)
	delete(t.node.tasks, t.serial)
	r := s.byRef[t.group.ref]
	delete(r.tasks, t.serial)
	if len(r.tasks) == 0 {
		delete(s.byRef, t.group.ref)
	}
	v := t.view()
	s.tell(sdk.Event{Kind: sdk.EventTaskForgotten, Task: &v})
	s.sweepClient(account.ClientKey{Role: t.group.role, Plugin: t.group.plugin, Ref: t.group.ref})
}

// sweepClient forgets a client that neither holds nor wants anything.
func (s *State) sweepClient(k account.ClientKey) {
	for _, d := range s.demands {
		if d.shape != nil && d.shape.Key == k && !d.gone {
			return
		}
	}
	if r := s.byRef[k.Ref]; r != nil {
		return
	}
	s.ledger.CloseClient(k)
	s.book.Untrack(k.Ref)
}

// live counts a document's tasks that have not ended.
func (s *State) live(ref sdk.Ref) int {
	if r := s.byRef[ref]; r != nil {
		return r.live
	}
	return 0
}
