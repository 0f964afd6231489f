package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/agent/plan"
	"github.com/drupe-os/drupe/sdk"
)

// agent is a simulated machine: the real planner over simulated containers, a
// disk that survives, and a link that may be cut.
type agent struct {
	*Sim
	id      sdk.NodeID
	name    string
	machine sdk.Machine
	tasks   map[sdk.TaskID]*simTask // on disk, or running
	up      bool                    // the agent's process
	cut     bool                    // the network
	session uint64                  // 0: none
	life    int
	devices []sdk.Device    // when all are well
	shared  map[string]bool // by device
}

// simTask is one task on a machine.
type simTask struct {
	plan.Task
	assignment sdk.Assignment
	status     sdk.TaskStatus
	life       int // rises with every crash of the agent; answers of earlier lives are lost
}

func newAgent(s *Sim, i int) *agent {
	cpus := []int64{4000, 8000, 16000}[s.rand.IntN(3)]
	a := &agent{Sim: s, id: sdk.NodeID(fmt.Sprintf("n-%05d", i)), name: fmt.Sprintf("node-%05d", i), up: true, tasks: map[sdk.TaskID]*simTask{}}
	a.machine = sdk.Machine{Capacity: sdk.R(cpus, cpus<<21), Ports: []sdk.Range{{First: 31000, Last: 31005}}, Hostname: a.name,
		Attributes: []sdk.Attribute{{Name: "rack", Value: fmt.Sprintf("r%d", i%10)}, {Name: "zone", Value: fmt.Sprintf("z%d", i%3)}}}
	if i%3 == 0 {
		a.equip(i)
	}
	s.after(s.between(0, sdk.Second), a.dial)
	return a
}

func (a *agent) linked() bool { return a.up && !a.cut }

// dial tries to begin a session, again and again.
func (a *agent) dial() {
	if a.session != 0 || !a.up {
		return
	}
	if a.linked() && a.server.up {
		known := make([]sdk.TaskStatus, 0, len(a.tasks))
		for _, id := range a.sorted() {
			known = append(known, a.tasks[id].status)
		}
		life := a.life
		a.after(a.between(1, 20), func() {
			if a.life == life && a.linked() && a.session == 0 {
				a.server.connect(a, known)
			}
		})
	}
	life := a.life
	a.after(a.between(200, 2000), func() {
		if a.life == life {
			a.dial()
		}
	})
}

func (a *agent) sorted() []sdk.TaskID {
	ids := make([]sdk.TaskID, 0, len(a.tasks))
	for id := range a.tasks {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(x, y sdk.TaskID) int { return strings.Compare(string(x), string(y)) })
	return ids
}

// disconnect ends the session on this side.
func (a *agent) disconnect() {
	if a.session == 0 {
		return
	}
	a.session = 0
	life := a.life
	a.after(a.between(100, 1000), func() {
		if a.life == life {
			a.dial()
		}
	})
}

// receive takes in what the servers want, after the time a message takes.
// Messages of one session keep their order.
func (a *agent) receive(session uint64, d *sdk.Desired) {
	a.after(5, func() {
		if a.session != session || !a.linked() {
			return
		}
		a.desire(d)
	})
}

func (a *agent) desire(d *sdk.Desired) {
	if d.Full {
		for _, t := range a.tasks {
			t.Goal = plan.Unknown
		}
		defer a.sayAll() // what changed since the session was asked for
	}
	for i := range d.Tasks {
		as := &d.Tasks[i]
		t := a.tasks[as.Task]
		if t == nil {
			t = &simTask{life: a.life, status: sdk.TaskStatus{Task: as.Task}}
			a.tasks[as.Task] = t
		}
		if as.Template != nil {
			t.assignment = *as
		}
		t.Goal = plan.Run
		if as.Goal == sdk.GoalStop {
			t.Goal, t.StopReason, t.Grace = plan.Stop, as.Reason, as.Grace
		}
		a.step(t)
	}
	for _, id := range d.Forget {
		if t := a.tasks[id]; t != nil {
			t.Forget = true
			a.step(t)
		}
	}
}

// step carries out what the planner wants, until there is nothing to do.
func (a *agent) step(t *simTask) {
	for range 50 {
		if !a.up || a.failure != nil {
			return
		}
		s := plan.Next(&t.Task, a.now)
		switch s.Op {
		case plan.Nothing:
			if s.Wake != 0 {
				a.later(t, s.Wake.Sub(a.now), func() {})
			}
			return
		case plan.Fetch, plan.Create, plan.Start:
			t.InFlight = s.Op
			a.work(t, s.Op)
			return
		case plan.Term:
			t.Termed = a.now
			if !a.chance(100) { // some do not listen
				a.exits(t, a.between(1, 500), 143)
			}
		case plan.Kill:
			t.Killed = a.now
			a.exits(t, a.between(1, 20), 137)
		case plan.Remove:
			t.Seen = plan.Absent
		case plan.SetStatus:
			t.State, t.Reason = s.State, s.Reason
			t.Saved = true
			a.say(t)
		case plan.Forget:
			delete(a.tasks, t.status.Task)
			return
		}
	}
	a.fail("%s: the planner does not come to rest", t.status.Task)
}

// later does something for a task after a while, unless the agent crashed.
func (a *agent) later(t *simTask, d sdk.Duration, do func()) {
	life := a.life
	a.after(max(d, 1), func() {
		if a.life == life && a.up && a.tasks[t.status.Task] == t {
			do()
			a.step(t)
		}
	})
}

// work carries out a slow step.
func (a *agent) work(t *simTask, op plan.Op) {
	switch op {
	case plan.Fetch:
		a.later(t, a.between(10, 2000), func() {
			t.InFlight = plan.Nothing
			if a.chance(5) {
				t.Fault = sdk.ReasonImageUnavailable
			} else {
				t.ImageReady = true
			}
		})
	case plan.Create:
		a.later(t, a.between(5, 50), func() { t.InFlight, t.Seen = plan.Nothing, plan.Created })
	case plan.Start:
		// Executed now, known of later: a crash in between is the interesting case.
		t.Launched, t.Seen = true, plan.Running
		a.auditor.starts(a, t)
		if a.chance(30) && !a.healing {
			a.exits(t, a.between(1, 60_000), 1)
		}
		a.later(t, 1, func() { t.InFlight = plan.Nothing })
	}
}

// exits has a container end, whether the agent lives or not.
func (a *agent) exits(t *simTask, after sdk.Duration, code int32) {
	a.after(after, func() {
		if t.Seen != plan.Running {
			return
		}
		t.Seen, t.Exit = plan.Stopped, plan.Exit{Code: code, Known: true}
		a.auditor.stops(a, t)
		if a.up && a.tasks[t.status.Task] == t {
			a.step(t)
		}
	})
}

// say keeps a status and reports it.
func (a *agent) say(t *simTask) {
	health := sdk.HealthUnknown
	if t.State == sdk.Running {
		health = sdk.Healthy
	}
	t.status = sdk.TaskStatus{Task: t.status.Task, State: t.State, Reason: t.Reason, Health: health, ExitCode: t.Exit.Code}
	if t.State == sdk.Running {
		t.status.Started = a.now
	}
	a.send([]sdk.TaskStatus{t.status})
}

// sayAll reports all statuses, as an agent does with what was not acknowledged.
func (a *agent) sayAll() {
	var all []sdk.TaskStatus
	for _, id := range a.sorted() {
		all = append(all, a.tasks[id].status)
	}
	a.send(all)
}

// send reports statuses, if there is a session.
func (a *agent) send(statuses []sdk.TaskStatus) {
	if a.session == 0 || !a.linked() || len(statuses) == 0 {
		return
	}
	session := a.session
	report := func() {
		if a.linked() && a.session == session {
			a.server.report(a, session, statuses)
		}
	}
	a.after(5, report)
	if a.chance(50) { // said again, late: the acknowledgement was lost
		a.after(a.between(20, 5000), report)
	}
}

// crash ends the agent's process for a while. Containers run on.
func (a *agent) crash(down sdk.Duration) {
	if !a.up {
		return
	}
	a.logf("agent %s crashes for %s", a.name, down)
	a.server.lost(a, a.session)
	a.up, a.session = false, 0
	a.life++
	a.after(down, func() {
		a.up = true
		for _, id := range a.sorted() {
			t := a.tasks[id]
			t.InFlight, t.Goal = plan.Nothing, plan.Unknown
			a.step(t)
		}
		a.dial()
	})
}

// cutOff cuts the machine's network for a while.
func (a *agent) cutOff(d sdk.Duration) {
	if a.cut {
		return
	}
	a.logf("agent %s is cut off for %s", a.name, d)
	a.cut = true
	session := a.session
	a.after(6*sdk.Second, func() { a.server.lost(a, session) })
	a.after(d, func() {
		a.cut = false
		if a.session == session {
			a.server.lost(a, session)
			a.disconnect()
		}
	})
}

// reboot ends all containers and the agent, which finds its disk as it was.
func (a *agent) reboot(down sdk.Duration) {
	if !a.up {
		return
	}
	a.logf("machine %s reboots in %s", a.name, down)
	for _, id := range a.sorted() {
		if t := a.tasks[id]; t.Seen != plan.Absent {
			t.Seen = plan.Absent
			a.auditor.stops(a, t)
		}
	}
	a.crash(down)
}

// wipe loses the machine's disk and all its containers.
func (a *agent) wipe() {
	a.logf("agent %s loses its disk", a.name)
	a.server.lost(a, a.session)
	a.session = 0
	a.life++
	for _, id := range a.sorted() {
		t := a.tasks[id]
		if t.Seen == plan.Running {
			t.Seen = plan.Stopped
			a.auditor.stops(a, t)
		}
	}
	a.tasks = map[sdk.TaskID]*simTask{}
	a.up = true
	a.dial()
}
